"""What is told to the supervisor, and which socket belongs to which listener."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sipresence.net.address import ListenAddress
from sipresence.net.systemd import InheritedSockets, Supervisor
from tests.fakes import ManualClock

HOST = "127.0.0.1"


def bound(kind: socket.SocketKind, family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
    sock = socket.socket(family, kind)
    sock.bind(("::1" if family == socket.AF_INET6 else HOST, 0))
    return sock


def address(sock: socket.socket, transport: str, *, host: str = "", port: int = 0) -> ListenAddress:
    name, number = sock.getsockname()[:2]
    return ListenAddress("", transport, host or name, port or number, "")


@pytest.fixture
def sockets() -> Iterator[dict[str, socket.socket]]:
    all_of_them = {
        "udp": bound(socket.SOCK_DGRAM),
        "tcp": bound(socket.SOCK_STREAM),
        "udp6": bound(socket.SOCK_DGRAM, socket.AF_INET6),
    }
    yield all_of_them
    for sock in all_of_them.values():
        sock.close()


def test_each_listener_takes_its_own_once(sockets: dict[str, socket.socket]) -> None:
    inherited = InheritedSockets(sockets.items())
    for name, transport in (("udp6", "UDP"), ("tcp", "WS"), ("udp", "UDP")):
        listen = address(sockets[name], transport)
        assert inherited.take(listen) is sockets[name]
        assert inherited.take(listen) is None
    assert inherited.close_others() == []


def test_another_type_port_or_address_is_not_it(sockets: dict[str, socket.socket]) -> None:
    inherited = InheritedSockets(sockets.items())
    udp = sockets["udp"]
    for listen in (address(udp, "TCP"), address(udp, "UDP", port=9), address(udp, "UDP", host="127.0.0.2")):
        assert inherited.take(listen) is None
    assert inherited.take(address(sockets["udp6"], "UDP", host="0:0:0:0:0:0:0:1")) is sockets["udp6"]


def test_what_nobody_took_is_named_and_closed(sockets: dict[str, socket.socket], tmp_path: Path) -> None:
    port = sockets["tcp"].getsockname()[1]
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(str(tmp_path / "unix"))
    inherited = InheritedSockets([("web", sockets["tcp"]), ("admin", unix)])
    assert inherited.close_others() == [f"web: tcp://{HOST}:{port}", "admin: AF_UNIX"]
    assert sockets["tcp"].fileno() == unix.fileno() == -1


@pytest.mark.parametrize("environ", [{}, {"LISTEN_FDS": "1"}, {"LISTEN_FDS": "1", "LISTEN_PID": "1"}])
def test_what_is_meant_for_others_is_left_alone(environ: dict[str, str]) -> None:
    assert InheritedSockets.of(environ).close_others() == []


class Listening:
    """The supervisor's end, and a process that may be made ill."""

    def __init__(self, address: str, **environ: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.setblocking(False)
        self.clock = ManualClock()
        self.healthy = True
        told = f"@{address[1:]}" if address.startswith("\0") else address
        self.supervisor = Supervisor(
            {"NOTIFY_SOCKET": told, **environ}, clock=self.clock, healthy=lambda: self.healthy, status=lambda: "well"
        )

    def heard(self) -> list[list[str]]:
        messages: list[list[str]] = []
        while True:
            try:
                messages.append(self.socket.recv(4096).decode().split("\n"))
            except BlockingIOError:
                return messages


Listen = Callable[..., Listening]


@pytest.fixture(params=["file", "abstract"])
def listen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Listen]:
    opened: list[Listening] = []

    def make(**environ: str) -> Listening:
        abstract = request.param == "abstract"
        opened.append(
            Listening(f"\0sipresence-test-{os.getpid()}" if abstract else str(tmp_path / "notify"), **environ)
        )
        return opened[-1]

    yield make
    for one in opened:
        one.socket.close()


def test_a_life(listen: Listen) -> None:
    process = listen()
    process.supervisor.ready()
    assert process.heard() == [["READY=1", "STATUS=well"], ["STATUS=well"]]
    process.clock.advance(10)
    assert process.heard() == [["STATUS=well"]]
    process.supervisor.reloading()
    ((word, when),) = process.heard()
    assert word == "RELOADING=1"
    assert when.startswith("MONOTONIC_USEC=")
    process.supervisor.ready()
    assert process.heard()[0] == ["READY=1", "STATUS=well"]
    process.supervisor.stopping(65.0)
    assert process.heard() == [["STOPPING=1", "EXTEND_TIMEOUT_USEC=65000000"]]
    process.supervisor.close()
    process.clock.advance(60)
    assert process.heard() == []


def test_the_watchdog_is_told_twice_in_its_time_while_all_is_well(listen: Listen) -> None:
    process = listen(WATCHDOG_USEC="4000000", WATCHDOG_PID=str(os.getpid()))
    process.supervisor.ready()
    assert process.heard()[1:] == [["STATUS=well", "WATCHDOG=1"]]
    process.clock.advance(4)
    assert process.heard() == [["STATUS=well", "WATCHDOG=1"]] * 2
    process.healthy = False
    process.clock.advance(4)
    assert process.heard() == [["STATUS=well"]] * 2


def test_the_watchdog_of_another_process_is_none_of_ours(listen: Listen) -> None:
    process = listen(WATCHDOG_USEC="4000000", WATCHDOG_PID="1")
    process.supervisor.ready()
    assert process.heard()[1:] == [["STATUS=well"]]


def test_a_supervisor_that_is_gone_or_was_never_there_troubles_nobody(listen: Listen) -> None:
    process = listen()
    process.socket.close()
    process.supervisor.ready()
    nobody = Supervisor({}, clock=process.clock, healthy=lambda: True, status=lambda: "well")
    for tell in (nobody.ready, nobody.reloading, nobody.close):
        tell()
    nobody.stopping(1)
