"""A burst: 10,000 phones subscribe at once while every lamp they watch changes, and one in a hundred never answers."""

import asyncio
import resource
import time
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.conftest import StartServer
from tests.e2e.fleet import Fleet, Phone
from tests.e2e.server import ACCOUNT, TOKEN, Server

PHONES = 10_000
RESOURCES = 200
SILENT = 100  # one phone in so many never answers a NOTIFY

pytestmark = pytest.mark.e2e


async def _set(api: aiohttp.ClientSession, server: Server, extension: str, state: str) -> None:
    url = f"{server.url}/v2/accounts/{ACCOUNT}/presence/{extension}"
    async with api.post(url, json={"data": {"action": "set", "state": state}}) as answer:
        assert answer.status == 202, await answer.text()


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _rss_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


async def test_burst(start_server: StartServer) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    server = start_server()
    pid = server.process.pid
    before_s, before_kib, started = _cpu_s(pid), _rss_kib(pid), time.monotonic()
    async with (
        Fleet(("127.0.0.1", server.sip_port)) as fleet,
        aiohttp.ClientSession(headers={"X-Auth-Token": TOKEN}) as api,
    ):
        fleet.answer_delay = 0.02
        phones = [fleet.add(f"{1000 + n % RESOURCES}", answers=n % SILENT != 7) for n in range(PHONES)]
        burst = asyncio.create_task(fleet.subscribe_all(phones, at_once=PHONES))
        await asyncio.sleep(0.5)
        final = {f"{1000 + n}": ("early", "confirmed")[n % 2] for n in range(RESOURCES)}
        for extension, state in final.items():
            await _set(api, server, extension, "confirmed" if state == "early" else "early")
            await _set(api, server, extension, state)
        await burst

        assert [phone.status for phone in phones if phone.status != 200] == []
        answering = [phone for phone in phones if phone.answers]

        def wrong() -> list[Phone]:
            return [phone for phone in answering if phone.lamp != final[phone.extension]]

        await fleet.settled(lambda: not wrong(), within=20)
        assert wrong() == []
        assert fleet.faults == []
        cpu_us = (_cpu_s(pid) - before_s) / PHONES * 1e6
        kib = (_rss_kib(pid) - before_kib) / PHONES
        print(
            f"\n{PHONES} phones: {time.monotonic() - started:.1f} s, server CPU {cpu_us:.0f} µs and {kib:.1f} KiB RSS "
            f"per subscription ({sum(phone.notifies for phone in phones)} NOTIFYs, "
            f"{fleet.retransmissions} SUBSCRIBEs retransmitted)"
        )
    server.check_log()
