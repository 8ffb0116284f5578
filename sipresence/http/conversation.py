"""A conversation over Kazoo's websocket, without the socket: what each frame of a client is answered, and which events
it is told.

    {"action": "subscribe", "auth_token": TOKEN, "request_id": ID, "data": {"account_id": ACCOUNT, "binding": BINDING}}
    {"action": "reply", "request_id": ID, "status": "success", "data": {"subscribed": [...], "subscriptions": [...]}}
    {"action": "event", "subscribed_key": ..., "subscription_key": ..., "name": ..., "routing_key": ..., "data": {...}}

Actions are `subscribe`, `unsubscribe` and `ping`. `data` may have several `bindings`; the account is that of the token
if it is left out, and an `unsubscribe` without a binding ends all. A frame without a token is asked by whoever the last
token was of. What is wrong is looked for in this order: rate, token, action, account, bindings, their number; a frame
is carried out whole or not at all, and its error is Kazoo's text where Kazoo has one.
"""

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from sipresence.errors import NoSession, SessionOver, SipresenceError
from sipresence.feed import Listener
from sipresence.http.kazoo_binding import Binding, BindingRefused, parse_binding
from sipresence.http.kazoo_event import events_of
from sipresence.names import AccountId
from sipresence.objects import Json

if TYPE_CHECKING:
    from sipresence.service import PresenceService
    from sipresence.session_service import SessionService

FRAME_BURST, FRAME_RATE = 100.0, 10.0  # frames of a client: at once, and per second; Kazoo's bucket
MAX_STRIKES = 5  # wrong tokens in a row after which it is hopeless
MAX_REQUEST_ID = 128  # characters

Frame: TypeAlias = Mapping[str, Json]


@dataclass(slots=True, frozen=True)
class WebsocketLimits:
    """How many websockets there may be, in all and per address, and of each the bindings and the events that wait for
    its reader; seconds between heartbeats, and until one is closed that listens to nothing and asks for nothing."""

    connections: int = 5000
    connections_per_address: int = 1000
    bindings: int = 100
    queue: int = 500
    heartbeat: float = 30.0
    idle_timeout: float = 300.0


class _FrameRefused(SipresenceError):
    """A frame is answered with this error."""


