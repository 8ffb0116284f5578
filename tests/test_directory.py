"""The directory: whose lamp is whose, which host and which token mean which account."""

import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import Any

import pytest

from sipresence import directory as directory_module
from sipresence.accounts import Account, Device, ListMember, ResourceList, Role, User, WatchRule
from sipresence.directory import Directory
from sipresence.errors import UnknownAccount, UnknownDevice, UnknownUser
from sipresence.names import AccountId, ResourceId, extension_of, resource_id
from sipresence.sip.digest import Algorithm

ACME = AccountId("a" * 32)
OTHER = AccountId("b" * 32)
NOBODY = AccountId("c" * 32)


def account(account_id: AccountId = ACME, realm: str = "acme.example.com", **fields: Any) -> Account:
    defaults: dict[str, Any] = {
        "name": "Acme",
        "aliases": (),
        "api_key": None,
        "tokens": (),
        "users": (),
        "devices": (),
        "lists": (),
    }
    return Account(id=account_id, realm=realm, **(defaults | fields))


def user(user_id: str, presence_id: str | None = None) -> User:
    return User(id=user_id, username=None, password=None, presence_id=presence_id)


def device(
    device_id: str, username: str, *, owner_id: str | None = None, presence_id: str | None = None, password: str = "pw"
) -> Device:
    return Device(device_id, device_id, owner_id, presence_id, username, password)


def office(account_id: AccountId = ACME, realm: str = "acme.example.com", **fields: Any) -> Account:
    return account(
        account_id,
        realm,
        users=(user("alice", "101"), user("bob"), user("idle")),
        devices=(
            device("desk", "alice-desk", owner_id="alice", presence_id="101"),
            device("soft", "Bob-Soft", owner_id="bob"),
            device("dect", "bob-dect", owner_id="bob", presence_id="102@elsewhere.example.com"),
            device("dect2", "bob-dect2", owner_id="bob", presence_id="102"),
            device("lobby", "lobby"),
        ),
        lists=(ResourceList("Reception", (ListMember("101", "Alice"), ListMember("*3101", "Park 1"))),),
        **fields,
    )


@pytest.mark.parametrize(
    ("device_id", "lamp"),
    [
        pytest.param("desk", "101@acme.example.com", id="its presence id"),
        pytest.param("soft", "bob-soft@acme.example.com", id="its SIP user name in lower case, not its owner's lamp"),
        pytest.param("dect", "102@acme.example.com", id="the text before @ in the realm of the account"),
        pytest.param("lobby", "lobby@acme.example.com", id="nobody's phone"),
    ],
)
def test_lamp_of_a_device(device_id: str, lamp: str) -> None:
    assert Directory([office()]).device_lamp(ACME, device_id) == lamp


@pytest.mark.parametrize(
    ("owner_presence_id", "presence_id", "lamp"),
    [
        pytest.param("101", None, "phone@acme.example.com", id="never the owner's"),
        pytest.param("101", "", "phone@acme.example.com", id="an empty presence id is none"),
        pytest.param("101", "ABC", "abc@acme.example.com", id="lower case"),
    ],
)
def test_the_owner_does_not_matter_to_a_device(owner_presence_id: str, presence_id: str | None, lamp: str) -> None:
    phone = device("d", "phone", owner_id="u", presence_id=presence_id)
    directory = Directory([account(users=(user("u", owner_presence_id),), devices=(phone,))])
    assert directory.device_lamp(ACME, "d") == lamp


@pytest.mark.parametrize(
    ("user_id", "lamps"),
    [
        pytest.param("alice", ("101@acme.example.com",), id="presence id only"),
        pytest.param("bob", ("bob-soft@acme.example.com", "102@acme.example.com"), id="all devices, each lamp once"),
    ],
)
def test_lamps_of_a_user(user_id: str, lamps: tuple[str, ...]) -> None:
    assert Directory([office()]).user_lamps(ACME, user_id) == lamps


def test_a_presence_id_hides_the_devices_of_a_user() -> None:
    directory = Directory([account(users=(user("u", "7"),), devices=(device("d", "phone", owner_id="u"),))])
    assert directory.user_lamps(ACME, "u") == ("7@acme.example.com",)


