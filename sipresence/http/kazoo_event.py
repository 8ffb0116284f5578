"""News as Kazoo's websocket tells them: the AMQP messages of `kapi_presence`, their keys in lower case and with `_`.

    dialog_update      a call began, went on or ended, as publications say; key: its Call-ID
    update             a state that is no call, as `set` makes it; key: hex md5 of `user@realm`, Kazoo's own Call-ID
                       for it. Or whether somebody can be reached (`online`, `offline`; package `presence`): no key
    mwi_update         how many messages wait; key: the user
    extension_update   ours: any of that, and the lamp that all of it makes; key: the extension

From is always the watched extension and To the other party, whoever called. What we do not know of a message is left
out. Kazoo knows no `trying` and no `proceeding` of a call: to its clients both are `early`.
"""

import hashlib
import itertools
import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from functools import lru_cache
from urllib.parse import quote_plus, unquote

from sipresence.events.resource import DialogInfo, DialogState
from sipresence.events.state import Messages
from sipresence.feed import News, name_of
from sipresence.names import ResourceId, extension_of, realm_of
from sipresence.objects import Json

DIALOG, UPDATE, MWI, EXTENSION = "dialog", "update", "mwi_updates", "extension"
RECENT = 256  # pieces of news whose messages are kept, for listeners that are not quite up to date

_STATES = {DialogState.TRYING: DialogState.EARLY, DialogState.PROCEEDING: DialogState.EARLY}
_USER_AND_HOST = re.compile(r"sips?:([^:;@]*)[^@]*@(\[[^]]*\]|[^:;?>]*)", re.IGNORECASE)
_PROCESS, _numbers = secrets.token_hex(8), itertools.count(1)  # what message ids are made of


@dataclass(slots=True, frozen=True)
class KazooEvent:
    """One message. `topic` and `key` are what bindings are compared with; `text` is the end of every frame that brings
    it, what follows the keys by which somebody listens."""

    topic: str
    key: str
    text: str


def encode(text: str) -> str:
    """Encode one part of a routing key, in which dots part the parts."""
    return quote_plus(text, safe="~").replace(".", "%2E")


@lru_cache(maxsize=RECENT)
def events_of(news: News) -> tuple[KazooEvent, ...]:
    """All messages that some news make."""
    return tuple(_event(news, *message) for message in _messages(news))


def _messages(news: News) -> Iterator[tuple[str, str, str, dict[str, Json]]]:
    """Yield topic, key, name and data of each message."""
    before, after = news.before, news.after
    for call in news.calls:
        topic, name = (DIALOG, "dialog_update") if call.call_id else (UPDATE, "update")
        yield topic, name_of(call), name, _call(news.resource, call)
    if after.presence.open is not None and after.presence.open is not before.presence.open:
        state = "online" if after.presence.open else "offline"
        yield UPDATE, "", "update", {"presence_id": news.resource, "state": state, "event_package": "presence"}
    if after.messages != before.messages:
        yield MWI, extension_of(news.resource), "mwi_update", _mailbox(news.resource, after.messages)
    yield EXTENSION, extension_of(news.resource), "extension_update", _extension(news)


def _event(news: News, topic: str, key: str, name: str, data: dict[str, Json]) -> KazooEvent:
    routing_key = f"{topic}.{encode(realm_of(news.resource))}.{encode(key)}"
    common = {
        "app_name": "sipresence",
        "event_category": "presence",
        "event_name": name,
        "msg_id": f"{_PROCESS}{next(_numbers):016x}",
    }
    rest = {"name": name, "routing_key": routing_key, "data": {**data, **common}}
    return KazooEvent(topic, key, json.dumps(rest)[1:])


def _call(resource: ResourceId, call: DialogInfo) -> dict[str, Json]:
    known = {
        "presence_id": resource,
        "call_id": name_of(call),
        "state": _STATES.get(call.state, call.state).value,
        "event_package": "dialog" if call.call_id else "",
        "direction": call.direction if call.call_id else "",
        **_party("from", call.local_identity, call.local_tag),
        **_party("to", call.remote_identity, call.remote_tag),
    }
    return {key: value for key, value in known.items() if value}


def _party(side: str, uri: str, tag: str) -> dict[str, str]:
    parts = _USER_AND_HOST.match(uri)
    user, realm = parts.groups() if parts is not None else ("", "")
    return {side: uri, f"{side}_user": unquote(user), f"{side}_realm": realm, f"{side}_tag": tag}


def _mailbox(resource: ResourceId, messages: Messages) -> dict[str, Json]:
    new, saved, urgent, urgent_saved = astuple(messages)
    return {
        "to": resource,
        "from": f"sip:{resource}",
        "from_user": extension_of(resource),
        "from_realm": realm_of(resource),
        "message_account": f"sip:{resource}",
        "messages_waiting": "yes" if new else "no",
        "messages_new": new,
        "messages_saved": saved,
        "messages_urgent": urgent,
        "messages_urgent_saved": urgent_saved,
        "call_id": hashlib.md5(resource.encode(), usedforsecurity=False).hexdigest(),
    }


def _extension(news: News) -> dict[str, Json]:
    """Everything about one extension, in the words of a GET of it, always with all of its keys."""
    change, after = news.change, news.after
    new, saved, urgent, urgent_saved = astuple(after.messages)
    return {
        "extension": extension_of(news.resource),
        "presence_id": news.resource,
        "state": after.lamp.state.value,
        "since": int(after.lamp.since or change.at),
        "state_before": news.before.lamp.state.value,
        "source": "reset" if change.source is None else change.source.value,
        "at": round(change.at, 3),
        "calls": [_describe(call) for call in after.calls],
        "mwi": {"new": new, "saved": saved, "urgent": urgent, "urgent_saved": urgent_saved},
        "dnd": after.presence.do_not_disturb,
    }


def _describe(call: DialogInfo) -> dict[str, Json]:
    """A call as it is: with all states, names and hold."""
    known = {
        "id": call.id,
        "call_id": call.call_id,
        "direction": call.direction,
        "state": call.state.value,
        "held": call.held,
        "local": call.local_identity,
        "local_name": call.local_display,
        "remote": call.remote_identity,
        "remote_name": call.remote_display,
    }
    return {key: value for key, value in known.items() if value}
