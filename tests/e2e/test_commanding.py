"""An admin's commands and what phones hear of them: who acknowledged, who is told again, who has to subscribe anew."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import aiohttp
import pytest
from yarl import URL

from tests.e2e.conftest import StartServer
from tests.e2e.fleet import Fleet, Phone
from tests.e2e.server import ACCOUNT, TOKEN, Server

pytestmark = pytest.mark.e2e


class Admin(NamedTuple):
    """Asks a server, and what a fleet of phones hears of it."""

    server: Server
    api: aiohttp.ClientSession
    fleet: Fleet

    async def ask(self, method: str, path: str, data: object = None) -> Any:
        """Return the envelope of a request that has to succeed."""
        address = URL(f"{self.server.url}/v2/accounts/{ACCOUNT}/{path}", encoded=True)
        async with self.api.request(method, address, json=None if data is None else {"data": data}) as answer:
            envelope = await answer.json()
            assert answer.status == (200 if method == "GET" else 202), envelope
            return envelope

    async def watching(self, *extensions: str) -> list[Phone]:
        """Phones that have been told of these extensions."""
        phones = [self.fleet.add(extension) for extension in extensions]
        await self.fleet.subscribe_all(phones)
        assert await self.fleet.settled(lambda: all(phone.notifies for phone in phones), within=5)
        await asyncio.sleep(0.1)  # for their answers to arrive
        return phones


@pytest.fixture
async def admin(start_server: StartServer) -> AsyncIterator[Admin]:
    server = start_server(sip={"restore_spread": 1})
    async with (
        Fleet(("127.0.0.1", server.sip_port)) as fleet,
        aiohttp.ClientSession(headers={"X-Auth-Token": TOKEN}) as api,
    ):
        yield Admin(server, api, fleet)
        assert fleet.faults == []


async def test_whoever_waits_hears_of_the_phones(admin: Admin) -> None:
    phones = await admin.watching("101", "101", "101", "102")
    phones[2].answers = False
    began = time.monotonic()
    heard = await admin.ask("POST", "presence/101?wait=1", {"action": "set", "state": "early"})
    assert heard["data"] == {
        "result": "command sent", "acknowledged": 2, "refused": 0, "silent": 1, "unchanged": 0
    }  # fmt: skip
    assert time.monotonic() - began >= 1.0, "it has waited for the silent one"
    phones[2].answers = True
    heard = await admin.ask("POST", "presence/102?wait=5", {"action": "reset"})
    assert heard["data"]["acknowledged"] == 1
    assert time.monotonic() - began < 5.0, "and for nobody else"


async def test_phones_are_told_again_one_by_one_or_all(admin: Admin) -> None:
    first, second, other = await admin.watching("101", "101", "102")
    await admin.ask("POST", "presence/101?wait=2", {"action": "notify", "call_id": first.call_id})
    assert (first.notify_cseq, second.notify_cseq) == (2, 1)
    heard = await admin.ask("POST", "presence/101?wait=2", {"action": "notify"})
    assert heard["data"]["acknowledged"] == 2
    assert (first.notify_cseq, second.notify_cseq, other.notify_cseq) == (3, 2, 1)
    assert (first.version, first.lamp) == (2, "terminated")


@pytest.mark.parametrize("reason", ["deactivated", "rejected"])
async def test_a_phone_whose_subscription_was_ended_subscribes_anew(admin: Admin, reason: str) -> None:
    first, second = await admin.watching("101", "101")
    ended = {"action": "terminate", "call_id": first.call_id, "reason": reason}
    heard = await admin.ask("POST", "presence/101?wait=2", ended)
    assert heard["data"]["acknowledged"] == 1
    assert first.ended.startswith(f"terminated;reason={reason}")
    assert not second.ended
    assert await admin.fleet.subscribe(first) == 481
    (anew,) = await admin.watching("101")
    listed = await admin.ask("GET", "presence/101")
    assert set(listed["data"]["subscriptions"]["101"]["dialog"]) == {second.call_id, anew.call_id}


async def test_several_lamps_change_at_once(admin: Admin) -> None:
    phones = await admin.watching("101", "102", "*3101")
    commands = [
        {"action": "set", "state": "early", "extensions": ["101", "*3101"]},
        {"action": "set", "state": "confirmed", "extensions": ["102"]},
    ]
    heard = await admin.ask("POST", "presence?wait=2", {"commands": commands})
    assert heard["data"]["acknowledged"] == 3
    assert [phone.lamp for phone in phones] == ["early", "confirmed", "early"]


async def test_who_asked_is_known_after_a_restart(admin: Admin) -> None:
    asked = await admin.ask("POST", "presence/101", {"action": "set", "state": "early", "expires": 600})
    await asyncio.to_thread(admin.server.kill)
    await asyncio.to_thread(admin.server.start)
    (entry,) = (await admin.ask("GET", "audit?extension=101"))["data"]
    assert (entry["action"], entry["asked"]) == ("set", {"state": "early", "expires": 600})
    assert (entry["by"], entry["address"], entry["request_id"]) == (ACCOUNT, "127.0.0.1", asked["request_id"])
    known = (await admin.ask("GET", "presence/101?include=sources"))["data"]
    (source,) = known["sources"]
    assert (source["source"], source["state"], source["address"]) == ("manual", "early", "127.0.0.1")
    assert source["until"] == pytest.approx(known["since"] + 600, abs=1)
