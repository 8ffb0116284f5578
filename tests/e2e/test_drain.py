"""What phones see of a server that is told to stop, in each of the three manners."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from signal import SIGTERM

import pytest

from tests.e2e.conftest import StartServer
from tests.e2e.fleet import Fleet, Phone
from tests.e2e.server import Server

DRAIN_S = 1.5
KEYS = 30
RATE = 20
DEACTIVATED = "terminated;reason=deactivated"

Told = Callable[[], None]


@asynccontextmanager
async def phones_of(server: Server, count: int) -> AsyncIterator[tuple[Fleet, list[Phone]]]:
    async with Fleet(("127.0.0.1", server.sip_port), keys=KEYS) as fleet:
        phones = [fleet.add("101") for _ in range(count)]
        await fleet.subscribe_all(phones)
        assert await fleet.settled(lambda: all(phone.notifies for phone in phones), within=5)
        yield fleet, phones
        assert fleet.faults == []


def ended(server: Server) -> int:
    return server.process.wait(20)


async def test_refuse_answers_503_to_what_is_new_and_serves_the_rest(start_server: StartServer) -> None:
    server = start_server(sip={"drain": "refuse", "drain_seconds": DRAIN_S})
    async with phones_of(server, 2) as (fleet, (known, other)):
        begun = time.monotonic()
        server.process.send_signal(SIGTERM)
        stranger = fleet.add("101")
        assert await fleet.settled(lambda: "stopping" in server.log, within=2)
        assert (await fleet.subscribe(stranger), stranger.retry_after) == (503, 2)
        assert await fleet.subscribe(known) == 200
        assert await asyncio.to_thread(ended, server) == 0
        assert time.monotonic() - begun >= DRAIN_S
        server.forget()
        assert (known.ended, other.ended) == ("", "")
        await asyncio.to_thread(server.start)
        assert [await fleet.subscribe(phone) for phone in (known, other)] == [200, 200]


async def test_goodbye_ends_every_subscription_spread_and_paced(start_server: StartServer) -> None:
    server = start_server(sip={"drain": "goodbye", "drain_seconds": DRAIN_S, "notify_rate": RATE})
    async with phones_of(server, 3 * KEYS) as (fleet, phones):
        begun = time.monotonic()
        server.process.send_signal(SIGTERM)
        assert await asyncio.to_thread(ended, server) == 0
        took = time.monotonic() - begun
        server.forget()
        assert {phone.ended for phone in phones} == {DEACTIVATED}
        assert took >= (KEYS - 1) / RATE, "no target was told faster than it takes"
        assert took < 8
        await asyncio.to_thread(server.start)
        assert await fleet.subscribe(phones[0]) == 481


async def test_goodbye_waits_for_answers_no_longer_than_it_must(start_server: StartServer) -> None:
    server = start_server(sip={"drain": "goodbye", "drain_seconds": 0.2})
    async with phones_of(server, 2) as (_, (polite, silent)):
        silent.answers = False
        server.process.send_signal(SIGTERM)
        await asyncio.sleep(1.5)
        assert server.process.poll() is None, "it waits for the answer"
        server.process.send_signal(SIGTERM)
        begun = time.monotonic()
        assert await asyncio.to_thread(ended, server) == 0
        assert time.monotonic() - begun < 2, "the second signal stops at once"
        server.forget()
        assert (polite.ended, silent.ended) == (DEACTIVATED, DEACTIVATED)


@pytest.mark.parametrize("manner", ["refuse", "goodbye"])
async def test_a_second_signal_cuts_it_short_and_loses_nothing(start_server: StartServer, manner: str) -> None:
    server = start_server(sip={"drain": manner, "drain_seconds": 60})
    async with phones_of(server, 4) as (fleet, phones):
        server.process.send_signal(SIGTERM)
        assert await fleet.settled(lambda: "stopping" in server.log, within=2)
        assert await fleet.subscribe(phones[-1]) == 200
        server.process.send_signal(SIGTERM)
        begun = time.monotonic()
        assert await asyncio.to_thread(ended, server) == 0
        assert time.monotonic() - begun < 2
        server.forget()
        await asyncio.to_thread(server.start)
        living = [phone for phone in phones if not phone.ended]
        assert len(living) == (4 if manner == "refuse" else 3)
        assert [await fleet.subscribe(phone) for phone in living] == [200] * len(living)
        server.kill()  # it would drain, too
