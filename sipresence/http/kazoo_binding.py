"""Bindings: what a client of Kazoo's websocket listens to, in the text that it writes.

    presence.dialog.{CALL_ID}    presence.mwi_updates.{USER}    presence.update.{CALL_ID}    presence.extension.{EXT}

The first token names Kazoo's module, of which we have one; the last is an argument, or `*` for all of the account. A
Call-ID may be written with its dots, or encoded (`%2E`), which Kazoo demands. The last binding is ours.
"""

import json
from dataclasses import dataclass
from urllib.parse import unquote

from sipresence.errors import SipresenceError
from sipresence.feed import Topic
from sipresence.http.kazoo_event import DIALOG, EXTENSION, MWI, UPDATE, KazooEvent, encode
from sipresence.names import AccountId, resource_id

MODULE, ALL = "presence", "*"
AVAILABLE = (
    f"{MODULE}.{DIALOG}.{{CALL_ID}}",
    f"{MODULE}.{MWI}.{{USER}}",
    f"{MODULE}.{UPDATE}.{{CALL_ID}}",
    f"{MODULE}.{EXTENSION}.{{EXT}}",
)
MAX_LENGTH = 512  # characters

_TOPICS = (DIALOG, MWI, UPDATE, EXTENSION)
_OF_USERS = (MWI, EXTENSION)


class BindingRefused(SipresenceError):
    """Text that is no binding; the message is Kazoo's."""


@dataclass(slots=True, frozen=True)
class Binding:
    """One binding to an account. `written` is Kazoo's short form of it, and `subscription_key` its name in the whole
    house, of which clients are told with each event, in `head`: how the frame begins."""

    account: AccountId
    written: str
    subscription_key: str
    topic: str
    key: str
    heard: Topic
    head: str

    def takes(self, event: KazooEvent) -> bool:
        """Whether an event of its account is one of those it is about."""
        return event.topic == self.topic and self.key in (ALL, event.key)


def parse_binding(text: str, account: AccountId, realm: str) -> Binding:
    """Read a binding to an account of that realm. Raises BindingRefused."""
    if len(text) > MAX_LENGTH:
        raise BindingRefused("binding too long")
    module, *keys = text.split(".", 2)
    if module != MODULE:
        raise BindingRefused("no available subscriptions to requested binding")
    if not keys:
        raise BindingRefused("invalid format for presence subscription : ")
    topic, *argument = keys
    if topic not in _TOPICS:
        raise BindingRefused(f"event {topic} not supported")
    if not argument or not argument[0]:
        raise BindingRefused("no available subscriptions to requested binding")
    written = f"{topic}.{argument[0]}"
    subscription_key = f"{topic}.{encode(realm)}.{argument[0]}"
    key = _key(topic, argument[0])
    head = json.dumps({"action": "event", "subscribed_key": written, "subscription_key": subscription_key})
    heard = _heard(account, realm, topic=topic, key=key)
    return Binding(account, written, subscription_key, topic, key, heard, f"{head[:-1]}, ")


def _key(topic: str, argument: str) -> str:
    key = unquote(argument)
    return key.lower() if topic in _OF_USERS else key


def _heard(account: AccountId, realm: str, *, topic: str, key: str) -> Topic:
    if key == ALL:
        return Topic(account)
    if topic in _OF_USERS:
        return Topic(account, resource=resource_id(key, realm))
    return Topic(account, dialog=key)
