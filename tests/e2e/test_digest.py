"""Digest over real sockets: the pjsua2 phone on the algorithms that are offered by default, and what an eavesdropper
can do with a request that he has captured.
"""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import Request, urlopen

import pytest

from tests.authorization import Challenge, Phone, challenges
from tests.builders import subscribe
from tests.conftest import need_phone
from tests.e2e.conftest import StartServer
from tests.e2e.server import ACCOUNT, DEVICES, REALM, TOKEN, Server, Setting
from tests.e2e.test_phone_lamp import PhoneProcess
from tests.e2e.wire import Message, read

PATIENCE_S = 10.0
NOBODY: dict[str, Setting] = {"trusted_networks": []}
ALICE = ("--username", "alice-desk", "--password", DEVICES["alice-desk"])
WRONG = ("--username", "alice-desk", "--password", "wrong")

pytestmark = pytest.mark.e2e


def list_lines(server: Server, *options: str, seconds: float) -> list[dict[str, object]]:
    """What the pjsua2 phone shows within so many seconds."""
    command = [sys.executable, "-m", "sipresence", "phone", f"sip:101@{server.sip}", "--json", *options]
    done = subprocess.run([*command, "--seconds", str(seconds)], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@contextmanager
def phone(server: Server, *options: str) -> Iterator[PhoneProcess]:
    command = [sys.executable, "-m", "sipresence", "phone", f"sip:101@{server.sip}", "--json", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield PhoneProcess(process)
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()


def presence(server: Server, data: dict[str, str] | None = None) -> str:
    """GET what is known of 101, or command it."""
    body = None if data is None else json.dumps({"data": data}).encode()
    url = f"{server.url}/v2/accounts/{ACCOUNT}/presence/101"
    headers = {"X-Auth-Token": TOKEN, "Content-Type": "application/json"}
    with urlopen(Request(url, body, headers), timeout=PATIENCE_S) as answer:
        return str(answer.read().decode())


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_the_phone_logs_in_on_the_default_algorithms(start_server: StartServer, transport: str) -> None:
    """It refreshes and unsubscribes in the dialog with digest, too."""
    need_phone()
    server = start_server(sip=NOBODY)
    with phone(server, *ALICE, "--transport", transport) as lamp:
        assert lamp.lamp() == "terminated"
        presence(server, {"action": "set", "state": "early"})
        assert lamp.lamp() == "early"
    assert json.loads(presence(server))["data"]["subscriptions"] == {}


def test_the_phone_with_a_wrong_password_or_none_sees_nothing(start_server: StartServer) -> None:
    need_phone()
    server = start_server(sip=NOBODY)
    for options in (WRONG, ()):
        lines = list_lines(server, *options, seconds=1)
        assert {line["state"] for line in lines} == {""}
        assert lines[-1]["subscription"] == "NULL"


class Line:
    """A phone of ours on a UDP socket: asks, and answers NOTIFYs."""

    def __init__(self, server: Server) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(PATIENCE_S)
        self.port = self._socket.getsockname()[1]
        self._server = ("127.0.0.1", server.sip_port)
        self.notifies: list[Message] = []
        self._branches = 0

    def __enter__(self) -> "Line":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, *, cseq: int, to_tag: str = "", authorization: str = "") -> Message:
        """SUBSCRIBE in a new transaction; return the final answer, after the NOTIFY that follows a success."""
        self._branches += 1
        data = subscribe(
            via=f"SIP/2.0/UDP 127.0.0.1:{self.port};rport;branch=z9hG4bK-{self.port}-{self._branches}",
            contact=f"<sip:alice@127.0.0.1:{self.port}>",
            cseq=cseq,
            to_tag=to_tag,
            headers={"Authorization": authorization} if authorization else {},
        )
        self._socket.sendto(data, self._server)
        expected = len(self.notifies)
        answer = self._await_answer()
        while answer.status == 200 and len(self.notifies) == expected:
            self._receive()
        return answer

    def _await_answer(self) -> Message:
        while (message := self._receive()).method:
            pass
        return message

    def _receive(self) -> Message:
        message = read(self._socket.recv(65535))
        if message.method == "NOTIFY":
            self.notifies.append(message)
            echoed = "".join(f"{name}: {message.get(name)}\r\n" for name in ("via", "from", "to", "call-id", "cseq"))
            self._socket.sendto(f"SIP/2.0 200 OK\r\n{echoed}Content-Length: 0\r\n\r\n".encode(), self._server)
        return message


def challenged(answer: Message) -> Challenge:
    """The preferred challenge of a 401."""
    assert answer.status == 401
    lines = "".join(f"WWW-Authenticate: {value}\r\n" for name, value in answer.headers if name == "www-authenticate")
    offered = challenges(lines)
    assert [(one.realm, one.algorithm) for one in offered] == [(REALM, "SHA-256"), (REALM, "MD5")]
    return offered[0]


def test_what_was_captured_cannot_be_played_again(start_server: StartServer) -> None:
    """Not by another, not in a dialog, and not after a crash; the phone itself gets through each time."""
    server = start_server(sip=NOBODY)
    alice = Phone("alice-desk", DEVICES["alice-desk"])
    with Line(server) as line, Line(server) as eavesdropper:
        captured = alice.authorization(challenged(line.ask(cseq=1)))
        answer = line.ask(cseq=2, authorization=captured)
        assert answer.status == 200
        tag = answer.tag("to")
        assert challenged(eavesdropper.ask(cseq=3, authorization=captured)).stale
        assert challenged(eavesdropper.ask(cseq=4, to_tag=tag, authorization=captured)).stale
        server.kill()
        server.start()
        assert challenged(eavesdropper.ask(cseq=5, to_tag=tag, authorization=captured)).stale
        again = challenged(line.ask(cseq=3, to_tag=tag, authorization=captured))
        assert again.stale
        assert line.ask(cseq=4, to_tag=tag, authorization=alice.authorization(again)).status == 200
        assert eavesdropper.notifies == []
        bob = Phone("bob-desk", DEVICES["bob-desk"])
        challenge = challenged(line.ask(cseq=5, to_tag=tag))
        assert line.ask(cseq=6, to_tag=tag, authorization=bob.authorization(challenge)).status == 403
