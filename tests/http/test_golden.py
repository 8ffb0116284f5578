"""Golden request -> response files: each file in golden/ is one exchange, compared field for field.

    request    method, path (sent as it is written), headers, body (text, or JSON that is written as text)
    failure    the error that the service raises on a command
    status, body, headers (those named; null: must be absent), commands (what the service was told)

`<hex>` stands for 32 hex digits, `<time>` for a UTC time. The token is sent unless the file gives headers.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from sipresence.errors import StoreError
from tests.http.conftest import Client
from tests.http.fake import FakeService

GOLDEN = Path(__file__).parent / "golden"
PLACEHOLDERS = {
    "<hex>": re.compile(r"[0-9a-f]{32}"),
    "<time>": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"),
}
FAILURES = {"StoreError": StoreError("disk full"), "RuntimeError": RuntimeError("a secret of the house")}


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
async def test_golden(golden: dict[str, Any], client: Client, service: FakeService) -> None:
    request = golden["request"]
    body = request.get("body")
    service.failure = FAILURES[golden["failure"]] if "failure" in golden else None

    url = URL(str(client.make_url("/"))[:-1] + request["path"], encoded=True)
    response = await client.session.request(
        request["method"],
        url,
        headers=request.get("headers", {"X-Auth-Token": "demo-token"}),
        data=body if body is None or isinstance(body, str) else json.dumps(body),
    )

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
