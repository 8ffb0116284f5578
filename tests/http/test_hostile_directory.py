"""Users, devices and log-ins that nobody tells by accident: each gets its 4xx, none a 5xx, and no log line a secret."""

import asyncio
import json
from typing import Any, cast

import pytest
import structlog
from aiohttp.test_utils import TestClient, TestServer

from sipresence.http.authorization import RequestLimits, client_network
from sipresence.http.blackhole import Blackhole
from sipresence.http.conversation import WebsocketLimits
from sipresence.http.server import Services, make_application
from sipresence.objects import Kind
from tests.http.conftest import Client
from tests.http.fake import FakeInsight, FakeService
from tests.http.test_golden import log_in
from tests.office import API_KEY, CELLAR, DESK, OFFICE, Office

DEVICES, USERS = f"/v2/accounts/{OFFICE}/devices", f"/v2/accounts/{OFFICE}/users"
TOKEN = {"X-Auth-Token": "demo-token"}
ODD: list[Any] = [
    None, True, 0, -1, 1.5, 10**400, "", " ", "\x00", "\r\nEvil: 1", "\u202e", "💣", "x" * 5000, [], [[]], {},
    {"a": {}}, "'; DROP TABLE objects; --", "<entry/>", "sip:101@office.example.com;x=y", "../..", "%00", "__proto__",
]  # fmt: skip


async def put(client: Client, path: str, data: Any, method: str = "PUT") -> tuple[int, Any]:
    response = await client.request(method, path, data=json.dumps({"data": data}), headers=TOKEN)
    return response.status, await response.json()


@pytest.mark.parametrize("field", ["name", "owner_id", "presence_id", "enabled", "sip", "id", "_id", "pvt_x", "x"])
async def test_any_value_of_any_field_of_a_device(client: Client, office: Office, field: str) -> None:
    for value in ODD:
        status, envelope = await put(client, DEVICES, {"name": "Attic", field: value})
        assert status in (201, 400), (value, envelope)
        if status == 201:
            ident = envelope["data"]["id"]
            response = await client.get(f"{DEVICES}/{ident}", headers=TOKEN)
            assert (await response.json())["data"] == envelope["data"]
            assert (await put(client, f"{DEVICES}/{CELLAR}", {field: value}, "PATCH"))[0] in (200, 400)
    listed = await client.get(f"{DEVICES}?paginate=false", headers=TOKEN)
    assert listed.status == 200
    again = Office(objects=(await office.store.load()).objects)
    assert len(again.service.page(OFFICE, Kind.DEVICE).objects) == len((await listed.json())["data"])


@pytest.mark.parametrize("field", ["username", "password", "realm", "x"])
async def test_any_value_of_any_field_of_credentials(client: Client, field: str) -> None:
    for number, value in enumerate(ODD):
        sip = {"username": f"phone-{number}", "password": "long-enough", field: value}
        status, envelope = await put(client, DEVICES, {"name": "Attic", "sip": sip})
        assert status in (201, 400), (value, envelope)


@pytest.mark.parametrize(
    "field", ["first_name", "last_name", "username", "password", "presence_id", "priv_level", "pvt_md5_auth", "sip"]
)
async def test_any_value_of_any_field_of_a_user(client: Client, field: str) -> None:
    for value in ODD:
        data = {"first_name": "Dave", "last_name": "Roe", field: value}
        if field == "username":
            data["password"] = "singer"
        status, envelope = await put(client, USERS, data)
        assert status in (201, 400), (value, envelope)
    assert (await client.get(USERS + "?paginate=false", headers=TOKEN)).status == 200


async def test_a_field_that_means_us_is_passed_over(client: Client, office: Office) -> None:
    forged = {"first_name": "Dave", "last_name": "Roe", "pvt_md5_auth": "0" * 32, "id": DESK, "_read_only": True}
    status, envelope = await put(client, USERS, forged)
    assert status == 201
    assert envelope["data"]["id"] != DESK
    assert "_read_only" not in envelope["data"]
    assert office.directory.user_by_login(OFFICE, "0" * 32) is None


@pytest.mark.parametrize(
    "query",
    [
        "page_size=-1", "page_size=", "page_size=1e9", "page_size=9999999999", "page_size=%D9%A3", "start_key=%00",
        "start_key=%ff", "start_key=" + "x" * 4000, "paginate=maybe", "page_size=1&page_size=2", "start_key=~",
    ],
)  # fmt: skip
async def test_odd_pages(client: Client, query: str) -> None:
    response = await client.get(f"{DEVICES}?{query}", headers=TOKEN)
    assert response.status in (200, 400)
    await response.json()


@pytest.mark.parametrize("ident", ["%00", "%ff", "..%2F", "x" * 4000, "*", "device", "' OR 1"])
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
async def test_odd_ids(client: Client, method: str, ident: str) -> None:
    response = await client.request(method, f"{DEVICES}/{ident}", data=b'{"data": {}}', headers=TOKEN)
    assert response.status == 404


async def test_odd_logins(client: Client) -> None:
    for value in ODD:
        for path, data in (
            ("api_auth", {"api_key": value}),
            ("user_auth", {"credentials": value}),
            ("user_auth", {"credentials": "0" * 32, "account_name": value}),
            ("user_auth", {"credentials": "0" * 32, "account_realm": value}),
        ):
            status, _ = await put(client, f"/v2/{path}", data)
            assert status in (400, 401, 404, 429), (path, value)


