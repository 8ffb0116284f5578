"""Bodies, paths and tokens that nobody sends by accident: each gets its 4xx, none a 5xx, and no log line a token."""

import asyncio
import gzip
import json
import re
from typing import Any

import pytest
import structlog
from aiohttp.web import Application

from sipresence.http.server import serve
from tests.http.conftest import Client
from tests.http.fake import FakeService
from tests.office import OFFICE

EXTENSION = f"/v2/accounts/{OFFICE}/presence/101"
TOKEN = {"X-Auth-Token": "demo-token"}
TOO_LARGE = 64 * 1024 + 1


async def command(client: Client, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
    response = await client.post(EXTENSION, data=body, headers={**TOKEN, **headers})
    envelope = await response.json()
    assert envelope["error"] == str(response.status)
    return response.status, envelope["data"]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"data": {"action": "reset", "x": NaN}}', id="NaN"),
        pytest.param(b'{"data": {"action": "reset", "x": -Infinity}}', id="Infinity"),
        pytest.param(b'{"data": {"action": "reset", "x": 1e999}}', id="overflow"),
        pytest.param(b'{"data": {"action": "reset", "x": ' + b"9" * 400 + b".0}}", id="overflow without exponent"),
        pytest.param(b'{"data": {"action": "reset", "x": ' + b"9" * 5000 + b"}}", id="5000 digits"),
        pytest.param(b'{"data": {"action": "set", "action": "reset", "state": "early"}}', id="duplicate name"),
        pytest.param(b"[" * 60_000, id="open brackets"),
        pytest.param(b'{"data":' * 7_000 + b"1" + b"}" * 7_000, id="deep objects"),
        pytest.param(b'{"data": {"action": ' + b"[" * 30_000 + b"]" * 30_000 + b"}}", id="deep lists"),
        pytest.param(b'{"data": {"action": "reset", "x": "\xff"}}', id="no UTF-8"),
        pytest.param('{"data": {"action": "reset"}}'.encode("utf-16"), id="UTF-16"),
        pytest.param('\ufeff{"data": {"action": "reset"}}'.encode(), id="byte order mark"),
        pytest.param(b'{"data": {"action": "\\ud800"}}', id="lone surrogate"),
        pytest.param(b'{"data": {"action": "reset", "\\udfff": 1}}', id="lone surrogate in a name"),
        pytest.param(b"action=reset", id="a real form"),
        pytest.param(b"\x00", id="zero byte"),
    ],
)
async def test_what_is_no_json_is_refused(client: Client, service: FakeService, body: bytes) -> None:
    status, data = await command(client, body)
    assert status == 400
    assert list(data) == ["json"]
    assert data["json"]["invalid"]["target"] == "body"
    assert service.commands == []


@pytest.mark.parametrize("depth", [*range(230, 340, 7), *range(900, 1000, 7)])
async def test_no_depth_is_parsed_that_cannot_be_answered(client: Client, depth: int) -> None:
    nested = b"[" * depth + b"]" * depth
    status, _ = await command(client, b'{"data": {"action": ' + nested + b"}}")
    assert status == 400


@pytest.mark.parametrize("body", [b"null", b"[]", b'"data"', b"1", b"{}"])
async def test_what_has_no_data_is_refused(client: Client, body: bytes) -> None:
    status, data = await command(client, body)
    assert status == 400
    assert list(data["data"]) == ["required"]


@pytest.mark.parametrize("action", [None, True, 1, 1.5, "", "RESET", [], ["set"], {}, {"set": 1}])
async def test_an_action_of_any_other_type_is_refused(client: Client, action: object) -> None:
    status, data = await command(client, json.dumps({"data": {"action": action}}).encode())
    assert status == 400
    assert list(data["action"]) == ["enum"]


@pytest.mark.parametrize("expires", [True, 1.0, "60", [], {}, -1, 0, 2**31, 10**30])
async def test_expires_is_a_positive_number_of_seconds(client: Client, expires: object) -> None:
    body = {"data": {"action": "set", "state": "early", "expires": expires}}
    status, data = await command(client, json.dumps(body).encode())
    assert status == 400
    assert list(data) == ["expires"]


async def test_a_body_of_the_largest_size_is_read(client: Client, service: FakeService) -> None:
    body = b'{"data": {"action": "reset"}}'.ljust(TOO_LARGE - 1)
    response = await client.post(EXTENSION, data=body, headers=TOKEN)
    assert response.status == 202
    assert len(service.commands) == 1


@pytest.mark.parametrize("packed", [False, True])
async def test_a_larger_body_is_refused(client: Client, packed: bool) -> None:
    body, headers = b" " * TOO_LARGE, {}
    if packed:
        body, headers = gzip.compress(b" " * 100 * TOO_LARGE), {"Content-Encoding": "gzip"}
    status, data = await command(client, body, **headers)
    assert status == 400
    assert data["body"]["maxLength"]["target"] == TOO_LARGE - 1


async def test_a_broken_content_encoding_is_refused(client: Client) -> None:
    status, data = await command(client, b"not gzip at all", **{"Content-Encoding": "gzip"})
    assert status == 400
    assert list(data) == ["json"]


