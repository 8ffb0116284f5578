"""Phones whose Contact is a name: RFC 3263 against a real name server on loopback, and real phones' sockets.

The subscriber's own socket is the source of every SUBSCRIBE; who gets the NOTIFYs is up to the name server.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import cast

import aiohttp
import pytest

from tests.e2e import wire
from tests.e2e.conftest import StartServer
from tests.e2e.nameserver import NameServer
from tests.e2e.server import ACCOUNT, REALM, TOKEN, Server
from tests.e2e.wire import Message

PATIENCE_S = 5.0
DEAD_PORT = 9  # discard: nobody listens

pytestmark = pytest.mark.e2e


class Phone(asyncio.DatagramProtocol):
    """A socket that takes in SIP messages, over UDP and TCP alike, and answers NOTIFYs unless it is `deaf`."""

    def __init__(self, *, deaf: bool = False) -> None:
        self._deaf = deaf
        self._notifies: asyncio.Queue[Message] = asyncio.Queue()
        self._answers: asyncio.Queue[Message] = asyncio.Queue()
        self.port = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        if data.strip():
            self._take(wire.read(data), lambda answer: self._transport.sendto(answer, addr))

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one TCP connection."""
        buffer = bytearray()
        with suppress(asyncio.CancelledError):  # the test is over
            while data := await reader.read(65535):
                buffer += data
                while message := wire.cut(buffer):
                    self._take(message, writer.write)
        writer.close()

    def _take(self, message: Message, answer: Callable[[bytes], None]) -> None:
        if message.status:
            self._answers.put_nowait(message)
        else:
            self._notifies.put_nowait(message)
            if not self._deaf:
                answer(wire.answer(message))

    async def notify(self, *, within: float = PATIENCE_S) -> Message:
        """The next NOTIFY."""
        async with asyncio.timeout(within):
            return await self._notifies.get()

    @property
    def notified(self) -> bool:
        """Whether there is a NOTIFY that nobody has looked at."""
        return not self._notifies.empty()

    async def subscribe(self, server: Server, extension: str, contact: str) -> None:
        """SUBSCRIBE with any Contact; the answer must be 200."""
        self._transport.sendto(
            (
                f"SUBSCRIBE sip:{extension}@{REALM} SIP/2.0\r\n"
                f"Via: SIP/2.0/UDP 127.0.0.1:{self.port};rport;branch=z9hG4bK-{extension}-{self.port}\r\n"
                f"From: <sip:phone@{REALM}>;tag={extension}\r\nTo: <sip:{extension}@{REALM}>\r\n"
                f"Call-ID: {extension}-{self.port}@names\r\nCSeq: 1 SUBSCRIBE\r\nContact: <{contact}>\r\n"
                f"Event: dialog\r\nExpires: 600\r\nContent-Length: 0\r\n\r\n"
            ).encode(),
            ("127.0.0.1", server.sip_port),
        )
        async with asyncio.timeout(PATIENCE_S):
            assert (await self._answers.get()).status == 200


@asynccontextmanager
async def udp_phone(*, deaf: bool = False, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Phone]:
    loop = asyncio.get_running_loop()
    transport, phone = await loop.create_datagram_endpoint(lambda: Phone(deaf=deaf), local_addr=(host, port))
    phone.port = transport.get_extra_info("sockname")[1]
    try:
        yield phone
    finally:
        transport.close()


@asynccontextmanager
async def tcp_phone() -> AsyncIterator[Phone]:
    phone = Phone()
    listener = await asyncio.start_server(phone.talk, "127.0.0.1", 0)
    phone.port = listener.sockets[0].getsockname()[1]
    try:
        yield phone
    finally:
        listener.close()


async def set_lamp(server: Server, extension: str, state: str) -> None:
    url = f"{server.url}/v2/accounts/{ACCOUNT}/presence/{extension}"
    async with (
        aiohttp.ClientSession(headers={"X-Auth-Token": TOKEN}) as api,
        api.post(url, json={"data": {"action": "set", "state": state}}) as answer,
    ):
        assert answer.status == 202, await answer.text()


async def test_the_next_server_when_one_is_dead(start_server: StartServer) -> None:
    """SRV over UDP: the first never answers; what the phone must hear goes to the second, by itself."""
    async with udp_phone() as source, udp_phone(deaf=True) as first, udp_phone() as second:
        zone = (
            f"_sip._udp.pair 60 SRV 10 0 {first.port} a\n_sip._udp.pair 60 SRV 20 0 {second.port} a\na 60 A 127.0.0.1\n"
        )
        async with NameServer(zone) as names:
            server = start_server(sip={"nameservers": [names.address], "t1_ms": 100})  # timer F: 6.4 s
            await source.subscribe(server, "101", "sip:101@pair.example.com;transport=udp")
            assert (await first.notify()).request_uri == "sip:101@pair.example.com;transport=udp"
            await set_lamp(server, "101", "early")
            told = await second.notify(within=14)  # timer F, and the first retry after 5 s
            assert told.lamp == "early"
            await set_lamp(server, "101", "confirmed")
            assert (await second.notify()).lamp == "confirmed"
            assert not source.notified
            assert names.asked.count("_sip._udp.pair SRV") == 1


