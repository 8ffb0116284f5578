"""Restarts: how soon every phone has heard again, and that no request fails when the server is replaced under load.

`make test` restarts with 5,000 subscriptions, `make soak` with 100,000. Their phones are in processes of their own
(tests/e2e/crowd.py), each on its own address and with ten lamp keys to a port, since one target address is told ten
NOTIFYs a second at most.
"""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

import pytest

from tests.e2e.conftest import StartServer
from tests.e2e.crowd import Report
from tests.e2e.fleet import T1, Fleet, Phone
from tests.e2e.server import MIN_EXPIRES, Server

LONG = "SIPRESENCE_SOAK_SECONDS" in os.environ
SUBSCRIPTIONS = 100_000 if LONG else 5_000
CROWDS = ("127.0.0.2", "127.0.0.3")
RESTORE_SPREAD_S = 3 if LONG else 1
PATIENCE_S = 120.0
LOOK_S = 0.1

REFRESHING = 1_000
REFRESH_EVERY_S = 1.0
SOON_S = 1.0  # after the first retransmission that the new process can read
WARM_UP_S = 0.7
AFTERWARDS_S = 1.5
T2 = 4.0

pytestmark = pytest.mark.e2e


class Crowds:
    """The processes of the phones."""

    def __init__(self, processes: Sequence[asyncio.subprocess.Process]) -> None:
        self._processes = processes
        self.reports: list[Report] = []

    @classmethod
    @contextlib.asynccontextmanager
    async def of(cls, server: Server, count: int) -> AsyncIterator["Crowds"]:
        """Start them, all phones subscribed; kill them in the end."""
        pipe = asyncio.subprocess.PIPE
        commands = (
            (sys.executable, "-m", "tests.e2e.crowd", server.sip, own, str(count // len(CROWDS))) for own in CROWDS
        )
        processes = [await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe) for words in commands]
        try:
            crowds = cls(processes)
            await crowds._answers()
            yield crowds
        finally:
            for process in processes:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    async def mark(self) -> None:
        """From now on count anew who is told."""
        await self._ask("mark")

    async def told(self) -> float:
        """Wait until every phone was told something since the mark; return when the last one was."""
        deadline = time.monotonic() + PATIENCE_S
        while sum(report.told for report in self.reports) < sum(report.phones for report in self.reports):
            assert time.monotonic() < deadline, self.reports
            await asyncio.sleep(LOOK_S)
            await self._ask("report")
        return max(report.last_at for report in self.reports)

    async def _ask(self, word: str) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{word}\n".encode())
        await self._answers()

    async def _answers(self) -> None:
        self.reports = []
        for process in self._processes:
            assert process.stdout is not None
            self.reports.append(Report(**json.loads(await process.stdout.readline())))
        assert [report for report in self.reports if report.faults or report.refused] == []


async def test_every_phone_hears_again_after_a_restart(start_server: StartServer) -> None:
    server = start_server(sip={"restore_spread": RESTORE_SPREAD_S})
    begun = time.monotonic()
    async with Crowds.of(server, SUBSCRIPTIONS) as crowds, Fleet(("127.0.0.1", server.sip_port)) as fleet:
        print(f"\n{SUBSCRIPTIONS} subscriptions made, and their phones told, in {time.monotonic() - begun:.1f} s")
        fleet.gaps_allowed = True
        for how, end in {"kill -9": server.kill, "SIGTERM": server.stop}.items():
            await crowds.mark()
            brief = fleet.add("1000")
            assert await fleet.subscribe(brief, expires=MIN_EXPIRES) == 200
            begun = time.monotonic()
            await asyncio.to_thread(end)
            ended = time.monotonic()
            await asyncio.sleep(begun + MIN_EXPIRES - ended)
            started = time.monotonic()
            await asyncio.to_thread(server.start)
            ready = time.monotonic()
            last = await crowds.told()
            assert brief.ended == "terminated;reason=timeout", "what expired meanwhile is ended properly"
            assert await fleet.subscribe(brief) == 481
            print(
                f"{how}: ended after {ended - begun:.1f} s, ready after {ready - started:.1f} s, "
                f"every phone told {last - ready:.1f} s later"
            )
        assert fleet.faults == []


class Refresh(NamedTuple):
    """When a refresh was first sent, when it was answered, and how."""

    sent_at: float
    answered_at: float
    status: int

    def due_at(self, *, ended: float, ready: float) -> float:
        """When a copy of it was sent that a server could read: one that ended, or the next one, which was ready then.

        Copies follow the first after T1, and then at intervals that double up to 4 s (RFC 3261 section 17.1.2.2).
        """
        if self.answered_at <= ended:
            return self.sent_at
        copy_at, interval = self.sent_at, T1
        while copy_at < ready:
            copy_at += interval
            interval = min(2 * interval, T2)
        return copy_at


async def keep_refreshing(fleet: Fleet, phone: Phone, done: list[Refresh], stop: asyncio.Event) -> None:
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(fleet.random.uniform(0, 2 * REFRESH_EVERY_S)):
                await stop.wait()
                return
        sent = time.monotonic()
        status = await fleet.subscribe(phone)
        done.append(Refresh(sent, time.monotonic(), status))


async def test_no_refresh_fails_when_the_server_is_restarted(start_server: StartServer) -> None:
    server = start_server(sip={"restore_spread": 1})
    done: list[Refresh] = []
    stop = asyncio.Event()
    async with Fleet(("127.0.0.1", server.sip_port)) as fleet:
        phones = [fleet.add(str(1000 + number % 100)) for number in range(REFRESHING)]
        await fleet.subscribe_all(phones)
        refreshing = [asyncio.create_task(keep_refreshing(fleet, phone, done, stop)) for phone in phones]
        await asyncio.sleep(WARM_UP_S)
        begun = time.monotonic()
        await asyncio.to_thread(server.stop)
        ended = time.monotonic()
        await asyncio.to_thread(server.start)
        ready = time.monotonic()
        await asyncio.sleep(AFTERWARDS_S)
        stop.set()
        await asyncio.gather(*refreshing)
        assert fleet.faults == []
        waits = [refresh.answered_at - refresh.sent_at for refresh in done]
        print(
            f"\n{REFRESHING} phones, {len(done)} refreshes, {fleet.retransmissions} retransmissions: the server ended "
            f"after {ended - begun:.2f} s, was ready after {ready - ended:.2f} s; longest wait {max(waits):.2f} s"
        )
        assert [refresh for refresh in done if refresh.status != 200] == []
        late = [refresh for refresh in done if refresh.answered_at > refresh.due_at(ended=ended, ready=ready) + SOON_S]
        assert late == []
