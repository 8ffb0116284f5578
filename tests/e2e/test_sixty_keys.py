"""A phone with 60 lamp keys, which takes so many NOTIFYs a second and drops what goes beyond (docs/phones.md 29).

A restart of the server, a `reset` of everything and a storm of changes each concern all of its keys at once. It is
never told more than it takes, and in the end it shows what is.

What answers its own SUBSCRIBE goes at once, whatever the pace: a phone that asks for 60 lamps in a second wants to know
them. The phone counts from then on. It counts each NOTIFY once, since one that is sent again is no other.
"""

import asyncio
import time
from collections.abc import Mapping

import aiohttp
import pytest

from tests.e2e.conftest import StartServer
from tests.e2e.fleet import Fleet, Phone
from tests.e2e.server import ACCOUNT, TOKEN, Server

KEYS = 60
EXTENSIONS = [f"{100 + number}" for number in range(KEYS)]
AGENT = "Sixty keys"
DEFAULT_RATE = 10  # NOTIFYs a second, as [sip] says where nobody says otherwise
OWN_RATE = 5
PROFILE = f'[[profiles]]\nname = "sixty-keys"\nuser_agent = "{AGENT}"\nnotify_rate = {OWN_RATE}\n'
SECOND = 0.9  # s: the server decides by its clock, and a NOTIFY may be quicker on its way than the one before
STORM = ("confirmed", "early", "terminated", "early")
SLACK_S = 10.0

pytestmark = pytest.mark.e2e


class SixtyKeys(Fleet):
    """One phone: 60 dialogs on one socket. `told_at` has the time of each NOTIFY."""

    def __init__(self, server: Server) -> None:
        super().__init__(("127.0.0.1", server.sip_port), keys=KEYS)
        self.told_at: list[float] = []

    @property
    def lamps(self) -> dict[str, str]:
        return {key.extension: key.lamp for key in self.phones.values()}

    async def subscribe_keys(self) -> None:
        """SUBSCRIBE all keys at once, and wait until it is quiet."""
        await self.subscribe_all(list(map(self.add, EXTENSIONS)))
        assert await self.settled(lambda: len(self.told_at) == KEYS, within=SLACK_S)
        first, last = self.told_at[0], self.told_at[-1]
        assert last - first < KEYS / DEFAULT_RATE / 2, "it had to wait for what it asked for"
        await asyncio.sleep(1.1)

    def busiest_second(self) -> int:
        """The most NOTIFYs in any second, wherever it begins."""
        return max(sum(at <= other < at + SECOND for other in self.told_at) for at in self.told_at)

    def _subscribe_bytes(self, phone: Phone, expires: int) -> bytes:
        request = super()._subscribe_bytes(phone, expires)
        return request.replace(b"\r\nEvent:", b"\r\nUser-Agent: " + AGENT.encode() + b"\r\nEvent:")

    def _take(self, phone: Phone, cseq: int, subscription_state: str, body: bytes) -> None:
        self.told_at.append(time.monotonic())
        super()._take(phone, cseq, subscription_state, body)


async def command(server: Server, commands: Mapping[str, Mapping[str, str]]) -> None:
    """Press the admin's buttons of many extensions, one after the other as fast as it goes."""
    async with aiohttp.ClientSession(headers={"X-Auth-Token": TOKEN}) as api:
        for extension, data in commands.items():
            url = f"{server.url}/v2/accounts/{ACCOUNT}/presence/{extension}"
            async with api.post(url, json={"data": data}) as answer:
                assert answer.status == 202, await answer.text()


async def set_all(server: Server, lamps: Mapping[str, str]) -> None:
    await command(server, {extension: {"action": "set", "state": state} for extension, state in lamps.items()})


async def is_told(phone: SixtyKeys, lamps: Mapping[str, str], *, rate: int) -> None:
    """All keys are told, and come to show this, by at most `rate` NOTIFYs a second."""
    enough = 2 * KEYS / rate + SLACK_S
    assert await phone.settled(lambda: len(phone.told_at) >= KEYS and phone.lamps == lamps, within=enough)
    await asyncio.sleep(1.1)  # and nothing follows that would be wrong, or too much
    assert phone.lamps == lamps
    assert phone.busiest_second() <= rate
    assert phone.faults == []
    phone.told_at.clear()


@pytest.mark.parametrize("rate", [DEFAULT_RATE, OWN_RATE], ids=["by default", "by its profile"])
async def test_it_is_never_told_more_than_it_takes(start_server: StartServer, rate: int) -> None:
    server = start_server()
    if rate == OWN_RATE:
        server.reload(("[log]", f"{PROFILE}[log]"))
    async with SixtyKeys(server) as phone:
        ringing = dict.fromkeys(EXTENSIONS, "early")
        await set_all(server, ringing)
        await phone.subscribe_keys()
        assert phone.lamps == ringing
        phone.told_at.clear()

        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        await is_told(phone, ringing, rate=rate)

        await command(server, {extension: {"action": "reset"} for extension in EXTENSIONS})
        await is_told(phone, dict.fromkeys(EXTENSIONS, "terminated"), rate=rate)

        for state in STORM:
            await set_all(server, dict.fromkeys(EXTENSIONS, state))
        last = {extension: ("early", "confirmed")[int(extension) % 2] for extension in EXTENSIONS}
        await set_all(server, last)
        await is_told(phone, last, rate=rate)
