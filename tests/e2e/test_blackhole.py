"""Kazoo's websocket of a real server: what HTTP, SIP and a mailbox say reaches it, and it ends with the process."""

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import pytest
from aiohttp import ClientError, ClientSession, ClientWebSocketResponse, WSMsgType

from tests.e2e.server import ACCOUNT, REALM, TOKEN, Server, free_port

Socket: TypeAlias = ClientWebSocketResponse[bool]
PATIENCE = 10.0  # s

pytestmark = pytest.mark.e2e

CALL = (
    f'<?xml version="1.0"?><dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="1" state="full"'
    f' entity="sip:101@{REALM}"><dialog id="d1" call-id="call.1@pbx" local-tag="a" remote-tag="b"'
    f' direction="recipient"><state>early</state><remote><identity>sip:102@{REALM}</identity></remote>'
    f"</dialog></dialog-info>"
)


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


async def listen(session: ClientSession, url: str, *bindings: str) -> Socket:
    """Connect and subscribe."""
    client = await session.ws_connect(url)
    data = {"account_id": ACCOUNT, "bindings": list(bindings)}
    await client.send_json({"action": "subscribe", "auth_token": TOKEN, "request_id": "1", "data": data})
    reply = await client.receive_json(timeout=PATIENCE)
    assert reply["status"] == "success", reply
    return client


async def event(client: Socket) -> dict[str, Any]:
    found: dict[str, Any] = await client.receive_json(timeout=PATIENCE)
    assert found["action"] == "event", found
    return found


async def command(session: ClientSession, server: Server, extension: str, **data: object) -> None:
    url = f"{server.url}/v2/accounts/{ACCOUNT}/presence/{extension}"
    async with session.post(url, json={"data": data}, headers={"X-Auth-Token": TOKEN}) as answer:
        assert answer.status == 202


def publish(server: Server) -> str:
    """Publish a call that rings at 101; return the status line of the answer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as pbx:
        pbx.bind(("127.0.0.1", 0))
        pbx.settimeout(PATIENCE)
        here = "{}:{}".format(*pbx.getsockname())
        request = (
            f"PUBLISH sip:101@{REALM} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bKpublish\r\nMax-Forwards: 70\r\n"
            f"From: <sip:101@{REALM}>;tag=1\r\nTo: <sip:101@{REALM}>\r\nCall-ID: p@{here}\r\nCSeq: 1 PUBLISH\r\n"
            f"Event: dialog\r\nExpires: 60\r\nContent-Type: application/dialog-info+xml\r\n"
            f"Content-Length: {len(CALL)}\r\n\r\n{CALL}"
        )
        pbx.sendto(request.encode(), ("127.0.0.1", server.sip_port))
        return pbx.recv(4096).decode().partition("\r\n")[0]


async def test_what_happens_to_lamps_reaches_it(server: Server, session: ClientSession) -> None:
    client = await listen(
        session, f"{server.url}/v2/websocket", "presence.update.*", "presence.dialog.*", "presence.mwi_updates.101"
    )
    await command(session, server, "*3101", action="set", state="early")
    told = await event(client)
    assert (told["name"], told["data"]["presence_id"], told["data"]["state"]) == ("update", f"*3101@{REALM}", "early")

    assert await asyncio.to_thread(publish, server) == "SIP/2.0 200 OK"
    told = await event(client)
    assert (told["name"], told["data"]["call_id"], told["data"]["state"]) == ("dialog_update", "call.1@pbx", "early")
    assert (told["data"]["from_user"], told["data"]["to_user"], told["data"]["from_tag"]) == ("101", "102", "a")

    await command(session, server, "101", action="set", mwi={"new": 2, "saved": 5})
    told = await event(client)
    assert (told["name"], told["data"]["messages_new"]) == ("mwi_update", 2)
    assert (await event(client))["data"]["presence_id"] == f"*98101@{REALM}"  # the lamp of the mailbox


async def test_it_ends_with_the_process(server: Server, session: ClientSession) -> None:
    client = await listen(session, f"{server.url}/v2/websocket", "presence.extension.101")
    await asyncio.to_thread(server.kill)
    assert (await client.receive(timeout=PATIENCE)).type in (WSMsgType.CLOSED, WSMsgType.ERROR, WSMsgType.CLOSE)
    await asyncio.to_thread(server.start)
    client = await listen(session, f"{server.url}/v2/websocket", "presence.extension.101")
    await command(session, server, "101", action="set", state="confirmed")
    assert (await event(client))["data"]["state"] == "confirmed"


async def test_a_stop_says_goodbye_and_takes_no_time_for_it(server: Server, session: ClientSession) -> None:
    clients = [await listen(session, f"{server.url}/v2/websocket", "presence.extension.101") for _ in range(20)]
    loop = asyncio.get_running_loop()
    began = loop.time()
    stopping = asyncio.create_task(asyncio.to_thread(server.stop))
    for client in clients:
        await client.receive(timeout=PATIENCE)
        assert client.close_code == 1001
    await stopping
    assert loop.time() - began < 4.0


async def test_a_listener_of_its_own_and_a_token_that_is_taken_away(server: Server, session: ClientSession) -> None:
    port = free_port()
    await asyncio.to_thread(server.stop)
    server.configure(("[http]\n", f'[http]\nwebsocket_listen = "127.0.0.1:{port}"\n'))
    await asyncio.to_thread(server.start)
    assert f"WS   ws://127.0.0.1:{port}" in server.log
    client = await listen(session, f"ws://127.0.0.1:{port}/", "presence.extension.*")
    await command(session, server, "7", action="set", state="early")
    assert (await event(client))["data"]["extension"] == "7"

    server.configure((json.dumps([TOKEN]), '["another-token"]'))
    server.process.send_signal(signal.SIGHUP)
    with pytest.raises((TypeError, ClientError)):
        await client.receive_json(timeout=2 * PATIENCE)
    assert client.close_code == 1008
    server.configure(('["another-token"]', json.dumps([TOKEN])))