@pytest.mark.parametrize(
    ("account_id", "user_id"),
    [(ACME, "nobody"), (ACME, "idle"), (ACME, "desk"), (OTHER, "alice"), (NOBODY, "alice")],
)
def test_unknown_users(account_id: AccountId, user_id: str) -> None:
    directory = Directory([office(), account(OTHER, "other.example.com")])
    with pytest.raises(UnknownUser) as caught:
        directory.user_lamps(account_id, user_id)
    assert caught.value.args == (user_id,)


@pytest.mark.parametrize(("account_id", "device_id"), [(ACME, "nothing"), (ACME, "alice"), (OTHER, "desk")])
def test_unknown_devices(account_id: AccountId, device_id: str) -> None:
    directory = Directory([office(), account(OTHER, "other.example.com")])
    with pytest.raises(UnknownDevice) as caught:
        directory.device_lamp(account_id, device_id)
    assert caught.value.args == (device_id,)


def test_the_same_ids_in_two_accounts_are_two_things() -> None:
    directory = Directory([office(), office(OTHER, "other.example.com")])
    assert directory.device_lamp(OTHER, "desk") == "101@other.example.com"
    assert directory.user_lamps(ACME, "alice") == ("101@acme.example.com",)


def test_accounts_by_id() -> None:
    acme, other = office(), account(OTHER, "other.example.com")
    directory = Directory([acme, other])
    assert directory.accounts == (acme, other)
    assert directory.account(OTHER) is other
    with pytest.raises(UnknownAccount):
        directory.account(NOBODY)


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("acme.example.com", ACME),
        ("ACME.Example.COM", ACME),
        ("192.0.2.1", ACME),
        ("pbx.acme.example", ACME),
        ("2001:DB8::1", OTHER),
        ("other.example.com", OTHER),
        ("example.com", None),
        ("", None),
    ],
)
def test_account_by_host(host: str, found: AccountId | None) -> None:
    acme = account(aliases=("192.0.2.1", "PBX.acme.example"))
    other = account(OTHER, "other.example.com", aliases=("2001:db8::1",))
    meant = Directory([acme, other]).account_by_host(host)
    assert (meant.id if meant else None) == found


def test_sole_account() -> None:
    acme, other = account(), account(OTHER, "other.example.com")
    assert Directory([]).sole_account is None
    assert Directory([acme]).sole_account is acme
    assert Directory([acme, other]).sole_account is None


@pytest.mark.parametrize(
    ("resource", "known"),
    [
        ("101@acme.example.com", True),
        ("bob-soft@acme.example.com", True),
        ("*3101@acme.example.com", True),
        ("reception@acme.example.com", True),
        ("alice-desk@acme.example.com", False),
        ("999@acme.example.com", False),
        ("101@other.example.com", False),
        ("101", False),
    ],
)
def test_known_resources(resource: str, *, known: bool) -> None:
    directory = Directory([office(), account(OTHER, "other.example.com")])
    assert directory.knows(ResourceId(resource)) is known


def test_lamps_of_an_account_each_once_without_list_names() -> None:
    directory = Directory([office(), account(OTHER, "other.example.com")])
    assert directory.lamps(ACME) == (
        "101@acme.example.com",
        "bob-soft@acme.example.com",
        "102@acme.example.com",
        "lobby@acme.example.com",
        "*3101@acme.example.com",
    )
    assert directory.lamps(OTHER) == ()
    with pytest.raises(UnknownAccount):
        directory.lamps(NOBODY)


TOKENS = Directory(
    [
        account(tokens=("demo-token", "grüße-alle"), read_tokens=("read-token",), api_key="k" * 64),
        account(OTHER, "other.example.com", tokens=("other-token",), api_key="o" * 64),
    ]
)


