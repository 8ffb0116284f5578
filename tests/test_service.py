"""PresenceService: who may do what, in which order it is refused, and how verbs, edges and time come together."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Sequence
from ipaddress import ip_network
from typing import Any

import pytest

from sipresence import service as service_module
from sipresence.accounts import Account, Device
from sipresence.audit import Asker
from sipresence.authentication import Authenticator
from sipresence.backends.memory import LocalBus, MemoryStore
from sipresence.commands import Reset, SetState
from sipresence.directory import Directory
from sipresence.errors import InvalidExtension, StoreError, UnknownAccount
from sipresence.events.effects import Notify, Respond
from sipresence.events.notifier import Notifier
from sipresence.events.policy import LampPolicy
from sipresence.events.publication import PublicationCompositor
from sipresence.events.register import RegistrarLimits
from sipresence.events.resource import DialogState, Lamp
from sipresence.events.resources import Resources
from sipresence.events.state import Messages
from sipresence.events.subscribe import Limits
from sipresence.events.timeline import Chronicle
from sipresence.names import AccountId, ResourceId
from sipresence.ports import SubscriptionStore
from sipresence.refusals import BY_STATUS
from sipresence.service import PresenceService, ServiceSettings
from sipresence.sip.admission import RateLimits
from sipresence.sip.digest import Nonces
from sipresence.sip.flow import Flow
from sipresence.sip.uas import NO_CALLS
from tests.builders import flow, options, parsed, request, subscribe
from tests.events.desk import local_tag
from tests.fakes import NOW, ManualClock, ManualStore, RecordingEndpoint

OFFICE = AccountId("0123456789abcdef0123456789abcdef")
SHOP = AccountId("fedcba9876543210fedcba9876543210")
LAMP = ResourceId("101@office.example.com")
PARKED = ResourceId("*3101@office.example.com")
STRANGER = flow(host="198.51.100.7")
EARLY, CONFIRMED, TERMINATED = DialogState.EARLY, DialogState.CONFIRMED, DialogState.TERMINATED


def account(ident: AccountId, realm: str, *, aliases: tuple[str, ...] = (), devices: tuple[str, ...] = ()) -> Account:
    phones = tuple(Device(name, name, None, None, name, "secret") for name in devices)
    return Account(ident, realm, realm, aliases, api_key=None, tokens=(), users=(), devices=phones, lists=())


ACCOUNTS = (
    account(OFFICE, "office.example.com", aliases=("pbx.example.com",), devices=("101",)),
    account(SHOP, "shop.example.com"),
)


class House:
    """A service with its edges, in virtual time."""

    def __init__(
        self,
        *,
        store: SubscriptionStore | None = None,
        accounts: tuple[Account, ...] = ACCOUNTS,
        clock: ManualClock | None = None,
        unknown_resources_allowed: bool = True,
        limits: Limits | None = None,
        rates: RateLimits | None = None,
        registrar: RegistrarLimits | None = None,
        debug: bool = False,
    ) -> None:
        self.clock = clock or ManualClock()
        self.endpoint = RecordingEndpoint()
        self.store = store or MemoryStore()
        settings = ServiceSettings(
            node="blf1",
            trusted_networks=(ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")),
            unknown_resources_allowed=unknown_resources_allowed,
            local_hosts=frozenset(("blf.example.com",)),
            rates=rates or RateLimits(),
            registrar=registrar,
            debug=debug,
        )
        directory = Directory(accounts)
        self.resources = resources = Resources(Chronicle())
        names = itertools.count(1)
        self.service = PresenceService(
            settings,
            directory=directory,
            authenticator=Authenticator(directory, Nonces(bytes(32), since=self.clock.now())),
            notifier=Notifier(limits or Limits(), failures_allowed=4, local_tag=local_tag, resources=resources),
            compositor=PublicationCompositor(resources, token=lambda: f"p{next(names)}"),
            tag=local_tag,
            clock=self.clock,
        )
        self.service.attach(store=self.store, bus=LocalBus(self.service.on_state_change), endpoint=self.endpoint)
        self.service.start()

    async def set_state(
        self, account: AccountId, resources: Sequence[ResourceId], *asked: Any, by: str = "", **more: Any
    ) -> None:
        await self.service.commands.carry_out(account, [SetState(resources, *asked, **more)], by=Asker(by))

    async def reset(self, account: AccountId, resources: Sequence[ResourceId], *, by: str = "") -> None:
        await self.service.commands.carry_out(account, [Reset(resources)], by=Asker(by))

    def receive(self, *messages: bytes, way: Flow | None = None) -> list[Respond | Notify]:
        """One turn of reads, and what it made the server send."""
        for message in messages:
            self.service.on_request(parsed(message, way))
        self.service.on_turn_end()
        self.clock.settle()
        return self.endpoint.take()

    def status(self, message: bytes, way: Flow | None = None) -> int:
        """The status of the one answer to a message."""
        (answer,) = (sent for sent in self.receive(message, way=way) if isinstance(sent, Respond))
        return answer.status

    def answer(self, notify: Notify, status: int = 200, retry_after: int | None = None) -> list[Respond | Notify]:
        """A phone's answer to a NOTIFY, and what follows."""
        self.service.on_notify_answered(notify.id, status, retry_after, self.clock.now())
        self.service.on_turn_end()
        self.clock.settle()
        return self.endpoint.take()

    def subscribed(self, **fields: Any) -> Notify:
        """A subscription whose first NOTIFY, returned, is answered."""
        answer, notify = self.receive(subscribe(**fields))
        assert isinstance(answer, Respond)
        assert isinstance(notify, Notify)
        assert answer.status == 200
        assert self.answer(notify) == []
        return notify

    def told(self) -> list[DialogState]:
        """What the NOTIFYs that left since the last look show."""
        self.clock.settle()
        return [sent.document.state for sent in self.endpoint.take() if isinstance(sent, Notify)]


