"""No account sees or changes another: every route that the application has, whichever dialect has added it, is tried
with tokens that must not open it.

A new route is tried by itself. One with a new name in its path needs a value for that here, and one that needs no
token has to be named here.
"""

from collections.abc import Iterator
from itertools import product
from string import Formatter
from typing import Any, NamedTuple

import pytest
from aiohttp import web
from aiohttp.web_urldispatcher import PrefixedSubAppResource
from yarl import URL

from tests.http.conftest import Client
from tests.http.fake import FakeService
from tests.office import ALICE, API_KEY, BRANCH, CAROL, CELLAR, DESK, OFFICE, REALM, Office

VALUES = {
    "account": (OFFICE,),
    "id": (CELLAR, DESK, CAROL, ALICE, "0" * 32),
    "extension": ("101", "*3101"),
    "token": ("demo-token",),
    "slash": ("", "/"),
    "rest": ("",),
}
PUBLIC = {
    "/", "/v1{rest}", "/metrics", "/healthz", "/readyz", "/v2/websockets{slash}", "/v2/openapi.json{slash}",
    "/v2/docs{slash}",
}  # fmt: skip
LOGINS = {"/v2/api_auth{slash}", "/v2/user_auth{slash}"}
SECRETS = (REALM, "wonderland", "demo-token", API_KEY, "cellar", "alice", "Alice", "Carol", "first@192.0.2.10")

BODY = {"data": {"action": "set", "state": "early", "name": "Taken over", "first_name": "x", "last_name": "y"}}


class Route(NamedTuple):
    """A method, and the path with its names in it."""

    method: str
    path: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def paths(self) -> Iterator[str]:
        """The path with all values for its names."""
        names = [name for _, name, _, _ in Formatter().parse(self.path) if name]
        for values in product(*(VALUES[name] for name in names)):
            yield self.path.format(**dict(zip(names, values, strict=True)))


def routes(application: web.Application) -> Iterator[Route]:
    """Every route, those of mounted applications too."""
    for resource in application.router.resources():
        if isinstance(resource, PrefixedSubAppResource):
            yield from routes(resource._app)
        for route in resource:
            if route.resource is resource:
                yield Route("GET" if route.method == "*" else route.method, resource.canonical)


@pytest.fixture
def all_routes(application: web.Application) -> list[Route]:
    found = sorted(set(routes(application)))
    assert len(found) > 30
    assert any("presence" in route.path for route in found)
    return found


async def ask(client: Client, route: Route, path: str, **headers: str) -> tuple[int, str]:
    url = URL(str(client.make_url("/"))[:-1] + path, encoded=True)
    response = await client.session.request(route.method, url, headers=headers, json=BODY)
    return response.status, await response.text()


def remembered(office: Office) -> Any:
    return office.store._objects.copy()  # type: ignore[attr-defined]


@pytest.mark.parametrize("token", ["other-token", "branch-token"], ids=["another account", "an account below"])
async def test_no_other_account_gets_in(
    client: Client, service: FakeService, office: Office, all_routes: list[Route], token: str
) -> None:
    before = remembered(office)
    own = office.sessions.session(token).account
    for route in all_routes:
        if route.path in PUBLIC | LOGINS:
            continue
        for path in route.paths():
            status, text = await ask(client, route, path, **{"X-Auth-Token": token})
            if "{account}" in route.path:
                assert status == 403, f"{route}: {status}"
            assert own == OFFICE or not any(secret in text for secret in SECRETS), f"{route}: {text}"
    assert {command[1] for command in service.commands} == {own}, "by routes that mean the account of the token"
    assert remembered(office) == before


async def test_no_stranger_gets_in(
    client: Client, service: FakeService, office: Office, all_routes: list[Route]
) -> None:
    before = remembered(office)
    for route in all_routes:
        if route.path in PUBLIC | LOGINS:
            continue
        for path in route.paths():
            status, text = await ask(client, route, path)
            assert status in (401, 426, 429), f"{route}: {status}"
            assert not any(secret in text for secret in SECRETS), f"{route}: {text}"
    assert service.commands == []
    assert remembered(office) == before


async def test_who_may_look_changes_nothing(
    client: Client, service: FakeService, office: Office, all_routes: list[Route]
) -> None:
    before = remembered(office)
    for route in all_routes:
        if route.method in ("GET", "HEAD") or route.path in PUBLIC | LOGINS:
            continue
        for path in route.paths():
            status, _ = await ask(client, route, path, **{"X-Auth-Token": "read-token"})
            assert status in (403, 409), f"{route}: {status}"
    assert service.commands == []
    assert remembered(office) == before


async def test_who_may_look_sees_no_secret(client: Client, all_routes: list[Route]) -> None:
    for route in all_routes:
        if route.method != "GET" or route.path in PUBLIC:
            continue
        for path in route.paths():
            _, text = await ask(client, route, path, **{"X-Auth-Token": "read-token"})
            assert not any(secret in text for secret in ("cellar-secret", "desk-secret", API_KEY, "wonderland")), route


async def test_an_account_above_gets_in(client: Client, all_routes: list[Route]) -> None:
    for route in all_routes:
        if route.method == "GET" and "{account}" in route.path:
            path = next(route.paths()).replace(OFFICE, BRANCH)
            status, text = await ask(client, route, path, **{"X-Auth-Token": "demo-token"})
            assert status in (200, 400, 404), f"{route}: {status}"
            assert REALM not in text, route