@pytest.mark.parametrize(
    ("token", "found"),
    [
        ("demo-token", (ACME, Role.ADMIN)),
        ("grüße-alle", (ACME, Role.ADMIN)),
        ("read-token", (ACME, Role.READ)),
        ("other-token", (OTHER, Role.ADMIN)),
        ("Demo-Token", None),
        ("demo-toke", None),
        ("demo-token ", None),
        ("", None),
        pytest.param("demo-\udce9", None, id="a header that was no UTF-8"),
    ],
)
def test_what_a_token_opens(token: str, found: tuple[AccountId, Role] | None) -> None:
    assert TOKENS.access(token) == found


@pytest.mark.parametrize("token", ["demo-token", "other-token", "wrong"])
def test_every_token_is_compared_whichever_matches(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def spy(known: bytes, offered: bytes) -> bool:
        compared.append(known)
        return hmac.compare_digest(known, offered)

    monkeypatch.setattr(directory_module, "compare_digest", spy)
    TOKENS.access(token)
    assert compared == [b"demo-token", "grüße-alle".encode(), b"read-token", b"other-token"]
    compared.clear()
    TOKENS.account_by_api_key(token)
    assert compared == [b"k" * 64, b"o" * 64]


def test_account_by_api_key() -> None:
    assert TOKENS.account_by_api_key("o" * 64) == OTHER
    assert TOKENS.account_by_api_key("x" * 64) is None
    assert TOKENS.account_by_api_key("demo-\udce9") is None


def test_account_by_name() -> None:
    directory = Directory([account(name="Acme, Inc."), account(OTHER, "other.example.com", name="Grüße")])
    assert Directory([account(name="")]).account_by_name("") is None
    for name, found in (("acme inc", ACME), ("Acme, Inc.", ACME), ("GRÜSSE", None), ("GRÜßE", OTHER), ("", None)):
        named = directory.account_by_name(name)
        assert (named and named.id) == found
    assert TOKENS.account_by_name("Acme") is None, "two have it"


MD5, SHA_256 = Algorithm.MD5, Algorithm.SHA_256


def test_ha1_is_made_of_the_password_for_the_algorithms_of_the_account() -> None:
    both = account(devices=(device("d", "phone"),))
    one = account(OTHER, "other.example.com", devices=(device("d", "phone"),), digest_algorithms=(SHA_256,))
    directory = Directory([both, one])
    assert directory.ha1(ACME, "phone", MD5) == hashlib.md5(b"phone:acme.example.com:pw").hexdigest()
    assert directory.ha1(ACME, "phone", SHA_256) == hashlib.sha256(b"phone:acme.example.com:pw").hexdigest()
    assert directory.ha1(OTHER, "phone", SHA_256) == hashlib.sha256(b"phone:other.example.com:pw").hexdigest()
    assert directory.ha1(OTHER, "phone", MD5) is None
    assert directory.ha1(ACME, "Phone", MD5) is None, "user names are compared as they are"
    assert directory.ha1(NOBODY, "phone", MD5) is None


def test_ha1_is_taken_as_it_is_where_there_is_no_password() -> None:
    phone = Device("d", "d", None, None, "phone", None, {MD5: "0a" * 16})
    directory = Directory([account(devices=(phone,))])
    assert directory.ha1(ACME, "phone", MD5) == "0a" * 16
    assert directory.ha1(ACME, "phone", SHA_256) is None


def test_accounts_by_realm_and_by_id() -> None:
    acme = account(aliases=("pbx.example.com",))
    directory = Directory([acme])
    assert directory.account_by_realm("acme.example.com") is acme
    assert directory.account_by_realm("pbx.example.com") is None, "an alias is no realm"
    assert directory.find(ACME) is acme
    assert directory.find(NOBODY) is None


@pytest.mark.parametrize(
    ("subscriber", "extension", "may"),
    [
        ("lobby", "101", False),
        ("LOBBY", "101", False),
        ("lobby", "102", True),
        ("lobby2", "101", True),
        pytest.param("desk", "1010", True, id="the whole has to match"),
        pytest.param("desk", "vip", False, id="the first one counts"),
        pytest.param("boss", "vip", True, id="none matches"),
    ],
)
def test_who_may_watch_whom(subscriber: str, extension: str, *, may: bool) -> None:
    def rule(subscribers: str, resources: str, *, allow: bool) -> WatchRule:
        return WatchRule(re.compile(subscribers, re.IGNORECASE), re.compile(resources, re.IGNORECASE), allow)

    rules = (
        rule("lobby", "101", allow=False),
        rule("desk", "vip", allow=False),
        rule("desk", ".*", allow=True),
        rule("nobody", ".*", allow=False),
    )
    directory = Directory([account(watch_rules=rules), account(OTHER, "other.example.com")])
    assert directory.may_watch(subscriber, ResourceId(f"{extension}@acme.example.com")) is may
    assert directory.may_watch(subscriber, ResourceId(f"{extension}@other.example.com"))


def test_no_repr_shows_a_secret() -> None:
    secretive = account(
        api_key="SECRET-1",
        tokens=("SECRET-2",),
        users=(User("u", "alice", "SECRET-3", None),),
        devices=(device("d", "phone", password="SECRET-4"), Device("e", "", None, None, "e", None, {MD5: "SECRET-5"})),
    )
    assert "SECRET" not in repr(secretive)


@pytest.mark.parametrize("withheld", [True, False])
@pytest.mark.parametrize(
    ("subscriber", "extension", "may"),
    [
        ("reception", "101", True),
        ("lobby", "101", False),
        pytest.param("desk", "101", None, id="no rule matches: as the account has it"),
    ],
)
def test_who_may_know_callers(subscriber: str, extension: str, *, may: bool | None, withheld: bool) -> None:
    rules = tuple(
        WatchRule(re.compile(name, re.IGNORECASE), re.compile(".*"), allow)
        for name, allow in (("reception", True), ("lobby", False))
    )
    directory = Directory([account(withhold_callers=withheld, caller_rules=rules), account(OTHER, "other.example.com")])
    expected = not withheld if may is None else may
    assert directory.has_caller_rules
    assert directory.may_know_callers(subscriber, ResourceId(f"{extension}@acme.example.com")) is expected
    assert directory.may_know_callers(subscriber, ResourceId(f"{extension}@other.example.com"))
    assert directory.may_know_callers(subscriber, ResourceId(f"{extension}@gone.example.com"))


def test_most_offices_withhold_nothing() -> None:
    assert not Directory([account()]).has_caller_rules


# Addresses of record


def test_a_device_is_found_by_its_user_name_else_by_its_presence_id() -> None:
    devices = (
        device("d1", "desk", presence_id="101"),
        device("d2", "soft", presence_id="101"),
        device("d3", "102"),
        device("d4", "odd", presence_id="102"),
    )
    directory = Directory([account(devices=devices), account(OTHER, "other.example.com")])
    names = ("desk", "soft", "101", "102", "odd", "103")
    found = [directory.device_at(ResourceId(f"{name}@acme.example.com")) for name in names]
    assert [one.id if one else "" for one in found] == ["d1", "d2", "d1", "d3", "d4", ""]
    assert directory.device_at(ResourceId("desk@other.example.com")) is None


def test_what_is_a_devices_own() -> None:
    directory = Directory([account(devices=(device("d1", "desk", presence_id="101"), device("d2", "soft")))])
    names = [("desk", "desk"), ("desk", "101"), ("desk", "soft"), ("soft", "soft"), ("soft", "101")]
    own = [directory.is_own(ACME, user, ResourceId(f"{name}@acme.example.com")) for user, name in names]
    assert own == [True, True, False, True, False]
    assert not directory.is_own(OTHER, "desk", ResourceId("101@acme.example.com"))


# Lists


def listing(**lists: Sequence[tuple[str, str]]) -> Directory:
    """An account with these lists: name, then resource and label of each member."""
    return Directory(
        [
            account(
                lists=tuple(
                    ResourceList(name, tuple(ListMember(resource, label) for resource, label in members))
                    for name, members in lists.items()
                )
            )
        ]
    )


def members_of(directory: Directory, name: str) -> list[tuple[str, str]]:
    members = directory.list_members(resource_id(name, "acme.example.com"))
    assert members is not None
    return [(extension_of(resource), label) for resource, label in members]


def test_a_list_has_its_members_in_order() -> None:
    directory = listing(Reception=[("102", "Bob"), ("*3101", "Park"), ("101", "")])
    assert members_of(directory, "reception") == [("102", "Bob"), ("*3101", "Park"), ("101", "")]
    assert directory.list_members(resource_id("102", "acme.example.com")) is None


def test_a_list_may_be_empty() -> None:
    assert members_of(listing(nobody=[]), "nobody") == []


def test_the_members_of_a_list_in_a_list_stand_in_its_place() -> None:
    directory = listing(all=[("101", "A"), ("Sales", "ignored"), ("104", "D")], sales=[("102", "B"), ("103", "C")])
    assert members_of(directory, "all") == [("101", "A"), ("102", "B"), ("103", "C"), ("104", "D")]


def test_lists_that_hold_each_other_come_to_an_end() -> None:
    directory = listing(one=[("101", "A"), ("two", ""), ("one", "")], two=[("102", "B"), ("one", ""), ("103", "C")])
    assert members_of(directory, "one") == [("101", "A"), ("102", "B"), ("103", "C")]
    assert members_of(directory, "two") == [("102", "B"), ("101", "A"), ("103", "C")]


def test_of_a_member_named_twice_the_first_counts() -> None:
    directory = listing(one=[("101", "A"), ("two", ""), ("101", "again")], two=[("101", "B"), ("102", "C")])
    assert members_of(directory, "one") == [("101", "A"), ("102", "C")]


def test_a_few_lines_do_not_make_a_list_of_millions() -> None:
    towers = {f"l{n}": [(f"l{n + 1}", ""), (f"l{n + 1}", "")] for n in range(40)}
    assert members_of(listing(**towers, l40=[("101", "A")]), "l0") == [("101", "A")]


def test_a_list_is_no_lamp_but_its_members_are() -> None:
    directory = listing(one=[("two", "")], two=[("101", "A")])
    assert [extension_of(lamp) for lamp in directory.lamps(ACME)] == ["101"]
    assert all(directory.knows(resource_id(name, "acme.example.com")) for name in ("one", "two", "101"))


def test_what_is_added_is_replaced_and_removed() -> None:
    directory = Directory([office(), account(OTHER, "other.example.com")])
    lamps = directory.lamps(ACME)
    directory.add(ACME, device("attic", "attic", presence_id="301", owner_id="idle"))
    directory.add(ACME, device("attic", "attic2", presence_id="302", owner_id="idle"))
    assert directory.user_lamps(ACME, "idle") == ("302@acme.example.com",)
    assert directory.ha1(ACME, "attic", MD5) is None
    assert directory.ha1(ACME, "attic2", MD5) is not None
    assert not directory.knows(ResourceId("301@acme.example.com"))
    directory.remove(ACME, User, "attic")
    assert directory.device(ACME, "attic") is not None
    directory.remove(ACME, Device, "attic")
    directory.remove(ACME, Device, "attic")
    directory.remove(ACME, Device, "desk")
    assert directory.lamps(ACME) == lamps, "and what is configured stays"


def test_a_lamp_that_several_have_goes_with_the_last() -> None:
    directory = Directory([account()])
    shared = ResourceId("301@acme.example.com")
    for name in ("one", "two"):
        directory.add(ACME, device(name, name, presence_id="301"))
        directory.add(ACME, user(f"user-{name}", "301"))
    for kind, name in ((Device, "one"), (Device, "two"), (User, "user-one")):
        directory.remove(ACME, kind, name)
        assert directory.knows(shared)
    directory.remove(ACME, User, "user-two")
    assert not directory.knows(shared)
    assert directory.lamps(ACME) == ()


def test_what_is_added_to_an_account_that_is_not_there_waits_for_it() -> None:
    directory = Directory([])
    directory.add(ACME, device("attic", "attic"))
    directory.add(ACME, device("cellar", "cellar"))
    directory.remove(ACME, Device, "cellar")
    assert directory.device(ACME, "attic") is None
    directory.replace([account()])
    assert directory.device(ACME, "attic") is not None
    assert directory.device(ACME, "cellar") is None