@pytest.fixture
def house() -> House:
    return House()


async def running(verb: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
    """Start a verb, and let it come to where it waits."""
    task = asyncio.ensure_future(verb)
    await asyncio.sleep(0)
    return task


# The way of a SUBSCRIBE


def test_the_answer_precedes_the_notify(house: House) -> None:
    match house.receive(subscribe()):
        case [Respond(_, 200), Notify(cseq=1)]:
            pass
        case sent:
            pytest.fail(f"{sent}")


def test_nothing_leaves_before_the_commit() -> None:
    store = ManualStore()
    house = House(store=store)
    assert house.receive(subscribe()) == []
    store.commit()
    house.clock.settle()
    assert [type(sent) for sent in house.endpoint.take()] == [Respond, Notify]


def test_a_turn_of_reads_is_one_transaction() -> None:
    store = ManualStore()
    house = House(store=store)
    house.receive(*(subscribe(call_id=f"{n}@phone") for n in range(5)))
    assert [len(batch) for batch in store.submitted] == [5]


def test_a_failed_commit_is_answered_500_and_nothing_is_subscribed() -> None:
    store = MemoryStore()
    house = House(store=store)
    store.fail_with = StoreError("disk full")
    match house.receive(subscribe()):
        case [Respond(_, 500, _, headers)]:
            assert headers == "Retry-After: 5\r\n"
        case sent:
            pytest.fail(f"{sent}")
    assert list(house.service.subscriptions(OFFICE)) == []
    store.fail_with = None
    assert house.status(subscribe(cseq=2)) == 200


def test_an_answer_to_an_abandoned_notify_is_not_taken_for_that_to_the_new_one() -> None:
    """The phone moves while a NOTIFY is in flight; its answer arrives before the new NOTIFY has left."""
    store = ManualStore()
    house = House(store=store)
    house.receive(subscribe())
    store.commit()
    house.clock.settle()
    answer, first = house.endpoint.take()
    assert isinstance(answer, Respond)
    assert isinstance(first, Notify)
    house.receive(subscribe(cseq=2, to_tag=answer.to_tag, contact="<sip:102@192.0.2.7:5999>"))
    assert house.answer(first, 481) == []
    store.commit()
    house.clock.settle()
    (second,) = house.endpoint.notifies
    assert second.cseq == 2
    house.answer(second)
    (view,) = house.service.subscriptions(OFFICE)
    assert view.reply == 200


# Refusals, in order


# Each of these gives a request one more thing to be refused for; the first one present decides.
FAULTS: list[tuple[int, dict[str, Any]]] = [
    (400, {"cseq": "x SUBSCRIBE"}),
    (483, {"max_forwards": 0}),
    (403, {}),  # from a stranger, and nobody's business
    (420, {"headers": {"Require": "100rel"}}),
    (416, {"uri": "tel:101"}),
    (404, {"uri": "sip:office.example.com"}),
    (489, {"event": "presence.winfo"}),
    (406, {"accept": "text/plain"}),
    (423, {"expires": 1}),
]


@pytest.mark.parametrize("first", range(len(FAULTS)), ids=[str(status) for status, _ in FAULTS])
def test_an_initial_subscribe_is_refused_in_order(house: House, first: int) -> None:
    fields: dict[str, Any] = {}
    for _, fault in reversed(FAULTS[first:]):
        fields |= fault  # 416 and 404 need the same header: the earlier one is told
    way = STRANGER if first <= 2 else None
    assert house.status(subscribe(**fields), way) == FAULTS[first][0]
    assert list(house.service.subscriptions(OFFICE)) == []


IN_DIALOG: list[tuple[int, dict[str, Any]]] = [
    (420, {"headers": {"Require": "100rel"}}),
    (416, {"uri": "tel:101"}),
    (481, {"event": "presence"}),
    (500, {"cseq": 1}),
    (406, {"accept": "text/plain"}),
    (423, {"expires": 1}),
]


@pytest.mark.parametrize("first", range(len(IN_DIALOG)), ids=[str(status) for status, _ in IN_DIALOG])
def test_a_subscribe_inside_a_dialog_is_refused_in_order(house: House, first: int) -> None:
    house.subscribed(cseq=5)
    (view,) = house.service.subscriptions(OFFICE)
    fields: dict[str, Any] = {"cseq": 9, "to_tag": view.record.local_tag}
    for _, fault in reversed(IN_DIALOG[first:]):
        fields |= fault
    assert house.status(subscribe(**fields)) == IN_DIALOG[first][0]
    assert [after.record for after in house.service.subscriptions(OFFICE)] == [view.record]


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (request("INVITE", cseq="x INVITE"), 400),
        (request("INVITE"), 405),
        (request("REGISTER"), 405),
        (request("NOTIFY", max_forwards=0), 405),
        (request("CANCEL"), 481),
        (request("DANCE"), 501),
        (request("subscribe"), 501),  # methods are case-sensitive
        (subscribe(from_tag=""), 400),
        (subscribe(max_forwards="x"), 400),
        (subscribe(uri="sip:"), 400),
        (subscribe(uri="sip:%ff@office.example.com"), 400),
        (subscribe(uri="sip:%00@office.example.com"), 404),
        (subscribe(uri=f"sip:{'1' * 129}@office.example.com"), 404),
        (subscribe(to_tag="unknown"), 481),
        (subscribe(to_tag="unknown", uri="sip:192.0.2.1"), 481),
        (subscribe(contact=None), 400),
        (subscribe(contact="<tel:1>"), 400),
        (subscribe(uri="sip:;ext=1@office.example.com"), 404),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "",
)
def test_what_else_is_refused(house: House, message: bytes, status: int) -> None:
    assert house.status(message, STRANGER if b"SUBSCRIBE" not in message else None) == status
    assert house.service.refusals == {BY_STATUS[status]: 1}


