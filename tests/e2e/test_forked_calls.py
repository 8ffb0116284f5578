"""A call that rings at two phones of one user, under one Call-ID, and one answers; an admin sets the lamp meanwhile.

Through a real Kamailio, which publishes one dialog of such a call, whichever phone rings or loses; and from two phones
that publish their own branches, so that the loser says `terminated` while the other one talks. The lamp shows the most
important of all that lives: nobody's end, nor the admin's, hides a call that goes on.
"""

import asyncio
import contextlib
import itertools
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from tests.builders import request
from tests.conftest import need_phone
from tests.e2e.call_proxy import FORKED, NUMBERS, Call, CallProxy, Phone
from tests.e2e.fleet import Fleet
from tests.e2e.server import REALM, Server, running
from tests.e2e.test_phone_lamp import PhoneProcess
from tests.e2e.test_publishers import CALLER, CONFIRMED, EARLY, IDLE, QUIET_S, SOON_S, Office, opened, proxied
from tests.events import publishing

PATIENCE_S = 10.0
PAUSE_S = 0.2
"""So that Kamailio's processes, which publish one step of a call each, do not overtake each other."""
IMPORTANCE = (EARLY, CONFIRMED, IDLE)
SAYS = {"a": (EARLY, CONFIRMED, IDLE), "b": (EARLY, IDLE)}
"""What the two phones publish: `a` answers, `b` loses."""
ORDERS = sorted(set(itertools.permutations("aaabb")))
"""Whose word is next: all orders there are."""
ADMIN_AFTER = {1: EARLY, 3: CONFIRMED, 4: IDLE}
"""What the admin sets after so many words of the phones."""

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all these tests: each has a call, or an extension, of its own."""
    with running(tmp_path_factory.mktemp("server")) as server:
        yield server


# Through Kamailio


@pytest.fixture(scope="module")
def proxy(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CallProxy]:
    with proxied(tmp_path_factory.mktemp("proxy"), publish_to=server.sip_port) as proxy:
        yield proxy


@pytest.fixture
async def office(server: Server, proxy: CallProxy) -> AsyncIterator[Office]:
    async with opened(server, proxy, CALLER, FORKED) as office:
        yield office


@pytest.fixture
async def call(office: Office, proxy: CallProxy) -> AsyncIterator[Call]:
    """It has reached both phones."""
    other = Phone(proxy.udp_port)
    await other.open(proxy.other_port)
    with contextlib.closing(other):
        call = Call(office.caller, (office.callee, other), CALLER, FORKED)
        await call.invite()
        yield call


async def sets(server: Server, extension: str, state: str) -> None:
    """An admin does."""
    await asyncio.to_thread(server.command, extension, action="set", state=state)


async def ring(call: Call, *branches: int) -> None:
    """Ring at these phones, in turn."""
    for at in branches:
        await call.ring(at)
        await asyncio.sleep(PAUSE_S)


@pytest.mark.parametrize("at", [0, 1], ids=["the first to ring", "the last to ring"])
async def test_one_of_two_answers_and_an_admin_sets_the_lamp_meanwhile(office: Office, call: Call, at: int) -> None:
    await ring(call, 0, 1)
    await office.show(EARLY, EARLY)
    await call.answer(at)
    await office.show(CONFIRMED, CONFIRMED)
    for state, lamp in ((EARLY, EARLY), (CONFIRMED, CONFIRMED), (EARLY, EARLY), (IDLE, CONFIRMED)):
        await sets(office.server, FORKED, state)
        await office.show(CONFIRMED, lamp)
    await call.hang_up()
    await office.show(IDLE, IDLE)
    await office.stay_idle(QUIET_S)


async def test_the_pjsua2_phone_shows_it(office: Office, call: Call) -> None:
    """It prints each change of the lamp, so that one that goes out in between would be seen."""
    need_phone()
    with pjsua2_phone(FORKED, office.server) as phone:
        assert await shown(phone) == IDLE
        await ring(call, 0, 1)
        assert await shown(phone) == EARLY
        await call.answer(0)
        assert await shown(phone) == CONFIRMED
        await sets(office.server, FORKED, EARLY)
        assert await shown(phone) == EARLY
        await sets(office.server, FORKED, CONFIRMED)
        assert await shown(phone) == CONFIRMED
        await sets(office.server, FORKED, IDLE)
        await asyncio.sleep(QUIET_S)
        await call.hang_up()
        assert await shown(phone) == IDLE


async def test_both_ring_in_turn(office: Office, call: Call) -> None:
    """A phone says 180 again, or 183 after it; Kamailio's one publication then has the tag of the first phone again."""
    await ring(call, 0, 1, 0, 1)
    await office.show(EARLY, EARLY)
    await call.answer(0)
    await office.show(CONFIRMED, CONFIRMED)
    await call.hang_up()
    await office.show(IDLE, IDLE)