class Conversation:
    """One client. `peer` names it in errors; `woken` is called when `next_event` has something, or never will again.

    Whoever holds it asks `token_holds` now and then, and calls `end` once it is over.
    """

    def __init__(
        self,
        service: "PresenceService",
        sessions: "SessionService",
        limits: WebsocketLimits,
        *,
        peer: str,
        woken: Callable[[], None],
    ) -> None:
        self._service = service
        self._sessions = sessions
        self._limits = limits
        self._peer = peer
        self._listener = Listener(limit=limits.queue, woken=woken)
        self._bindings: dict[str, Binding] = {}  # by subscription key
        self._events: list[str] = []  # of the news taken last, the next one at the end
        self._token = ""
        self._account: AccountId | None = None
        self._strikes = 0
        self._frames, self._refilled_at = FRAME_BURST, service.now()
        self._served_at = service.now()  # or when it began

    @property
    def account(self) -> AccountId | None:
        """Whose token was shown."""
        return self._account

    @property
    def listening(self) -> bool:
        """Whether there is any binding."""
        return bool(self._bindings)

    @property
    def idle(self) -> bool:
        """Whether it listens to nothing, and has asked for nothing that it might have for too long."""
        return not self._bindings and self._service.now() - self._served_at >= self._limits.idle_timeout

    @property
    def overrun(self) -> bool:
        """Whether the client has let its queue fill up, so that it was told nothing more."""
        return self._listener.overrun

    @property
    def hopeless(self) -> bool:
        """Whether it does nothing but guess tokens."""
        return self._strikes >= MAX_STRIKES

    @property
    def throttled(self) -> bool:
        """Whether its next frame would be refused for coming too soon."""
        return self._frames < 1.0

    def token_holds(self) -> bool:
        """Whether the last token still opens the account, and all that is listened to; true before there was one."""
        if self._account is None:
            return True
        held = self._caller(self._token) == self._account
        return held and all(self._may_listen(self._account, binding.account) for binding in self._bindings.values())

    def show(self, token: str) -> bool:
        """Take a token that came with the upgrade; return whether it opens anything."""
        self._account, self._token = self._caller(token), token
        return self._account is not None

    def answer(self, text: str) -> str:
        """Do what a frame asks; return the reply."""
        frame = _parse(text)
        request_id = frame.get("request_id")
        if not isinstance(request_id, str) or not 0 < len(request_id) <= MAX_REQUEST_ID:
            request_id = secrets.token_hex(16)
        try:
            status, data = "success", self._perform(frame)
            self._served_at = self._service.now()
        except (_FrameRefused, BindingRefused) as error:
            status, data = "error", {"errors": [str(error)]}
        return json.dumps({"action": "reply", "request_id": request_id, "status": status, "data": data})

    def next_event(self) -> str | None:
        """The next frame that the client has to be sent, None while there is none."""
        while not self._events:
            taken = self._listener.take()
            if taken is None:
                return None
            name, news = taken
            binding = self._bindings.get(name)  # none: it was unsubscribed meanwhile
            if binding is not None:
                events = (event for event in reversed(events_of(news)) if binding.takes(event))
                self._events = [binding.head + event.text for event in events]
        return self._events.pop()

    def end(self) -> None:
        """Listen to nothing more."""
        self._service.feed.leave(self._listener)
        self._bindings.clear()

    # What a frame asks for

    def _perform(self, frame: Frame) -> Json:
        self._pay()
        account = self._authenticate(frame)
        action, data = frame.get("action"), frame.get("data", {})
        if action == "ping":
            return {"response": "pong"}
        if action not in ("subscribe", "unsubscribe"):
            raise _FrameRefused(f"action {action if isinstance(action, str) else 'noop'} not supported")
        if not isinstance(data, Mapping):
            raise _FrameRefused("data must be an object")
        return self._subscribe(account, data) if action == "subscribe" else self._unsubscribe(account, data)

    def _pay(self) -> None:
        now = self._service.now()
        self._frames = min(FRAME_BURST, self._frames + (now - self._refilled_at) * FRAME_RATE)
        self._refilled_at = now
        if self.throttled:
            raise _FrameRefused(f"rate limiting threshold hit for {self._peer}!")
        self._frames -= 1.0

    def _authenticate(self, frame: Frame) -> AccountId:
        """Say whose token the frame shows, or the last one before it."""
        token = frame.get("auth_token")
        if token is None:
            if self._account is None or not self.token_holds():
                raise _FrameRefused("missing authenticatation token")  # Kazoo's spelling, which clients may compare
            return self._account
        if not isinstance(token, str):
            raise _FrameRefused("invalid token")
        account = self._caller(token)
        if account is None:
            self._strikes += 1
            raise _FrameRefused(f"failed to authenticate token {token}")
        self._strikes = 0
        self._account, self._token = account, token
        return account

    def _subscribe(self, own: AccountId, data: Frame) -> Json:
        written = _written(data)
        if not written:
            raise _FrameRefused("empty subscription")
        wanted = self._read(written, self._target(own, data))
        new = {key: binding for key, binding in wanted.items() if key not in self._bindings}
        if len(self._bindings) + len(new) > self._limits.bindings:
            raise _FrameRefused(f"too many bindings, {self._limits.bindings} at most")
        for key, binding in new.items():
            self._bindings[key] = binding
            self._service.feed.listen(self._listener, key, binding.heard)
        return {"subscribed": [binding.written for binding in new.values()], "subscriptions": self._subscriptions()}

    def _unsubscribe(self, own: AccountId, data: Frame) -> Json:
        written = _written(data)
        if written:
            unwanted = list(self._read(written, self._target(own, data)))
        else:
            target = self._target(own, data) if "account_id" in data else None
            unwanted = [key for key, binding in self._bindings.items() if target in (None, binding.account)]
        ended = [self._unbind(key) for key in unwanted if key in self._bindings]
        return {"unsubscribed": ended, "subscriptions": self._subscriptions()}

    def _unbind(self, key: str) -> str:
        self._service.feed.ignore(self._listener, key)
        return self._bindings.pop(key).written

    def _read(self, written: Sequence[str], account: AccountId) -> dict[str, Binding]:
        realm = self._service.directory.account(account).realm
        bindings = (parse_binding(text, account, realm) for text in written)
        return {binding.subscription_key: binding for binding in bindings}

    def _target(self, own: AccountId, data: Frame) -> AccountId:
        """The account that is meant, if the caller may listen to it."""
        account = data.get("account_id", own)
        if account == "*":
            raise _FrameRefused("unauthorized wildcard account id")
        if not isinstance(account, str) or not self._may_listen(own, AccountId(account)):
            raise _FrameRefused("unauthorized account id")  # the same for one that does not exist
        return AccountId(account)

    def _subscriptions(self) -> list[str]:
        return [binding.written for binding in self._bindings.values()]

    # Who may do that

    def _caller(self, token: str) -> AccountId | None:
        """The account that a token opens now, None for one that opens none."""
        try:
            return self._sessions.session(token).account
        except (NoSession, SessionOver):
            return None

    def _may_listen(self, own: AccountId, account: AccountId) -> bool:
        return self._service.directory.may_act_for(own, account)


def _parse(text: str) -> Frame:
    """Read a frame; what is no JSON object asks for nothing, as with Kazoo, and is refused for that."""
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return frame if isinstance(frame, dict) else {}


def _written(data: Frame) -> Sequence[str]:
    """The bindings that are named; `binding` goes before `bindings`."""
    binding = data.get("binding")
    named = data.get("bindings", ()) if binding is None else (binding,)
    if not isinstance(named, list | tuple) or not all(isinstance(name, str) for name in named):
        raise BindingRefused("bindings must be strings")
    return [str(name) for name in named]
