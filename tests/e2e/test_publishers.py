"""Calls through a real Kamailio that PUBLISHes them (pua_dialoginfo), as the lamps of both parties show them.

What is hard about this publisher: it opens another publication while the answer to the one before is under way, forgets
the first and refreshes it for hours, and what it says while the server is away comes later and out of order. Whatever
happens, both lamps are out soon after the call.
"""

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.call_proxy import NUMBERS, Call, CallProxy, Phone
from tests.e2e.fleet import Fleet
from tests.e2e.server import Server, free_port, running

SOON_S = 2.0
"""A lamp is to be out so long after the end of a call."""
T1_S, T2_S = 0.5, 4.0
"""Kamailio sends a PUBLISH again after 0.5, 1 and 2 s, then every so many."""
LATE_S = 3.0
QUIET_S = 0.5
CALLER, CALLEE = "1001", "1002"
IDLE, EARLY, CONFIRMED = "terminated", "early", "confirmed"
CALLS, CALLS_PER_SECOND, PAIRS = 50, 20, 10

pytestmark = pytest.mark.e2e


@dataclass
class Office:
    """A server, the call proxy before it, two phones that call, and lamps that watch both parties."""

    server: Server
    caller: Phone
    callee: Phone
    fleet: Fleet

    def call(self, from_: str = CALLER, to: str = CALLEE) -> Call:
        return Call(self.caller, (self.callee,), from_, to)

    @property
    def lamps(self) -> list[str]:
        return [phone.lamp for phone in self.fleet.phones.values()]

    async def show(self, *lamps: str, within: float = SOON_S) -> None:
        """The lamps of caller and callee are like this, or soon will be."""
        assert await self.fleet.settled(lambda: self.lamps == [*lamps], within=within), (self.lamps, lamps)

    async def all_show(self, lamp: str) -> None:
        """The same of all lamps there are."""
        assert await self.fleet.settled(lambda: set(self.lamps) == {lamp}, within=SOON_S), self.lamps

    async def stay_idle(self, seconds: float) -> None:
        """No lamp is lit for so long."""
        assert not await self.fleet.settled(lambda: set(self.lamps) != {IDLE}, within=seconds), self.lamps


@contextlib.contextmanager
def proxied(folder: Path, *, publish_to: int) -> Iterator[CallProxy]:
    """A call proxy that publishes to this port; in the end it has found no fault with our answers."""
    proxy = CallProxy(folder, server=publish_to)
    with proxy.running():
        yield proxy
    assert "ERROR:" not in proxy.log, proxy.log


@contextlib.asynccontextmanager
async def opened(server: Server, proxy: CallProxy, *extensions: str) -> AsyncIterator[Office]:
    """An office whose lamps watch these extensions; in the end every NOTIFY to them was in order."""
    caller, callee = Phone(proxy.udp_port), Phone(proxy.udp_port)
    async with Fleet(("127.0.0.1", server.sip_port), keys=1, seed=next(NUMBERS)) as fleet:
        await caller.open()
        await callee.open(proxy.callee_port)
        with contextlib.closing(caller), contextlib.closing(callee):
            await fleet.subscribe_all([fleet.add(extension) for extension in extensions])
            office = Office(server, caller, callee, fleet)
            await office.all_show(IDLE)
            yield office
            await fleet.subscribe_all(fleet.phones.values(), expires=0)
        assert fleet.faults == []


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, CallProxy]]:
    """A server and its call proxy, which all tests but one share: each brings phones, lamps and calls of its own."""
    with (
        running(tmp_path_factory.mktemp("server")) as server,
        proxied(tmp_path_factory.mktemp("proxy"), publish_to=server.sip_port) as proxy,
    ):
        yield server, proxy


@pytest.fixture
async def office(place: tuple[Server, CallProxy]) -> AsyncIterator[Office]:
    async with opened(*place, CALLER, CALLEE) as office:
        yield office


async def test_a_call_from_ringing_to_its_end(office: Office) -> None:
    call = office.call()
    await call.invite()
    await call.ring()
    await office.show(EARLY, EARLY)
    await call.answer()
    await office.show(CONFIRMED, CONFIRMED)
    await call.hang_up()
    await office.show(IDLE, IDLE)


async def test_an_info_in_the_call(office: Office) -> None:
    """Kamailio says `confirmed` once more after each request, so also while the call ends."""
    call = office.call()
    await call.invite()
    await call.ring()
    await call.answer()
    await office.show(CONFIRMED, CONFIRMED)
    await call.info()
    await call.info()
    await call.hang_up()
    await office.show(IDLE, IDLE)
    await office.stay_idle(QUIET_S)


async def test_the_caller_gives_up(office: Office) -> None:
    call = office.call()
    await call.invite()
    await call.ring()
    await office.show(EARLY, EARLY)
    await call.cancel()
    await office.show(IDLE, IDLE)


async def test_the_callee_is_busy(office: Office) -> None:
    """Without ringing: of the callee nothing but `terminated` is ever published, in an initial PUBLISH."""
    call = office.call()
    await call.invite()
    await office.show("trying", IDLE)
    await call.refuse()
    await office.show(IDLE, IDLE)


