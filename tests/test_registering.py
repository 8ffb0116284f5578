"""REGISTER through the whole service, in virtual time: who may, for which address, in which turn; what lamps show."""

import asyncio
import re
from dataclasses import replace
from typing import Any

import pytest

from sipresence.accounts import Account, Device
from sipresence.backends.memory import MemoryStore
from sipresence.errors import StoreError
from sipresence.events.effects import Notify, Respond, SaveBinding
from sipresence.events.register import RegistrarLimits
from sipresence.events.resource import Source, StateChange, reset
from sipresence.names import AccountId, ResourceId
from sipresence.refusals import COMMITS_LATE
from sipresence.sip.flow import Flow
from sipresence.sip.uas import NO_CALLS
from sipresence.uas_core import MAX_COMMIT_AGE
from tests.authorization import Phone, challenges
from tests.builders import flow, options, request, subscribe
from tests.events.registering import CONTACT, register
from tests.fakes import ManualClock, ManualStore
from tests.test_service import OFFICE, SHOP, STRANGER, House

URI = CONTACT[1:-1]
ALICE, BOB, SELLER = Phone("alice-desk", "secret"), Phone("bob-desk", "bobs"), Phone("seller", "shop-secret")
LAMP = ResourceId("101@office.example.com")


def account(ident: AccountId, realm: str, *devices: Device) -> Account:
    aliases = ("pbx.example.com",) if ident == OFFICE else ()
    return Account(ident, realm, realm, aliases, api_key=None, tokens=(), users=(), devices=devices, lists=())


def device(username: str, password: str, presence_id: str | None = None) -> Device:
    return Device(username, username, None, presence_id, username, password)


ACCOUNTS = (
    account(
        OFFICE,
        "office.example.com",
        device("alice-desk", "secret", "101"),
        device("alice-soft", "secret-too", "101"),
        device("bob-desk", "bobs", "102"),
        device("reception", "front"),
    ),
    account(SHOP, "shop.example.com", device("seller", "shop-secret")),
)


