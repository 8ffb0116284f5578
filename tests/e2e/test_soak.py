"""A soak: phones on TCP that subscribe, refresh, break and come back, while their lamps change. Nothing may leak.

Ten seconds with 300 phones by default; `make soak SECONDS=180` (or SIPRESENCE_SOAK_SECONDS) is the real one, with
2,000. What is compared: file descriptors with those before the first phone, memory and objects with those after a
warm-up of the same kind, which fills what is cached. The phones are in tests/e2e/soak.py, the count of objects in
tests/e2e/watched.py.
"""

import asyncio
import contextlib
import json
import os
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sipresence.events.subscription import Subscription
from sipresence.events.timeline import ENDED
from sipresence.net.stream import StreamConnection
from tests.e2e.conftest import StartServer
from tests.e2e.server import ACCOUNT, TOKEN, Server
from tests.e2e.watched import take_census

SHORT_S = 10.0
SECONDS = float(os.environ.get("SIPRESENCE_SOAK_SECONDS", SHORT_S))
PHONES = 300 if SECONDS <= SHORT_S else 2000
RESOURCES = PHONES // 10
SETS_PER_S = 20
WARM_UP = 0.4  # of the time
T1_MS = 100  # what is kept for 64 · T1, or for two of that, is gone in seconds, not after a minute
LOOK_S = 0.2
SETTLE_LOOKS = 75
ONE_A_PHONE = (StreamConnection.__name__, Subscription.__name__)
NONE_A_PHONE = ("Task", "Future")
FEW = 10
SLACK = 200  # objects: as many dead cursors a connection of CPython's sqlite3 keeps
MAX_GROWTH_MIB = 8
MAX_REPORT_BYTES = 4 * 1024 * 1024
SQLITE_FILES = 2  # which its second connection opens with the first checkpoint
STATES = ("early", "confirmed", "terminated")

pytestmark = pytest.mark.e2e


class Phones:
    """The process of the phones, and its last report."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.report: dict[str, Any] = {}

    @classmethod
    @contextlib.asynccontextmanager
    async def of(cls, server: Server) -> AsyncIterator["Phones"]:
        """Start it, every phone subscribed; kill it in the end."""
        command = [sys.executable, "-m", "tests.e2e.soak", server.sip, str(PHONES), str(RESOURCES)]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=MAX_REPORT_BYTES)
        try:
            phones = cls(process)
            await phones.answer()
            yield phones
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def tell(self, command: str) -> dict[str, Any]:
        """Have a command done; return the report after it."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n".encode())
        return await self.answer()

    async def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        assert line, "the phones are gone"
        self.report = json.loads(line)
        assert self.report["faults"] == []
        return self.report


@dataclass(slots=True, frozen=True)
class Footprint:
    """What the server's process holds."""

    sockets: int
    files: int
    threads: int
    rss_mib: float
    objects: Counter[str]

    @classmethod
    def of(cls, server: Server, window: Path) -> "Footprint":
        folder = Path(f"/proc/{server.process.pid}")
        lines = (folder / "status").read_text().splitlines()
        rss_kib = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
        threads = len(list((folder / "task").iterdir()))
        sockets, files = server_descriptors(server)
        return cls(sockets, files, threads, rss_kib / 1024, take_census(window))

    def __str__(self) -> str:
        objects = ", ".join(f"{self.objects[name]} {name}" for name in (*ONE_A_PHONE, *NONE_A_PHONE))
        return (
            f"{self.sockets} sockets, {self.files} other descriptors, {self.threads} threads, "
            f"{self.rss_mib:.1f} MiB RSS, {objects}"
        )


def server_descriptors(server: Server) -> tuple[int, int]:
    """How many sockets the server's process has open, and how many other files."""
    files = []
    for file in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since
            files.append(os.readlink(file))
    sockets = sum(file.startswith("socket:") for file in files)
    return sockets, len(files) - sockets


def admin(server: Server) -> aiohttp.ClientSession:
    """A session with the admin API."""
    return aiohttp.ClientSession(f"{server.url}/v2/accounts/{ACCOUNT}/", headers={"X-Auth-Token": TOKEN})


async def set_lamp(api: aiohttp.ClientSession, extension: str, state: str) -> None:
    async with api.post(f"presence/{extension}", json={"data": {"action": "set", "state": state}}) as answer:
        assert answer.status == 202, await answer.text()