async def test_the_caller_gives_up(office: Office, call: Call) -> None:
    await ring(call, 0, 1)
    await office.show(EARLY, EARLY)
    await call.cancel()
    await office.show(IDLE, IDLE)
    await office.stay_idle(QUIET_S)


@contextlib.contextmanager
def pjsua2_phone(extension: str, server: Server) -> Iterator[PhoneProcess]:
    command = [sys.executable, "-m", "sipresence", "phone", f"sip:{extension}@{server.sip}", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield PhoneProcess(process)
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()


async def shown(phone: PhoneProcess) -> str:
    """What its lamp changes to next."""
    return await asyncio.to_thread(phone.lamp)


# From phones that publish


@dataclass
class Branch:
    """What a phone publishes of its branch of a call, in one publication. The dialog has the same id at both phones."""

    phone: Phone
    host: str
    extension: str
    tag: str
    _cseq: int = 0
    _entity_tag: str = ""

    async def says(self, state: str) -> None:
        """Publish this, and be answered."""
        self._cseq += 1
        uri, call_id = f"sip:{self.extension}@{REALM}", f"{self.tag}-of-{self.extension}"
        dialog = publishing.Call(state, "1", f"call-to-{self.extension}", self.tag, "caller")
        headers = {"Content-Type": publishing.CONTENT_TYPE}
        if self._entity_tag:
            headers["SIP-If-Match"] = self._entity_tag
        message = request(
            "PUBLISH",
            uri=uri,
            to=f"<{uri}>",
            from_=f"<{uri}>",
            call_id=call_id,
            cseq=self._cseq,
            via=f"SIP/2.0/UDP {self.host}:{self.phone.port};branch=z9hG4bK-{call_id}-{self._cseq}",
            contact=None,
            event="dialog",
            expires=3600,
            headers=headers,
            body=publishing.dialog_info(dialog),
        )
        self.phone.send(message)
        self._entity_tag = (await self.phone.hears(call_id, "200")).get("sip-etag")


@contextlib.asynccontextmanager
async def branch(server: Server, extension: str, tag: str, host: str) -> AsyncIterator[Branch]:
    phone = Phone(server.sip_port)
    await phone.open(host=host)
    with contextlib.closing(phone):
        yield Branch(phone, host, extension, tag)


@pytest.mark.parametrize("hosts", [("127.0.0.2", "127.0.0.3"), ("127.0.0.2", "127.0.0.2")], ids=["apart", "NAT"])
@pytest.mark.parametrize("order", ORDERS, ids="".join)
async def test_two_phones_that_publish(server: Server, order: tuple[str, ...], hosts: tuple[str, str]) -> None:
    """Known apart by their addresses, or, behind a NAT, by their tags alone."""
    extension = f"{1300 + next(NUMBERS)}"
    words = {who: iter(states) for who, states in SAYS.items()}
    alive = {"a": IDLE, "b": IDLE, "admin": IDLE}
    async with (
        Fleet(("127.0.0.1", server.sip_port), seed=next(NUMBERS)) as fleet,
        branch(server, extension, "a", hosts[0]) as a,
        branch(server, extension, "b", hosts[1]) as b,
    ):
        key = fleet.add(extension)
        await fleet.subscribe(key)
        for count, who in enumerate(order, 1):
            alive[who] = next(words[who])
            await {"a": a, "b": b}[who].says(alive[who])
            await _follows(fleet, alive)
            if count in ADMIN_AFTER:
                alive["admin"] = ADMIN_AFTER[count]
                await sets(server, extension, alive["admin"])
                await _follows(fleet, alive)
        assert key.lamp == IDLE
        assert fleet.faults == []


async def _follows(fleet: Fleet, alive: dict[str, str]) -> None:
    """The one lamp shows the most important of these, or soon will."""
    lamp = min(alive.values(), key=IMPORTANCE.index)
    (key,) = fleet.phones.values()
    assert await fleet.settled(lambda: key.lamp == lamp, within=SOON_S), (key.lamp, alive)
