"""Clock steps of an hour either way: they end no subscription, lengthen none, and delay no expiry.

Debian's libfaketime gives the server a wall clock that the test steps. The monotonic clock stays the machine's, as it
does when an administrator or NTP sets the time. That the step reached the server is read off its HTTP Date.
"""

import asyncio
import subprocess
import time
from email.utils import parsedate_to_datetime
from pathlib import Path

import aiohttp
import pytest

from tests.conftest import need
from tests.e2e.conftest import StartServer
from tests.e2e.fleet import Fleet, Phone
from tests.e2e.server import ACCOUNT, MIN_EXPIRES, PROGRAM, TOKEN, Server

HOUR = 3600
SLACK_S = 5  # what a test may take between two events that it compares
STEPS = pytest.mark.parametrize("step", [HOUR, -HOUR], ids=["an hour forth", "an hour back"])

pytestmark = pytest.mark.e2e


class WallClock:
    """The wall clock of the servers whose `program` this is, in a file that they read again each time they ask."""

    def __init__(self, folder: Path) -> None:
        command = [need("faketime"), "-m", "-f", "+0", "printenv", "LD_PRELOAD"]
        library = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        self._file = folder / "clock"
        self._shown = folder / "clock-shown"
        self.show(0)
        settings = {
            "LD_PRELOAD": library,
            "FAKETIME_TIMESTAMP_FILE": str(self._shown),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }
        self.program = ("env", *(f"{name}={value}" for name, value in settings.items()), *PROGRAM)

    def show(self, offset: int) -> None:
        """Step the clock to `offset` seconds from the true time."""
        self._file.write_text(f"{offset:+d}")
        self._file.rename(self._shown)  # no reader finds half a file


@pytest.fixture
def clock(tmp_path: Path) -> WallClock:
    return WallClock(tmp_path)


async def set_lamp(server: Server, extension: str, state: str) -> float:
    """Set a lamp; return by how many seconds the server's wall clock is off."""
    url = f"{server.url}/v2/accounts/{ACCOUNT}/presence/{extension}"
    async with (
        aiohttp.ClientSession(headers={"X-Auth-Token": TOKEN}) as api,
        api.post(url, json={"data": {"action": "set", "state": state}}) as answer,
    ):
        assert answer.status == 202, await answer.text()
        return parsedate_to_datetime(answer.headers["Date"]).timestamp() - time.time()


async def hears(fleet: Fleet, phone: Phone, state: str) -> None:
    assert await fleet.settled(lambda: phone.lamp == state, within=5), phone


@STEPS
async def test_a_step_while_it_runs(start_server: StartServer, clock: WallClock, step: int) -> None:
    server = start_server(program=clock.program)
    async with Fleet(("127.0.0.1", server.sip_port)) as fleet:
        long, short, brief = fleet.add("101"), fleet.add("102"), 2 * MIN_EXPIRES
        assert await fleet.subscribe(long, expires=2 * HOUR) == 200
        assert await fleet.subscribe(short, expires=brief) == 200
        ends_at = time.monotonic() + brief
        clock.show(step)

        off = await set_lamp(server, "101", "early")
        assert abs(off - step) < SLACK_S, "the server's clock was not stepped"
        await hears(fleet, long, "early")
        assert 2 * HOUR - SLACK_S <= long.remaining <= 2 * HOUR

        assert await fleet.subscribe(long, expires=HOUR) == 200
        await set_lamp(server, "101", "confirmed")
        await hears(fleet, long, "confirmed")
        assert HOUR - SLACK_S <= long.remaining <= HOUR

        await asyncio.sleep(ends_at - time.monotonic() - 0.5)
        assert short.ended == ""
        assert await fleet.settled(lambda: bool(short.ended), within=1.5)
        assert short.ended == "terminated;reason=timeout"
        assert long.ended == ""

        assert await fleet.subscribe(long, expires=0) == 200
        assert await fleet.settled(lambda: bool(long.ended), within=5)
        assert fleet.faults == []


@STEPS
async def test_a_step_between_stop_and_start(start_server: StartServer, clock: WallClock, step: int) -> None:
    """What is stored is wall time, so an hour that passed counts; one that never was lengthens nothing for long.

    Expiry is capped at what can be granted (max_expires): back an hour, and a subscription does not last three.
    """
    granted = 2 * HOUR
    server = start_server(program=clock.program, sip={"max_expires": granted, "restore_spread": 0})
    async with Fleet(("127.0.0.1", server.sip_port)) as fleet:
        fleet.gaps_allowed = True
        phone, over = fleet.add("101"), fleet.add("102")
        assert await fleet.subscribe(phone, expires=granted) == 200
        assert await fleet.subscribe(over, expires=HOUR // 2) == 200
        assert await fleet.settled(lambda: phone.notifies == over.notifies == 1, within=5)
        await asyncio.to_thread(server.kill)
        clock.show(step)
        await asyncio.to_thread(server.start)

        assert await fleet.settled(lambda: phone.notifies == over.notifies == 2, within=5)
        left = min(granted - step, granted)
        assert left - SLACK_S <= phone.remaining <= left
        if step > 0:
            assert over.ended == "terminated;reason=timeout", "the half hour is over"
        else:
            assert HOUR // 2 - SLACK_S <= over.remaining - HOUR <= HOUR // 2

        off = await set_lamp(server, "101", "early")
        assert abs(off - step) < SLACK_S, "the server's clock was not stepped"
        await hears(fleet, phone, "early")
        assert await fleet.subscribe(phone, expires=HOUR) == 200
        await set_lamp(server, "101", "confirmed")
        await hears(fleet, phone, "confirmed")
        assert HOUR - SLACK_S <= phone.remaining <= HOUR
        assert fleet.faults == []
