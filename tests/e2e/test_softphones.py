"""Presence as softphones see it and tell it: baresip and Linphone, as Debian ships them.

Both subscribe to `Event: presence` without an Accept header, and publish `application/pidf+xml` (RFC 3856, RFC 3903).
baresip searches the document for words, Linphone parses it. What they publish is not valid by the schemas.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen
from xml.etree import ElementTree

import pytest

from tests.builders import subscribe
from tests.e2e import wire
from tests.e2e.conftest import StartServer
from tests.e2e.server import ACCOUNT, DEVICES, TOKEN, Server
from tests.e2e.softphones import PATIENCE_S, POLL_S, Account, Baresip, Linphone, Registrar

ALICE, BOB = "101", "202"
BOBS = Account(BOB)
WITH_PASSWORD = Account("bob-desk", DEVICES["bob-desk"])
CHOSEN = (
    ("busy", ("open", "busy"), "Busy"),
    ("online", ("open",), "Online"),
    ("on the phone", ("open", "on-the-phone"), "Busy"),
    ("offline", ("closed",), "Offline"),
    ("online", ("open",), "Online"),
    ("away", ("open", "away"), "Offline"),
    ("do not disturb", ("closed", "busy"), "Busy"),
)
"""The statuses of a Linphone, the presence that it means, and what a baresip makes of it."""

pytestmark = pytest.mark.e2e


class Watcher(asyncio.DatagramProtocol):
    """Subscribes to the presence of one extension, and keeps what it was told last."""

    def __init__(self) -> None:
        self._notified = asyncio.Event()
        self._body = ""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        message = wire.read(data)
        if message.method:
            self._transport.sendto(wire.answer(message), addr)
            self._body = message.body
            self._notified.set()

    def subscribe(self, extension: str) -> None:
        port = self._transport.get_extra_info("sockname")[1]
        self._transport.sendto(
            subscribe(
                uri=f"sip:{extension}@127.0.0.1",
                to=f"<sip:{extension}@127.0.0.1>",
                via=f"SIP/2.0/UDP 127.0.0.1:{port};rport;branch=z9hG4bKwatcher{port}",
                call_id=f"watcher-{port}",
                contact=f"<sip:watcher@127.0.0.1:{port}>",
                event="presence",
                accept=None,
            )
        )

    async def sees(self, *presence: str) -> None:
        """Wait for a document that says this: `open` or `closed`, then the activities."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while self._told() != presence:
                    self._notified.clear()
                    await self._notified.wait()
        assert self._told() == presence, self._body

    def _told(self) -> tuple[str, ...]:
        if not self._body:
            return ()
        document = ElementTree.fromstring(self._body)
        activities = document.iterfind(".//{urn:ietf:params:xml:ns:pidf:rpid}activities/*")
        basic = document.findtext(".//{urn:ietf:params:xml:ns:pidf}basic", "")
        return (basic, *(activity.tag.rpartition("}")[2] for activity in activities))


@contextlib.asynccontextmanager
async def watching(server: Server, extension: str) -> AsyncIterator[Watcher]:
    loop = asyncio.get_running_loop()
    transport, watcher = await loop.create_datagram_endpoint(
        Watcher, local_addr=("127.0.0.1", 0), remote_addr=("127.0.0.1", server.sip_port)
    )
    with contextlib.closing(transport):
        watcher.subscribe(extension)
        yield watcher


@contextlib.asynccontextmanager
async def baresip(
    server: Server, folder: Path, account: Account = BOBS, *, knows: str = ALICE
) -> AsyncIterator[Baresip]:
    """Bob's baresip; in the end the server has refused nothing that it published."""
    home = folder / "baresip"
    home.mkdir()
    phone = Baresip(home, account, server=server.sip_port, knows=knows)
    async with phone.running():
        yield phone
    assert "publisher" not in phone.printed


@contextlib.asynccontextmanager
async def linphone(
    server: Server, folder: Path, account: Account = BOBS, *, knows: str = ALICE, console: bool = True
) -> AsyncIterator[Linphone]:
    """Bob's Linphone; in the end the server has refused nothing, and given each publication a tag."""
    home = folder / "linphone"
    home.mkdir()
    async with Registrar(server.sip_port).running() as registrar:
        phone = Linphone(home, account, registrar=registrar, knows=knows, console=console)
        async with phone.running():
            yield phone
    answers = [message for message in registrar.told if message.status not in (0, 401)]
    assert {answer.status for answer in answers} == {200}
    published = [answer for answer in answers if answer.get("cseq").endswith("PUBLISH")]
    assert published
    assert all(answer.get("sip-etag") for answer in published)


async def are_subscribed(server: Server, extension: str, count: int) -> None:
    """Wait until the server lists so many subscriptions to an extension."""
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while (listed := await asyncio.to_thread(_subscribers, server, extension)) != count:
        assert asyncio.get_running_loop().time() < deadline, f"{listed} subscriptions to {extension}"
        await asyncio.sleep(POLL_S)


def _subscribers(server: Server, extension: str) -> int:
    url = f"{server.url}/v2/accounts/{ACCOUNT}/presence/{extension}"
    with urlopen(Request(url, headers={"X-Auth-Token": TOKEN})) as answer:
        listed = json.load(answer)["data"]["subscriptions"]
    return sum(len(by_call_id) for by_event in listed.values() for by_call_id in by_event.values())


