"""What the state of an extension comes from: who has said what of it, since when, and until when.

    {"source": "manual", "state": "early", "since": …, "until": …, "by": ACCOUNT, "user": ID, "address": …}
    {"source": "published", "publisher": …, "since": …, "until": …, "dialogs": [{"state": …, "direction": …, …}]}
    {"source": "mailbox", "since": …, "mwi": {…}}
    {"source": "dnd", "since": …}
    {"source": "registrar", "since": …}

Times are Unix seconds; `until` is absent for what stays until further notice. Entity tags are their publishers' secret.
"""

from collections.abc import Iterator
from dataclasses import astuple

from sipresence.audit import AuditEntry
from sipresence.events.resource import DialogState, ResourceState
from sipresence.events.state import DialogInfo, Messages, Presence, Source, StateChange
from sipresence.objects import Json, JsonObject


def describe_sources(state: ResourceState, last_set: AuditEntry | None) -> list[Json]:
    """Describe all of them; `last_set` is who has set the lamp last, where that is known."""
    published = map(_describe_publication, state.publications.values())
    return [*(_describe(said, last_set) for said in state.said), *published]


def _describe(said: StateChange, last_set: AuditEntry | None) -> Json:
    described: JsonObject = {"source": said.source.value if said.source else "reset"}
    if said.source is Source.MANUAL:
        described["state"] = (said.dialogs[0].state if said.dialogs else DialogState.TERMINATED).value
        described |= _asker(said, last_set)
    if said.messages is not None:
        described["mwi"] = describe_messages(said.messages)
    return {**described, **_times(said)}


def _asker(said: StateChange, last_set: AuditEntry | None) -> JsonObject:
    if last_set is None:
        return {"by": said.by} if said.by else {}
    asker = {"by": last_set.by, "user": last_set.user, "address": last_set.address}
    return {name: text for name, text in asker.items() if text}


def _describe_publication(said: StateChange) -> Json:
    described: JsonObject = {"source": Source.PUBLISHED.value, "publisher": said.publisher, **_times(said)}
    if said.presence is not None:
        described["presence"] = dict(_describe_presence(said.presence))
    else:
        described["dialogs"] = list(map(_describe_dialog, said.dialogs))
    return described


def _describe_dialog(dialog: DialogInfo) -> Json:
    """What is known of a dialog."""
    described = {
        "state": dialog.state.value,
        "direction": dialog.direction,
        "call_id": dialog.call_id,
        "local": dialog.local_identity,
        "remote": dialog.remote_identity,
    }
    return {name: text for name, text in described.items() if text}


def _describe_presence(presence: Presence) -> Iterator[tuple[str, Json]]:
    if presence.open is not None:
        yield "open", presence.open
    if presence.activities:
        yield "activities", presence.activities
    if presence.note:
        yield "note", presence.note
    if presence.do_not_disturb:
        yield "dnd", True


def describe_messages(messages: Messages) -> Json:
    """How many voice messages wait."""
    new, saved, urgent, urgent_saved = astuple(messages)
    return {"new": new, "saved": saved, "urgent": urgent, "urgent_saved": urgent_saved}


def _times(said: StateChange) -> JsonObject:
    until: JsonObject = {} if said.expires_at is None else {"until": int(said.expires_at)}
    return {"since": int(said.at), **until}