async def exchange(application: Application, sent: bytes) -> bytes:
    """Send bytes to a server of ours and return what comes until it closes, or is silent for a moment."""
    listening = await serve(application, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", listening.port)
    writer.write(sent)
    received = b""
    try:
        async with asyncio.timeout(0.3):
            while chunk := await reader.read(65536):
                received += chunk
    except TimeoutError:
        pass
    writer.close()
    await listening.close()
    return received


def request(target: bytes, *headers: bytes, method: bytes = b"GET") -> bytes:
    lines = [method + b" " + target + b" HTTP/1.1", b"Host: a", b"Connection: close", *headers, b"", b""]
    return b"\r\n".join(lines)


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (EXTENSION.encode() + b"%zz", 200),
        (EXTENSION.encode() + b"%7B%7D", 200),
        (EXTENSION.encode() + b"%C3%28", 404),
        (EXTENSION.encode() + b"%ED%A0%80", 404),
        (EXTENSION.encode() + b"%0D%0AX:%201", 404),
        (EXTENSION.encode() + b"/%2e%2e/..", 404),
        (EXTENSION.encode() + b"//", 404),
        (EXTENSION.encode() + b"?event=%ff&include=%00&&=", 200),
        (b"http://elsewhere" + EXTENSION.encode(), 200),
        (f"/v2/accounts/{'%FF' * 32}/presence".encode(), 404),
        (f"/v2/accounts/{OFFICE.upper()}/presence".encode(), 404),
        (f"/v2/accounts/{OFFICE}/users/%FF%2F/presence".encode(), 404),
        (b"//v2/accounts", 404),
        (b"/../v2/", 404),
        (b"/v2/", 404),
    ],
)
async def test_odd_targets(application: Application, target: bytes, status: int) -> None:
    received = await exchange(application, request(target, b"X-Auth-Token: demo-token"))
    assert received.startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize("target", [EXTENSION.encode() + b"\xff", EXTENSION.encode() + b"\xc3\xa4", b"*", b"x", b"?"])
async def test_targets_that_are_none(application: Application, target: bytes) -> None:
    received = await exchange(application, request(target, b"X-Auth-Token: demo-token"))
    assert received.startswith(b"HTTP/1.0 400 ")


@pytest.mark.parametrize(
    "header",
    [
        b"X-Auth-Token:",
        b"X-Auth-Token: \xff\xfe",
        b"X-Auth-Token: demo-tokenx",
        b"X-Auth-Token: d\xc3\xa9mo-token",
        b"X-Auth-Token: " + b"x" * 8000,
        b"Authorization: Bearer",
        b"Authorization: demo-token",
        b"Authorization: Basic ZGVtby10b2tlbg==",
        b"Cookie: auth_token=demo-token",
    ],
)
async def test_what_is_no_token_opens_nothing(application: Application, header: bytes) -> None:
    received = await exchange(application, request(EXTENSION.encode(), header))
    assert received.startswith(b"HTTP/1.1 401 ")
    assert b"auth_token" not in received
    assert b"9.9.9" not in received


async def test_a_request_id_cannot_carry_text_of_its_own(client: Client) -> None:
    for fit, given in ((True, "a b~"), (False, "\u00e4"), (False, "x\ty"), (False, " " * 3), (False, "x" * 129)):
        response = await client.get(EXTENSION, headers={**TOKEN, "X-Request-ID": given})
        assert ((await response.json())["request_id"] == given) is fit


async def test_no_two_requests_get_the_same_id(client: Client) -> None:
    names = [(await client.get(EXTENSION, headers=TOKEN)).headers["X-Request-ID"] for _ in range(3)]
    assert len(set(names)) == 3
    assert all(re.fullmatch("[0-9a-f]{32}", name) for name in names)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"SUBSCRIBE sip:101@127.0.0.1 SIP/2.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Auth-Token: demo-token\x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\nConnection: close\r\n\r\n",
    ],
)
async def test_what_is_no_http_names_no_version(
    application: Application, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    received = await exchange(application, sent)
    assert received.startswith(b"HTTP/1.")
    assert b"Server: sipresence\r\n" in received
    assert b"aiohttp" not in received
    assert "demo-token" not in caplog.text


async def test_a_caller_that_hangs_up_is_no_failure_of_ours(application: Application) -> None:
    listening = await serve(application, "127.0.0.1", 0)
    with structlog.testing.capture_logs() as logs:
        _, writer = await asyncio.open_connection("127.0.0.1", listening.port)
        head = request(EXTENSION.encode(), b"X-Auth-Token: demo-token", b"Content-Length: 100", method=b"POST")
        writer.write(head + b'{"data"')
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()
        await asyncio.sleep(0.05)
        await listening.close()
    assert [line for line in logs if line["log_level"] == "error"] == []


async def test_no_log_line_holds_a_token(
    client: Client, service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.commands.failure = RuntimeError("unforeseen")
    with structlog.testing.capture_logs() as lines:
        await client.post(EXTENSION + "?auth_token=demo-token", json={"data": {"action": "reset"}})
        await client.get("/v2/nothing?auth_token=demo-token")
        await client.get(EXTENSION + "?auth_token=guessed-token")
    assert [line["log_level"] for line in lines] == ["error", "info", "info", "info"]
    assert "token" not in str(lines)

    # The console renderer of structlog shows the local variables of every frame.
    await client.post(EXTENSION + "?auth_token=demo-token", json={"data": {"action": "reset"}})
    printed = capsys.readouterr().out
    assert "unforeseen" in printed
    assert "demo-token" not in printed
