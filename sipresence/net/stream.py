"""One stream connection: TCP, TLS, WS or WSS, whoever opened it (RFC 3261 section 18, RFC 7118).

It is a socket, TLS or none, and a framer, each of which knows nothing of the next:

    bytes ──> TlsLayer ──> StreamFramer or WebSocketFramer ──> messages
    bytes <── TlsLayer <── framer.frame, framer.replies <───── messages

It is `ready` once TLS and WebSocket are agreed on, and only then others may send over it. It has no timer: whoever owns
it looks at it now and then (`check`).
"""

import asyncio
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias, cast

import structlog

from sipresence.errors import MalformedMessage
from sipresence.net.tls import TlsLayer
from sipresence.net.websocket import WebSocketFramer
from sipresence.refusals import HANDSHAKE_LATE, IDLE, MESSAGE_LATE, TLS_FAILED, UNREAD, UNREADABLE, UPGRADE_REFUSED
from sipresence.sip.flow import Flow
from sipresence.sip.framing import StreamFramer

log = structlog.get_logger()

MAX_UNSENT_BYTES = 1024 * 1024  # a phone that reads so slowly is as good as gone

Framer: TypeAlias = StreamFramer | WebSocketFramer


@dataclass(slots=True, frozen=True)
class ConnectionLimits:
    """Numbers of connections, and seconds: until TLS and WebSocket must be agreed on, until a message that has begun
    must be complete, and until a connection is closed on which nothing comes and that carries no subscription."""

    connections: int = 20_000
    per_source: int = 1000
    handshake_deadline: float = 10.0
    message_deadline: float = 10.0
    idle_timeout: float = 300.0


class Owner(Protocol):
    """What a connection reports to: the table of all of them."""

    keepalives: int

    def now(self) -> float: ...
    def made(self, connection: "StreamConnection") -> bool: ...
    def ready(self, connection: "StreamConnection") -> None: ...
    def receive(self, message: bytes, flow: Flow) -> bool: ...
    def turn_end(self) -> None: ...
    def unsent(self, connection: "StreamConnection") -> None: ...
    def closing(self, connection: "StreamConnection", reason: str) -> None: ...
    def lost(self, connection: "StreamConnection") -> None: ...


