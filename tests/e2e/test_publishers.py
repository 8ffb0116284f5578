"""Calls through a real Kamailio that PUBLISHes them (pua_dialoginfo), as the lamps of both parties show them.

What is hard about this publisher: it opens another publication while the answer to the one before is under way, forgets
the first and refreshes it for hours, and what it says while the server is away comes later and out of order. Whatever
happens, both lamps are out soon after the call.
"""

import asyncio
import contextlib
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import wire
from tests.e2e.call_proxy import CallProxy
from tests.e2e.fleet import Fleet
from tests.e2e.server import REALM, Server, free_port, running
from tests.e2e.wire import Message

PATIENCE_S = 5.0
SOON_S = 2.0
"""A lamp is to be out so long after the end of a call."""
T2_S = 4.0
"""Kamailio sends a PUBLISH again after 0.5, 1 and 2 s, then every so many."""
LATE_S = 3.0
QUIET_S = 0.5
CALLER, CALLEE = "1001", "1002"
IDLE, EARLY, CONFIRMED = "terminated", "early", "confirmed"
CALLS, CALLS_PER_SECOND, PAIRS = 50, 20, 10
NUMBERS = itertools.count()
"""So that no Call-ID comes twice, of a call or of a lamp."""

pytestmark = pytest.mark.e2e


