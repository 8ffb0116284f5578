"""Users and devices over the API: what is kept, what it has to be, when it takes effect, what the file says of it."""

import asyncio
import time
from typing import Any

import pytest

from sipresence.accounts import Device
from sipresence.directory import Directory
from sipresence.directory_service import DirectoryObject
from sipresence.errors import (
    ConfiguredObject,
    InvalidObject,
    StoreError,
    UnknownAccount,
    UnknownDevice,
    UnknownUser,
)
from sipresence.names import AccountId, ResourceId
from sipresence.objects import JsonObject, Kind, ObjectKey
from sipresence.sip.digest import Algorithm
from tests.fakes import ManualStore
from tests.office import ALICE, BOB, DESK, OFFICE, OTHER, REALM, SOFT, Office, accounts, office_account

PHONE: JsonObject = {"name": "Cellar", "presence_id": "201", "sip": {"username": "cellar", "password": "cellar-secret"}}
CAROL: JsonObject = {"first_name": "Carol", "last_name": "Doe", "username": "Carol", "password": "singer"}
BY = OFFICE


def lamp(extension: str) -> ResourceId:
    return ResourceId(f"{extension}@{REALM}")


async def create(office: Office, told: JsonObject = PHONE, kind: Kind = Kind.DEVICE, **more: Any) -> ObjectKey:
    made = await office.service.create(OFFICE, kind, {**told, **more}, by=BY)
    return ObjectKey(OFFICE, kind, made.id)


async def findings(office: Office, told: JsonObject, kind: Kind = Kind.DEVICE) -> dict[str, str]:
    """The rule that each field breaks."""
    with pytest.raises(InvalidObject) as caught:
        await office.service.create(OFFICE, kind, told, by=BY)
    return {path: next(iter(rules)) for path, rules in caught.value.findings.items()}


async def test_a_new_device_takes_effect_at_once() -> None:
    office = Office()
    directory = office.directory
    assert directory.ha1(OFFICE, "cellar", Algorithm.MD5) is None
    key = await create(office, owner_id=BOB)
    assert directory.ha1(OFFICE, "cellar", Algorithm.MD5) == Algorithm.MD5.ha1("cellar", REALM, "cellar-secret")
    assert directory.device_lamp(OFFICE, key.id) == lamp("201")
    assert directory.knows(lamp("201"))
    assert lamp("201") in directory.lamps(OFFICE)
    assert directory.may_publish(OFFICE, "cellar", lamp("201"))
    found = directory.device_at(lamp("CELLAR".lower()))
    assert found is not None
    assert found.id == key.id


async def test_a_changed_device_takes_effect_at_once() -> None:
    office = Office()
    directory = office.directory
    key = await create(office)
    await office.service.amend(key, {"presence_id": "202", "sip": {"password": "another"}}, by=BY)
    assert directory.ha1(OFFICE, "cellar", Algorithm.MD5) == Algorithm.MD5.ha1("cellar", REALM, "another")
    assert directory.device_lamp(OFFICE, key.id) == lamp("202")
    assert not directory.knows(lamp("201"))
    assert not directory.may_publish(OFFICE, "cellar", lamp("201"))
    await office.service.amend(key, {"enabled": False}, by=BY)
    assert directory.ha1(OFFICE, "cellar", Algorithm.MD5) is None
    await office.service.delete(key, by=BY)
    assert not directory.knows(lamp("202"))
    assert directory.device_at(lamp("cellar")) is None
    with pytest.raises(UnknownDevice):
        office.service.find(key)


async def test_who_has_to_do_with_devices_hears_of_a_change_that_is_in_force() -> None:
    """The registrations of a device that is gone end so."""
    office = Office()
    known: list[bool] = []
    office.service.attach(office.outbox, changed=lambda: known.append(office.directory.knows(lamp("201"))))
    key = await create(office)
    await office.service.delete(key, by=BY)
    assert known == [True, False]


async def test_the_lamps_of_a_user_follow() -> None:
    office = Office()
    carol = await create(office, CAROL, Kind.USER)
    with pytest.raises(UnknownUser):
        office.directory.user_lamps(OFFICE, carol.id)
    phone = await create(office, owner_id=carol.id)
    await create(office, sip={"username": "attic", "password": "attic-secret"}, presence_id=None, owner_id=carol.id)
    assert office.directory.user_lamps(OFFICE, carol.id) == (lamp("201"), lamp("attic"))
    await office.service.amend(phone, {"owner_id": None}, by=BY)
    assert office.directory.user_lamps(OFFICE, carol.id) == (lamp("attic"),)
    await office.service.amend(carol, {"presence_id": 103}, by=BY)
    assert office.directory.user_lamps(OFFICE, carol.id) == (lamp("103"),)
    assert office.directory.knows(lamp("103"))
    await office.service.delete(carol, by=BY)
    assert not office.directory.knows(lamp("103"))
    assert office.directory.knows(lamp("attic")), "what she owned stays"