async def change_lamps(api: aiohttp.ClientSession) -> None:
    """Change lamps until cancelled."""
    chance = random.Random(0)
    while True:
        await set_lamp(api, str(1000 + chance.randrange(RESOURCES)), chance.choice(STATES))
        await asyncio.sleep(1 / SETS_PER_S)


async def churn(api: aiohttp.ClientSession, phones: Phones, seconds: float) -> None:
    changes = asyncio.create_task(change_lamps(api))
    try:
        await phones.tell(f"churn {seconds}")
    finally:
        changes.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await changes  # raises what stopped it before


async def check_last_state(api: aiohttp.ClientSession, phones: Phones) -> None:
    """Set every lamp to something new: every phone shows it; by its faults, over its newest connection."""
    final = {str(1000 + number): ("early", "confirmed")[number % 2] for number in range(RESOURCES)}
    for extension, state in final.items():
        await set_lamp(api, extension, "terminated")
        await set_lamp(api, extension, state)
    expected = {extension: [state] for extension, state in final.items()}
    for _ in range(SETTLE_LOOKS):
        if (await phones.tell("report"))["lamps"] == expected:
            return
        await asyncio.sleep(LOOK_S)
    assert phones.report["lamps"] == expected


def left_behind(warm: Footprint, after: Footprint) -> dict[str, int]:
    """The types of which there are more objects than after the warm-up, though the phones are gone, and how many.

    A subscription that is remembered after its end has up to four of one type, its moves.
    """
    allowed = SLACK + 4 * min(after.objects["Ended"], ENDED)
    return {name: number for name, number in (after.objects - warm.objects).items() if number > allowed}


async def emptied(server: Server, window: Path, *, before: Footprint, warm: Footprint) -> Footprint:
    """The footprint, once nothing is left of the phones, or after a while."""
    async with admin(server) as api:
        await set_lamp(api, "1000", "terminated")  # the last work is kept until the next comes: let that be little
    for _ in range(SETTLE_LOOKS):
        await asyncio.sleep(LOOK_S)
        after = Footprint.of(server, window)
        if after.sockets <= before.sockets and not left_behind(warm, after):
            break
    return after


async def settled(server: Server, window: Path, *, sockets: int) -> Footprint:
    """The footprint, once it has no more sockets than these, or after a while."""
    for _ in range(SETTLE_LOOKS):
        await asyncio.sleep(LOOK_S)
        if server_descriptors(server)[0] <= sockets:
            break
    return Footprint.of(server, window)


async def test_soak(start_server: StartServer, tmp_path: Path) -> None:
    window = tmp_path / "window"
    server = start_server(program=(sys.executable, "-m", "tests.e2e.watched", str(window)), sip={"t1_ms": T1_MS})
    await asyncio.sleep(LOOK_S)  # what looked whether it serves is gone then
    before = Footprint.of(server, window)
    busy = before.sockets + PHONES + FEW
    async with Phones.of(server) as phones:
        async with admin(server) as api:
            await churn(api, phones, SECONDS * WARM_UP)
            warm = await settled(server, window, sockets=busy)
            await churn(api, phones, SECONDS * (1 - WARM_UP))
            await check_last_state(api, phones)
            full = await settled(server, window, sockets=busy)
        await phones.tell("leave")
        after = await emptied(server, window, before=before, warm=warm)
    print(f"\n{PHONES} phones, {SECONDS:.0f} s: {phones.report['counts']}")
    for name, footprint in {"before": before, "warm": warm, "at the end": full, "after": after}.items():
        print(f"{name:>10}: {footprint}")

    check_full(full, before)
    assert full.rss_mib - warm.rss_mib < MAX_GROWTH_MIB
    assert after.sockets == before.sockets
    assert after.files - before.files <= SQLITE_FILES
    assert after.threads == before.threads
    assert left_behind(warm, after) == {}
    server.check_log()


def check_full(full: Footprint, before: Footprint) -> None:
    """While every phone is there: one connection and one subscription each, and no task or future.

    Of subscriptions the last `ENDED` are remembered after their end, for timelines.

    The server may have a few further connections, which it opened to the phones' own listener.
    """
    assert PHONES <= full.sockets - before.sockets < PHONES + FEW
    for name, remembered in ((StreamConnection.__name__, 0), (Subscription.__name__, ENDED)):
        assert PHONES <= full.objects[name] < PHONES + remembered + FEW, name
    for name in NONE_A_PHONE:
        assert full.objects[name] - before.objects[name] < FEW, name