async def test_the_next_server_when_one_refuses_the_connection(start_server: StartServer) -> None:
    async with udp_phone() as source, tcp_phone() as second:
        zone = (
            f"_sip._tcp.pair 60 SRV 10 0 {DEAD_PORT} a\n_sip._tcp.pair 60 SRV 20 0 {second.port} a\na 60 A 127.0.0.1\n"
        )
        async with NameServer(zone) as names:
            server = start_server(sip={"nameservers": [names.address]})
            await source.subscribe(server, "101", "sip:101@pair.example.com;transport=tcp")
            await second.notify()
            await set_lamp(server, "101", "early")
            assert (await second.notify()).lamp == "early"


async def test_naptr_leads_to_tcp(start_server: StartServer) -> None:
    async with udp_phone() as source, tcp_phone() as phone:
        zone = (
            'desk 60 NAPTR 10 50 "s" "SIPS+D2T" "" _sips._tcp.desk\n'
            'desk 60 NAPTR 20 50 "s" "SIP+D2T" "" stream\ndesk 60 NAPTR 30 50 "s" "SIP+D2U" "" _sip._udp.desk\n'
            f"stream 60 SRV 0 0 {phone.port} a\n_sip._udp.desk 60 SRV 0 0 {DEAD_PORT} a\na 60 A 127.0.0.1\n"
        )
        async with NameServer(zone) as names:
            server = start_server(sip={"nameservers": [names.address]})
            await source.subscribe(server, "101", "sip:101@desk.example.com")
            told = await phone.notify()
            assert told.request_uri == "sip:101@desk.example.com"
            assert told.get("via").startswith("SIP/2.0/TCP ")
            assert set(names.asked) == {"desk NAPTR", "stream SRV", "_sip._udp.desk SRV", "a A"}


async def test_a_record_is_asked_for_again_after_its_ttl(start_server: StartServer) -> None:
    """A TTL of 1 s counts as 5 s; meanwhile nothing is asked."""
    async with (
        udp_phone() as source,
        udp_phone() as old,
        udp_phone(host="127.0.0.2", port=old.port) as new,
        NameServer("moving 1 A 127.0.0.1") as names,
    ):
        server = start_server(sip={"nameservers": [names.address]})
        await source.subscribe(server, "101", f"sip:101@moving.example.com:{old.port}")
        await old.notify()
        names.load("moving 1 A 127.0.0.2")
        await set_lamp(server, "101", "early")
        assert (await old.notify()).lamp == "early"
        assert names.asked == ["moving A"]
        await asyncio.sleep(5.2)
        await set_lamp(server, "101", "confirmed")
        assert (await new.notify()).lamp == "confirmed"
        assert names.asked == ["moving A"] * 2


async def test_a_name_that_does_not_exist_means_the_source(start_server: StartServer) -> None:
    async with udp_phone() as source, NameServer("somebody 60 A 127.0.0.1") as names:
        server = start_server(sip={"nameservers": [names.address]})
        await source.subscribe(server, "101", "sip:101@nobody.example.com")
        assert (await source.notify()).request_uri == "sip:101@nobody.example.com"
        assert "nobody NAPTR" in names.asked
        await set_lamp(server, "101", "early")
        assert (await source.notify()).lamp == "early"


async def test_a_look_up_that_hangs_delays_nobody_else(start_server: StartServer) -> None:
    """Forty phones' names are never answered for; others are told at once, these at their source in the end."""
    lost = [f"n{number}" for number in range(40)]
    silent = {name for host in lost for name in (host, f"_sip._udp.{host}", f"_sip._tcp.{host}")}
    async with (
        udp_phone() as source,
        udp_phone() as known,
        udp_phone() as phone,
        NameServer("known 60 A 127.0.0.1", silent=silent) as names,
    ):
        server = start_server(sip={"nameservers": [names.address], "notify_rate": 0, "notify_window": 0})
        for host in lost:
            await source.subscribe(server, host, f"sip:x@{host}.example.com")
        began = time.monotonic()
        await known.subscribe(server, "101", f"sip:101@known.example.com:{known.port}")
        await known.notify(within=1)
        await phone.subscribe(server, "101", f"sip:101@127.0.0.1:{phone.port}")
        await phone.notify(within=1)
        await set_lamp(server, "101", "early")
        assert (await known.notify(within=1)).lamp == "early"
        assert (await phone.notify(within=1)).lamp == "early"
        assert not source.notified
        told = {(await source.notify(within=10)).request_uri for _ in lost}
        assert told == {f"sip:x@{host}.example.com" for host in lost}
        assert time.monotonic() - began < 10
