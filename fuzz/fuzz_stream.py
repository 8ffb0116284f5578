"""Fuzzes the framer of byte streams.

The invariants: nothing but MalformedMessage is raised; however the bytes are cut, the messages are the same; no more is
kept than one message may have; the parser sees the same end of a message as the framer.
"""

from collections.abc import Sequence

from sipresence.errors import MalformedMessage
from sipresence.sip.framing import MAX_BODY_BYTES, StreamFramer
from sipresence.sip.message import MAX_HEAD_BYTES, Request, parse
from tests.builders import flow

MAX_KEPT_BYTES = MAX_HEAD_BYTES + 4 + MAX_BODY_BYTES
MAX_BYTE_BY_BYTE = 512  # longer streams are fed whole and in two pieces only
WAY = flow("TCP")


def one_input(data: bytes) -> None:
    """Feed a stream whole, in two pieces and byte by byte."""
    whole = outcome([data])
    middle = len(data) // 2
    assert outcome([data[:middle], data[middle:]]) == whole
    if len(data) <= MAX_BYTE_BY_BYTE:
        assert outcome([data[index : index + 1] for index in range(len(data))]) == whole
    for message in whole[0]:
        check_end(message)


def outcome(pieces: Sequence[bytes]) -> tuple[list[bytes], int, bool]:
    """The messages, the number of pings, and whether the stream could be followed."""
    framer = StreamFramer()
    messages: list[bytes] = []
    followed = True
    for piece in pieces:
        try:
            messages += framer.feed(piece)
        except MalformedMessage:
            followed = False
            break
        assert len(framer._buffer) <= MAX_KEPT_BYTES
    return messages, framer.pings, followed


def check_end(message: bytes) -> None:
    """Framer and parser must agree on where a message ends, or a stream could carry what nobody looked at."""
    try:
        parsed = parse(message, WAY)
    except MalformedMessage:
        return
    if isinstance(parsed, Request) and parsed.defect is None:
        assert message.endswith(b"\r\n\r\n" + parsed.body)
        assert len(parsed.body) == int(parsed.get("content-length") or 0)
