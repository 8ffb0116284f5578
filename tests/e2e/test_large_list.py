"""The list of a large account beside NOTIFYs: lamps must not wait for whoever looks at all of them.

`make test` lists 20,000 subscriptions, `make soak` 100,000. Their phones, and whoever reads the list, are in processes
of their own. What is measured is how long after an admin's command a phone hears of it: while nobody lists, while the
whole list is sent again and again, and while it is read page by page.
"""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest

from tests.e2e.conftest import StartServer
from tests.e2e.fleet import Fleet, Phone
from tests.e2e.server import ACCOUNT, TOKEN, Server
from tests.e2e.test_restart import Crowds

LONG = "SIPRESENCE_SOAK_SECONDS" in os.environ
SUBSCRIPTIONS = 100_000 if LONG else 20_000
PROBES = 40
SAMPLES = 600 if LONG else 200
ROUNDS = 4 if LONG else 2  # of which the best counts: what else a machine does only ever adds
EVERY_S = 0.01
SLACK_S = 0.005

READER = """
import json, sys
from urllib.request import Request, urlopen

url, token, page = sys.argv[1:]
while True:
    start, count = "", 0
    while True:
        query = f"?page_size={page}&start_key={start}" if page else ""
        with urlopen(Request(url + query, headers={"X-Auth-Token": token})) as answer:
            text = answer.read()
        count += text.count(b'"stalker"')
        tail = text[-2000:]
        if b'"next_start_key": "' not in tail:
            break
        start = tail.rpartition(b'"next_start_key": "')[2].partition(b'"')[0].decode()
    print(count, flush=True)
"""

pytestmark = pytest.mark.e2e


class Probes(Fleet):
    """Phones that note when they were told."""

    def __init__(self, server: Server) -> None:
        super().__init__(("127.0.0.1", server.sip_port), host="127.0.0.9", keys=1)
        self.told: dict[str, asyncio.Future[float]] = {}

    def _take(self, phone: Phone, cseq: int, subscription_state: str, body: bytes) -> None:
        super()._take(phone, cseq, subscription_state, body)
        waiting = self.told.pop(phone.call_id, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(time.perf_counter())


@contextlib.asynccontextmanager
async def reading(server: Server, page: str) -> AsyncIterator[Callable[[], int]]:
    """Somebody reads the list over and over, whole or by pages; what is given counts how often he came to its end."""
    url = f"{server.url}/v2/accounts/{ACCOUNT}/presence"
    reader = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", READER, url, TOKEN, page), stdout=asyncio.subprocess.PIPE
    )
    counts: list[int] = []

    async def count() -> None:
        assert reader.stdout is not None
        async for line in reader.stdout:
            counts.append(int(line))

    counting = asyncio.create_task(count())
    await asyncio.sleep(0.5)
    try:
        yield lambda: len(counts)
    finally:
        reader.kill()
        await reader.wait()
        await counting
    assert all(found == SUBSCRIPTIONS + PROBES for found in counts), counts


async def latencies(probes: Probes, server: Server, api: aiohttp.ClientSession) -> list[float]:
    """Set one lamp after the other; return how long after each command its phone was told, in seconds."""
    phones = list(probes.phones.values())
    took: list[float] = []
    for number in range(SAMPLES):
        phone = phones[number % PROBES]
        state = "terminated" if phone.lamp == "early" else "early"
        told = probes.told[phone.call_id] = asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        url = f"{server.url}/v2/accounts/{ACCOUNT}/presence/{phone.extension}"
        async with api.post(url, json={"data": {"action": "set", "state": state}}) as answer:
            assert answer.status == 202
        took.append(await asyncio.wait_for(told, 5.0) - began)
        await asyncio.sleep(EVERY_S)
    return took


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[int(len(values) * share)]


async def test_notifies_do_not_wait_for_the_list(start_server: StartServer) -> None:
    server = start_server(limits={"subscriptions_per_subscriber": 1_000_000})
    headers = {"X-Auth-Token": TOKEN}
    async with (
        Crowds.of(server, SUBSCRIPTIONS),
        Probes(server) as probes,
        aiohttp.ClientSession(headers=headers) as api,
    ):
        phones = [probes.add(f"probe{number}") for number in range(PROBES)]
        await probes.subscribe_all(phones)
        assert await probes.settled(lambda: all(phone.notifies for phone in phones), within=10)
        await latencies(probes, server, api)  # to warm up
        rounds = [await one_round(probes, server, api) for _ in range(ROUNDS)]
        assert probes.faults == []
    best = {name: min(quantile(took[name], 0.99) for took in rounds) for name in rounds[0]}
    for name, p99 in best.items():
        p50 = min(quantile(took[name], 0.5) for took in rounds)
        print(f"\n{SUBSCRIPTIONS} subscriptions, {name}: p50 {p50 * 1000:.2f} ms, p99 {p99 * 1000:.2f} ms", end="")
    for name in ("whole", "paged"):
        assert best[name] < 2 * best["quiet"] + SLACK_S, name


async def one_round(probes: Probes, server: Server, api: aiohttp.ClientSession) -> dict[str, list[float]]:
    """The latencies of all three in turn: whatever else the machine does disturbs all of them."""
    took = {"quiet": await latencies(probes, server, api)}
    for name, page in (("whole", ""), ("paged", "1000")):
        async with reading(server, page) as finished:
            took[name] = await latencies(probes, server, api)
            deadline = time.monotonic() + 60
            while not finished():
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)
    return took