@pytest.mark.parametrize(
    "body",
    [b"", b"x", b"[]", b'{"auth_token": null}', b'{"auth_token": "\\ud800"}', b'{"auth_token": {}}', b"[" * 9000,
     b'{"auth_token": "demo-token", "auth_token": "demo-token"}', b'{"auth_token": "d\xc3\xa9mo"}'],
)  # fmt: skip
async def test_a_body_without_a_token_opens_nothing(client: Client, body: bytes) -> None:
    response = await client.put(DEVICES, data=body)
    assert response.status == 401


async def test_of_many_guesses_nobody_learns_which_was_right(client: Client, office: Office) -> None:
    alice = {"X-Auth-Token": log_in(office, "alice")}
    for known in (TOKEN, alice):
        assert (await client.get(DEVICES, headers=known)).status == 200
    statuses = []
    for number in range(120):
        response = await client.get(DEVICES, headers={"X-Auth-Token": f"guess-{number}"})
        statuses.append(response.status)
    assert statuses == [401] * 100 + [429] * 20
    for right in ("read-token", log_in(office, "bob")):
        assert (await client.get(DEVICES, headers={"X-Auth-Token": right})).status == 429
    for known in (TOKEN, alice):
        assert (await client.get(DEVICES, headers=known)).status == 200, "who was here before is not held up"
    elsewhere = {"X-Auth-Token": "read-token", "X-Forwarded-For": "198.51.100.1"}
    assert (await client.get(DEVICES, headers=elsewhere)).status == 200, "nor who is elsewhere"


async def test_where_a_proxy_says_that_a_client_is(client: Client) -> None:
    async def status(forwarded: str) -> int:
        return (await client.get(DEVICES, headers={"X-Forwarded-For": forwarded})).status

    for _ in range(100):
        assert await status("198.51.100.1, 2001:db8::1") == 401
    assert await status("2001:db8::1") == 429
    assert await status("2001:db8::2") == 429, "of the same /64"
    assert await status("2001:db8:0:1::1") == 401
    assert await status("198.51.100.1") == 401
    assert await status("::ffff:198.51.100.1") == 401
    assert await status("nowhere") == 401


def test_one_client_is_an_address_or_a_64() -> None:
    class Request:
        def __init__(self, remote: str | None) -> None:
            self.remote = remote
            self.headers = {"X-Forwarded-For": "198.51.100.1"}

    for remote, network in (
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8::1", "2001:0db8:0000:0000"),
        ("fe80::1%eth0", "fe80:0000:0000:0000"),
        ("::ffff:203.0.113.9", "::ffff:203.0.113.9"),
        (None, ""),
        ("127.0.0.1", "198.51.100.1"),
    ):
        assert client_network(Request(remote)) == network  # type: ignore[arg-type]


async def test_many_changes_at_once(client: Client) -> None:
    async def change(number: int) -> int:
        return (await put(client, f"{DEVICES}/{CELLAR}", {"presence_id": str(number)}, "PATCH"))[0]

    async def take(number: int) -> int:
        sip = {"username": "attic", "password": "attic-secret"}
        return (await put(client, DEVICES, {"name": f"{number}", "sip": sip}))[0]

    assert set(await asyncio.gather(*map(change, range(20)))) == {200}
    assert sorted(await asyncio.gather(*map(take, range(20)))) == [201] + [400] * 19, "one of them has the name"


async def test_no_log_line_holds_a_secret(client: Client, office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    token = log_in(office, "alice")
    with structlog.testing.capture_logs() as lines:
        await put(client, DEVICES, {"name": "Attic", "sip": {"username": "attic", "password": "SECRET-1"}})
        await put(client, DEVICES, {"name": 5, "sip": {"username": "attic", "password": "SECRET-2", "x": 1}})
        await put(client, USERS, {"first_name": "D", "last_name": "R", "username": "d", "password": "SECRET-3"})
        await put(client, "/v2/api_auth", {"api_key": "SECRET-4".ljust(64)})
        await put(client, "/v2/user_auth", {"credentials": "SECRET-5", "account_name": "Demo office"})
        await put(client, f"/v2/user_auth/{token}", {})
        await client.get(f"/v2/user_auth/{token}x", headers=TOKEN)
    assert len(lines) >= 7
    assert not any(secret in str(lines) for secret in ("SECRET", token, API_KEY))

    # The console renderer of structlog shows the local variables of every frame.
    office.service.page = None  # type: ignore[assignment,method-assign]
    response = await client.get(DEVICES, headers={"X-Auth-Token": token})
    assert response.status == 500
    printed = capsys.readouterr().out
    assert "NoneType" in printed
    assert not any(secret in printed for secret in ("SECRET", token, API_KEY, "wonderland", "desk-secret"))


async def test_static_tokens_pay_where_that_is_configured(service: FakeService, office: Office) -> None:
    presence = cast("Any", service)
    services = Services(presence, office.service, office.sessions, cast("Any", FakeInsight()))
    limits = RequestLimits(rate=1.0, burst=40, static_tokens_too=True)
    blackhole = Blackhole(presence, office.sessions, WebsocketLimits())
    async with TestClient(TestServer(make_application(services, blackhole, version="9", limits=limits))) as client:
        for left in reversed(range(40)):
            response = await client.get(DEVICES, headers=TOKEN)
            assert (await response.json())["tokens"] == {"consumed": 1, "remaining": left}
        assert (await client.get(DEVICES, headers=TOKEN)).status == 429
        assert (await client.get(DEVICES, headers={"X-Auth-Token": "other-token"})).status == 403, "a bucket of its own"
