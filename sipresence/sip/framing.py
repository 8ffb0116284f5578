"""Cutting a byte stream into SIP messages (RFC 3261 section 18.3, RFC 5626 section 3.5.1).

On a stream every message must say Content-Length; what is between messages may be CRLFs: a double one is a keep-alive
ping, which is answered with a single one. Bytes come in any portions; what is incomplete waits, within bounds. NUL
bytes and STUN are keep-alives of datagrams: a stream on which they come cannot be followed.
"""

import re
from collections.abc import Iterator

from sipresence.errors import MalformedMessage
from sipresence.sip.message import MAX_HEAD_BYTES

MAX_BODY_BYTES = 65_536
PING = b"\r\n\r\n"
PONG = b"\r\n"
_LENGTH = re.compile(
    rb"""\r\n (?: content-length | l )       # in full or compact
    (?: [ \t\v\f] | \r\n (?= [ \t] ) )* :  # what a line goes on with may begin the next one (section 7.3.1)
    ( (?: (?! \r\n [^ \t] ) . )* )          # up to the next header
    """,
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
_FIRST = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-.!%*_+`'~\r")
"""What a method, the version or a CRLF begins with: TLS, or another protocol, is known by its first byte."""


class StreamFramer:
    """One per connection. `pings` counts the keep-alives since `replies` was last called."""

    __slots__ = ("_buffer", "_size", "pings")
    open = True  # a stream carries messages from its first byte on,
    over = False  # and to its last

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._size = 0  # of the message at its head, once that is known
        self.pings = 0

    @property
    def partial(self) -> bool:
        """Whether a message has begun and is not complete."""
        return bool(self._buffer) and not self._buffer.startswith(b"\r")

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take in bytes; return the messages that are now complete, cut one by one.

        The iterator raises MalformedMessage, after the last good message, when the stream cannot be followed any
        longer; the connection is of no use then.
        """
        self._buffer += data
        return iter(self._next, None)

    def frame(self, message: bytes) -> bytes:
        """A message that we send needs nothing around it."""
        return message

    def replies(self) -> bytes:
        """What the pings ask for (RFC 5626 section 3.5.1)."""
        pings, self.pings = self.pings, 0
        return PONG * pings

    def _next(self) -> bytes | None:
        buffer = self._buffer
        if not self._size:
            self._skip_keepalives()
            self._size = self._measure()
        size = self._size
        if not size or len(buffer) < size:
            return None
        message = bytes(buffer[:size])
        del buffer[:size]
        self._size = 0
        return message

    def _measure(self) -> int:
        """The size of the message that begins here; 0 while its headers are incomplete."""
        buffer = self._buffer
        if buffer and buffer[0] not in _FIRST:
            raise MalformedMessage("no SIP message begins so")
        end = buffer.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES + 4)
        if end >= 0:
            return end + 4 + _content_length(buffer, end)
        if len(buffer) >= MAX_HEAD_BYTES + 4:
            raise MalformedMessage("headers too long")
        return 0

    def _skip_keepalives(self) -> None:
        buffer = self._buffer
        while buffer.startswith(PING):
            del buffer[:4]
            self.pings += 1
        if buffer.startswith(b"\r\n") and len(buffer) > 2 and not buffer.startswith(b"\r", 2):
            del buffer[:2]  # a single CRLF before a message, or a pong


def _content_length(buffer: bytearray, end: int) -> int:
    """The body's size, as the head up to `end` says it.

    Two different ones, or none, would let the sender and us disagree on where a message ends.
    """
    lengths = {value.strip() for value in _LENGTH.findall(buffer, 0, end)}
    if len(lengths) != 1:
        raise MalformedMessage("a message on a stream without one Content-Length")
    digits = lengths.pop()
    if not digits.isdigit() or len(digits) > 6 or int(digits) > MAX_BODY_BYTES:
        raise MalformedMessage("a Content-Length out of bounds")
    return int(digits)
