"""SIP over WebSocket (RFC 7118): one SIP message in each WebSocket message, in the subprotocol `sip`.

The protocol itself (RFC 6455) is that of `websockets`, without its I/O. This has the shape of sip.framing.StreamFramer,
so that a connection need not know which of the two it carries.
"""

from collections.abc import Iterator, Sequence

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Origin, Subprotocol

from sipresence.sip.framing import MAX_BODY_BYTES, PING, PONG
from sipresence.sip.message import MAX_HEAD_BYTES

_SUBPROTOCOL = Subprotocol("sip")
_MAX_MESSAGE_BYTES = MAX_HEAD_BYTES + MAX_BODY_BYTES
_KEEPALIVES = (PING, PONG, b"\0", b"")


class WebSocketFramer:
    """One per connection, server side. `pings` counts the keep-alives since `replies` was last called.

    `origins` are the web pages that may connect, all without any: a page in a browser inside a trusted network is not
    to be trusted for that. Clients that are no browsers send no Origin.
    """

    __slots__ = ("_half", "_protocol", "pings")

    def __init__(self, origins: Sequence[str] = ()) -> None:
        allowed = [*map(Origin, origins), None] if origins else None
        self._protocol = ServerProtocol(origins=allowed, subprotocols=[_SUBPROTOCOL], max_size=_MAX_MESSAGE_BYTES)
        self._half: bytearray | None = None  # what came of a message in fragments
        self.pings = 0

    @property
    def open(self) -> bool:
        """Whether the upgrade was accepted."""
        return self._protocol.subprotocol is not None

    @property
    def over(self) -> bool:
        """Whether nothing more will come: it was refused, failed, or closed by the other side."""
        return self._protocol.eof_sent

    @property
    def partial(self) -> bool:
        """Whether a message has begun and is not complete."""
        return self._half is not None or bool(self._protocol.reader.buffer)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take in bytes; return the messages that are now complete."""
        protocol = self._protocol
        if protocol.eof_sent:
            return
        protocol.receive_data(data)
        for event in protocol.events_received():
            if isinstance(event, Request):
                # A client that does not offer the subprotocol is refused with 400 (RFC 7118 section 4.1).
                protocol.send_response(protocol.accept(event))
            elif isinstance(event, Frame) and (message := self._message(event)):
                yield message

    def frame(self, message: bytes) -> bytes:
        """Wrap a message that we send; what has to go before it comes first."""
        # Either kind will do (RFC 7118 section 4.2): browsers like text, which must be UTF-8.
        if _is_text(message):
            self._protocol.send_text(message)
        else:
            self._protocol.send_binary(message)
        return b"".join(self._protocol.data_to_send())

    def replies(self) -> bytes:
        """What the protocol has to say by itself: the answer to the upgrade, pongs, a goodbye."""
        self.pings = 0
        return b"".join(self._protocol.data_to_send())

    def _message(self, frame: Frame) -> bytes:
        """The message that this frame completes, b"" for none."""
        if frame.opcode in (Opcode.PING, Opcode.PONG):
            self.pings += 1
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return b""
        message = bytes(frame.data)
        if self._half is not None or not frame.fin:
            self._half = self._half or bytearray()
            self._half += message
            if not frame.fin:
                return b""
            message, self._half = bytes(self._half), None
        return self._keep_alive(message) if message in _KEEPALIVES else message

    def _keep_alive(self, message: bytes) -> bytes:
        self.pings += 1
        if message == PING:
            self._protocol.send_text(PONG)
        return b""


def _is_text(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
