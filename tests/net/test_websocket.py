"""SIP in WebSocket messages: a client's bytes in, ours out."""

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.typing import Origin, Subprotocol
from websockets.uri import parse_uri

from sipresence.net.websocket import WebSocketFramer
from tests.builders import options

MESSAGE = options()


class Browser:
    """The other side, connected to a framer; `heard` are the messages that it got."""

    def __init__(self, framer: WebSocketFramer, *, subprotocol: str = "sip", origin: str = "") -> None:
        self.framer = framer
        self.protocol = ClientProtocol(
            parse_uri("ws://office.example.com/"),
            subprotocols=[Subprotocol(subprotocol)] if subprotocol else None,
            origin=Origin(origin) if origin else None,
        )
        self.protocol.send_request(self.protocol.connect())
        self.heard: list[Frame] = []
        self.status = 0
        self.talk()

    def talk(self) -> list[bytes]:
        """Let both sides read what the other wrote; return the messages that the framer cut out."""
        messages = [message for data in self.protocol.data_to_send() for message in self.framer.feed(data)]
        self.hear(self.framer.replies())
        return messages

    def hear(self, data: bytes) -> None:
        if not data:
            return
        self.protocol.receive_data(data)
        for event in self.protocol.events_received():
            if isinstance(event, Response):
                self.status = event.status_code
            elif isinstance(event, Frame):
                self.heard.append(event)


@pytest.fixture
def browser() -> Browser:
    return Browser(WebSocketFramer())


def test_the_upgrade(browser: Browser) -> None:
    """RFC 7118 section 4.1: the subprotocol is named in request and response."""
    assert browser.status == 101
    assert browser.protocol.subprotocol == "sip"
    assert browser.framer.open
    assert not browser.framer.over


@pytest.mark.parametrize(
    ("subprotocol", "origin", "status"),
    [
        ("", "", 400),
        ("chat", "", 400),
        ("sip", "https://evil.example", 403),
        ("sip", "https://good.example", 101),
        ("sip", "", 101),
    ],
)
def test_who_is_refused(subprotocol: str, origin: str, status: int) -> None:
    framer = WebSocketFramer(["https://good.example"])
    assert Browser(framer, subprotocol=subprotocol, origin=origin).status == status
    assert framer.open == (status == 101)
    assert framer.over == (status != 101)


def test_what_is_no_http() -> None:
    framer = WebSocketFramer()
    assert list(framer.feed(MESSAGE + b"\x16\x03\x01" * 100)) == []
    assert framer.over
    assert not framer.open


def test_text_and_binary_messages(browser: Browser) -> None:
    browser.protocol.send_text(MESSAGE)
    browser.protocol.send_binary(MESSAGE)
    assert browser.talk() == [MESSAGE, MESSAGE]
    assert not browser.framer.partial


def test_a_message_in_fragments(browser: Browser) -> None:
    browser.protocol.send_text(MESSAGE[:20], fin=False)
    assert browser.talk() == []
    assert browser.framer.partial
    browser.protocol.send_ping(b"still there?")
    browser.protocol.send_continuation(MESSAGE[20:30], fin=False)
    browser.protocol.send_continuation(MESSAGE[30:], fin=True)
    assert browser.talk() == [MESSAGE]
    assert not browser.framer.partial


def test_half_a_frame(browser: Browser) -> None:
    browser.protocol.send_text(MESSAGE)
    (data,) = browser.protocol.data_to_send()
    assert list(browser.framer.feed(data[:30])) == []
    assert browser.framer.partial
    assert list(browser.framer.feed(data[30:])) == [MESSAGE]


def test_keep_alives(browser: Browser) -> None:
    browser.protocol.send_ping(b"x")
    browser.protocol.send_text(b"\r\n\r\n")
    messages = [message for data in browser.protocol.data_to_send() for message in browser.framer.feed(data)]
    assert messages == []
    assert browser.framer.pings == 2
    browser.hear(browser.framer.replies())
    assert [(frame.opcode, bytes(frame.data)) for frame in browser.heard] == [
        (Opcode.PONG, b"x"),
        (Opcode.TEXT, b"\r\n"),
    ]
    assert browser.framer.pings == 0


@pytest.mark.parametrize(
    ("message", "opcode"), [(MESSAGE, Opcode.TEXT), ("Büro".encode(), Opcode.TEXT), (b"B\xfcro", Opcode.BINARY)]
)
def test_what_we_send(browser: Browser, message: bytes, opcode: Opcode) -> None:
    browser.hear(browser.framer.frame(message))
    assert [(frame.opcode, bytes(frame.data)) for frame in browser.heard] == [(opcode, message)]


def test_a_goodbye_is_answered(browser: Browser) -> None:
    browser.protocol.send_close(1001)
    browser.talk()
    assert browser.framer.over
    assert browser.heard[0].opcode is Opcode.CLOSE
    assert list(browser.framer.feed(b"more")) == []


@pytest.mark.parametrize("size", [100_000, 2**40])
def test_a_message_that_is_too_large(browser: Browser, size: int) -> None:
    """Said by its head alone: nothing of it is kept."""
    assert list(browser.framer.feed(b"\x81\xff" + size.to_bytes(8, "big") + b"mask")) == []
    assert browser.framer.over
