"""kill -9, dozens of times, at random moments, amid everything: nothing that was acknowledged is lost or goes back.

A driver sets and resets lamps over HTTP and keeps, for each, which states are possible: the one whose command was
acknowledged last, and those whose answer a crash took away, which may have been carried out or not. Before each command
it asks what the server believes: that must be possible, and from then on it is the only one. Meanwhile the phones live
(tests/e2e/checker.py, a process of its own), and the server is killed: while it serves or while it starts; now and then
it is stopped in good order. In the end everything comes to rest, and every phone shows what is possible.

The seed is printed; SIPRESENCE_CRASH_SEED gives it. `make soak SECONDS=600` (SIPRESENCE_SOAK_SECONDS) is the long one.
"""

import asyncio
import contextlib
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.e2e.conftest import StartServer
from tests.e2e.server import ACCOUNT, TOKEN, Server

SECONDS = float(os.environ.get("SIPRESENCE_SOAK_SECONDS", 7))
SEED = int(os.environ.get("SIPRESENCE_CRASH_SEED") or random.randrange(2**32))
KEYS = 60
RESOURCES = 20
DRIVERS = 4  # at one time
CHANGES_PER_S = 100  # of all of them together
REST_EVERY_S = 60.0
LIVES_S = 1.5  # that a process serves at most
BOOTS_S = 0.8  # after which one that starts is killed at the latest
AMID_START = 0.3  # of all ends
IN_GOOD_ORDER = 0.1
STATES = ("early", "confirmed", "terminated")
MAX_REPORT_BYTES = 4 * 1024 * 1024

pytestmark = pytest.mark.e2e


class Checker:
    """The process of the phones, and its last report."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.report: dict[str, Any] = {}

    @classmethod
    @contextlib.asynccontextmanager
    async def of(cls, server: Server) -> AsyncIterator["Checker"]:
        """Start it, every key subscribed; kill it in the end."""
        numbers = map(str, (KEYS, RESOURCES, SEED))
        command = [sys.executable, "-m", "tests.e2e.checker", server.sip, server.url, *numbers]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=MAX_REPORT_BYTES)
        try:
            checker = cls(process)
            await checker.answer()
            yield checker
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def tell(self, command: str) -> None:
        """Have a command carried out: nothing that it sees may be wrong."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": command}).encode() + b"\n")
        await self.answer()

    async def answer(self) -> None:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        assert line, "the checker is gone"
        self.report = json.loads(line)
        assert self.report["faults"] == [], f"seed {SEED}"


class Driver:
    """Commands over HTTP, and what they leave possible. No lamp has two commands at one time."""

    def __init__(self, server: Server, chance: random.Random) -> None:
        self.counts: Counter[str] = Counter()
        self._url = f"{server.url}/v2/accounts/{ACCOUNT}/presence"
        self._chance = chance
        self._possible = {str(1000 + number): {"terminated"} for number in range(RESOURCES)}

    async def drive(self) -> None:
        """Change lamps until cancelled, whatever becomes of the server."""
        names = list(self._possible)
        async with asyncio.TaskGroup() as tasks:
            for number in range(DRIVERS):
                tasks.create_task(self._change_some(names[number::DRIVERS]))

    async def check(self, shown: dict[str, list[str]]) -> None:
        """What the server believes is possible, and every phone shows it."""
        async with aiohttp.ClientSession(headers={"X-Auth-Token": TOKEN}) as api:
            for extension in self._possible:
                await self._look(api, extension)
        assert shown == {extension: sorted(states) for extension, states in self._possible.items()}, f"seed {SEED}"

    async def _change_some(self, extensions: list[str]) -> None:
        async with aiohttp.ClientSession(headers={"X-Auth-Token": TOKEN}) as api:
            while True:
                await asyncio.sleep(self._chance.uniform(0, 2 * DRIVERS / CHANGES_PER_S))
                try:
                    extension = self._chance.choice(extensions)
                    await self._look(api, extension)
                    await self._command(api, extension)
                except aiohttp.ClientConnectionError:
                    self.counts["no answer"] += 1

    async def _look(self, api: aiohttp.ClientSession, extension: str) -> None:
        async with api.get(f"{self._url}/{extension}") as answer:
            state = (await answer.json())["data"]["state"]
        possible = self._possible[extension]
        assert state in possible, f"{extension} is {state}, possible is {possible}, seed {SEED}"
        self.counts["settled doubts"] += len(possible) > 1
        self._possible[extension] = {state}

    async def _command(self, api: aiohttp.ClientSession, extension: str) -> None:
        state = self._chance.choice((*STATES, "reset"))
        data = {"action": "reset"} if state == "reset" else {"action": "set", "state": state}
        outcome = "terminated" if state == "reset" else state
        self._possible[extension] |= {outcome}
        async with api.post(f"{self._url}/{extension}", json={"data": data}) as answer:
            assert answer.status == 202, f"{await answer.text()}, seed {SEED}"
        self._possible[extension] = {outcome}
        self.counts["acknowledged"] += 1


async def end_amid_start(server: Server, chance: random.Random) -> None:
    """Start the server, and kill it before it serves, or just after."""
    start = asyncio.create_task(asyncio.to_thread(server.start))
    await asyncio.sleep(chance.uniform(0.1, BOOTS_S))
    await asyncio.to_thread(server.kill)
    with contextlib.suppress(AssertionError):  # says that it ended
        await start


async def live_and_die(server: Server, checker: Checker, chance: random.Random, *, until: float) -> Counter[str]:
    """End the server again and again, and start it; it serves in the end."""
    ends: Counter[str] = Counter()
    while time.monotonic() < until:
        await asyncio.sleep(chance.uniform(0, LIVES_S))
        if chance.random() < IN_GOOD_ORDER:
            await asyncio.to_thread(server.stop)
            await checker.tell("stopped")
            ends["stopped"] += 1
        else:
            await asyncio.to_thread(server.kill)
            await checker.tell("crashed")
            ends["killed"] += 1
        while chance.random() < AMID_START:
            await end_amid_start(server, chance)
            await checker.tell("crashed")
            ends["killed amid its start"] += 1
        await asyncio.to_thread(server.start)
    return ends


async def a_while(server: Server, checker: Checker, driver: Driver, *, until: float) -> Counter[str]:
    """Let everything happen at once, then compare."""
    await checker.tell("live")
    changes = asyncio.create_task(driver.drive())
    try:
        ends = await live_and_die(server, checker, random.Random(SEED), until=until)
    finally:
        changes.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await changes  # raises what stopped it before
    await checker.tell("rest")
    await driver.check(checker.report["lamps"])
    return ends


async def test_a_crash_loses_nothing(start_server: StartServer) -> None:
    print(f"\nseed {SEED}")
    server = start_server(sip={"restore_spread": 1})
    end = time.monotonic() + SECONDS
    ends: Counter[str] = Counter()
    driver = Driver(server, random.Random(SEED + 1))
    async with Checker.of(server) as checker:
        while time.monotonic() < end:
            ends += await a_while(server, checker, driver, until=min(end, time.monotonic() + REST_EVERY_S))
        print(f"{dict(ends)}; {dict(driver.counts)}; {checker.report['counts']}")
    assert ends["killed"] + ends["killed amid its start"] >= SECONDS / 4
