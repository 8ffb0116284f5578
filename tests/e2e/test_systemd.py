"""A server under systemd, which this test plays: it holds the sockets, and hears how the server is."""

import asyncio
import contextlib
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import wire
from tests.e2e.conftest import StartServer
from tests.e2e.fleet import Fleet
from tests.e2e.server import REALM, Server

REQUESTS = 300
EVERY_S = 0.01
WATCHDOG_S = 1.0


@pytest.fixture
def activated(start_server: StartServer) -> Iterator[Server]:
    """A server whose sockets are ours; one of them is none that it is configured for."""
    server = start_server()
    server.stop()
    with contextlib.ExitStack() as opened:
        udp, tcp, other = (
            opened.enter_context(socket.socket(type=kind))
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM, socket.SOCK_STREAM)
        )
        for sock, port in ((udp, server.sip_port), (tcp, server.sip_port), (other, 0)):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", port))
        tcp.listen()
        other.listen()
        server.passed = (udp, tcp, other)
        descriptors = ",".join(str(sock.fileno()) for sock in server.passed)
        server.launch_by(sys.executable, "-m", "tests.e2e.activated", "sip:sip:web", descriptors)
        server.start()
        yield server
        server.stop()


def subscribe(number: int, port: int) -> bytes:
    return (
        f"SUBSCRIBE sip:101@{REALM} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};rport;branch=z9hG4bK-once-{number}\r\n"
        f"Max-Forwards: 70\r\nFrom: <sip:phone@{REALM}>;tag=t{number}\r\nTo: <sip:101@{REALM}>\r\n"
        f"Call-ID: once-{number}\r\nCSeq: 1 SUBSCRIBE\r\nContact: <sip:phone@127.0.0.1:{port}>\r\n"
        "Event: dialog\r\nExpires: 600\r\nContent-Length: 0\r\n\r\n"
    ).encode()


class OncePhone(asyncio.DatagramProtocol):
    """Sends each SUBSCRIBE once and never again, and answers NOTIFYs."""

    def __init__(self) -> None:
        self.answered: dict[str, int] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.DatagramTransport = transport  # type: ignore[assignment]
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, address: tuple[str | object, int]) -> None:
        message = wire.read(data)
        if message.status:
            self.answered[message.get("call-id")] = message.status
        else:
            self.transport.sendto(wire.answer(message), address)


async def test_a_restart_loses_no_datagram(activated: Server) -> None:
    """Each request is sent once only, through the old process, none, and the new one: all are answered."""
    _, phone = await asyncio.get_running_loop().create_datagram_endpoint(OncePhone, ("127.0.0.1", 0))

    async def send() -> None:
        for number in range(REQUESTS):
            phone.transport.sendto(subscribe(number, phone.port), ("127.0.0.1", activated.sip_port))
            await asyncio.sleep(EVERY_S)

    sending = asyncio.create_task(send())
    await asyncio.sleep(REQUESTS * EVERY_S / 4)
    begun = time.monotonic()
    await asyncio.to_thread(activated.stop)
    before = len(phone.answered)
    await asyncio.to_thread(activated.start)
    took = time.monotonic() - begun
    await sending
    await asyncio.sleep(0.5)
    phone.transport.close()
    print(f"\nrestarted in {took:.2f} s; {before} answered before, {len(phone.answered) - before} after")
    assert 0 < before < REQUESTS
    assert list(phone.answered.values()) == [200] * REQUESTS


async def test_a_connection_made_between_two_processes_is_served(activated: Server) -> None:
    await asyncio.to_thread(activated.stop)
    reader, writer = await asyncio.open_connection("127.0.0.1", activated.sip_port)
    writer.write(subscribe(1, 5060).replace(b"SIP/2.0/UDP", b"SIP/2.0/TCP"))
    await asyncio.to_thread(activated.start)
    async with asyncio.timeout(5):
        assert await reader.readline() == b"SIP/2.0 200 OK\r\n"
    writer.close()


def test_a_socket_that_is_not_configured_is_named(activated: Server) -> None:
    port = activated.passed[2].getsockname()[1]
    assert f'"sockets": ["web: tcp://127.0.0.1:{port}"]' in activated.log


async def test_the_supervisor_hears_how_it_is(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server()
    server.stop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.setblocking(False)

        async def next_message(start: str) -> str:
            async with asyncio.timeout(5):
                while True:
                    message = (await asyncio.get_running_loop().sock_recv(heard, 4096)).decode()
                    if message.startswith(start):
                        return message

        server.environment = {
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "WATCHDOG_USEC": str(int(WATCHDOG_S * 1_000_000)),
        }
        await asyncio.to_thread(server.start)
        assert await next_message("READY") == "READY=1\nSTATUS=0 subscriptions, 0 connections"
        async with Fleet(("127.0.0.1", server.sip_port)) as fleet:
            assert await fleet.subscribe(fleet.add("101")) == 200
            begun = time.monotonic()
            beats = [await next_message("STATUS=1 subscriptions, 0 connections") for _ in range(3)]
            assert all(beat.endswith("\nWATCHDOG=1") for beat in beats)
            assert time.monotonic() - begun < 2 * WATCHDOG_S
        await asyncio.to_thread(server.reload)
        assert "MONOTONIC_USEC=" in await next_message("RELOADING=1")
        await next_message("READY=1")
        server.process.send_signal(signal.SIGTERM)
        assert "EXTEND_TIMEOUT_USEC=" in await next_message("STOPPING=1")
        assert await asyncio.to_thread(server.process.wait, 10) == 0
        server.forget()
