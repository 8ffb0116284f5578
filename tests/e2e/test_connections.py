"""Connections that carry subscriptions: which are kept, and what becomes of a lamp whose connection has gone."""

import re
import socket
import time
from contextlib import ExitStack, closing

import pytest
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.builders import response_to, subscribe
from tests.e2e.conftest import StartServer
from tests.e2e.server import REALM, Server, free_port

PATIENCE_S = 5.0
IDLE_S = 1.0

pytestmark = pytest.mark.e2e


class Stream:
    """A TCP connection, read message by message."""

    def __init__(self, server: Server) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.sip_port), PATIENCE_S)
        self._rest = b""

    def send(self, message: bytes) -> None:
        self.socket.sendall(message)

    def recv(self) -> bytes:
        """The next message; b"" once the server has closed the connection."""
        while not (whole := re.match(rb".*?Content-Length: (\d+)\r\n\r\n", self._rest, re.DOTALL)) or (
            len(self._rest) < whole.end() + int(whole[1])
        ):
            data = self.socket.recv(65_536)
            if not data:
                return b""
            self._rest += data
        end = whole.end() + int(whole[1])
        message, self._rest = self._rest[:end], self._rest[end:]
        return message

    def close(self) -> None:
        self.socket.close()


class WebSocket:
    """The same over a WebSocket."""

    def __init__(self, url: str) -> None:
        self._open = ExitStack()
        connection = connect(url, subprotocols=[Subprotocol("sip")], compression=None)
        self._connection: ClientConnection = self._open.enter_context(connection)

    def send(self, message: bytes) -> None:
        self._connection.send(message.decode())

    def recv(self) -> bytes:
        message = self._connection.recv(PATIENCE_S)
        return message.encode() if isinstance(message, str) else message

    def close(self) -> None:
        self._open.close()


def a_subscribe(transport: str, *, cseq: int = 1, to_tag: str = "", expires: int = 600) -> bytes:
    return subscribe(
        uri=f"sip:101@{REALM}",
        via=f"SIP/2.0/{transport} a.invalid;branch=z9hG4bK{transport}{cseq}",
        contact=f"<sip:phone@a.invalid;transport={transport.lower()}>",
        cseq=cseq,
        to_tag=to_tag,
        expires=expires,
    )


def subscribed(phone: Stream | WebSocket, request: bytes) -> tuple[str, str]:
    """SUBSCRIBE and answer the NOTIFY; return our To tag and what the lamp shows."""
    phone.send(request)
    answer = phone.recv()
    assert answer.startswith(b"SIP/2.0 200")
    tag = re.search(rb"^To: .*;tag=([^;\r]+)", answer, re.MULTILINE)
    assert tag is not None
    return tag[1].decode(), notified(phone)


def notified(phone: Stream | WebSocket) -> str:
    notify = phone.recv()
    assert notify.startswith(b"NOTIFY ")
    phone.send(response_to(notify))
    return notify.partition(b"<state>")[2].partition(b"<")[0].decode()


def test_an_idle_connection_is_closed_unless_a_lamp_depends_on_it(start_server: StartServer) -> None:
    server = start_server(limits={"idle_timeout": IDLE_S})
    with closing(Stream(server)) as phone, closing(Stream(server)) as idler:
        tag, _ = subscribed(phone, a_subscribe("TCP"))
        began = time.monotonic()
        assert idler.recv() == b""
        assert IDLE_S <= time.monotonic() - began < PATIENCE_S
        time.sleep(IDLE_S)
        server.command("101", action="set", state="early")
        assert notified(phone) == "early"
        subscribed(phone, a_subscribe("TCP", cseq=2, to_tag=tag, expires=0))
        assert phone.recv() == b"", "nothing depends on it any more"


def test_one_source_has_so_many_connections(start_server: StartServer) -> None:
    sip = {"trusted_networks": ["::1/128"]}
    server = start_server(sip=sip, limits={"max_connections_per_source": 3})
    streams = [Stream(server) for _ in range(4)]
    assert streams[3].recv() == b""
    for stream in streams:
        stream.close()
    assert "source_connections_full" in server.log


def test_keep_alives_over_udp(server: Server) -> None:
    """NULs, CRLFs and indications are nothing, a binding request says from where it came (RFC 5626 section 4.4.2)."""
    binding = bytes.fromhex("000100002112a442") + b"transaction!"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        phone.settimeout(PATIENCE_S)
        phone.connect(("127.0.0.1", server.sip_port))
        for nothing in (b"\0", b"\0\0\0\0", b"\r\n", b"\r\n\r\n", b"\0\x11" + binding[2:], b""):
            phone.send(nothing)
        phone.send(binding)
        answer = phone.recv(65_536)
        _, port = phone.getsockname()
    assert answer[:2] == b"\x01\x01"
    assert answer[8:20] == b"transaction!"
    assert int.from_bytes(answer[26:28], "big") ^ 0x2112 == port
    assert "malformed" not in server.log


def test_a_lamp_without_its_connection_waits_for_it(start_server: StartServer) -> None:
    """Nobody can connect to a browser: its subscription, and what changes meanwhile, wait for its next SUBSCRIBE."""
    url = f"ws://127.0.0.1:{free_port()}"
    server = start_server(listen=[url])
    with closing(WebSocket(url)) as phone:
        tag, state = subscribed(phone, a_subscribe("WS"))
        assert state == "terminated"
    server.command("101", action="set", state="early")
    server.kill()
    server.start()
    server.command("101", action="set", state="confirmed")
    with closing(WebSocket(url)) as phone:
        assert subscribed(phone, a_subscribe("WS", cseq=2, to_tag=tag)) == (tag, "confirmed")
        server.command("101", action="set", state="early")
        assert notified(phone) == "early"