def test_405_says_what_is_allowed(house: House) -> None:
    (answer,) = house.receive(request("INVITE"))
    assert isinstance(answer, Respond)
    assert answer.headers == f"Allow: SUBSCRIBE, PUBLISH, OPTIONS\r\n{NO_CALLS}"


def test_a_refusal_has_one_to_tag_for_all_its_retransmissions(house: House) -> None:
    """RFC 3261 section 8.2.7: a stateless server must generate the same tag each time."""
    tags = [sent.to_tag for sent in house.receive(*[request("INVITE")] * 3) if isinstance(sent, Respond)]
    assert len(tags) == 3
    assert len(set(tags)) == 1
    (other,) = house.receive(request("INVITE", cseq=2))
    assert isinstance(other, Respond)
    assert other.to_tag not in tags


@pytest.mark.parametrize(
    ("host", "trusted"),
    [
        ("192.0.2.7", True),
        ("198.51.100.7", False),
        ("::ffff:192.0.2.7", True),
        ("::ffff:198.51.100.7", False),
        ("2001:db8::7", True),
        ("2001:db9::7", False),
        ("fe80::1%eth0", False),
    ],
)
def test_who_is_trusted(house: House, host: str, trusted: bool) -> None:
    assert house.status(subscribe(), flow(host=host)) == (200 if trusted else 401)
    assert house.status(subscribe(cseq=2), flow(host=host)) == (200 if trusted else 401)