class Office(House):
    """A house with a registrar."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(**{"accounts": ACCOUNTS, "registrar": RegistrarLimits(), **fields})

    def ask(self, *contacts: str, way: Flow | None = None, **fields: Any) -> Respond:
        """The one answer to a REGISTER."""
        (answer,) = (sent for sent in self.receive(register(*contacts, **fields), way=way) if isinstance(sent, Respond))
        return answer

    def login(self, who: Phone, *contacts: str, **fields: Any) -> Respond:
        """Ask from outside without credentials, then with them and the next CSeq; return the second answer."""
        answer = self.ask(*contacts, way=STRANGER, **fields)
        assert answer.status == 401
        uri = fields.get("uri", "sip:office.example.com")
        authorization = who.authorization(challenges(answer.headers)[0], uri, method="REGISTER")
        cseq = fields.pop("cseq", 1) + 1
        return self.ask(*contacts, way=STRANGER, cseq=cseq, headers=[("Authorization", authorization)], **fields)

    def registered(self, lamp: ResourceId | None = None, owner: AccountId = OFFICE) -> list[tuple[str, str]]:
        """Who is registered, and where."""
        return [(one.user, one.contact) for one in self.service.registrations(owner, lamp)]


@pytest.fixture
def house() -> Office:
    return Office()


def to(user: str, host: str = "office.example.com") -> dict[str, Any]:
    return {"to": f"<sip:{user}@{host}>"}


# Who may, and for which address


def test_whoever_knows_the_password_registers(house: Office) -> None:
    assert house.login(ALICE, CONTACT).status == 200
    assert house.registered() == [("alice-desk", URI)]


@pytest.mark.parametrize("who", [Phone("alice-desk", "wrong"), Phone("nobody", "secret"), Phone("bob-desk", "secret")])
def test_others_are_challenged_again(house: Office, who: Phone) -> None:
    assert house.login(who, CONTACT).status == 401
    assert house.registered() == []
    assert [dropped.method for dropped in house.endpoint.dropped] == ["REGISTER"] * 2, "nothing is kept of it"


@pytest.mark.parametrize(
    ("who", "address", "status"),
    [
        pytest.param(ALICE, to("alice-desk"), 200, id="the SIP user name"),
        pytest.param(ALICE, to("101"), 200, id="the presence id"),
        pytest.param(ALICE, to("ALICE-desk", "PBX.example.com:5060"), 200, id="an alias, in any case"),
        pytest.param(ALICE, to("%61lice-desk;x=y", "192.0.2.1"), 200, id="escapes and parameters; our own address"),
        pytest.param(ALICE, to("102"), 403, id="somebody else's"),
        pytest.param(ALICE, to("alice-soft"), 403, id="another device with the same lamp"),
        pytest.param(ALICE, to("777"), 404, id="nobody's"),
        pytest.param(ALICE, to("alice-desk", "shop.example.com"), 404, id="of a domain that is not asked"),
        pytest.param(ALICE, to("alice-desk", "elsewhere.example.net"), 404, id="of a domain that is not ours"),
        pytest.param(ALICE, {"to": "<tel:101>"}, 404, id="no SIP address"),
        pytest.param(ALICE, {"to": "<sip:office.example.com>"}, 404, id="without a user"),
        pytest.param(SELLER, to("alice-desk"), 403, id="a device of another account"),
    ],
)
def test_the_address_of_record_is_the_devices_own(
    house: Office, who: Phone, address: dict[str, Any], status: int
) -> None:
    if who is SELLER:  # asked of the office, answered with the credentials of the shop
        challenge = challenges(house.ask(way=STRANGER, uri="sip:shop.example.com", **to("seller")).headers)[0]
        credentials = who.authorization(challenge, "sip:office.example.com", method="REGISTER")
        answer = house.ask(CONTACT, way=STRANGER, cseq=2, headers=[("Authorization", credentials)], **address)
    else:
        answer = house.login(who, CONTACT, **address)
    assert answer.status == status
    assert house.registered() == ([("alice-desk", URI)] if status == 200 else [])


def test_from_another_domain_nobody_is_asked_for_a_password(house: Office) -> None:
    assert house.ask(CONTACT, way=STRANGER, uri="sip:elsewhere.example.net").status == 403
    assert house.ask(CONTACT, uri="sip:elsewhere.example.net").status == 404


@pytest.mark.parametrize(
    ("user", "who"),
    [("alice-soft", "alice-soft"), ("101", "alice-desk"), ("102", "bob-desk"), ("reception", "reception")],
)
def test_trusted_networks_need_no_password_but_a_device(house: Office, user: str, who: str) -> None:
    assert house.ask(CONTACT, **to(user)).status == 200
    assert house.registered() == [(who, URI)]


def test_trusted_networks_cannot_register_what_there_is_not(house: Office) -> None:
    assert house.ask(CONTACT, **to("777")).status == 404
    assert house.ask(CONTACT, **to("alice-desk", "shop.example.com")).status == 404
    assert house.service.refusals == {"unknown_resource": 2}


def test_where_there_is_one_account_any_host_means_it() -> None:
    house = Office(accounts=ACCOUNTS[:1])
    assert house.ask(CONTACT, uri="sip:10.0.0.1", **to("alice-desk", "10.0.0.1")).status == 200


def test_refusals_come_in_order(house: Office) -> None:
    faults: list[tuple[int, dict[str, Any]]] = [
        (483, {"max_forwards": 0}),
        (420, {"headers": [("Require", "gruu")]}),
        (416, {"uri": "tel:101"}),
        (404, to("777")),
        (423, {"expires": 1}),
    ]
    for first, (status, _) in enumerate(faults):
        fields: dict[str, Any] = {}
        for _, fault in faults[first:]:
            fields |= fault
        assert house.ask(CONTACT, cseq=first + 1, **fields).status == status
    assert house.ask(f"{CONTACT};expires=60, <sip:a@b@c>", cseq=9).status == 400
    assert house.ask(CONTACT, cseq=10, headers=[("Require", "path")]).status == 200


# Other methods


def test_options_list_it(house: Office) -> None:
    (answer,) = house.receive(options())
    assert isinstance(answer, Respond)
    assert "Allow: SUBSCRIBE, PUBLISH, OPTIONS, REGISTER\r\n" in answer.headers
    assert re.search("Supported: .*path", answer.headers)


def test_who_dials_hears_that_no_calls_are_routed(house: Office) -> None:
    (answer,) = house.receive(request("INVITE"))
    assert isinstance(answer, Respond)
    assert (answer.status, answer.headers) == (405, f"Allow: SUBSCRIBE, PUBLISH, OPTIONS, REGISTER\r\n{NO_CALLS}")


def test_without_a_registrar_it_is_not_done() -> None:
    house = House(accounts=ACCOUNTS)
    assert house.status(register(CONTACT)) == 405
    assert list(house.service.registrations(OFFICE)) == []


# Lamps


def closed(sent: list[Respond | Notify]) -> list[bool]:
    """Whether each NOTIFY about presence says that nobody can be reached."""
    return [b"<basic>closed" in one.document.stamp(0, "sip:101@x") for one in sent if isinstance(one, Notify)]


def presence(house: Office) -> None:
    """Somebody watches the presence of 101."""
    answer, notify = house.receive(subscribe(event="presence", accept=None, call_id="watcher"))
    assert isinstance(answer, Respond)
    assert isinstance(notify, Notify)
    assert answer.status == 200
    house.answer(notify)


def told(house: Office, message: bytes) -> list[bool]:
    """What a REGISTER makes whoever watches be told."""
    sent = house.receive(message)
    notifies = [one for one in sent if isinstance(one, Notify)]
    for notify in notifies:
        house.answer(notify)
    house.clock.advance(1)
    return closed(sent)


def test_a_lamp_tells_when_its_last_phone_goes_and_the_first_comes(house: Office) -> None:
    presence(house)
    soft = to("alice-soft")
    assert told(house, register(CONTACT)) == [], "nothing was said of it before"
    assert told(house, register(CONTACT, **soft)) == []
    assert told(house, register(CONTACT, cseq=2, expires=0)) == []
    assert told(house, register(CONTACT, cseq=2, expires=0, **soft)) == [True]
    assert told(house, register(CONTACT, cseq=3)) == [False]


def test_it_tells_when_the_last_binding_has_expired(house: Office) -> None:
    presence(house)
    house.ask(CONTACT, expires=100)
    house.clock.advance(99)
    assert house.endpoint.take() == []
    house.clock.advance(1)
    assert closed(house.endpoint.take()) == [True]
    assert house.registered() == []


def test_a_reset_is_no_end_of_a_registration(house: Office) -> None:
    house.ask(CONTACT)
    house.ask("*", cseq=2, expires=0)
    said = house.service.state(LAMP).presence
    assert said.open is False
    house.service.on_state_change(reset(OFFICE, LAMP, at=house.clock.now()))
    assert house.service.state(LAMP).presence == said


def test_a_device_that_is_no_more_is_not_registered(house: Office) -> None:
    house.ask(CONTACT)
    house.ask(CONTACT, **to("bob-desk"))
    house.service.directory.replace((account(OFFICE, "office.example.com", device("bob-desk", "bobs", "102")),))
    house.service.unregister_strangers()
    house.clock.advance(0)
    assert house.registered() == [("bob-desk", URI)]
    assert house.service.state(LAMP).presence.open is False


def test_who_is_registered_under_one_lamp(house: Office) -> None:
    house.ask(CONTACT)
    house.ask("<sip:soft@192.0.2.7>", **to("alice-soft"))
    house.ask("<sip:bob@192.0.2.8>", **to("bob-desk"))
    assert [user for user, _ in house.registered(LAMP)] == ["alice-desk", "alice-soft"]
    assert len(house.registered()) == 3
    assert house.registered(owner=SHOP) == []


def test_a_connection_over_which_a_device_has_registered_stays(house: Office) -> None:
    way = flow("TCP", port=40000)
    assert not house.service.carries_subscription(way)
    house.ask(CONTACT, way=way)
    assert house.service.carries_subscription(way)


# The store


def test_nothing_is_answered_before_the_commit() -> None:
    store = ManualStore()
    house = Office(store=store)
    assert house.receive(register(CONTACT)) == []
    store.commit()
    assert [type(sent) for sent in house.endpoint.take()] == [Respond]
    (loaded,) = asyncio.run(store.load()).bindings
    assert loaded.contact == URI


def test_a_failed_commit_is_answered_500_and_nothing_has_changed(house: Office) -> None:
    assert isinstance(house.store, MemoryStore)
    presence(house)
    house.ask("<sip:a@192.0.2.7>")
    house.store.fail_with = StoreError("disk full")
    for contacts, expires in (((CONTACT,), None), (("*",), 0)):
        answer = house.ask(*contacts, cseq=2, expires=expires)
        assert (answer.status, answer.headers) == (500, "Retry-After: 5\r\n")
        assert house.registered() == [("alice-desk", "sip:a@192.0.2.7")]
    house.store.fail_with = None
    assert closed(house.endpoint.take()) == []
    assert house.ask("*", cseq=2, expires=0).status == 200


def test_what_is_asked_meanwhile_waits_and_sees_what_was_committed() -> None:
    store = ManualStore()
    house = Office(store=store)
    house.receive(register(CONTACT))
    house.receive(register(cseq=2), register("<sip:soft@192.0.2.7>", **to("alice-soft")))
    house.receive(register("<sip:bob@192.0.2.8>", call_id="bob", **to("bob-desk")))
    assert house.endpoint.take() == []
    store.commit()
    house.clock.settle()
    assert [answer.status for answer in house.endpoint.answers] == [200]
    while store.busy:
        store.commit()
        house.clock.settle()
    fetched = next(answer for answer in house.endpoint.answers if answer.request.cseq == 2)
    assert fetched.headers.startswith(f"Contact: <{URI}>;expires=3600\r\n")
    assert [answer.status for answer in house.endpoint.take() if isinstance(answer, Respond)] == [200] * 4
    assert len(house.registered()) == 3


def test_what_waits_is_decided_by_what_was_not_committed() -> None:
    store = ManualStore()
    house = Office(store=store)
    house.receive(register(CONTACT))
    house.receive(register(cseq=2), register("*", cseq=3, expires=60))
    store.fail()
    house.clock.settle()
    first, *others = [answer for answer in house.endpoint.take() if isinstance(answer, Respond)]
    assert first.status == 500
    assert [answer.status for answer in others] == [200, 400]
    assert "Contact" not in others[0].headers


def test_while_the_store_is_behind_only_refreshes_are_taken() -> None:
    store = ManualStore()
    house = Office(store=store)
    house.receive(register(CONTACT))
    store.commit()
    house.receive(register("<sip:bob@192.0.2.8>", call_id="bob", **to("bob-desk")))
    house.clock.advance(MAX_COMMIT_AGE + 0.1)
    house.endpoint.take()
    assert house.receive(register(CONTACT, cseq=2)) == [], "it waits"
    house.receive(register(CONTACT, call_id="new", **to("reception")))
    assert house.service.refusals == {COMMITS_LATE: 1}


def test_an_end_that_cannot_be_committed_is_tried_again(house: Office) -> None:
    assert isinstance(house.store, MemoryStore)
    house.ask(CONTACT, expires=100)
    house.store.fail_with = StoreError("disk full")
    house.clock.advance(100)
    assert house.registered() == [("alice-desk", URI)]
    house.store.fail_with = None
    house.clock.advance(5)
    assert house.registered() == []
    assert asyncio.run(house.store.load()).bindings == []


def reborn(house: Office, **fields: Any) -> Office:
    """The next life of a server, with the same store, later."""
    assert isinstance(house.store, MemoryStore)
    clock = ManualClock(house.clock.now() + fields.pop("later", 0.0))
    again = Office(store=house.store, clock=clock, **fields)
    again.service.restore(asyncio.run(house.store.load()))
    again.service.start()
    return again


def test_a_restart_loses_no_registration(house: Office) -> None:
    house.ask(CONTACT, cseq=5)
    again = reborn(house, later=60)
    assert again.registered() == [("alice-desk", URI)]
    assert again.ask(CONTACT, cseq=5).status == 500
    assert again.ask(cseq=6).headers.startswith(f"Contact: <{URI}>;expires=3540\r\n")


def test_what_has_expired_meanwhile_ends_after_the_start(house: Office) -> None:
    house.ask(CONTACT)
    again = reborn(house, later=4000)
    assert again.registered() == [("alice-desk", URI)]
    again.clock.advance(0)
    assert again.registered() == []
    assert again.service.state(LAMP).presence.open is False
    assert reborn(again).service.state(LAMP).presence.open is False, "and that is remembered"


def test_where_there_is_no_registrar_any_more_nothing_holds_that_it_said(house: Office) -> None:
    house.ask(CONTACT)
    house.ask(CONTACT, **to("bob-desk"))
    house.ask("*", cseq=2, expires=0)
    without = reborn(house, registrar=None)
    assert without.registered() == []
    assert without.service.state(LAMP).presence.open is None
    assert reborn(house).service.state(LAMP).presence.open is False


# In which turn


def test_a_refresh_goes_before_what_is_new(house: Office) -> None:
    house.ask(CONTACT, call_id="old")
    sent = house.receive(
        subscribe(call_id="new-1"),
        register(CONTACT, call_id="new-2", **to("bob-desk")),
        register(CONTACT, call_id="old", cseq=2),
    )
    assert [one.request.call_id for one in sent if isinstance(one, Respond)] == ["old", "new-1", "new-2"]


def test_while_the_server_drains_only_what_is_registered_may_refresh(house: Office) -> None:
    house.ask(CONTACT, call_id="old")
    house.service.turn_away(30)
    assert house.ask(CONTACT, call_id="old", cseq=2).status == 200
    answer = house.ask(CONTACT, call_id="new", **to("bob-desk"))
    assert (answer.status, answer.headers) == (503, "Retry-After: 30\r\n")


def test_a_registration_is_one_transaction() -> None:
    store = ManualStore()
    house = Office(store=store)
    house.receive(register(CONTACT), register(CONTACT, **to("bob-desk")))
    (batch,) = store.submitted
    assert [write.record.user for write in batch if isinstance(write, SaveBinding)] == ["alice-desk", "bob-desk"]


def test_other_limits_are_taken_in(house: Office) -> None:
    house.service.configure(replace(house.service._settings, registrar=RegistrarLimits(min_expires=300)))
    assert house.ask(f"{CONTACT};expires=299").headers == "Min-Expires: 300\r\n"


def test_registered_by_whom(house: Office) -> None:
    """The change says which source has spoken: a reset leaves it alone, and the timeline names it."""
    changes: list[StateChange] = []
    deliver = house.service.on_state_change

    def spy(change: StateChange) -> None:
        changes.append(change)
        deliver(change)

    house.service.outbox._bus._deliver = spy  # type: ignore[attr-defined]
    house.ask(CONTACT)
    house.ask("*", cseq=2, expires=0)
    assert [(change.source, change.resource, change.presence is None) for change in changes] == [
        (Source.REGISTRAR, LAMP, True),
        (Source.REGISTRAR, LAMP, False),
    ]