class Phone(asyncio.DatagramProtocol):
    """A phone behind the call proxy, with any number of calls at a time; Call-IDs tell them apart."""

    def __init__(self, proxy: int) -> None:
        self._proxy = ("127.0.0.1", proxy)
        self._inboxes: defaultdict[str, asyncio.Queue[Message]] = defaultdict(asyncio.Queue)

    async def open(self, port: int = 0) -> None:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", port))
        self.port: int = self._transport.get_extra_info("sockname")[1]

    def close(self) -> None:
        self._transport.close()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        message = wire.read(data)
        self._inboxes[message.get("call-id")].put_nowait(message)

    def send(self, data: bytes) -> None:
        self._transport.sendto(data, self._proxy)

    async def hears(self, call_id: str, what: str) -> Message:
        """The next request or answer of this call that is of this method or status; what comes before is dropped."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                message = await self._inboxes[call_id].get()
                if what in (message.method, str(message.status)):
                    return message


@dataclass
class Call:
    """One call between two phones; each step is done when it has reached the other side."""

    caller: Phone
    callee: Phone
    from_: str
    to: str
    number: int = field(default_factory=NUMBERS.__next__)
    _cseq: int = 1
    _invite: Message = field(init=False)  # as the callee heard it
    _answer: Message = field(init=False)  # the last to it, as the caller heard it

    @property
    def id(self) -> str:
        return f"call-{self.number}@{self.caller.port}"

    @property
    def _uri(self) -> str:
        return f"sip:{self.to}@{REALM}"

    async def invite(self) -> None:
        self._send("INVITE", self._uri, to=f"<{self._uri}>")
        self._invite = await self.callee.hears(self.id, "INVITE")

    async def ring(self) -> None:
        await self._reply(180)

    async def answer(self) -> None:
        await self._reply(200)
        self._send_inside("ACK")
        await self.callee.hears(self.id, "ACK")

    async def refuse(self) -> None:
        await self._reply(486)
        self._acknowledge()

    async def cancel(self) -> None:
        self._send("CANCEL", self._uri, to=f"<{self._uri}>")
        self.callee.send(wire.answer(await self.callee.hears(self.id, "CANCEL")))
        await self._reply(487)
        self._acknowledge()

    async def info(self) -> None:
        await self._ask("INFO")

    async def hang_up(self) -> None:
        await self._ask("BYE")

    async def _ask(self, method: str) -> None:
        """Play a request of the caller inside the dialog, and its 200."""
        self._cseq += 1
        self._send_inside(method)
        self.callee.send(wire.answer(await self.callee.hears(self.id, method)))
        await self.caller.hears(self.id, "200")

    async def _reply(self, status: int) -> None:
        """Answer the INVITE as the callee, with its tag and its Contact."""
        head = wire.answer(self._invite, status).decode()
        to = self._invite.get("to")
        contact = f"Contact: <sip:{self.to}@127.0.0.1:{self.callee.port}>"
        self.callee.send(head.replace(f"to: {to}\r\n", f"to: {to};tag=callee\r\n{contact}\r\n").encode())
        self._answer = await self.caller.hears(self.id, str(status))

    def _acknowledge(self) -> None:
        """ACK a refusal: to the same address, with the branch of the INVITE (RFC 3261 section 17.1.1.3)."""
        self._send("ACK", self._uri, to=self._answer.get("to"))

    def _send_inside(self, method: str) -> None:
        target = self._answer.get("contact").strip("<>")
        routes = self._answer.all("record-route")[::-1]
        self._send(method, target, to=self._answer.get("to"), branch=method, routes=routes)

    def _send(self, method: str, uri: str, *, to: str, branch: str = "INVITE", routes: list[str] | None = None) -> None:
        here = f"127.0.0.1:{self.caller.port}"
        lines = [
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/UDP {here};branch=z9hG4bK-{branch}-{self._cseq}-{self.number}",
            *(f"Route: {route}" for route in routes or ()),
            f"From: <sip:{self.from_}@{REALM}>;tag=caller",
            f"To: {to}",
            f"Call-ID: {self.id}",
            f"CSeq: {self._cseq} {method}",
            f"Contact: <sip:{self.from_}@{here}>",
            "Max-Forwards: 70",
            "Content-Length: 0",
        ]
        self.caller.send("\r\n".join([*lines, "", ""]).encode())


@dataclass
class Office:
    """A server, the call proxy before it, two phones that call, and lamps that watch both parties."""

    server: Server
    caller: Phone
    callee: Phone
    fleet: Fleet

    def call(self, from_: str = CALLER, to: str = CALLEE) -> Call:
        return Call(self.caller, self.callee, from_, to)

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
    await office.show(IDLE, IDLE)
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


class LateAnswers(asyncio.DatagramProtocol):
    """Between the proxy and the server: passes requests on at once, and answers `LATE_S` later."""

    def __init__(self, server: int) -> None:
        self._server = ("127.0.0.1", server)
        self._proxy: Any = None
        self.initial: set[bytes] = set()
        """Each initial PUBLISH that came, its retransmissions not counted."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if addr == self._server:
            asyncio.get_running_loop().call_later(LATE_S, self._transport.sendto, data, self._proxy)
            return
        self._proxy = addr
        if b"SIP-If-Match:" not in data:
            self.initial.add(data)
        # With rport (RFC 3581) the answer comes here, and not to the port that Via names.
        self._transport.sendto(data.replace(b";branch=", b";rport;branch=", 1), self._server)


async def test_answers_that_come_late(tmp_path: Path) -> None:
    """Every state of a call is a publication of its own, of which Kamailio ends only one for each party.

    The others light no lamp, nor after a restart.
    """
    with running(tmp_path) as server:
        relay, port = LateAnswers(server.sip_port), free_port()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: relay, local_addr=("127.0.0.1", port))
        with contextlib.closing(transport), proxied(tmp_path, publish_to=port) as proxy:
            async with opened(server, proxy, CALLER, CALLEE) as office:
                call = office.call()
                await call.invite()
                await call.ring()
                await office.show(EARLY, EARLY)
                await call.answer()
                await call.info()
                await office.show(CONFIRMED, CONFIRMED)
                await asyncio.sleep(LATE_S)
                assert len(relay.initial) > 2, "a publication more than the parties have is an orphan"
                await call.hang_up()
                await office.show(IDLE, IDLE)
                await asyncio.to_thread(server.stop)
                await asyncio.to_thread(server.start)
                await office.fleet.subscribe_all(office.fleet.phones.values())  # who refreshes is told at once
                await office.stay_idle(QUIET_S)


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