async def test_what_is_told_is_given_back() -> None:
    office = Office()
    told: JsonObject = {**PHONE, "media": {"audio": ["PCMU", {"x": None}], "video": None}, "flags": [], "note": None}
    key = await create(office, told, _private=1, pvt_type="x", id="mine")
    expected: JsonObject = {**PHONE, "media": {"audio": ["PCMU", {"x": None}]}, "flags": [], "enabled": True}
    assert office.service.find(key) == DirectoryObject(key.id, expected, configured=False)
    assert key.id != "mine"


async def test_it_is_the_same_after_a_restart() -> None:
    office = Office()
    phone, carol = await create(office), await create(office, CAROL, Kind.USER, presence_id="103")
    gone = await create(office, CAROL, Kind.USER, username="dave")
    await office.service.delete(gone, by=BY)
    again = Office(objects=(await office.store.load()).objects)
    assert again.service.find(phone) == office.service.find(phone)
    assert again.service.find(carol) == office.service.find(carol)
    assert again.directory.device_lamp(OFFICE, phone.id) == lamp("201")
    user = again.directory.user(OFFICE, carol.id)
    assert user is not None
    assert again.directory.user_by_login(OFFICE, user.logins[0]) is user
    with pytest.raises(UnknownUser):
        again.service.find(gone)


async def test_replacing_and_amending() -> None:
    office = Office()
    key = await create(office, note="a", media={"audio": 1, "video": 2})
    await office.service.amend(key, {"media": {"audio": None, "fax": 3}, "presence_id": None}, by=BY)
    credentials = PHONE["sip"]
    expected: JsonObject = {"name": "Cellar", "sip": credentials, "note": "a", "media": {"video": 2, "fax": 3}}
    assert office.service.find(key).body == {**expected, "enabled": True}
    assert office.directory.device_lamp(OFFICE, key.id) == lamp("cellar")
    await office.service.replace(key, {"name": "Attic"}, by=BY)
    assert office.service.find(key).body == {"name": "Attic", "enabled": True, "sip": credentials}


async def test_a_device_without_credentials_is_given_some() -> None:
    office = Office()
    key = await create(office, {"name": "New"})
    assert office.service.find(key).body["sip"] == {"username": "user_secret-1", "password": "secret-2"}


async def test_of_a_password_only_what_a_login_sends_is_kept() -> None:
    office = Office()
    key = await create(office, CAROL, Kind.USER)
    shown: JsonObject = {"first_name": "Carol", "last_name": "Doe", "username": "Carol"}
    assert office.service.find(key).body == {**shown, "enabled": True, "priv_level": "user"}
    (record,) = (await office.store.load()).objects
    assert "singer" not in record.body
    (user,) = [office.directory.user_called(OFFICE, "carol")]
    assert user is not None
    assert office.directory.user_by_login(OFFICE, user.logins[0].upper()) is user


async def test_a_user_name_changes_with_its_password_only() -> None:
    office = Office()
    key = await create(office, CAROL, Kind.USER)
    before = office.directory.user(OFFICE, key.id)
    assert before is not None
    await office.service.amend(key, {"username": "CAROL", "last_name": "Roe"}, by=BY)
    user = office.directory.user(OFFICE, key.id)
    assert user is not None
    assert user.logins == before.logins
    for told, field in (({"username": "dave"}, "password"), ({"username": None, "password": "x"}, "username")):
        with pytest.raises(InvalidObject) as caught:
            await office.service.amend(key, dict(told), by=BY)
        assert list(caught.value.findings[field]) == ["required"]
    await office.service.amend(key, {"username": "dave", "password": "other"}, by=BY)
    assert office.directory.user_by_login(OFFICE, before.logins[0]) is None
    await office.service.amend(key, {"username": None}, by=BY)
    assert office.directory.user_called(OFFICE, "dave") is None
    assert await create(office, CAROL, Kind.USER, username="dave")


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, {"name": "required"}),
        ({"name": ""}, {"name": "minLength"}),
        ({"name": "x" * 129}, {"name": "maxLength"}),
        ({"name": 5}, {"name": "type"}),
        ({"enabled": "yes"}, {"enabled": "type"}),
        ({"owner_id": "short"}, {"owner_id": "minLength"}),
        ({"owner_id": "f" * 32}, {"owner_id": "not_found"}),
        ({"presence_id": "@x"}, {"presence_id": "pattern"}),
        ({"presence_id": "1\n2"}, {"presence_id": "pattern"}),
        ({"presence_id": [1]}, {"presence_id": "type"}),
        ({"presence_id": True}, {"presence_id": "type"}),
        ({"presence_id": 1.5}, {"presence_id": "type"}),
        ({"sip": "x"}, {"sip": "type"}),
        ({"sip": {"username": "x", "password": "four"}}, {"sip.username": "minLength", "sip.password": "minLength"}),
        ({"sip": {"username": "x" * 33}}, {"sip.username": "maxLength"}),
        ({"sip": {"username": "a\tb"}}, {"sip.username": "pattern"}),
        ({"sip": {"username": "@office"}}, {"sip.username": "pattern"}),
        ({"sip": {"username": "ALICE-desk"}}, {"sip.username": "unique"}),
        ({"sip": {"username": "alice-desk@elsewhere"}}, {"sip.username": "unique"}),
        ({"sip": {"username": "alice-desk"}, "owner_id": ""}, {"owner_id": "minLength"}),
        ({"sip": {"username": "alice-desk"}, "owner_id": DESK}, {"sip.username": "unique", "owner_id": "not_found"}),
    ],
)
async def test_what_a_device_has_to_be(told: JsonObject, expected: dict[str, str]) -> None:
    name: JsonObject = {} if not told else {"name": "Cellar"}
    assert await findings(Office(), {**name, **told}) == expected