# OPTIONS


@pytest.mark.parametrize(
    "uri", ["sip:192.0.2.1", "sip:101@office.example.com", "sip:nobody@elsewhere.example.net:5070"]
)
@pytest.mark.parametrize("way", [flow(), STRANGER, flow("TCP")], ids=["udp", "stranger", "tcp"])
def test_options_is_answered_to_any_address(house: House, uri: str, way: Flow) -> None:
    (answer,) = house.receive(options(uri=uri), way=way)
    assert isinstance(answer, Respond)
    assert answer.status == 200
    assert [line.partition(":")[0] for line in answer.headers.split("\r\n")] == [
        "Allow", "Accept", "Accept-Encoding", "Allow-Events", "Supported", "",
    ]  # fmt: skip


def test_options_may_be_refused_too(house: House) -> None:
    assert house.status(options(headers={"Require": "foo"})) == 420
    assert house.status(options(uri="tel:1")) == 416


# Which account


@pytest.mark.parametrize(
    ("fields", "resource"),
    [
        ({"uri": "sip:101@office.example.com"}, "101@office.example.com"),
        ({"uri": "sip:101@OFFICE.example.com:5080;transport=tcp"}, "101@office.example.com"),
        ({"uri": "sip:101@pbx.example.com"}, "101@office.example.com"),  # an alias
        ({"uri": "sip:101@shop.example.com"}, "101@shop.example.com"),
        ({"uri": "sip:%2A3101@office.example.com"}, "*3101@office.example.com"),
        ({"uri": "sip:ALICE@office.example.com"}, "alice@office.example.com"),
        ({"uri": "sip:*3101;foo=bar@office.example.com"}, "*3101@office.example.com"),
        ({"uri": "sip:101;phone-context=+49:secret@office.example.com;user=phone"}, "101@office.example.com"),
        ({"uri": "sip:101%3Bx@office.example.com"}, "101;x@office.example.com"),  # an escaped one begins nothing
        # Our own address: To decides, then From.
        ({"uri": "sip:101@192.0.2.1:5060", "to": "<sip:101@shop.example.com>"}, "101@shop.example.com"),
        ({"uri": "sip:101@192.0.2.1", "to": "<sip:101@shop.example.com>"}, "101@shop.example.com"),
        ({"uri": "sip:101@blf.example.com", "to": "<sip:101@shop.example.com>"}, "101@shop.example.com"),
        (
            {"uri": "sip:101@192.0.2.1:5060", "to": "<sip:101@192.0.2.1>", "from_": "<sip:9@shop.example.com>"},
            "101@shop.example.com",
        ),
        (
            {"uri": "sip:101@192.0.2.1:5060", "to": "<tel:101>", "from_": '"<x>" <sip:9@shop.example.com>'},
            "101@shop.example.com",
        ),
    ],
)
def test_the_account_is_found_by_host(house: House, fields: dict[str, Any], resource: str) -> None:
    house.subscribed(**fields)
    owner = SHOP if "shop" in resource else OFFICE
    assert [view.record.resource for view in house.service.subscriptions(owner)] == [resource]


@pytest.mark.parametrize(
    "fields",
    [
        {"uri": "sip:101@elsewhere.example.net"},
        {"uri": "sip:101@elsewhere.example.net", "to": "<sip:101@shop.example.com>"},
        {"uri": "sip:101@192.0.2.1", "to": "<sip:101@192.0.2.1>", "from_": "<sip:102@192.0.2.7>"},
        {"uri": "sip:101@192.0.2.2", "to": "<sip:101@shop.example.com>"},
    ],
)
def test_among_several_accounts_an_unknown_host_is_nobodys(house: House, fields: dict[str, Any]) -> None:
    assert house.status(subscribe(**fields)) == 404


def test_a_sole_account_is_meant_by_any_host() -> None:
    house = House(accounts=ACCOUNTS[:1])
    house.subscribed(uri="sip:101@elsewhere.example.net", to="<sip:101@elsewhere.example.net>")
    (view,) = house.service.subscriptions(OFFICE)
    assert (view.record.resource, view.record.entity) == (LAMP, "sip:101@elsewhere.example.net")


