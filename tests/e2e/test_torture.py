"""Every message of RFC 4475 against a running server, over UDP and over TCP: what docs/conformance.md says is answered.

The table there is read here, so that it cannot say anything else than what is seen on the wire. After each message the
server still answers an OPTIONS, and in the end its log is clean.
"""

import contextlib
import itertools
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from sipresence.errors import MalformedMessage
from sipresence.sip.message import Request, parse
from sipresence.sip.uri import split_host_port
from tests.builders import flow, options
from tests.e2e.server import Server, running

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "data" / "torture"
PATIENCE = 5.0  # s for an answer that must come
SILENCE = 0.2  # s in which none comes over a stream
NONE, CLOSED = "none", "closed"

pytestmark = pytest.mark.e2e

_ROW = re.compile(r"^\| `(\w+)` \| (3\.[\d.]+) \| ([\w ]+) \| ([\w ]+) \| (.+) \|$", re.MULTILINE)
_pings = itertools.count(1)


class Row(NamedTuple):
    """A line of the table: statuses in order, or `none`, or `closed` for the connection."""

    name: str
    section: str
    datagram: str
    stream: str
    why: str


ROWS = [Row(*cells) for cells in _ROW.findall((ROOT / "docs" / "conformance.md").read_text())]
by_name = pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all of them; it has to survive."""
    with running(tmp_path_factory.mktemp("torture"), store="memory:") as server:
        yield server


@pytest.fixture(scope="module")
def other_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One that has seen none of them: what came over UDP, too, would be a merged request."""
    with running(tmp_path_factory.mktemp("torture"), store="memory:") as server:
        yield server


def test_every_message_has_its_line() -> None:
    assert sorted(row.name for row in ROWS) == sorted(path.stem for path in FOLDER.glob("*.dat"))


@by_name
def test_over_udp(server: Server, row: Row) -> None:
    """What is answered before the answer to the ping that follows it. A REGISTER waits for its turn, a ping never."""
    data = torture(row.name)
    with datagram_socket(reply_port(data)) as phone:
        phone.sendto(data, ("127.0.0.1", server.sip_port))
        answers = [phone.recv(65_536)] if data.startswith(b"REGISTER ") else []
        answers += until_pong(phone, server)
    assert statuses(answers) == row.datagram
    allowed = b"\r\nAllow: SUBSCRIBE, PUBLISH, OPTIONS, REGISTER\r\n"
    assert all(allowed in answer for answer in answers if status(answer) == "405")


@by_name
def test_over_tcp(other_server: Server, row: Row) -> None:
    with socket.create_connection(("127.0.0.1", other_server.sip_port), PATIENCE) as phone:
        phone.sendall(torture(row.name))
        wanted = 0 if row.stream in (NONE, CLOSED) else len(row.stream.split())
        assert read_stream(phone, wanted, closed=row.stream == CLOSED) == row.stream
    with datagram_socket(0) as other:
        assert until_pong(other, other_server) == []


def torture(name: str) -> bytes:
    """The message; a REGISTER with a branch of its own, since one branch of several would make them one transaction."""
    data = (FOLDER / f"{name}.dat").read_bytes()
    if not data.startswith(b"REGISTER "):
        return data
    return data.replace(b"branch=z9hG4bK", f"branch=z9hG4bK-{name}-".encode(), 1)


def reply_port(data: bytes) -> int:
    """Where the answer goes that nobody asked to have back at the source: to the port in Via (RFC 3261 section 18.2.2).

    Any port for one that asks (RFC 3581), and for what is never answered.
    """
    try:
        message = parse(data, flow())
    except MalformedMessage:
        return 0
    if not isinstance(message, Request) or message.via.rport:
        return 0
    return split_host_port(message.via.sent_by)[1] or 5060


@contextlib.contextmanager
def datagram_socket(port: int) -> Iterator[socket.socket]:
    """A socket on an address of its own, where well-known ports are free."""
    with socket.socket(type=socket.SOCK_DGRAM) as phone:
        try:
            phone.bind(("127.44.75.1", port))
        except OSError as error:
            pytest.skip(f"UDP port {port} is taken on all addresses: {error}")
        phone.settimeout(PATIENCE)
        yield phone


def until_pong(phone: socket.socket, server: Server) -> list[bytes]:
    """Ping the server; what arrives before its answer."""
    ping = f"ping-{next(_pings)}"
    phone.sendto(options(call_id=ping, via=f"SIP/2.0/UDP 192.0.2.7;rport;branch=z9hG4bK{ping}"), server_address(server))
    before: list[bytes] = []
    while True:
        data = phone.recv(65_536)
        if f"\r\nCall-ID: {ping}\r\n".encode() in data:
            assert status(data) == "200"
            return before
        before.append(data)


def server_address(server: Server) -> tuple[str, int]:
    return ("127.0.0.1", server.sip_port)


def read_stream(phone: socket.socket, wanted: int, *, closed: bool) -> str:
    """The statuses of so many answers; with none wanted, whether the connection is closed, or silent for a while."""
    received = b""
    if not wanted:
        phone.settimeout(PATIENCE if closed else SILENCE)
    with contextlib.suppress(TimeoutError):
        while received.count(b"\r\n\r\n") < max(wanted, 1):
            chunk = phone.recv(65_536)
            if not chunk:
                return statuses(received.split(b"\r\n\r\n")[:-1]) if received else CLOSED
            received += chunk
    return statuses(received.split(b"\r\n\r\n")[:-1])


def statuses(answers: list[bytes]) -> str:
    return " ".join(map(status, answers)) or NONE


def status(answer: bytes) -> str:
    assert answer.startswith(b"SIP/2.0 ")
    return answer[8:11].decode()
