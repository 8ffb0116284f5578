"""Cutting a stream: what is one message, what is between messages, and when to give up."""

import pytest

from sipresence.errors import MalformedMessage
from sipresence.sip.framing import MAX_BODY_BYTES, StreamFramer
from sipresence.sip.message import MAX_HEAD_BYTES
from tests.builders import options, subscribe

FIRST, SECOND = subscribe(), options(body=b"hello\r\n\r\nworld")


def cut(*portions: bytes) -> tuple[list[bytes], int]:
    """The messages that come out of these portions, and how many pings were seen."""
    framer = StreamFramer()
    return [message for portion in portions for message in framer.feed(portion)], framer.pings


def framed(*lines: bytes) -> bytes:
    return b"\r\n".join((b"OPTIONS sip:a@b SIP/2.0", *lines, b"", b""))


@pytest.mark.parametrize(
    ("portions", "messages", "pings"),
    [
        pytest.param([FIRST], [FIRST], 0, id="one message"),
        pytest.param([FIRST + SECOND], [FIRST, SECOND], 0, id="RFC 3261 18.3: two in one segment"),
        pytest.param([FIRST[:40], FIRST[40:] + SECOND[:-3], SECOND[-3:]], [FIRST, SECOND], 0, id="in portions"),
        pytest.param([bytes([byte]) for byte in SECOND], [SECOND], 0, id="byte by byte"),
        pytest.param([b"\r\n\r\n"], [], 1, id="RFC 5626 3.5.1: a ping"),
        pytest.param([b"\r\n", b"\r\n"], [], 1, id="a ping in two segments"),
        pytest.param([b"\r\n\r\n" * 3 + FIRST], [FIRST], 3, id="pings, then a message"),
        pytest.param([b"\r\n" + FIRST], [FIRST], 0, id="RFC 3261 7.5: ignore CRLF before the start line"),
        pytest.param([FIRST + b"\r\n\r\n" + SECOND], [FIRST, SECOND], 1, id="a ping between messages"),
        pytest.param([framed(b"l: 0")], [framed(b"l: 0")], 0, id="RFC 3261 7.3.3: compact form"),
        pytest.param([framed(b"CONTENT-length  :  0 ")], [framed(b"CONTENT-length  :  0 ")], 0, id="RFC 3261 7.3.1"),
        pytest.param([framed(b"l:", b" 0")], [framed(b"l:", b" 0")], 0, id="RFC 3261 7.3.1: folded"),
        pytest.param(
            [framed(b"Subject: x", b"\tl: 9", b"l: 0")],
            [framed(b"Subject: x", b"\tl: 9", b"l: 0")],
            0,
            id="RFC 3261 7.3.1: what continues another header is no Content-Length",
        ),
        pytest.param(
            [framed(b"l", b"\t: 0")], [framed(b"l", b"\t: 0")], 0, id="RFC 3261 7.3.1: folded before its colon"
        ),
        pytest.param(
            [framed(b"Language: 9", b"l", b"l: 0")],
            [framed(b"Language: 9", b"l", b"l: 0")],
            0,
            id="RFC 3261 8.2.2: what only looks like one, or has no colon, is ignored",
        ),
    ],
)
def test_messages_and_pings(portions: list[bytes], messages: list[bytes], pings: int) -> None:
    assert cut(*portions) == (messages, pings)


def test_nothing_comes_before_it_is_complete() -> None:
    assert cut(SECOND[:-1]) == ([], 0)


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(framed(), id="RFC 3261 18.3: no Content-Length on a stream"),
        pytest.param(framed(b"l: 1", b"Content-Length: 2") + b"ab", id="RFC 4475 3.3.9: two that differ"),
        pytest.param(framed(b"l: -1"), id="RFC 4475 3.1.2.3: negative"),
        pytest.param(framed(b"l:"), id="empty"),
        pytest.param(framed(b"l: 1e1"), id="no number"),
        pytest.param(framed(b"l: %d" % (MAX_BODY_BYTES + 1)), id="more than we would ever hold"),
        pytest.param(framed(b"l: " + b"9" * 5000), id="python: int() refuses more than 4300 digits"),
        pytest.param(b"x" * (MAX_HEAD_BYTES + 4), id="headers without end"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", id="a browser"),
        pytest.param(b"\x16\x03\x01" + b"\0" * MAX_HEAD_BYTES + b"\0", id="TLS to the wrong port"),
    ],
)
def test_a_stream_that_cannot_be_followed(stream: bytes) -> None:
    with pytest.raises(MalformedMessage):
        cut(stream)


def test_messages_before_the_fault_are_good() -> None:
    """However the segments were cut, what was complete before the fault is delivered."""
    messages = StreamFramer().feed(FIRST + SECOND + framed())
    assert [next(messages), next(messages)] == [FIRST, SECOND]
    with pytest.raises(MalformedMessage):
        next(messages)


@pytest.mark.parametrize("cut_at", [0, MAX_HEAD_BYTES, MAX_HEAD_BYTES + 1, MAX_HEAD_BYTES + 3])
def test_the_longest_headers_in_any_cutting(cut_at: int) -> None:
    bare = len(framed(b"Subject: ", b"l: 0")) - 4
    longest = framed(b"Subject: " + b"x" * (MAX_HEAD_BYTES - bare), b"l: 0")
    assert cut(longest[:cut_at], longest[cut_at:]) == ([longest], 0)


def test_the_longest_body() -> None:
    message = options(body=b"x" * MAX_BODY_BYTES)
    assert cut(message[:100], message[100:]) == ([message], 0)