def test_a_refresh_belongs_to_its_subscription_whatever_its_request_uri(house: House) -> None:
    """Phones address it to our Contact."""
    house.subscribed()
    (view,) = house.service.subscriptions(OFFICE)
    assert house.status(subscribe(cseq=2, to_tag=view.record.local_tag, uri="sip:192.0.2.1:5060")) == 200
    (after,) = house.service.subscriptions(OFFICE)
    assert (after.record.id, after.record.resource) == (view.record.id, LAMP)


def test_resources_the_directory_does_not_know_may_be_refused() -> None:
    house = House(unknown_resources_allowed=False)
    assert house.status(subscribe()) == 200
    assert house.status(subscribe(uri="sip:999@office.example.com", cseq=2)) == 404


# State


async def test_a_set_returns_once_it_is_committed_and_delivered() -> None:
    store = ManualStore()
    house = House(store=store)
    verb = await running(house.set_state(OFFICE, [LAMP], EARLY))
    assert not verb.done()
    assert house.service.lamp(LAMP).state is TERMINATED
    store.commit()
    assert house.service.lamp(LAMP) == Lamp(EARLY, NOW)
    await verb


async def test_the_last_set_wins(house: House) -> None:
    notify = house.subscribed()
    for word in (CONFIRMED, TERMINATED, EARLY, CONFIRMED, TERMINATED):
        await house.set_state(OFFICE, [LAMP], word)
    assert house.told() == [CONFIRMED]  # at most one in flight
    (last,) = house.answer(notify)
    assert isinstance(last, Notify)
    assert last.document.state is TERMINATED


async def test_sets_of_many_lamps_are_one_transaction() -> None:
    store = ManualStore()
    house = House(store=store)
    verb = await running(house.set_state(OFFICE, [LAMP, PARKED], EARLY))
    assert [len(batch) for batch in store.submitted] == [4], "with two entries of the audit trail"
    store.commit()
    await verb
    assert house.service.lamp(PARKED).state is EARLY


async def test_new_messages_light_the_lamp_that_watches_the_mailbox(house: House) -> None:
    watched = ResourceId(f"*98{LAMP}")
    for messages, shown in ((Messages(new=1), CONFIRMED), (Messages(saved=1), TERMINATED)):
        await house.set_state(OFFICE, [LAMP], None, messages=messages)
        assert house.service.lamp(watched).state is shown
        assert house.service.state(LAMP).messages == messages


async def test_an_account_may_have_no_lamps_for_mailboxes(house: House) -> None:
    house.resources.policies = {OFFICE: LampPolicy(voicemail_prefix="")}
    await house.set_state(OFFICE, [LAMP], None, messages=Messages(new=1))
    assert house.service.state(ResourceId(f"*98{LAMP}")).blank


async def test_a_reset_empties_the_mailbox_and_puts_out_the_lamp_that_watches_it(house: House) -> None:
    watched = ResourceId(f"*98{LAMP}")
    await house.set_state(OFFICE, [LAMP], None, messages=Messages(new=1))
    await house.reset(OFFICE, [LAMP])
    assert house.service.lamp(watched).state is TERMINATED
    assert house.service.state(LAMP).messages == Messages()


async def test_a_reset_makes_no_lamp_for_a_mailbox_of_which_nothing_is_known(house: House) -> None:
    await house.reset(OFFICE, [LAMP])
    assert house.service.state(ResourceId(f"*98{LAMP}")).blank


async def test_all_that_is_set_at_once_is_one_transaction() -> None:
    store = ManualStore()
    house = House(store=store)
    said = house.set_state(OFFICE, [LAMP], EARLY, messages=Messages(new=1), do_not_disturb=True)
    verb = await running(said)
    assert [len(batch) for batch in store.submitted] == [5]
    store.commit()
    await verb
    assert house.service.lamp(LAMP).state is EARLY
    assert house.service.state(LAMP).presence.do_not_disturb


async def test_what_was_said_survives_a_restart() -> None:
    store = MemoryStore()
    before = House(store=store)
    await before.set_state(OFFICE, [LAMP], None, messages=Messages(new=1, saved=2), do_not_disturb=True)
    after = House(store=store)
    after.service.restore(await store.load())
    assert after.service.state(LAMP).messages == Messages(new=1, saved=2)
    assert after.service.state(LAMP).presence.do_not_disturb
    assert after.service.lamp(ResourceId(f"*98{LAMP}")).state is CONFIRMED


