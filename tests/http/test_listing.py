"""Lists of large accounts: whole, in order, by pages, and made bit by bit."""

import asyncio
import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any, cast

import aiohttp
import pytest
import structlog
from aiohttp import web

from sipresence.addressing import subscriber_of
from sipresence.http import envelope, listing, pieces
from sipresence.http.dialect import Dialect
from sipresence.http.listing import Listing, Wanted, lamps
from sipresence.http.server import serve
from sipresence.names import AccountId, ResourceId, SubscriptionId
from tests.http.conftest import Client
from tests.http.fake import FakeService, View, record
from tests.office import OFFICE, OTHER
from tests.test_service import EARLY, LAMP, PARKED, SHOP, TERMINATED, House, house

__all__ = ["house"]

LIST = f"/v2/accounts/{OFFICE}/presence"
TOKEN = {"X-Auth-Token": "demo-token"}
MANY = 1000


class Crowd(FakeService):
    """So many subscriptions to 100 extensions; every tenth is another account's, every fiftieth shares its Call-ID."""

    def __init__(self) -> None:
        super().__init__()
        self.views = [self._view(number) for number in range(1, MANY + 1)]

    def _view(self, number: int) -> View:
        call_id = f"{number % 100}@shared" if number % 50 == 1 else f"{number}@192.0.2.10"
        account = OTHER if number % 10 == 0 else OFFICE
        return View(record(number, str(100 + number % 100), call_id, account=account), body="x" * 500)

    def resources(self) -> Sequence[ResourceId]:
        return tuple(dict.fromkeys(view.record.resource for view in self.views))

    def subscriptions(
        self, account: AccountId, *, resource: ResourceId | None = None, event: str | None = None
    ) -> Iterator[View]:
        return (
            view
            for view in reversed(self.views)
            if (view.record.account, view.record.resource) == (account, resource) and event in (None, view.record.event)
        )

    def subscription_ids(self) -> Sequence[SubscriptionId]:
        return [view.record.id for view in self.views]

    def subscription(self, ident: SubscriptionId, *, account: AccountId) -> View | None:
        view = self.views[ident - 1]
        return view if view.record.account == account else None

    def namesakes(self, one: Any) -> Any:
        alike = [view.record for view in self.views if view.record.call_id == one.call_id]
        return [other for other in reversed(alike) if (other.resource, other.account) == (one.resource, one.account)]


@pytest.fixture
def service() -> FakeService:
    return Crowd()


async def test_a_large_list_is_sent_while_it_is_made(client: Client) -> None:
    response = await client.get(LIST, headers=TOKEN)
    text = await response.text()
    assert response.headers["Transfer-Encoding"] == "chunked"
    assert response.headers["X-Request-ID"] == json.loads(text)["request_id"]
    body = json.loads(text)
    subscriptions = body["data"]["subscriptions"]
    assert sum(len(of_event) for events in subscriptions.values() for of_event in events.values()) == MANY * 9 // 10
    data = text[len('{"data": ') : text.index(', "status"')]
    assert body["revision"] == hashlib.md5(data.encode()).hexdigest()


async def test_a_short_one_has_a_length(client: Client) -> None:
    response = await client.get(f"{LIST}/101", headers=TOKEN)
    assert "Content-Length" in response.headers
    assert len((await response.json())["data"]["subscriptions"]["101"]["dialog"]) == MANY // 100


@pytest.mark.parametrize("path", [LIST, f"{LIST}/101"])
async def test_its_head_has_no_body(client: Client, path: str) -> None:
    response = await client.head(path, headers=TOKEN)
    assert (response.status, await response.read()) == (200, b"")
    assert (await client.get(f"{LIST}/102", headers=TOKEN)).status == 200, "and the connection is as it was"