@pytest.mark.parametrize("nested", [[], {}])
@pytest.mark.parametrize("depth", [40, 900])
async def test_what_is_nested_too_deeply_is_refused(nested: Any, depth: int) -> None:
    for _ in range(depth):
        nested = [nested] if isinstance(nested, list) else {"x": nested}
    assert await findings(Office(), {"name": "Cellar", "x": nested}) == {"data": "maxDepth"}


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"first_name": "", "last_name": "x" * 129}, {"first_name": "minLength", "last_name": "maxLength"}),
        ({"username": "ALICE", "password": "x"}, {"username": "unique"}),
        ({"username": "ALICE"}, {"username": "unique", "password": "required"}),
        ({"username": "carol"}, {"password": "required"}),
        ({"password": "singer"}, {"username": "required"}),
        ({"priv_level": "root"}, {"priv_level": "enum"}),
        ({"presence_id": " "}, {"presence_id": "pattern"}),
        ({"pvt_md5_auth": "0" * 32, "username": "carol"}, {"password": "required"}),
    ],
)
async def test_what_a_user_has_to_be(told: JsonObject, expected: dict[str, str]) -> None:
    names: JsonObject = {"first_name": "Carol", "last_name": "Doe"}
    assert await findings(Office(), {**names, **told}, Kind.USER) == expected


async def test_old_presence_ids_are_numbers_and_none_is_empty() -> None:
    office = Office()
    assert office.directory.device_lamp(OFFICE, (await create(office, presence_id=301)).id) == lamp("301")
    nameless = await create(office, presence_id="", sip={"username": "attic"})
    assert office.directory.device_lamp(OFFICE, nameless.id) == lamp("attic")


async def test_what_the_file_says_is_shown_and_not_changed() -> None:
    office = Office()
    desk = ObjectKey(OFFICE, Kind.DEVICE, DESK)
    shown = office.service.find(desk)
    sip = {"username": "alice-desk", "password": "desk-secret"}
    assert shown == DirectoryObject(DESK, {"name": "Desk phone", "enabled": True, "sip": sip, "owner_id": ALICE}, True)
    user = office.service.find(ObjectKey(OFFICE, Kind.USER, BOB)).body
    level = {"enabled": True, "priv_level": "user"}
    assert user == {"first_name": "", "last_name": "", **level, "username": "Bob", "presence_id": "102"}
    for change in (
        office.service.replace(desk, PHONE, by=BY),
        office.service.amend(desk, {}, by=BY),
        office.service.delete(desk, by=BY),
    ):
        with pytest.raises(ConfiguredObject):
            await change
    assert office.service.find(desk) == shown


async def test_pages_are_in_the_order_of_ids() -> None:
    office = Office()
    keys = [await create(office, sip={"username": f"phone-{number}"}) for number in range(3)]
    ids = [key.id for key in keys]
    assert [one.id for one in office.service.page(OFFICE, Kind.DEVICE).objects] == [*ids, DESK, SOFT]
    first = office.service.page(OFFICE, Kind.DEVICE, size=2)
    assert ([one.id for one in first.objects], first.next_start_key) == (ids[:2], ids[2])
    second = office.service.page(OFFICE, Kind.DEVICE, start_key=ids[2], size=2)
    assert ([one.id for one in second.objects], second.next_start_key) == ([ids[2], DESK], SOFT)
    await office.service.delete(keys[2], by=BY)
    assert [one.id for one in office.service.page(OFFICE, Kind.DEVICE, start_key=ids[2]).objects] == [DESK, SOFT]
    assert office.service.page(OFFICE, Kind.DEVICE, start_key="z", size=2) == ([], None)
    assert office.service.page(OTHER, Kind.USER) == ([], None)
    with pytest.raises(UnknownAccount):
        office.service.page(AccountId("0" * 32), Kind.USER)