@pytest.mark.parametrize("verb", [lambda h: h.set_state(OFFICE, [LAMP], EARLY), lambda h: h.reset(OFFICE, [LAMP])])
async def test_a_store_that_fails_at_once_is_told(verb: Callable[[House], Coroutine[Any, Any, None]]) -> None:
    store = MemoryStore()
    store.fail_with = StoreError("disk full")
    house = House(store=store)
    with pytest.raises(StoreError, match="disk full"):
        await verb(house)
    assert house.service.lamp(LAMP).state is TERMINATED


async def test_a_store_that_fails_later_is_told() -> None:
    store = ManualStore()
    house = House(store=store)
    verb = await running(house.set_state(OFFICE, [LAMP], EARLY))
    store.fail()
    with pytest.raises(StoreError, match="disk full"):
        await verb


async def test_each_caller_hears_of_its_own_batch() -> None:
    store = ManualStore()
    house = House(store=store)
    first = await running(house.set_state(OFFICE, [LAMP], EARLY))
    second = await running(house.set_state(OFFICE, [LAMP], CONFIRMED))
    store.fail()
    with pytest.raises(StoreError):
        await first
    assert not second.done()
    store.commit()
    await second
    assert house.service.lamp(LAMP).state is CONFIRMED


async def test_what_a_caller_asked_for_is_done_though_he_went_away() -> None:
    store = ManualStore()
    house = House(store=store)
    verb = await running(house.set_state(OFFICE, [LAMP], EARLY))
    verb.cancel()
    with pytest.raises(asyncio.CancelledError):
        await verb
    store.commit()
    assert house.service.lamp(LAMP).state is EARLY
    await_nothing = await running(house.set_state(OFFICE, [LAMP], CONFIRMED))
    await_nothing.cancel()
    store.fail()
    with pytest.raises(asyncio.CancelledError):
        await await_nothing
    assert house.service.lamp(LAMP).state is EARLY


async def test_a_reset_forgets_and_tells_everybody(house: House) -> None:
    await house.set_state(OFFICE, [LAMP], EARLY)
    house.subscribed()
    await house.reset(OFFICE, [LAMP])
    assert house.told() == [TERMINATED]
    assert house.service.lamp(LAMP) == Lamp(TERMINATED, 0.0)
    assert len(list(house.service.subscriptions(OFFICE))) == 1


async def test_a_set_that_expires(house: House) -> None:
    house.subscribed()
    await house.set_state(OFFICE, [LAMP], EARLY, expires=30)
    house.clock.settle()
    (told,) = house.endpoint.take()
    assert isinstance(told, Notify)
    house.answer(told)
    house.clock.advance(29.9)
    assert house.told() == []
    house.clock.advance(0.1)
    assert house.told() == [TERMINATED]
    assert house.service.lamp(LAMP) == Lamp(TERMINATED, NOW + 30)


async def test_a_set_that_is_renewed_just_as_it_expires() -> None:
    store = ManualStore()
    house = House(store=store)
    verb = await running(house.set_state(OFFICE, [LAMP], EARLY, expires=30))
    store.commit()
    await verb
    house.clock.advance(29.99)
    verb = await running(house.set_state(OFFICE, [LAMP], EARLY, expires=30))
    house.clock.advance(1)  # a slow commit
    store.commit()
    await verb
    assert not store.busy
    house.clock.advance(28.9)
    assert house.service.lamp(LAMP).state is EARLY
    house.clock.advance(1)
    store.commit()
    assert house.service.lamp(LAMP).state is TERMINATED


async def test_an_expiry_that_cannot_be_committed_is_tried_again() -> None:
    store = MemoryStore()
    house = House(store=store)
    await house.set_state(OFFICE, [LAMP], EARLY, expires=30)
    store.fail_with = StoreError("disk full")
    house.clock.advance(32)
    assert house.service.lamp(LAMP).state is EARLY
    store.fail_with = None
    house.clock.advance(5)
    assert house.service.lamp(LAMP).state is TERMINATED


# Time


def test_the_clock_is_armed_for_the_next_deadline(house: House) -> None:
    house.receive(subscribe(expires=3600))
    house.receive(subscribe(expires=600, call_id="2@phone"))
    assert house.clock.armed == [NOW + 600]
    house.receive(subscribe(expires=7200, call_id="3@phone"))
    assert house.clock.armed == [NOW + 600]