async def test_baresip_sees_a_call(server: Server, tmp_path: Path) -> None:
    async with baresip(server, tmp_path) as phone:
        await phone.shows(ALICE, "Online")
        server.command(ALICE, action="set", state="early")
        await phone.shows(ALICE, "Busy")
        server.command(ALICE, action="set", state="terminated")
        await phone.shows(ALICE, "Online")
        server.command(ALICE, action="set", state="confirmed")
        await phone.shows(ALICE, "Busy")
        server.command(ALICE, action="reset")
        await phone.shows(ALICE, "Online")
        await are_subscribed(server, ALICE, 1)
    await are_subscribed(server, ALICE, 0)  # it unsubscribes as it leaves


async def test_linphone_sees_a_call(server: Server, tmp_path: Path) -> None:
    """It tells ringing from talking, where baresip has one word for both."""
    async with linphone(server, tmp_path) as phone:
        await phone.shows(ALICE, "Online")
        server.command(ALICE, action="set", state="early")
        await phone.shows(ALICE, "Busy")
        server.command(ALICE, action="set", state="confirmed")
        await phone.shows(ALICE, "On the phone")
        server.command(ALICE, action="set", state="terminated")
        await phone.shows(ALICE, "Online")
        await are_subscribed(server, ALICE, 1)
    await are_subscribed(server, ALICE, 0)  # it unsubscribes as it leaves


async def test_baresip_publishes(server: Server, tmp_path: Path) -> None:
    """At first it says `unknown`, which is no word of RFC 3863: as if it had said nothing."""
    async with watching(server, BOB) as watcher:
        async with baresip(server, tmp_path) as phone:
            await phone.shows(ALICE, "Online")
            await phone.tell("/presence_offline")
            await watcher.sees("closed")
            await phone.tell("/presence_online")
            await watcher.sees("open")
            await phone.tell("/presence_offline")
            await watcher.sees("closed")
        await watcher.sees("open")  # it takes back what it published as it leaves


async def test_baresip_publishes_anew_to_a_server_that_has_forgotten(start_server: StartServer, tmp_path: Path) -> None:
    """Its entity tag gets 412, upon which it publishes what it has without one."""
    server = start_server(store="memory:")
    async with baresip(server, tmp_path) as phone:
        await phone.shows(ALICE, "Online")
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        async with watching(server, BOB) as watcher:
            await watcher.sees("open")
            await phone.tell("/presence_offline")
            await watcher.sees("closed")


async def test_linphone_publishes(server: Server, tmp_path: Path) -> None:
    """The console is online and nothing else, which ends the `closed` of a phone before it."""
    async with watching(server, BOB) as watcher, baresip(server, tmp_path) as other:
        await other.shows(ALICE, "Online")
        await other.tell("/presence_offline")
        await watcher.sees("closed")
        async with linphone(server, tmp_path):
            await watcher.sees("open")
        await watcher.sees("closed")


async def test_one_softphone_sees_another(server: Server, tmp_path: Path) -> None:
    """What is chosen in a Linphone comes to a baresip, and goes when the Linphone ends."""
    async with watching(server, BOB) as watcher, baresip(server, tmp_path, knows=BOB) as other:
        await other.shows(BOB, "Online")
        async with linphone(server, tmp_path, console=False) as phone:
            for status, presence, shown in CHOSEN:
                await phone.tell(status)
                await watcher.sees(*presence)
                await other.shows(BOB, shown)
        await watcher.sees("open")
        await other.shows(BOB, "Online")


async def test_subscriptions_outlast_a_restart(server: Server, tmp_path: Path) -> None:
    """What is told afterwards comes in the dialogs of before."""
    async with baresip(server, tmp_path) as one, linphone(server, tmp_path) as other:
        await one.shows(ALICE, "Online")
        await other.shows(ALICE, "Online")
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        server.command(ALICE, action="set", state="confirmed")
        await one.shows(ALICE, "Busy")
        await other.shows(ALICE, "On the phone")


async def test_a_publication_outlasts_a_restart(server: Server, tmp_path: Path) -> None:
    """And its tag is still good."""
    async with baresip(server, tmp_path) as phone, watching(server, BOB) as watcher:
        await phone.shows(ALICE, "Online")
        await phone.tell("/presence_offline")
        await watcher.sees("closed")
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        async with watching(server, BOB) as another:
            await another.sees("closed")
            await phone.tell("/presence_online")
            await another.sees("open")


async def test_baresip_with_a_password(start_server: StartServer, tmp_path: Path) -> None:
    """It gives up where SHA-256 is offered, even beside MD5."""
    server = start_server(sip={"trusted_networks": [], "digest_algorithms": ["MD5"]})
    async with baresip(server, tmp_path, WITH_PASSWORD) as phone:
        await phone.shows(ALICE, "Online")


async def test_linphone_with_a_password(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(sip={"trusted_networks": []})
    async with linphone(server, tmp_path, WITH_PASSWORD) as phone:
        await phone.shows(ALICE, "Online")
