"""Golden request -> response files: each file in golden/ is one exchange, compared field for field.

    dialect    how the dialect is configured: list_format, accepted_status, kazoo_exact
    before     requests that come earlier, and how many `times` each; their answers do not matter
    as         who has logged in: "api_key", "alice" (an admin) or "bob" (who may look)
    request    method, path (sent as it is written), headers, body (text, or JSON that is written as text)
    failure    the error that the service raises on a command; no store keeps anything, then
    status, body, headers (those named; null: must be absent), commands (what the service was told)

`<hex>` stands for 32 hex digits, `<time>` for a UTC time, `<token>` for one of a log-in; in a path or body of a request
it is that of who has logged in. His token, or a static one, is sent unless the file gives headers.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse
from yarl import URL

from sipresence.accounts import login_digests
from sipresence.errors import StoreError, TooManyWaiting
from tests.http.conftest import Client
from tests.http.fake import FakeService
from tests.office import API_KEY, OFFICE, Office

GOLDEN = Path(__file__).parent / "golden"
PLACEHOLDERS = {
    "<hex>": re.compile(r"[0-9a-f]{32}"),
    "<token>": re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+"),
    "<time>": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"),
}
FAILURES = {
    "StoreError": StoreError("disk full"),
    "RuntimeError": RuntimeError("a secret of the house"),
    "TooManyWaiting": TooManyWaiting(),
}


def differences(expected: Any, found: Any, where: str = "body") -> list[str]:
    """Say where `found` is not as expected."""
    if isinstance(expected, dict) and isinstance(found, dict):
        if list(expected) != list(found):
            return [f"{where}: keys {list(found)}, expected {list(expected)}"]
        return [line for key in expected for line in differences(expected[key], found[key], f"{where}.{key}")]
    pattern = PLACEHOLDERS.get(expected) if isinstance(expected, str) else None
    if pattern is not None:
        return [] if isinstance(found, str) and pattern.fullmatch(found) else [f"{where}: {found!r} is no {expected}"]
    same = type(expected) is type(found) and expected == found
    return [] if same else [f"{where}: {found!r}, expected {expected!r}"]


@pytest.mark.parametrize(
    "golden", [pytest.param(json.loads(path.read_text()), id=path.stem) for path in sorted(GOLDEN.glob("*.json"))]
)
async def test_golden(golden: dict[str, Any], client: Client, service: FakeService, office: Office) -> None:
    if "failure" in golden:
        service.commands.failure = FAILURES[golden["failure"]]
        office.fail_with(StoreError("disk full"))
    token = log_in(office, golden["as"]) if "as" in golden else "demo-token"
    for earlier in golden.get("before", ()):
        for _ in range(earlier.get("times", 1)):
            await send(client, earlier, token)

    response = await send(client, golden["request"], token)

    text = await response.text()
    found = json.loads(text) if response.content_type == "application/json" else text
    assert response.status == golden["status"], text
    assert differences(golden["body"], found) == []
    for name, value in golden.get("headers", {}).items():
        assert response.headers.get(name) == value, name
    assert response.headers["Server"] == "sipresence"
    assert service.commands == golden.get("commands", [])
    if isinstance(found, dict):
        assert response.headers["X-Request-ID"] == found["request_id"]


def log_in(office: Office, who: str) -> str:
    if who == "api_key":
        return office.sessions.log_in_by_key(API_KEY, source="192.0.2.1")[0]
    password = {"alice": "wonderland", "bob": "builder"}[who]
    return office.sessions.log_in(OFFICE, login_digests(who, password)[0], source="192.0.2.1")[0]


async def send(client: Client, request: dict[str, Any], token: str) -> ClientResponse:
    body = request.get("body")
    path = request["path"].replace("<token>", token)
    return await client.session.request(
        request["method"],
        URL(str(client.make_url("/"))[:-1] + path, encoded=True),
        headers=request.get("headers", {"X-Auth-Token": token}),
        data=body if body is None or isinstance(body, str) else json.dumps(body).replace("<token>", token),
    )
