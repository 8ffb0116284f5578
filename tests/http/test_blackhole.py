"""The websocket as a socket: who is let in, what is sent in which order, and how it ends for whom."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias, cast

import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType, WSServerHandshakeError
from aiohttp.test_utils import TestClient, TestServer

from sipresence.events.resource import DialogState
from sipresence.http import blackhole
from sipresence.http.authorization import RequestLimits
from sipresence.http.blackhole import Blackhole
from sipresence.http.conversation import WebsocketLimits
from sipresence.http.server import Services, make_application, make_websocket_application
from tests.http.fake import FakeInsight
from tests.http.test_conversation import TOKEN, Talk
from tests.office import Office
from tests.test_service import ACCOUNTS, OFFICE

Socket: TypeAlias = ClientWebSocketResponse[bool]
PATH = "/v2/websocket"
PATIENCE = 10.0  # s


class Site:
    """A server on loopback with a real service behind it, whose lamps a `Talk` changes."""

    def __init__(self, limits: WebsocketLimits) -> None:
        self.talk = Talk()
        self.service = self.talk.house.service
        self.blackhole = Blackhole(self.service, self.talk.sessions, limits)
        insight = cast("Any", FakeInsight())
        office = Office(directory=self.service.directory)
        services = Services(self.service, office.service, office.sessions, insight)
        self.application = make_application(services, self.blackhole, version="9.9.9", limits=RequestLimits())
        self.alone = make_websocket_application(self.service, self.blackhole, version="9.9.9")
        self.client = TestClient(TestServer(self.application))

    async def connect(self, **headers: str) -> Socket:
        return await self.client.ws_connect(PATH, headers=headers)

    async def listen(self, *bindings: str) -> Socket:
        """Connect and subscribe."""
        socket = await self.connect()
        reply = await ask(socket, "subscribe", auth_token=TOKEN, data={"bindings": list(bindings)})
        assert reply["status"] == "success", reply
        return socket

    async def refused(self, **headers: str) -> tuple[int, dict[str, Any]]:
        """The status and the envelope with which a client is not let in."""
        upgrade = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }
        async with self.client.get(PATH, headers={**upgrade, **headers}) as response:
            return response.status, await response.json()


@pytest.fixture
async def open_site() -> AsyncIterator[Callable[..., Any]]:
    async with contextlib.AsyncExitStack() as sites:

        async def open_site(**limits: float) -> Site:
            site = Site(WebsocketLimits(**limits))  # type: ignore[arg-type]
            await sites.enter_async_context(site.client)
            return site

        yield open_site


@pytest.fixture
async def site(open_site: Callable[..., Any]) -> Site:
    opened: Site = await open_site()
    return opened


async def ask(socket: Socket, action: str, **frame: Any) -> dict[str, Any]:
    await socket.send_json({"action": action, "request_id": "1", **frame})
    reply: dict[str, Any] = await socket.receive_json(timeout=PATIENCE)
    assert reply["action"] == "reply"
    return reply


async def event(socket: Socket) -> dict[str, Any]:
    found: dict[str, Any] = await socket.receive_json(timeout=PATIENCE)
    assert found["action"] == "event", found
    data: dict[str, Any] = found["data"]
    return data


async def end(socket: Socket) -> int | None:
    """The code with which it is closed."""
    while (await socket.receive(timeout=PATIENCE)).type is WSMsgType.TEXT:
        pass
    return socket.close_code


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():  # noqa: ASYNC110 (what is waited for tells nobody)
            await asyncio.sleep(0.01)


async def test_every_change_comes_in_order(site: Site) -> None:
    socket = await site.listen("presence.extension.101")
    states = [DialogState.EARLY, DialogState.CONFIRMED, DialogState.TERMINATED] * 50
    for state in states:
        site.talk.do("set", "101", state)
    assert [(await event(socket))["state"] for _ in states] == states


async def test_many_listen_and_each_hears_its_own(site: Site) -> None:
    everything = [await site.listen("presence.update.*") for _ in range(20)]
    own = [await site.listen(f"presence.extension.{number}") for number in range(20)]
    for number in range(20):
        site.talk.do("set", str(number), "early")
    for socket in everything:
        assert [(await event(socket))["presence_id"] for _ in range(20)] == [
            f"{number}@office.example.com" for number in range(20)
        ]
    for number, socket in enumerate(own):
        assert (await event(socket))["extension"] == str(number)


async def test_no_more_comes_after_unsubscribe(site: Site) -> None:
    socket = await site.listen("presence.update.*")
    await ask(socket, "unsubscribe")
    site.talk.do("set", "101", "early")
    assert (await ask(socket, "ping"))["data"] == {"response": "pong"}


async def test_the_listener_of_its_own_has_it_at_its_root(site: Site) -> None:
    async with TestClient(TestServer(site.alone)) as client:
        socket = await client.ws_connect("/")
        assert (await ask(socket, "ping", auth_token=TOKEN))["status"] == "success"
        async with client.get(f"/v2/accounts/{OFFICE}/presence") as response:
            assert response.status == 404


@pytest.mark.parametrize("path", ["/v2/websockets", "/v2/websockets/"])
async def test_the_bindings_are_listed_to_anybody(site: Site, path: str) -> None:
    async with site.client.get(path) as response:
        assert response.status == 200
        envelope = await response.json()
    assert envelope["status"] == "success"
    assert envelope["data"] == {
        "presence": [
            "presence.dialog.{CALL_ID}",
            "presence.mwi_updates.{USER}",
            "presence.update.{CALL_ID}",
            "presence.extension.{EXT}",
        ]
    }
    assert "auth_token" not in envelope


# Who is not let in


async def test_what_is_no_websocket_is_told_what_this_is(site: Site) -> None:
    async with site.client.get(PATH) as response:
        assert response.status == 426
        assert response.headers["Upgrade"] == "websocket"
        assert response.headers["Sec-WebSocket-Version"] == "13"
        assert (await response.json())["message"] == "upgrade_required"


async def test_sub_protocols_are_refused(site: Site) -> None:
    status, envelope = await site.refused(**{"Sec-WebSocket-Protocol": "kazoo"})
    assert (status, envelope["data"]["message"]) == (400, "sub-protocols are not supported")


async def test_connections_of_one_address_are_bounded(open_site: Callable[..., Any]) -> None:
    site = await open_site(connections_per_address=2)
    first, _ = await site.connect(), await site.connect()
    status, envelope = await site.refused()
    assert (status, envelope["message"]) == (429, "too_many_requests")
    elsewhere = await site.connect(**{"X-Forwarded-For": "192.0.2.7, 198.51.100.9"})
    await first.close()
    await until(lambda: len(site.blackhole) == 2)
    await site.connect()
    await elsewhere.close()


async def test_connections_are_bounded(open_site: Callable[..., Any]) -> None:
    site = await open_site(connections=1)
    await site.connect()
    status, envelope = await site.refused(**{"X-Forwarded-For": "198.51.100.9"})
    assert (status, envelope["message"]) == (503, "too_many_connections")


async def test_a_wrong_token_in_the_upgrade_is_refused(site: Site) -> None:
    for headers in ({"Authorization": "Bearer nobody's"}, {"X-Auth-Token": "nobody's"}):
        assert (await site.refused(**headers))[0] == 403
    assert len(site.blackhole) == 0


async def test_a_right_token_in_the_upgrade_is_enough(site: Site) -> None:
    socket = await site.connect(Authorization=f"Bearer {TOKEN}")
    assert (await ask(socket, "subscribe", data={"binding": "presence.dialog.*"}))["status"] == "success"


async def test_who_is_refused_is_not_counted(open_site: Callable[..., Any]) -> None:
    site = await open_site(connections_per_address=1)
    for _ in range(3):
        with pytest.raises(WSServerHandshakeError):
            await site.connect(**{"X-Auth-Token": "nobody's"})
    await site.connect()


# How it ends


async def test_a_slow_reader_is_dropped_and_delays_nobody(open_site: Callable[..., Any]) -> None:
    site = await open_site(queue=20)
    slow, quick = await site.listen("presence.extension.101"), await site.listen("presence.extension.101")
    long = {"direction": "recipient", "local_identity": "sip:101@office.example.com", "call_id": "a"}
    heard = 0
    async with asyncio.timeout(60):
        while not any(socket.conversation.overrun for socket in site.blackhole._sockets):
            remote = f"sip:{heard}@{'x' * 20_000}.example.com"
            site.talk.do("publish", "101", {**long, "id": "1", "state": "early", "remote_identity": remote})
            assert (await event(quick))["calls"][0]["remote"] == remote
            heard += 1
            await asyncio.sleep(0)
    assert await end(slow) == 1013  # behind what was sent before
    await until(lambda: len(site.blackhole) == 1)
    site.talk.do("set", "101", "early")
    assert (await event(quick))["source"] == "manual"


async def test_one_that_never_reads_again_is_cut_off(
    open_site: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blackhole, "CLOSE_S", 0.2)
    site = await open_site(queue=1)
    dead = await site.listen("presence.extension.101")
    call = {"id": "1", "direction": "recipient", "local_identity": "sip:1@x", "call_id": "a", "state": "early"}
    number = 0
    async with asyncio.timeout(60):
        while len(site.blackhole):
            number += 1
            site.talk.do("publish", "101", {**call, "remote_identity": f"sip:{number}@{'x' * 100_000}"})
            await asyncio.sleep(0.001)
    assert not site.service.feed.listened
    await dead.close()


async def test_a_token_that_ends_ends_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blackhole, "CHECK_S", 0.05)
    silent, busy = await site.listen("presence.update.*"), await site.listen("presence.update.*")
    site.service.directory.replace(ACCOUNTS)
    asking = asyncio.create_task(_chatter(busy))
    assert [await end(silent), await end(busy)] == [1008, 1008]
    asking.cancel()


async def _chatter(socket: Socket) -> None:
    """Frames that are refused, one after the other."""
    with contextlib.suppress(ConnectionError):
        while not socket.closed:
            await socket.send_str("no JSON")
            await asyncio.sleep(0.01)


async def test_one_that_guesses_tokens_is_closed(site: Site) -> None:
    socket = await site.connect()
    for _ in range(5):
        assert (await ask(socket, "ping", auth_token="guess"))["status"] == "error"
    assert await end(socket) == 1008


async def test_the_idle_are_closed_and_listeners_are_not(
    open_site: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blackhole, "CHECK_S", 0.05)
    site = await open_site(idle_timeout=60)
    listener, idle, refused = await site.listen("presence.update.*"), await site.connect(), await site.connect()
    await asyncio.sleep(0.2)
    assert not idle.closed
    site.talk.house.clock.advance(60)
    assert (await ask(refused, "ping"))["status"] == "error"  # which helps nothing
    assert [await end(idle), await end(refused)] == [1000, 1000]
    site.talk.do("set", "101", "early")
    assert (await event(listener))["state"] == "early"


async def test_one_that_does_not_answer_pings_is_closed(open_site: Callable[..., Any]) -> None:
    site = await open_site(heartbeat=0.1)
    socket = await site.client.ws_connect(PATH, autoping=False)
    assert (await socket.receive(timeout=PATIENCE)).type is WSMsgType.PING
    await until(lambda: not len(site.blackhole))


async def test_one_that_answers_pings_stays(open_site: Callable[..., Any]) -> None:
    site = await open_site(heartbeat=0.1)
    socket = await site.listen("presence.update.*")
    waiting = asyncio.create_task(event(socket))  # which answers the pings
    await asyncio.sleep(0.5)
    site.talk.do("set", "101", "early")
    assert (await waiting)["state"] == "early"


async def test_frames_are_bounded(site: Site) -> None:
    socket = await site.connect()
    await socket.send_str("x" * (blackhole.MAX_FRAME_BYTES + 1))
    assert await end(socket) == 1009


async def test_binary_frames_are_not_looked_at(site: Site) -> None:
    socket = await site.connect()
    await socket.send_bytes(b"\0")
    assert (await ask(socket, "ping", auth_token=TOKEN))["status"] == "success"


async def test_who_goes_leaves_nothing_behind(site: Site) -> None:
    sockets = [await site.listen("presence.update.*", "presence.dialog.a") for _ in range(5)]
    assert site.service.feed.listened
    for socket in sockets[:3]:
        await socket.close()
    for socket in sockets[3:]:
        transport = socket._response.connection and socket._response.connection.transport
        assert transport is not None
        transport.abort()
    await until(lambda: not len(site.blackhole))
    assert not site.service.feed.listened
    assert not site.blackhole._by_address


async def test_a_stop_says_goodbye(site: Site) -> None:
    socket = await site.listen("presence.update.*")
    closing = asyncio.create_task(site.client.server.close())
    assert await end(socket) == 1001
    await asyncio.wait_for(closing, PATIENCE)


async def test_a_reply_is_json_in_one_text_frame(site: Site) -> None:
    socket = await site.connect()
    await socket.send_str("no JSON")
    message = await socket.receive(timeout=PATIENCE)
    assert message.type is WSMsgType.TEXT
    assert json.loads(message.data)["data"] == {"errors": ["missing authenticatation token"]}
