"""Liveness and readiness, by the things that can be wrong."""

import pytest

from sipresence.figures import Health
from tests.http.conftest import Client
from tests.http.fake import FakeInsight

FINE = Health(responsive=True, serving=True, store=True, bus=True)


async def ask(client: Client, path: str) -> tuple[int, dict[str, object]]:
    response = await client.get(path)
    return response.status, await response.json()


async def test_all_is_well(client: Client) -> None:
    assert await ask(client, "/healthz") == (200, {"status": "ok", "responsive": True})
    assert await ask(client, "/readyz") == (200, {"status": "ok", **FINE._asdict()})


@pytest.mark.parametrize("wrong", Health._fields)
async def test_one_thing_is_wrong(client: Client, insight: FakeInsight, wrong: str) -> None:
    insight.now_health = FINE._replace(**{wrong: False})
    assert await ask(client, "/readyz") == (503, {"status": "failing", **FINE._asdict(), wrong: False})
    lives = wrong != "responsive"
    assert await ask(client, "/healthz") == (
        200 if lives else 503,
        {"status": "ok" if lives else "failing", "responsive": lives},
    )


async def test_no_token_is_asked_for_and_none_is_shown(client: Client) -> None:
    response = await client.get("/readyz", headers={"X-Auth-Token": "demo-token"})
    assert "token" not in await response.text()