def test_a_subscription_ends_at_its_expiry(house: House) -> None:
    house.subscribed(expires=60)
    house.clock.advance(59)
    assert house.endpoint.take() == []
    house.clock.advance(1)
    (goodbye,) = house.endpoint.take()
    assert isinstance(goodbye, Notify)
    assert goodbye.subscription_state == "terminated;reason=timeout"
    assert list(house.service.subscriptions(OFFICE)) == []
    assert house.clock.armed == []


def test_a_refused_notify_goes_again(house: House) -> None:
    _, notify = house.receive(subscribe())
    assert isinstance(notify, Notify)
    house.answer(notify, 500)
    assert house.clock.armed == [NOW + 5]
    house.clock.advance(5)
    assert [sent.cseq for sent in house.endpoint.notifies] == [2]


def test_a_481_is_forgotten_in_the_store_too() -> None:
    store = ManualStore()
    house = House(store=store)
    house.receive(subscribe())
    store.commit()
    house.clock.settle()
    house.answer(house.endpoint.notifies[0], 481)
    store.commit()
    assert asyncio.run(store.load()).subscriptions == []


# What edges may see


def test_views_are_those_of_the_account_the_resource_the_package(house: House) -> None:
    house.subscribed()
    house.subscribed(uri="sip:*3101@office.example.com", call_id="2@phone")
    house.subscribed(uri="sip:101@shop.example.com", call_id="3@phone")

    def calls(account: AccountId, **filters: Any) -> set[str]:
        return {view.record.call_id for view in house.service.subscriptions(account, **filters)}

    assert calls(OFFICE) == {"call-1@192.0.2.7", "2@phone"}
    assert calls(SHOP) == {"3@phone"}
    assert calls(OFFICE, resource=PARKED) == {"2@phone"}
    assert calls(SHOP, resource=PARKED) == set()
    assert calls(OFFICE, event="dialog") == calls(OFFICE)
    assert calls(OFFICE, event="presence") == set()


def test_a_resource_is_named_by_account_and_extension(house: House) -> None:
    assert house.service.resource(OFFICE, "*3101") == PARKED
    assert house.service.resource(SHOP, "Alice") == "alice@shop.example.com"
    with pytest.raises(UnknownAccount):
        house.service.resource(AccountId("x"), "101")


@pytest.mark.parametrize("extension", ["", "a\nb", "\0", "x" * 129, "\ud800"])
def test_what_can_be_no_extension(house: House, extension: str) -> None:
    with pytest.raises(InvalidExtension):
        house.service.resource(OFFICE, extension)


# Start and stop


async def test_a_clean_stop_writes_the_exact_numbers_and_the_next_start_goes_on_at_plus_one(house: House) -> None:
    first = house.subscribed()
    await house.set_state(OFFICE, [LAMP], EARLY)
    house.clock.settle()
    await house.service.stop()
    assert house.clock.armed == []

    house.clock.advance(10)
    next_house = House(store=house.store, clock=house.clock)
    next_house.service.restore(await house.store.load())
    next_house.service.start()
    next_house.clock.advance(0)
    (again,) = next_house.endpoint.take()
    assert isinstance(again, Notify)
    assert (again.cseq, again.version) == (first.cseq + 2, first.version + 2)
    assert again.document.state is EARLY
    assert again.subscription_state == "active;expires=3590"


async def test_a_stop_commits_and_answers_what_was_accepted() -> None:
    store = ManualStore()
    house = House(store=store)
    house.receive(subscribe())
    exact_numbers = asyncio.Event()
    stopping = await running(house.service.stop())
    store.on_submit = exact_numbers.set
    assert house.endpoint.sent == []
    store.commit()
    house.clock.settle()
    assert [type(sent) for sent in house.endpoint.take()] == [Respond, Notify]
    await exact_numbers.wait()
    store.commit()
    await stopping


async def test_a_stop_does_not_wait_for_ever_for_a_store_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "STOP_PATIENCE", 0.01)
    house = House(store=ManualStore())
    house.receive(subscribe())
    with pytest.raises(TimeoutError):
        await house.service.stop()


async def test_a_stop_tells_of_a_store_that_fails(house: House) -> None:
    house.subscribed()
    assert isinstance(house.store, MemoryStore)
    house.store.fail_with = StoreError("disk full")
    with pytest.raises(StoreError):
        await house.service.stop()


def test_nothing_is_due_before_the_start() -> None:
    house = House()
    house.service._stopped = True
    house.receive(subscribe())
    assert house.clock.armed == []
    house.service.start()
    assert house.clock.armed == [NOW + 3600]