async def test_the_file_comes_first_after_a_reload_and_gives_way_again() -> None:
    office = Office()
    directory, service = office.directory, office.service
    by_id, by_name = await create(office), await create(office, sip={"username": "attic", "password": "attic-secret"})
    theirs = (
        Device(by_id.id, "Of the file", None, "301", "file", "file-secret"),
        Device("9" * 32, "Of the file", None, "302", "Attic", "file-secret"),
    )
    directory.replace([office_account(devices=theirs)])
    assert sorted(directory.overruled()) == sorted([by_id.id, by_name.id])
    assert service.find(by_id).configured
    assert directory.device_lamp(OFFICE, by_id.id) == lamp("301")
    assert not service.find(by_name).configured
    assert directory.ha1(OFFICE, "attic", Algorithm.MD5) is None
    assert not directory.knows(lamp("201"))
    with pytest.raises(ConfiguredObject):
        await service.delete(by_id, by=BY)
    assert {one.id for one in service.page(OFFICE, Kind.DEVICE).objects} == {by_id.id, by_name.id, "9" * 32}
    directory.replace([])
    with pytest.raises(UnknownAccount):
        service.page(OFFICE, Kind.DEVICE)
    directory.replace(accounts())
    assert directory.overruled() == []
    assert directory.device_lamp(OFFICE, by_id.id) == directory.device_lamp(OFFICE, by_name.id) == lamp("201")
    assert directory.ha1(OFFICE, "attic", Algorithm.MD5) is not None


async def test_nothing_takes_effect_before_it_is_committed() -> None:
    store = ManualStore()
    office = Office(store=store)
    first = asyncio.create_task(create(office))
    second = asyncio.create_task(create(office))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(store.submitted) == 1, "the second waits for its turn"
    assert not office.directory.knows(lamp("201"))
    store.commit()
    assert office.directory.knows(lamp("201")), "and before anybody is told"
    await first
    with pytest.raises(InvalidObject):
        await second


async def test_what_cannot_be_committed_has_no_effect() -> None:
    store = ManualStore()
    office = Office(store=store)
    first = asyncio.create_task(create(office))
    second = asyncio.create_task(create(office))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    store.fail()
    with pytest.raises(StoreError):
        await first
    await asyncio.sleep(0)
    store.commit()
    key = await second
    assert office.directory.device_lamp(OFFICE, key.id) == lamp("201")


async def test_who_hangs_up_does_not_stop_the_next() -> None:
    store = ManualStore()
    office = Office(store=store)
    first = asyncio.create_task(create(office))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    second = asyncio.create_task(create(office, presence_id="202", sip={"username": "attic"}))
    await asyncio.sleep(0)
    store.commit()
    assert office.directory.knows(lamp("201")), "what was asked for is done"
    await asyncio.sleep(0)
    store.commit()
    await second
    assert office.directory.knows(lamp("202"))


async def test_a_row_that_is_no_more_valid_stops_no_start() -> None:
    office = Office()
    key = await create(office)
    (record,) = (await office.store.load()).objects
    again = Office(objects=[record._replace(body='{"name": ""}')])
    with pytest.raises(UnknownDevice):
        again.service.find(key)


async def test_one_change_among_ten_thousand_devices_costs_little() -> None:
    devices = tuple(
        Device(f"f{number:031x}", f"{number}", None, f"{number}", f"phone-{number}", "secret")
        for number in range(10_000)
    )
    office = Office(directory=Directory([office_account(devices=devices)]))
    await create(office)
    start = time.process_time()
    for number in range(20):
        key = await create(office, presence_id=f"new-{number}", sip={"username": f"new-{number}"})
        await office.service.amend(key, {"presence_id": f"newer-{number}"}, by=BY)
    assert (time.process_time() - start) / 40 < 0.003


async def test_what_was_refused_does_not_hold_up_the_next() -> None:
    office = Office()
    with pytest.raises(UnknownAccount):
        await office.service.create(AccountId("0" * 32), Kind.DEVICE, PHONE, by=BY)
    with pytest.raises(UnknownDevice):
        await office.service.delete(ObjectKey(OFFICE, Kind.DEVICE, "0" * 32), by=BY)
    assert await create(office)