class StreamConnection(asyncio.Protocol):
    """`make_flow` makes the flow to the address at the other end. `name` is whom we called, "" where we were called."""

    flow: Flow

    def __init__(
        self,
        owner: Owner,
        make_flow: Callable[[str, int], Flow],
        *,
        framer: Framer,
        tls: TlsLayer | None = None,
        name: str = "",
    ) -> None:
        self.name = name
        self.is_ready = False
        self._owner = owner
        self._make_flow = make_flow
        self._framer = framer
        self._tls = tls
        self._transport: asyncio.Transport | None = None  # None until it is made, and where it was refused
        self._closing = False
        self._unsent: list[bytes] = []  # messages that leave together
        self._held: Iterator[bytes] | None = None  # it asks too much: these wait until it is looked at again
        self._half = False  # a message has begun
        self._since = 0.0  # when what it waits for began: the handshake, a message, or its closing
        self._heard_at = 0.0  # when the last message or keep-alive was complete

    # What the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer = transport.get_extra_info("peername")
        if peer is None:  # it has gone already
            transport.close()
            return
        self.flow = self._make_flow(*peer[:2])
        self._since = self._heard_at = self._owner.now()
        if not self._owner.made(self):
            cast(asyncio.Transport, transport).abort()
            return
        self._transport = cast(asyncio.Transport, transport)
        if self._tls is None and self._framer.open:
            self._be_ready()
        elif self.name:
            self.data_received(b"")  # the client speaks first

    def data_received(self, data: bytes) -> None:
        if self._closing or self._transport is None:
            return
        try:
            plain = data if self._tls is None else self._tls.receive(data)
        except ssl.SSLError as error:
            log.debug("TLS failed", source=self.flow.host, error=error.reason)
            self._go_on(heard=False, reason=TLS_FAILED)
            self._owner.turn_end()
        else:
            self._take(self._framer.feed(plain))

    def _take(self, messages: Iterator[bytes]) -> None:
        heard, reason = False, ""
        try:
            for message in messages:
                if not self.is_ready:
                    self._be_ready()
                heard = True
                if not self._receive(message):
                    self._hold(messages)
                    break
        except MalformedMessage:
            # Nothing later can be told apart (RFC 3261 section 18.3).
            reason = UNREADABLE
        self._go_on(heard=heard, reason=reason)
        self._owner.turn_end()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            if not self._closing:
                self._owner.closing(self, "")
            self._closing = True
            self._owner.lost(self)
            self._owner.turn_end()

    # What the owner calls

    def send(self, message: bytes) -> None:
        """Let a message leave soon, together with what follows at once: an answer and its NOTIFY are one write."""
        if self.is_ready and not self._closing:
            if not self._unsent:
                self._owner.unsent(self)
            self._unsent.append(self._framer.frame(message))

    def flush(self) -> None:
        """Let leave what waits."""
        if self._unsent:
            self._write(b"")

    def check(self, now: float, limits: ConnectionLimits, *, carries: Callable[[Flow], bool]) -> None:
        """Close it where it is overdue; `carries` says whether a flow carries a living subscription."""
        if self._held is not None and not self._closing:
            self._resume(self._held)
        since = now - self._since
        if self._closing:
            if since > limits.handshake_deadline:  # what we had to say is not even read
                self.abort()
        elif not self.is_ready:
            if since > limits.handshake_deadline:
                self.close(HANDSHAKE_LATE)
        elif self._half and since > limits.message_deadline:
            self.close(MESSAGE_LATE)
        elif now - self._heard_at > limits.idle_timeout and not carries(self.flow):
            self.close(IDLE)

    def pause(self) -> None:
        if self._transport is not None and not self._closing:
            self._held = None  # this is for good
            self._transport.pause_reading()

    def close(self, reason: str = "") -> None:
        """Close it once what was written has left; `reason` is none where the other side has closed it."""
        self.flush()
        if self._closing or self._transport is None:
            return
        self._closing = True
        self._since = self._owner.now()
        self._owner.closing(self, reason)
        if self._tls is not None:
            self._tls.close()
            self._transport.write(self._tls.output())
        self._transport.close()

    def abort(self) -> None:
        """Close it at once."""
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    # Between the layers

    def _be_ready(self) -> None:
        self.is_ready = True
        self._owner.ready(self)

    def _receive(self, message: bytes) -> bool:
        try:
            return self._owner.receive(message, self.flow)
        except Exception:
            # A mistake of ours must cost this one message, not the connection.
            log.exception("message failed", listener=self.flow.listener, source=self.flow.host)
            return True

    def _hold(self, messages: Iterator[bytes]) -> None:
        """Read no more for now: the sender feels it, and a flood of its requests costs nothing."""
        assert self._transport is not None
        self._held = messages
        self._transport.pause_reading()

    def _resume(self, messages: Iterator[bytes]) -> None:
        assert self._transport is not None
        self._held = None
        self._transport.resume_reading()
        self._take(messages)

    def _go_on(self, *, heard: bool, reason: str) -> None:
        """After each portion: say what the layers have to say by themselves, and note how far we are."""
        framer, tls = self._framer, self._tls
        if framer.pings:
            self._owner.keepalives += framer.pings
            heard = True
        self._write(framer.replies())
        if not self.is_ready and framer.open and (tls is None or tls.open):
            self._be_ready()
            heard = True
        self._note(heard)
        if reason:
            self.close(reason)
        elif framer.over and not framer.open:
            self.close(UPGRADE_REFUSED)
        elif framer.over or (tls is not None and tls.over):
            self.close()

    def _note(self, heard: bool) -> None:
        if heard:
            self._heard_at = self._owner.now()
        if self.is_ready:
            half = self._framer.partial
            if half and (heard or not self._half):
                self._since = self._owner.now()
            self._half = half

    def _write(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or self._closing:
            return
        if self._unsent:
            data = b"".join((*self._unsent, data))
            self._unsent.clear()
        if self._tls is not None:
            if data:
                self._tls.send(data)
            data = self._tls.output()
        if not data:
            return
        transport.write(data)
        if transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self._owner.closing(self, UNREAD)
            self.abort()