async def test_it_ends_with_the_connection_for_an_old_client(client: Client) -> None:
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(f"GET {LIST} HTTP/1.0\r\nX-Auth-Token: demo-token\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert b"chunked" not in head
    assert json.loads(body)["status"] == "success"


async def test_others_are_served_meanwhile(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    rests = 0

    async def count() -> None:
        nonlocal rests
        rests += 1

    for module in (envelope, listing):
        monkeypatch.setattr(module, "pause", count)
    await (await client.get(LIST, headers=TOKEN)).read()
    assert rests >= MANY * 2 / 64, "two pieces a record, 64 in one go"
    rests = 0
    await (await client.get(f"{LIST}?page_size=500", headers=TOKEN)).read()
    assert rests >= 500 / 52, "so many are looked at in one go"


async def test_who_goes_away_in_the_middle_troubles_nobody(application: web.Application) -> None:
    listening = await serve(application, "127.0.0.1", 0)
    async with aiohttp.ClientSession(headers=TOKEN) as session:
        url = f"http://127.0.0.1:{listening.port}{LIST}"
        async with session.get(url) as response:
            await response.content.read(1000)
            response.close()
        async with session.get(url) as response:
            assert response.status == 200
            await response.read()
    await listening.close()


async def test_where_it_cannot_go_on_it_does_not_end_as_if_it_were_whole(
    application: web.Application, service: FakeService
) -> None:
    views = cast(Crowd, service).views
    views[98] = views[98]._replace(body=cast(str, object()))  # which cannot be written
    listening = await serve(application, "127.0.0.1", 0)
    async with aiohttp.ClientSession(headers=TOKEN) as session:
        with structlog.testing.capture_logs() as lines:
            async with session.get(f"http://127.0.0.1:{listening.port}{LIST}") as response:
                assert response.status == 200
                with pytest.raises(aiohttp.ClientError):
                    await response.read()
    assert (lines[0]["event"], lines[0]["log_level"]) == ("answer broken off", "error")
    await listening.close()


async def test_pages_are_the_whole_list_in_order_and_with_the_same_keys(client: Client) -> None:
    whole = (await (await client.get(LIST, headers=TOKEN)).json())["data"]["subscriptions"]
    seen: dict[tuple[str, str, str], Any] = {}
    start, pages = "", 0
    while True:
        body = await (await client.get(f"{LIST}?page_size=70&start_key={start}", headers=TOKEN)).json()
        pages += 1
        for extension, events in body["data"]["subscriptions"].items():
            for event, records in events.items():
                for key, described in records.items():
                    assert (extension, event, key) not in seen
                    seen[extension, event, key] = described
        if "next_start_key" not in body:
            break
        assert body["page_size"] == 70
        start = body["next_start_key"]
    assert pages == 13
    assert seen == {
        (extension, event, key): described
        for extension, events in whole.items()
        for event, records in events.items()
        for key, described in records.items()
    }


async def test_a_page_of_what_one_device_has_made(client: Client) -> None:
    path = f"/v2/accounts/{OFFICE}/devices/{'d' * 32}/presence?filter=subscriber&page_size=5"
    body = await (await client.get(path, headers=TOKEN)).json()
    assert (body["data"], body["page_size"]) == ({"subscriptions": {}}, 0)


# What the real service knows


def whole(listed: pieces.Members) -> Any:
    return json.loads("".join(pieces.object_of(listed)))


async def test_a_device_has_made_what_came_with_its_password_or_name(house: House) -> None:
    house.subscribed(uri="sip:*3101@office.example.com", call_id="1")
    (view,) = house.service.subscriptions(OFFICE)
    found = Listing(house.service, Dialect())
    for names, count in ((frozenset({subscriber_of(view.record)}), 1), (frozenset({"nobody"}), 0)):
        wanted = Wanted(OFFICE, subscribers=names)
        assert wanted.takes(view.record) == bool(count)
        assert len(whole(found.members(wanted, Dialect().list_format))["subscriptions"]) == count


async def test_lamps_are_those_known_subscribed_to_or_spoken_of(house: House) -> None:
    house.subscribed(uri="sip:*3101@office.example.com")
    spoken_of = ResourceId("999@office.example.com")
    await house.set_state(OFFICE, [spoken_of], EARLY)
    await house.set_state(SHOP, [ResourceId("1@shop.example.com")], EARLY)
    names = list(lamps(house.service, OFFICE))
    assert [name for name in names if name is not None] == [LAMP, PARKED, spoken_of]
    assert [house.service.lamp(name).state for name in (LAMP, PARKED, spoken_of)] == [TERMINATED, TERMINATED, EARLY]


def test_an_object_without_members_is_left_out() -> None:
    nothing: pieces.Members = iter([None, None])
    assert whole(pieces.unless_empty("a", nothing)) == {}
    some: pieces.Members = iter([None, ("b", pieces.value(1)), None, ("c", pieces.value("é"))])
    assert whole(pieces.unless_empty("a", some)) == {"a": {"b": 1, "c": "é"}}
