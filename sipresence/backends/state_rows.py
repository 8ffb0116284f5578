"""How a `StateChange` is written: a row of the table `states`, its dialogs and all else that it says as JSON."""

import json
from dataclasses import fields
from typing import Any, TypeAlias

from sipresence.events.state import DialogInfo, DialogState, Messages, Presence, Source, StateChange
from sipresence.names import AccountId, ResourceId

_NAMES = {kind: tuple(field.name for field in fields(kind)) for kind in (DialogInfo, Presence, Messages)}

StateRow: TypeAlias = tuple[str, str, str, str, float, float | None, str, str, str, str]


def state_row(change: StateChange) -> StateRow:
    """The row that keeps what a source says; a reset has none."""
    assert change.source is not None
    more = {"presence": change.presence, "messages": change.messages}
    details = {name: _members(said) for name, said in more.items() if said is not None}
    return (
        change.account, change.resource, change.source.value, json.dumps(list(map(_members, change.dialogs))),
        change.at, change.expires_at, change.publication, change.publisher, change.entity_tag, json.dumps(details),
    )  # fmt: skip


def state_change(row: StateRow) -> StateChange:
    """What a row says."""
    account, resource, source, dialogs, at, expires_at, publication, publisher, entity_tag, details = row
    more = json.loads(details)
    return StateChange(
        AccountId(account), ResourceId(resource), Source(source), tuple(map(_dialog, json.loads(dialogs))), at,
        expires_at, publication=publication, publisher=publisher, entity_tag=entity_tag,
        presence=_presence(more["presence"]) if "presence" in more else None,
        messages=Messages(**more["messages"]) if "messages" in more else None,
    )  # fmt: skip


def _members(said: DialogInfo | Presence | Messages) -> dict[str, Any]:
    return {name: getattr(said, name) for name in _NAMES[type(said)]}


def _dialog(members: dict[str, Any]) -> DialogInfo:
    return DialogInfo(**{**members, "state": DialogState(members["state"])})


def _presence(members: dict[str, Any]) -> Presence:
    return Presence(**{**members, "activities": tuple(members.get("activities", ()))})