async def test_a_call_too_quick_for_the_answers(office: Office) -> None:
    """Each step is published before the step before it is answered."""
    for _ in range(5):
        call = office.call()
        await call.invite()
        await call.ring()
        await call.answer()
        await call.hang_up()
    await asyncio.sleep(2 * T1_S)  # the lamps were idle a moment ago; by now they have been lit, too
    await office.show(IDLE, IDLE, within=SOON_S - 2 * T1_S)
    await office.stay_idle(QUIET_S)


async def test_the_server_is_away_in_mid_call(office: Office) -> None:
    """The call is answered meanwhile; that comes again when the call has ended, and must not light the lamps."""
    call = office.call()
    await call.invite()
    await call.ring()
    await office.show(EARLY, EARLY)
    await asyncio.to_thread(office.server.stop)
    await asyncio.sleep(1)
    await call.answer()
    await asyncio.to_thread(office.server.start)
    await call.hang_up()
    await office.show(IDLE, IDLE)
    await office.stay_idle(T2_S / 2)


async def test_a_call_ends_while_the_server_is_away(office: Office) -> None:
    """The lamps are out as soon as Kamailio says so again."""
    call = office.call()
    await call.invite()
    await call.ring()
    await call.answer()
    await office.show(CONFIRMED, CONFIRMED)
    await asyncio.to_thread(office.server.stop)
    await call.hang_up()
    await asyncio.to_thread(office.server.start)
    await office.show(IDLE, IDLE, within=T2_S + SOON_S)


class Relay(asyncio.DatagramProtocol):
    """Between the proxy and the server: passes on what either says, the answers `late` seconds later.

    Of requests that speak of the state `lost` the first copy is.
    """

    def __init__(self, server: int, *, late: float = 0.0, lost: str = "") -> None:
        self._server = ("127.0.0.1", server)
        self._proxy: Any = None
        self._late = late
        self._lost = f"<state>{lost}<".encode()
        self.requests: Counter[bytes] = Counter()
        """How many copies of each came."""

    @property
    def initial(self) -> int:
        """How many of them are initial."""
        return sum(b"SIP-If-Match:" not in request for request in self.requests)

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if addr == self._server:
            asyncio.get_running_loop().call_later(self._late, self._transport.sendto, data, self._proxy)
            return
        self._proxy = addr
        self.requests[data] += 1
        if self._lost not in data or self.requests[data] > 1:
            # With rport (RFC 3581) the answer comes here, and not to the port that Via names.
            self._transport.sendto(data.replace(b";branch=", b";rport;branch=", 1), self._server)


@contextlib.asynccontextmanager
async def relayed(
    folder: Path, server: Server, *, late: float = 0.0, lost: str = ""
) -> AsyncIterator[tuple[Relay, Office]]:
    """An office whose proxy reaches the server through such a relay."""
    relay, port = Relay(server.sip_port, late=late, lost=lost), free_port()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: relay, local_addr=("127.0.0.1", port))
    with contextlib.closing(transport), proxied(folder, publish_to=port) as proxy:
        async with opened(server, proxy, CALLER, CALLEE) as office:
            yield relay, office


async def test_answers_that_come_late(tmp_path: Path) -> None:
    """Every state of a call is a publication of its own, of which Kamailio ends only one for each party.

    The others light no lamp, nor after a restart.
    """
    with running(tmp_path) as server:
        async with relayed(tmp_path, server, late=LATE_S) as (relay, office):
            call = office.call()
            await call.invite()
            await call.ring()
            await office.show(EARLY, EARLY)
            await call.answer()
            await call.info()
            await office.show(CONFIRMED, CONFIRMED)
            await asyncio.sleep(LATE_S)
            assert relay.initial > 2, "a publication more than the parties have is an orphan"
            await call.hang_up()
            await office.show(IDLE, IDLE)
            await asyncio.to_thread(server.stop)
            await asyncio.to_thread(server.start)
            await office.fleet.subscribe_all(office.fleet.phones.values())  # who refreshes is told at once
            await office.stay_idle(QUIET_S)


async def test_a_lost_ringing_that_comes_again_when_the_call_is_answered(
    place: tuple[Server, CallProxy], tmp_path: Path
) -> None:
    async with relayed(tmp_path, place[0], lost=EARLY) as (relay, office):
        call = office.call()
        await call.invite()
        await call.ring()
        await call.answer()
        await office.show(CONFIRMED, CONFIRMED)
        await asyncio.sleep(2 * T1_S)
        lamps = office.lamps
        await call.hang_up()
        await office.show(IDLE, IDLE)
        assert max(relay.requests.values()) > 1, "nothing was lost"
        assert lamps == [CONFIRMED, CONFIRMED]


async def test_many_calls(place: tuple[Server, CallProxy]) -> None:
    """Several at a time on each extension: answered, refused and given up in turn."""
    pairs = [(f"{1100 + number}", f"{2100 + number}") for number in range(PAIRS)]
    async with opened(*place, *itertools.chain(*pairs)) as office:
        async with asyncio.TaskGroup() as calls:
            for number in range(CALLS):
                calls.create_task(_play(office.call(*pairs[number % PAIRS]), number))
                await asyncio.sleep(1 / CALLS_PER_SECOND)
        await office.all_show(IDLE)
        await office.stay_idle(QUIET_S)


async def _play(call: Call, number: int) -> None:
    await call.invite()
    await call.ring()
    await asyncio.sleep(0.2)
    if number % 3 == 0:
        await call.refuse()
    elif number % 3 == 1:
        await call.cancel()
    else:
        await call.answer()
        await asyncio.sleep(0.5)
        await call.hang_up()
