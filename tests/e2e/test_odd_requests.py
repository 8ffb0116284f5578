"""Requests that are merged or odd, against a running server: the answer a phone or a proxy would see."""

import contextlib
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.builders import request, subscribe
from tests.e2e.conftest import StartServer
from tests.e2e.server import Server, running
from tests.e2e.wire import Message, answer, read

PATIENCE = 5.0  # s

pytestmark = pytest.mark.e2e


class Phone:
    """One UDP phone; its Contact is where it is."""

    def __init__(self, sock: socket.socket, server: Server) -> None:
        self._socket = sock
        self._server = ("127.0.0.1", server.sip_port)
        self.contact = f"<sip:102@127.0.0.1:{sock.getsockname()[1]}>"

    def ask(self, data: bytes) -> Message:
        """Send a request; its answer. NOTIFYs are answered on the way."""
        self._socket.sendto(data, self._server)
        while True:
            message = self._read()
            if message.status:
                return message

    def notified(self) -> Message:
        """The next NOTIFY, answered."""
        while True:
            message = self._read()
            if not message.status:
                return message

    def _read(self) -> Message:
        message = read(self._socket.recv(65_536))
        if not message.status:
            self._socket.sendto(answer(message), self._server)
        return message

    def subscribe(self, *, branch: str, call_id: str, **fields: Any) -> bytes:
        via = f"SIP/2.0/UDP 127.0.0.1;rport;branch=z9hG4bK{branch}"
        return subscribe(via=via, call_id=call_id, **{"contact": self.contact, **fields})


@contextlib.contextmanager
def phone_of(server: Server) -> Iterator[Phone]:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(PATIENCE)
        yield Phone(sock, server)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("odd"), store="memory:") as server:
        yield server


@pytest.fixture
def phone(server: Server) -> Iterator[Phone]:
    with phone_of(server) as phone:
        yield phone


def test_a_merged_request(phone: Phone) -> None:
    """RFC 3261 section 8.2.2.2: a proxy has forked a SUBSCRIBE, and both branches lead here."""
    assert phone.ask(phone.subscribe(branch="1", call_id="merged")).status == 200
    for _ in range(2):  # the second is a retransmission, which gets the same answer
        refusal = phone.ask(phone.subscribe(branch="2", call_id="merged"))
        assert refusal.start == "SIP/2.0 482 Loop Detected"
    assert phone.ask(phone.subscribe(branch="1", call_id="merged")).status == 200


def test_after_a_crash_there_is_nothing_to_merge_with(start_server: StartServer) -> None:
    """A phone that gave up waiting for an answer, since lost, asks anew: it gets the same dialog."""
    server = start_server()
    with phone_of(server) as phone:
        before = phone.ask(phone.subscribe(branch="1", call_id="lost"))
        phone.notified()
        server.kill()
        server.start()
        after = phone.ask(phone.subscribe(branch="2", call_id="lost"))
    assert (before.status, after.status) == (200, 200)
    assert before.tag("to") == after.tag("to") != ""


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        pytest.param({"max_forwards": 0}, 483, id="RFC 3261 21.4.21"),
        pytest.param({"max_forwards": 256}, 400, id="RFC 3261 20.22"),
        pytest.param({"max_forwards": None}, 200, id="RFC 2543 has no Max-Forwards"),
        pytest.param({"headers": {"Require": "nobodyKnows"}}, 420, id="RFC 3261 8.2.2.3"),
        pytest.param({"headers": {"Proxy-Require": "nobodyKnows"}}, 200, id="RFC 3261 20.29: not ours to look at"),
        pytest.param({"uri": "tel:+4930123"}, 416, id="RFC 3261 8.2.2.1"),
        pytest.param({"uri": "*3101"}, 400, id="no URI"),
        pytest.param({"contact": "<tel:101>"}, 400, id="a Contact that we cannot reach"),
        pytest.param({"headers": {"Record-Route": "<http://proxy.example.com>"}}, 400, id="nor this route"),
        pytest.param({"contact": None}, 400, id="RFC 6665 4.1.2.1: no Contact"),
        pytest.param({"to": None}, 400, id="no To"),
        pytest.param({"from_tag": ""}, 400, id="no From tag"),
        pytest.param({"cseq": None}, 400, id="no CSeq"),
        pytest.param({"cseq": 2**31}, 400, id="RFC 3261 8.1.1.5"),
        pytest.param({"headers": {"Call-ID": "another"}}, 400, id="two Call-IDs"),
        pytest.param({"headers": {"Event": "dialog"}}, 400, id="two Events"),
        pytest.param({"headers": {"Content-Length": "1"}}, 400, id="a body that is not there"),
    ],
)
def test_an_odd_subscribe(phone: Phone, request: pytest.FixtureRequest, fields: dict[str, Any], status: int) -> None:
    name = quote(request.node.name, safe="")
    assert phone.ask(phone.subscribe(branch=name, call_id=name, **fields)).status == status


@pytest.mark.parametrize(
    "uri",
    [
        "sip:*3101@office.example.com",
        "sip:%2A3101@office.example.com",
        "sip:%2a3101@OFFICE.Example.COM:5060",
        "SIP:*3101:secret@office.example.com;transport=udp?Subject=x",
        "sip:*3101;foo=bar@office.example.com",
        "sip:*3101;phone-context=+49:secret@office.example.com;user=phone",
    ],
)
def test_one_lamp_under_many_names(phone: Phone, uri: str) -> None:
    """The document is that of *3101; its entity has what the subscriber wrote, without password and parameters."""
    name = quote(uri, safe="")
    asked = phone.subscribe(branch=name, call_id=name, uri=uri, to=f"<{uri}>")
    assert phone.ask(asked).status == 200
    document = phone.notified().body
    assert "sip:*3101@office.example.com</identity>" in document
    written = uri.partition(":")[2].partition("@")[0].partition(":")[0].partition(";")[0]
    assert f'entity="sip:{written}@office.example.com"' in document


def test_methods_that_are_not_done(phone: Phone) -> None:
    via = "SIP/2.0/UDP 127.0.0.1;rport;branch=z9hG4bKmethods"
    statuses = {
        method: phone.ask(request(method, via=via)).status for method in ("INVITE", "MESSAGE", "CANCEL", "FROBNICATE")
    }
    assert statuses == {"INVITE": 405, "MESSAGE": 405, "CANCEL": 481, "FROBNICATE": 501}
