"""Seeking the way to a name: on loopback, with a zone in memory. What is looked up and opened once serves all."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from dns.rdatatype import RdataType

from sipresence.net.address import ListenAddress
from sipresence.net.clock import LoopClock
from sipresence.net.nameserver import Reply
from sipresence.net.resolver import Target
from sipresence.net.transports import SLICE, StreamSettings, Transports, Way
from sipresence.sip.flow import Flow, Hop
from tests.net.test_resolver import Zone

HOST = "127.0.0.1"
DEAD_PORT = 9


class Phones:
    """A TCP listener that only counts who connects."""

    def __init__(self) -> None:
        self.connections = 0
        self.port = 0

    async def open(self) -> asyncio.Server:
        server = await asyncio.start_server(self._accept, HOST, 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1


@pytest.fixture
async def phones() -> AsyncIterator[Phones]:
    phones = Phones()
    server = await phones.open()
    yield phones
    server.close()


class Seeker:
    """Transports with a UDP and a TCP listener, and the name server that they ask."""

    def __init__(self, zone: str) -> None:
        self.zone = Zone(zone)
        self.transports = Transports(
            [ListenAddress(f"{name.lower()}://{HOST}", name, HOST, 0, "") for name in ("UDP", "TCP")],
            StreamSettings(),
            ask=self._ask,
            clock=LoopClock(asyncio.get_running_loop()),
            receive=lambda data, flow: True,
            turn_end=lambda: None,
            saturated=lambda: None,
            lost=lambda flow: None,
            refused=lambda reason, flow, count: None,
            payer=lambda host: "",
            carries=lambda flow: False,
        )
        self.found: list[Way | None] = []

    async def _ask(self, name: str, kind: RdataType) -> Reply:
        return await self.zone.ask(name, kind)

    def hop(self, transport: str = "", port: int = 0, *, fallback: bool = False) -> Hop:
        flow = Flow("UDP", f"udp://{HOST}", HOST, 5999, f"{HOST}:5060")
        return Hop(flow, transport, "desk.example.com", port, fallback=fallback)

    async def seek(self, hop: Hop) -> Way | None:
        found: asyncio.Future[Way | None] = asyncio.get_running_loop().create_future()
        self.transports.seek(hop, found.set_result)
        async with asyncio.timeout(5):
            return await found

    async def __aenter__(self) -> "Seeker":
        await self.transports.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.transports.close()
        await asyncio.sleep(0)


async def test_a_name_is_sought_once_and_then_known() -> None:
    async with Seeker(f"desk 60 A {HOST}") as seeker:
        hop = seeker.hop("UDP", 5070)
        assert seeker.transports.way(hop) is None
        way = await seeker.seek(hop)
        assert way is not None
        assert (way.flow.transport, way.address, way.target) == ("UDP", (HOST, 5070), Target("UDP", HOST, 5070))
        assert seeker.transports.way(hop) == way


async def test_an_address_is_no_target_of_a_name() -> None:
    async with Seeker("") as seeker:
        way = seeker.transports.way(Hop(seeker.hop().flow, "UDP", HOST, 5070))
        assert way is not None
        assert way.target is None


async def test_all_who_seek_the_same_share_one_look_up_and_one_connection(phones: Phones) -> None:
    zone = f"_sip._tcp.desk 60 SRV 0 0 {phones.port} a\na 60 A {HOST}"
    async with Seeker(zone) as seeker:
        seekers = 3 * SLICE + 1
        found = await asyncio.gather(*(seeker.seek(seeker.hop("TCP")) for _ in range(seekers)))
        assert len(found) == seekers
        assert {way.address for way in found if way is not None} == {(HOST, phones.port)}
        assert len({way and way.flow for way in found}) == 1
        assert seeker.zone.asked == ["_sip._tcp.desk SRV", "a A"]
        await asyncio.sleep(0.05)
        assert phones.connections == 1


async def test_the_next_one_when_one_refuses_the_connection(phones: Phones) -> None:
    zone = (
        f"_sip._tcp.desk 60 SRV 1 0 {DEAD_PORT} a\n_sip._tcp.desk 60 SRV 2 0 {phones.port} a\n"
        f"_sip._udp.desk 60 SRV 1 0 5070 a\na 60 A {HOST}"
    )
    async with Seeker(zone) as seeker:
        way = await seeker.seek(seeker.hop("TCP"))
        assert way is not None
        assert way.address == (HOST, phones.port)
        again = seeker.transports.way(seeker.hop("TCP"))
        assert again == way, "the one that failed is not waited for"


async def test_where_all_refuse_nobody_tries_again_at_once(phones: Phones) -> None:
    async with Seeker(f"_sip._tcp.desk 60 SRV 1 0 {DEAD_PORT} a\na 60 A {HOST}") as seeker:
        hop = seeker.hop("TCP", fallback=True)
        assert await seeker.seek(hop) is None, "a name that has addresses is not without them"
        seeker.transports.seek(hop, seeker.found.append)
        assert not seeker.transports._seekers
        await asyncio.sleep(0)
        assert seeker.found == [None]


async def test_datagrams_go_on_to_a_server_that_failed_if_it_is_the_only_one() -> None:
    async with Seeker(f"desk 60 A {HOST}") as seeker:
        hop = seeker.hop("UDP", 5070)
        way = await seeker.seek(hop)
        assert way is not None
        assert way.target is not None
        seeker.transports.failed(way.target)
        assert seeker.transports.way(hop) == way


@pytest.mark.parametrize("transport", ["", "TCP", "WS", "SCTP"])
async def test_a_name_without_targets_means_the_source_for_who_came_directly(transport: str) -> None:
    async with Seeker("") as seeker:
        way = await seeker.seek(seeker.hop(transport, fallback=True))
        assert way is not None
        assert way.address == (HOST, 5999)
        assert await seeker.seek(seeker.hop(transport)) is None


async def test_a_mistake_of_ours_costs_one_notify(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Seeker("") as seeker:

        async def broken(name: str, kind: RdataType) -> Reply:
            raise KeyError(name)

        monkeypatch.setattr(seeker.zone, "ask", broken)
        assert await seeker.seek(seeker.hop()) is None
        monkeypatch.undo()
        assert await seeker.seek(seeker.hop(fallback=True)) is not None
