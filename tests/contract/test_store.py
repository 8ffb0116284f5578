"""What every store promises, whichever remembers: the same tests over MemoryStore and SqliteStore."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sipresence.backends.memory import LocalBus, MemoryStore
from sipresence.backends.sqlite import SqliteStore
from sipresence.errors import StoreError
from sipresence.events.effects import Forget, Save, SaveList, SaveState, Write
from sipresence.events.record import SubscriptionRecord
from sipresence.events.resource import DialogInfo, DialogState, Source, StateChange, reset, set_manually
from sipresence.events.resource_lists import Entry, Listing
from sipresence.events.state import Messages, Presence, set_do_not_disturb, set_messages, set_registered
from sipresence.names import AccountId, CallId, ResourceId, SubscriptionId
from sipresence.ports import StateBus, SubscriptionStore

OpenStore = Callable[[], SubscriptionStore]

ACCOUNT = AccountId("0123456789abcdef0123456789abcdef")
PARKED = ResourceId("*3101@office.example.com")
ALICE = ResourceId("101@office.example.com")


def record(id: int = 1, **columns: Any) -> SubscriptionRecord:
    """A subscription of a desk phone to a parking slot."""
    row = SubscriptionRecord(
        id=SubscriptionId(id),
        account=ACCOUNT,
        resource=PARKED,
        event="dialog",
        event_id="",
        call_id=CallId(f"call-{id}@192.0.2.7"),
        local_tag="a1b2c3d4",
        remote_tag="phone",
        local_address="<sip:*3101@office.example.com>",
        remote_address='"Alice" <sip:101@office.example.com>;tag=phone',
        entity="sip:*3101@office.example.com",
        contact="sip:101@192.0.2.7:5062",
        route_set="",
        transport="UDP",
        listener="udp://0.0.0.0:5060",
        source_host="192.0.2.7",
        source_port=5062,
        local="192.0.2.1:5060",
        direct=1,
        accept="application/dialog-info+xml",
        user_agent="Phone/1.0",
        authenticated_user="",
        subscribe_cseq=1,
        subscribe_event="dialog",
        expires=3600,
        subscribed_at=1_700_000_000.0,
        expires_at=1_700_003_600.0,
        cseq_ceiling=64,
        version_ceiling=64,
    )
    return row._replace(**columns)


def save(row: SubscriptionRecord) -> Save:
    return Save(row, None)


def set_lamp(
    state: DialogState, *, at: float, resource: ResourceId = PARKED, expires_at: float | None = None
) -> SaveState:
    return SaveState(set_manually(ACCOUNT, resource, state=state, at=at, expires_at=expires_at))


async def commit(store: SubscriptionStore, *writes: Write) -> StoreError | None:
    """Submit one batch and wait for its answer."""
    answer: asyncio.Future[StoreError | None] = asyncio.get_running_loop().create_future()
    store.submit(writes, answer.set_result)
    return await asyncio.wait_for(answer, 10)


@pytest.fixture(params=["memory", "sqlite"])
async def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenStore]:
    """Make a store; every further one is the next life of the same."""
    made: list[SubscriptionStore] = []
    memory = MemoryStore()

    def open_one() -> SubscriptionStore:
        made.append(memory if request.param == "memory" else SqliteStore(tmp_path / "p.db", synchronous="normal"))
        return made[-1]

    yield open_one
    for store in made:
        await store.close()


@pytest.fixture
async def store(open_store: OpenStore) -> SubscriptionStore:
    """A store that is open and empty."""
    opened = open_store()
    await opened.load()
    return opened


@pytest.fixture
def reopen(open_store: OpenStore, store: SubscriptionStore) -> Callable[[], Any]:
    """Restart: close the store and load its next life."""

    async def restart() -> Any:
        await store.close()
        return await open_store().load()

    return restart


@contextmanager
def failing(store: SubscriptionStore) -> Iterator[SubscriptionRecord]:
    """Yield a row that the store cannot keep; afterwards it works again."""
    if isinstance(store, MemoryStore):
        store.fail_with = StoreError("no room")
        yield record(99)
        store.fail_with = None
    else:
        yield record(99, contact=object())


async def test_a_new_store_is_empty(open_store: OpenStore) -> None:
    loaded = await open_store().load()
    assert list(loaded.subscriptions) == []
    assert list(loaded.states) == []
    assert len(loaded.tag_key) == 32


async def test_the_tag_key_never_changes(open_store: OpenStore) -> None:
    first = open_store()
    key = (await first.load()).tag_key
    await first.close()
    assert (await open_store().load()).tag_key == key


ODD_ROWS = {
    "plain": record(),
    "empty texts": record(event_id="", route_set="", contact="", user_agent="", accept=""),
    "unicode": record(remote_address='"Zoë \U0001f4de 李" <sip:zoë@example.com>', user_agent="Téléphone"),
    "quotes": record(contact="sip:o'brien@example.com", user_agent="\"'; DROP TABLE subscriptions; --"),
    "line ends and NUL": record(user_agent="a\r\nb\x00c"),
    "big numbers": record(
        2**62, source_port=65535, subscribe_cseq=2**31 - 1, cseq_ceiling=2**31 - 1, version_ceiling=2**31 + 1
    ),
    "exact times": record(subscribed_at=1_700_000_000.123_456_7, expires_at=0.1 + 0.2),
}


@pytest.mark.parametrize("row", ODD_ROWS.values(), ids=ODD_ROWS)
async def test_every_column_comes_back(
    store: SubscriptionStore, reopen: Callable[[], Any], row: SubscriptionRecord
) -> None:
    assert await commit(store, save(row)) is None
    (found,) = (await reopen()).subscriptions
    assert found == row
    assert list(map(type, found)) == list(map(type, row))


async def test_every_column_has_its_own_place(store: SubscriptionStore, reopen: Callable[[], Any]) -> None:
    columns: list[Any] = list(record())
    row = SubscriptionRecord._make(type(value)(number) for number, value in enumerate(columns, start=1))  # all differ
    await commit(store, save(row))
    assert (await reopen()).subscriptions == [row]


async def test_subscriptions_come_back_by_id(store: SubscriptionStore, reopen: Callable[[], Any]) -> None:
    await commit(store, save(record(3)), save(record(1)), save(record(2)))
    assert [row.id for row in (await reopen()).subscriptions] == [1, 2, 3]


async def test_a_row_is_replaced_and_forgotten(store: SubscriptionStore, reopen: Callable[[], Any]) -> None:
    await commit(store, save(record(1)), save(record(2)))
    await commit(store, Save(record(1, subscribe_cseq=2), record(1)))
    await commit(store, Forget(SubscriptionId(2)), Forget(SubscriptionId(7)))
    assert (await reopen()).subscriptions == [record(1, subscribe_cseq=2)]


async def test_a_batch_is_carried_out_in_order(store: SubscriptionStore, reopen: Callable[[], Any]) -> None:
    one = SubscriptionId(1)
    await commit(
        store,
        *(save(record(1)), Forget(one), save(record(1, expires=60)), save(record(1, expires=120))),
        *(save(record(2)), Forget(SubscriptionId(2))),
        *(set_lamp(DialogState.EARLY, at=1.0), SaveState(reset(ACCOUNT, PARKED, at=2.0))),
        *(set_lamp(DialogState.CONFIRMED, at=3.0), set_lamp(DialogState.EARLY, at=4.0)),
    )
    loaded = await reopen()
    assert loaded.subscriptions == [record(1, expires=120)]
    assert loaded.states == [set_lamp(DialogState.EARLY, at=4.0).change]


async def test_a_list_lasts_as_long_as_its_subscription(store: SubscriptionStore, reopen: Callable[[], Any]) -> None:
    brought = Listing((Entry("sip:101@office.example.com", 'Alice "A" <101>'), Entry("sip:é@elsewhere.example", "")))
    for number, listing in enumerate((Listing(None), Listing(()), brought, brought), 1):
        await commit(store, save(record(number)), SaveList(SubscriptionId(number), listing, None))
    await commit(store, Save(record(3, subscribe_cseq=2), record(3)), Forget(SubscriptionId(4)))
    assert (await reopen()).listings == {1: Listing(None), 2: Listing(()), 3: brought}


async def test_another_list_takes_the_place_of_the_first(store: SubscriptionStore, reopen: Callable[[], Any]) -> None:
    first, second = (Listing((Entry(uri, ""),)) for uri in ("sip:101@x", "sip:102@x"))
    await commit(store, save(record(1)), SaveList(SubscriptionId(1), first, None))
    await commit(store, save(record(1)), SaveList(SubscriptionId(1), second, first))
    assert (await reopen()).listings == {1: second}


@pytest.mark.parametrize("size", [1, 2, 31, 256, 257, 700])
async def test_a_batch_may_have_any_size(store: SubscriptionStore, reopen: Callable[[], Any], size: int) -> None:
    rows = [record(id) for id in range(size)]
    lamps = [set_lamp(DialogState.EARLY, at=id, resource=ResourceId(f"{id}@office.example.com")) for id in range(size)]
    assert await commit(store, *map(save, rows), *lamps) is None
    loaded = await reopen()
    assert loaded.subscriptions == rows
    assert loaded.states == [lamp.change for lamp in lamps]


async def test_a_batch_may_forget_everything(store: SubscriptionStore, reopen: Callable[[], Any]) -> None:
    await commit(store, *(save(record(id)) for id in range(300)), set_lamp(DialogState.EARLY, at=1.0))
    forgotten = [Forget(SubscriptionId(id)) for id in range(300)]
    assert await commit(store, *forgotten, SaveState(reset(ACCOUNT, PARKED, at=2.0))) is None
    loaded = await reopen()
    assert list(loaded.subscriptions) == list(loaded.states) == []


async def test_states_come_back_by_age(store: SubscriptionStore, reopen: Callable[[], Any]) -> None:
    changes = [
        set_lamp(DialogState.CONFIRMED, at=5.5, resource=ResourceId("zoë's <desk>@office.example.com")),
        set_lamp(DialogState.EARLY, at=2.25, resource=ALICE, expires_at=62.25),
    ]
    await commit(store, *changes)
    states: list[StateChange] = (await reopen()).states
    assert states == [changes[1].change, changes[0].change]
    assert type(states[0].dialogs[0].state) is DialogState


async def test_the_last_state_of_a_source_holds(store: SubscriptionStore, reopen: Callable[[], Any]) -> None:
    await commit(store, set_lamp(DialogState.EARLY, at=1.0, expires_at=61.0))
    await commit(store, set_lamp(DialogState.CONFIRMED, at=2.0))
    assert (await reopen()).states == [set_lamp(DialogState.CONFIRMED, at=2.0).change]


async def test_an_ended_state_is_remembered(store: SubscriptionStore, reopen: Callable[[], Any]) -> None:
    """Or `since` of a lamp that went out would be lost at a restart."""
    await commit(store, set_lamp(DialogState.EARLY, at=1.0), set_lamp(DialogState.TERMINATED, at=2.0))
    assert (await reopen()).states == [set_lamp(DialogState.TERMINATED, at=2.0).change]


@pytest.mark.parametrize("state", [DialogState.EARLY, DialogState.TERMINATED])
async def test_a_repeated_state_keeps_its_time_but_not_its_expiry(
    store: SubscriptionStore, reopen: Callable[[], Any], state: DialogState
) -> None:
    await commit(store, set_lamp(state, at=1.0, expires_at=61.0))
    await commit(store, set_lamp(state, at=2.0, expires_at=62.0), set_lamp(state, at=3.0, expires_at=63.0))
    assert (await reopen()).states == [set_lamp(state, at=1.0, expires_at=63.0).change]


def published(name: str, *states: DialogState, at: float, tag: str = "", resource: ResourceId = PARKED) -> SaveState:
    """What a publication says: so many dialogs, whose ids count up."""
    dialogs = tuple(
        DialogInfo(str(n), state, "recipient", "", "", call_id="call-1", held=n == 1) for n, state in enumerate(states)
    )
    change = StateChange(
        ACCOUNT, resource, Source.PUBLISHED, dialogs, at, at + 600.0, publication=name, publisher="192.0.2.20",
        entity_tag=tag,
    )  # fmt: skip
    return SaveState(change)


async def test_publications_come_back_as_they_were(store: SubscriptionStore, reopen: Callable[[], Any]) -> None:
    first = published("p1", DialogState.EARLY, DialogState.CONFIRMED, at=1.0, tag="p1.1")
    second = published("p2", DialogState.TRYING, at=2.0, tag="p2.1")
    await commit(store, first, set_lamp(DialogState.EARLY, at=1.5), second)
    assert [change for change in (await reopen()).states if change.publication] == [first.change, second.change]


async def test_the_last_word_of_a_publication_holds(store: SubscriptionStore, reopen: Callable[[], Any]) -> None:
    """With its own time, also where the dialogs are the same: it tells a body from a refresh."""
    last = published("p1", DialogState.EARLY, at=2.0, tag="p1.2")
    await commit(store, published("p1", DialogState.EARLY, at=1.0, tag="p1.1"), last)
    assert (await reopen()).states == [last.change]


async def test_a_publication_stays_as_long_as_it_has_an_ending_to_remember(
    store: SubscriptionStore, reopen: Callable[[], Any]
) -> None:
    ended = published("p1", DialogState.TERMINATED, at=2.0)
    await commit(store, published("p1", DialogState.EARLY, at=1.0, tag="p1.1"), ended)
    assert (await reopen()).states == [ended.change]


async def test_a_publication_that_is_over_goes(store: SubscriptionStore, reopen: Callable[[], Any]) -> None:
    others = (published("p1", at=1.0, tag="p1.1", resource=ALICE), set_lamp(DialogState.EARLY, at=2.0))
    await commit(store, published("p1", DialogState.EARLY, at=1.0, tag="p1.1"), *others, published("p1", at=3.0))
    assert (await reopen()).states == [other.change for other in others]


async def test_a_reset_leaves_publications_without_what_lives(
    store: SubscriptionStore, reopen: Callable[[], Any]
) -> None:
    told = published("p1", DialogState.EARLY, DialogState.TERMINATED, at=1.0, tag="p1.1")
    await commit(store, told, set_lamp(DialogState.EARLY, at=1.0), SaveState(reset(ACCOUNT, PARKED, at=2.0)))
    assert (await reopen()).states == [replace(told.change, dialogs=told.change.dialogs[1:])]


PRESENCE = Presence(open=True, activities=("meeting", "busy"), note="Back at five")


def presence(name: str, said: Presence, *, at: float) -> SaveState:
    """A publication of presence."""
    change = StateChange(
        ACCOUNT, PARKED, Source.PUBLISHED, (), at, at + 600.0, publication=name, publisher="192.0.2.20",
        entity_tag=f"{name}.1", presence=said,
    )  # fmt: skip
    return SaveState(change)


async def test_whatever_a_source_says_comes_back(store: SubscriptionStore, reopen: Callable[[], Any]) -> None:
    said = (
        presence("p1", PRESENCE, at=1.0),
        presence("p2", Presence(), at=2.0),
        SaveState(set_messages(ACCOUNT, PARKED, Messages(1, 2, 3, 4), at=3.0)),
        SaveState(set_do_not_disturb(ACCOUNT, PARKED, on=True, at=4.0)),
        SaveState(set_registered(ACCOUNT, PARKED, registered=False, at=5.0)),
        set_lamp(DialogState.EARLY, at=6.0),
    )
    await commit(store, *said)
    assert (await reopen()).states == [one.change for one in said]


async def test_so_many_messages_again_are_no_news(store: SubscriptionStore, reopen: Callable[[], Any]) -> None:
    for at, new in ((1.0, 1), (2.0, 1), (3.0, 2), (4.0, 2)):
        await commit(store, SaveState(set_messages(ACCOUNT, PARKED, Messages(new=new), at=at)))
    assert (await reopen()).states == [set_messages(ACCOUNT, PARKED, Messages(new=2), at=3.0)]


async def test_a_reset_keeps_who_is_registered_and_that_presence_was_published(
    store: SubscriptionStore, reopen: Callable[[], Any]
) -> None:
    registered = SaveState(set_registered(ACCOUNT, PARKED, registered=False, at=2.0))
    mailbox = SaveState(set_messages(ACCOUNT, PARKED, Messages(1), at=3.0))
    await commit(store, presence("p1", PRESENCE, at=1.0), registered, mailbox)
    await commit(store, SaveState(reset(ACCOUNT, PARKED, at=4.0)))
    assert (await reopen()).states == [presence("p1", Presence(), at=1.0).change, registered.change]


async def test_a_reset_forgets_one_resource(store: SubscriptionStore, reopen: Callable[[], Any]) -> None:
    others = set_lamp(DialogState.CONFIRMED, at=1.0, resource=ALICE)
    await commit(store, save(record()), set_lamp(DialogState.EARLY, at=1.0), others)
    await commit(store, SaveState(reset(ACCOUNT, PARKED, at=2.0)), SaveState(reset(ACCOUNT, PARKED, at=3.0)))
    loaded = await reopen()
    assert loaded.states == [others.change]
    assert loaded.subscriptions == [record()]


async def test_batches_are_answered_in_order(store: SubscriptionStore) -> None:
    answered: list[int] = []
    last = asyncio.Event()
    for number in range(100):

        def done(error: StoreError | None, number: int = number) -> None:
            answered.append(number)
            if number == 99:
                last.set()

        store.submit([save(record(number))] if number % 3 else [], done)
    await asyncio.wait_for(last.wait(), 10)
    assert answered == list(range(100))


async def test_a_failed_batch_leaves_nothing(store: SubscriptionStore, reopen: Callable[[], Any]) -> None:
    await commit(store, save(record(1)), set_lamp(DialogState.EARLY, at=1.0))
    with failing(store) as unkept:
        error = await commit(
            store,
            *(save(record(1, expires=60)), save(record(2)), Forget(SubscriptionId(1))),
            *(SaveState(reset(ACCOUNT, PARKED, at=2.0)), save(unkept), save(record(3))),
        )
    assert isinstance(error, StoreError)
    assert await commit(store, save(record(4))) is None
    loaded = await reopen()
    assert loaded.subscriptions == [record(1), record(4)]
    assert loaded.states == [set_lamp(DialogState.EARLY, at=1.0).change]


async def test_close_finishes_what_was_submitted(store: SubscriptionStore, reopen: Callable[[], Any]) -> None:
    answers: list[StoreError | None] = []
    for id in range(50):
        store.submit([save(record(id))], answers.append)
    loaded = await reopen()
    assert answers == [None] * 50
    assert len(loaded.subscriptions) == 50


async def test_a_second_close_does_nothing(store: SubscriptionStore) -> None:
    await asyncio.gather(store.close(), store.close())
    await store.close()


async def test_the_local_bus_delivers_in_order() -> None:
    delivered: list[StateChange] = []
    bus: StateBus = LocalBus(delivered.append)
    changes = [set_lamp(DialogState.EARLY, at=1.0).change, reset(ACCOUNT, PARKED, at=2.0)]
    for change in changes:
        bus.publish(change)
    assert delivered == changes
