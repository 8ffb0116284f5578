"""The order laws of the outbox, one test each, over a store that commits inside `submit` and one that commits later."""

from collections.abc import Callable, Sequence

import pytest

from sipresence.backends.memory import LocalBus, MemoryStore
from sipresence.errors import StoreError
from sipresence.events.dialog_info import render
from sipresence.events.effects import Effect, Forget, Notify, Respond, Save, SaveState, SendNotify, Write
from sipresence.events.record import SubscriptionRecord
from sipresence.events.resource import DialogState, ResourceState, StateChange, set_manually
from sipresence.names import CallId, SubscriptionId
from sipresence.outbox import RETRY_AFTER, SLICE, Outbox
from sipresence.ports import SubscriptionStore
from sipresence.sip.flow import Hop
from sipresence.sip.message import Request
from tests.builders import flow, parsed, subscribe
from tests.events.desk import LAMP, OFFICE, Desk, saved
from tests.fakes import NOW, ManualClock, ManualStore, RecordingEndpoint

DOCUMENT = render(ResourceState(LAMP))
REQUEST = parsed(subscribe())
ROW = saved(Desk().subscribe()).record


def row(ident: int = 1, *, expires: int = 3600) -> SubscriptionRecord:
    return ROW._replace(id=SubscriptionId(ident), expires=expires)


def new(ident: int = 1) -> Save:
    return Save(row(ident), None)


def ok(name: str = "ok", status: int = 200) -> Respond:
    return Respond(REQUEST, status, name)


def notify(ident: int = 1, cseq: int = 1) -> SendNotify:
    hop = Hop(flow(), "UDP")
    return SendNotify(
        Notify(SubscriptionId(ident), CallId("c"), cseq, cseq - 1, "sip:x", b"", "active", DOCUMENT, "sip:y", hop)
    )


def state(word: DialogState = DialogState.EARLY) -> SaveState:
    return SaveState(set_manually(OFFICE, LAMP, state=word, at=NOW))


class Bench:
    """An outbox with everything around it; `log` says what happened, in order."""

    def __init__(self, store: SubscriptionStore) -> None:
        self.log: list[str] = []
        self.clock = ManualClock()
        self.on_change: Callable[[StateChange], None] = lambda change: None
        self.living: set[SubscriptionId] = set()  # new ones that go on although their first row was not kept
        self.outbox = Outbox(
            store=store,
            bus=LocalBus(self._deliver),
            endpoint=self,
            clock=self.clock,
            not_saved=self._not_saved,
            corrected=lambda notify: notify,
        )

    def respond(self, response: Respond) -> None:
        self.log.append(f"{response.status} {response.to_tag}")

    def drop(self, request: Request) -> None:
        self.log.append(f"drop {request.call_id}")

    def send(self, notify: Notify) -> None:
        self.log.append(f"notify {notify.id}.{notify.cseq}")

    def committed(self, name: str) -> None:
        self.outbox.when_committed(lambda error: self.log.append(f"{name}: {error or 'committed'}"))

    def add(self, *effects: Effect) -> None:
        self.outbox.add(effects)

    def take(self) -> list[str]:
        log, self.log = self.log, []
        return log

    def _deliver(self, change: StateChange) -> None:
        self.log.append(f"deliver {change.dialogs[0].state if change.dialogs else 'terminated'}")
        self.on_change(change)

    def _not_saved(self, write: Write) -> bool:
        name = f"{write.record.id}/{write.record.expires}" if isinstance(write, Save) else "state"
        self.log.append(f"not saved {name}")
        return isinstance(write, Save) and write.previous is None and write.record.id not in self.living


@pytest.fixture
def store() -> ManualStore:
    return ManualStore()


@pytest.fixture
def bench(store: ManualStore) -> Bench:
    return Bench(store)


# While nothing is written


def test_without_a_write_everything_runs_at_once(bench: Bench) -> None:
    bench.add(ok(), notify())
    bench.committed("http")
    assert bench.take() == ["200 ok", "http: committed"]
    bench.clock.turn()
    assert bench.take() == ["notify 1.1"]
    assert bench.outbox.idle


# Nothing leaves before the commit of everything decided before it


def test_nothing_leaves_before_its_commit(bench: Bench, store: ManualStore) -> None:
    bench.add(new(), ok(), notify())
    bench.clock.settle()
    assert (bench.take(), store.submitted) == ([], [])
    bench.outbox.flush()
    bench.clock.settle()
    assert (bench.take(), store.submitted) == ([], [[new()]])
    store.commit()
    bench.clock.settle()
    assert bench.take() == ["200 ok", "notify 1.1"]
    assert bench.outbox.idle


def test_what_was_decided_before_a_write_does_not_wait_for_it(bench: Bench) -> None:
    bench.add(notify(), new(2), ok())
    bench.clock.settle()
    assert bench.take() == ["notify 1.1"]


def test_what_needs_no_write_waits_for_the_writes_decided_before(bench: Bench, store: ManualStore) -> None:
    bench.add(new(1), ok("first"))
    bench.add(ok("refused", 404))
    bench.outbox.flush()
    bench.add(ok("refused too", 404))
    assert bench.take() == []
    store.commit()
    assert bench.take() == ["200 first", "404 refused", "404 refused too"]


def test_all_that_arrived_meanwhile_is_one_batch(bench: Bench, store: ManualStore) -> None:
    for ident in (1, 2, 3):
        bench.add(new(ident), ok(str(ident)))
        bench.outbox.flush()
    assert store.submitted == [[new(1)]]
    store.commit()
    assert bench.take() == ["200 1"]
    assert store.submitted[1:] == [[new(2), new(3)]]
    store.commit()
    assert bench.take() == ["200 2", "200 3"]


def test_a_flush_with_nothing_written_submits_nothing(bench: Bench, store: ManualStore) -> None:
    bench.outbox.flush()
    bench.add(ok(), notify())
    bench.outbox.flush()
    assert store.submitted == []


def test_writes_go_in_order(bench: Bench, store: ManualStore) -> None:
    writes: list[Write] = [new(1), state(), Forget(SubscriptionId(1)), state(DialogState.TERMINATED)]
    bench.outbox.add(writes)
    bench.outbox.flush()
    assert store.submitted == [writes]


# At the commit


def test_answers_come_before_notifies(bench: Bench, store: ManualStore) -> None:
    bench.add(new(1), ok("1"), notify(1), new(2), ok("2"), notify(2))
    bench.outbox.flush()
    store.commit()
    assert bench.take() == ["200 1", "200 2"]
    bench.clock.turn()
    assert bench.take() == ["notify 1.1", "notify 2.1"]


def test_state_is_delivered_before_anything_is_answered(bench: Bench, store: ManualStore) -> None:
    bench.on_change = lambda change: bench.add(notify(9))
    bench.add(new(1), ok(), state())
    bench.committed("set")
    bench.outbox.flush()
    store.commit()
    assert bench.take() == ["deliver early", "200 ok", "set: committed"]
    bench.clock.turn()
    assert bench.take() == ["notify 9.1"]


def test_states_are_delivered_in_the_order_of_commits(bench: Bench, store: ManualStore) -> None:
    bench.add(state(DialogState.EARLY))
    bench.outbox.flush()
    bench.add(state(DialogState.CONFIRMED), state(DialogState.TERMINATED))
    store.commit()
    store.commit()
    assert bench.take() == ["deliver early", "deliver confirmed", "deliver terminated"]


def test_what_a_delivery_decides_waits_for_the_write_it_decided_before(bench: Bench, store: ManualStore) -> None:
    """A fan-out that raises a ceiling: its own NOTIFYs leave, what comes after the raised ceiling waits for it."""

    def fan_out(change: StateChange) -> None:
        bench.add(notify(1), Save(row(1), row(1)), notify(2))

    bench.on_change = fan_out
    bench.add(state(), ok())
    bench.outbox.flush()
    store.commit()
    bench.clock.settle()
    assert bench.take() == ["deliver early", "200 ok", "notify 1.1"]
    store.commit()
    bench.clock.settle()
    assert bench.take() == ["notify 2.1"]


def test_a_change_decided_during_a_commit_waits_for_its_own(bench: Bench, store: ManualStore) -> None:
    bench.add(new(1), ok("1"), notify(1))
    bench.outbox.flush()
    bench.add(state())
    bench.committed("set")
    store.commit()
    assert bench.take() == ["200 1"]
    store.commit()
    assert bench.take() == ["deliver early", "set: committed"]


# The lane


def test_a_fan_out_leaves_a_slice_per_turn_and_answers_pass_it(bench: Bench) -> None:
    bench.outbox.add([notify(ident) for ident in range(2 * SLICE + 10)])
    bench.clock.turn()
    assert len(bench.take()) == SLICE
    bench.add(ok())
    assert bench.take() == ["200 ok"]
    bench.add(notify(9999))
    bench.clock.turn()
    assert len(bench.take()) == SLICE
    assert not bench.outbox.idle
    bench.clock.turn()
    assert bench.take() == [*(f"notify {ident}.1" for ident in range(2 * SLICE, 2 * SLICE + 10)), "notify 9999.1"]
    assert bench.outbox.idle
    bench.clock.turn()
    bench.add(notify(1))
    bench.clock.turn()
    assert bench.take() == ["notify 1.1"]


def test_a_notify_that_cannot_be_written_stops_no_other(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def send(notify: Notify) -> None:
        if notify.id == 1:
            raise ValueError("a mistake of ours")
        Bench.send(bench, notify)

    monkeypatch.setattr(bench, "send", send)
    bench.outbox.add([notify(ident) for ident in range(1, SLICE + 3)])
    with pytest.raises(ValueError):
        bench.clock.turn()
    bench.clock.settle()
    assert len(bench.take()) == SLICE + 1


def test_a_notify_awaits_its_sending_from_the_moment_it_is_decided(bench: Bench, store: ManualStore) -> None:
    """An answer that arrives till then is that of an older one, which it has abandoned."""
    ident = SubscriptionId(1)
    assert not bench.outbox.unsent(ident)
    bench.add(notify(1, 1))
    assert bench.outbox.unsent(ident)
    bench.clock.turn()
    assert not bench.outbox.unsent(ident)
    bench.add(Save(row(), row()), ok(), notify(1, 2))
    bench.outbox.flush()
    assert bench.outbox.unsent(ident)
    store.commit()
    assert bench.outbox.unsent(ident)
    bench.add(notify(1, 3))
    bench.clock.turn()
    assert not bench.outbox.unsent(ident)


def test_a_notify_in_the_lane_does_not_hide_a_newer_one(bench: Bench) -> None:
    bench.outbox.add([notify(ident) for ident in range(1, SLICE + 1)])
    bench.add(notify(1, 2))
    bench.clock.turn()
    assert bench.outbox.unsent(SubscriptionId(1))
    bench.clock.turn()
    assert not bench.outbox.unsent(SubscriptionId(1))


# A commit that failed


def test_a_success_becomes_500_with_retry_after_a_refusal_stays(bench: Bench, store: ManualStore) -> None:
    endpoint = RecordingEndpoint()
    bench.outbox._endpoint = endpoint
    bench.add(new(), ok(), ok("refused", 404))
    bench.outbox.flush()
    store.fail()
    assert endpoint.answers == [Respond(REQUEST, 500, "ok", f"Retry-After: {RETRY_AFTER}\r\n"), ok("refused", 404)]
    assert bench.outbox.figures().commits_failed == 1


def test_the_notify_of_a_new_subscription_is_dropped_that_of_an_old_one_sent(bench: Bench, store: ManualStore) -> None:
    bench.add(new(1), ok("new"), notify(1), Save(row(2), row(2)), ok("old"), notify(2))
    bench.outbox.flush()
    store.fail()
    bench.clock.settle()
    assert bench.take() == ["not saved 2/3600", "not saved 1/3600", "500 new", "500 old", "notify 2.1"]
    assert not bench.outbox.unsent(SubscriptionId(1))
    assert bench.outbox.idle


def test_the_notify_of_a_new_one_that_goes_on_is_sent(bench: Bench, store: ManualStore) -> None:
    """Renewed, or ended, before its commit failed: without its NOTIFY it would wait for an answer for ever."""
    bench.living.add(SubscriptionId(1))
    bench.add(new(1), ok("new"), notify(1))
    bench.outbox.flush()
    store.fail()
    bench.clock.settle()
    assert bench.take() == ["not saved 1/3600", "500 new", "notify 1.1"]


def test_the_last_write_is_undone_first(bench: Bench, store: ManualStore) -> None:
    first, second, third = (row(expires=expires) for expires in (100, 200, 300))
    bench.add(Save(second, first), state(), Save(third, second))
    bench.outbox.flush()
    store.fail()
    assert bench.take() == ["not saved 1/300", "not saved state", "not saved 1/200"]


def test_a_state_that_was_not_committed_is_not_delivered_and_its_caller_told(bench: Bench, store: ManualStore) -> None:
    bench.add(state())
    bench.committed("set")
    bench.outbox.flush()
    store.fail()
    assert bench.take() == ["not saved state", "set: disk full"]


def test_a_deletion_that_failed_goes_with_the_next_batch(bench: Bench, store: ManualStore) -> None:
    gone = Forget(SubscriptionId(7))
    bench.add(gone, ok(), notify(7))
    bench.outbox.flush()
    store.fail()
    bench.clock.settle()
    assert bench.take() == ["500 ok", "notify 7.1"]  # it has ended all the same
    bench.add(new(8))
    bench.outbox.flush()
    store.fail()
    bench.add(new(9))
    bench.outbox.flush()
    assert store.submitted == [[gone], [gone, new(8)], [gone, new(9)]]
    store.commit()
    bench.add(new(10))
    bench.outbox.flush()
    assert store.submitted[-1] == [new(10)]


def test_the_next_batch_is_independent_of_a_failed_one(bench: Bench, store: ManualStore) -> None:
    bench.add(new(1), ok("1"))
    bench.outbox.flush()
    bench.add(new(2), ok("2"), notify(2))
    store.fail()
    assert bench.take() == ["not saved 1/3600", "500 1"]
    store.commit()
    bench.clock.settle()
    assert bench.take() == ["200 2", "notify 2.1"]


def test_what_waited_without_a_write_of_its_own_is_released_by_a_failure_too(bench: Bench, store: ManualStore) -> None:
    bench.add(new(1), ok("1"))
    bench.outbox.flush()
    bench.add(ok("fetch"), notify(2))
    store.fail()
    bench.clock.settle()
    assert bench.take() == ["not saved 1/3600", "500 1", "200 fetch", "notify 2.1"]


def test_two_failures_in_a_row_give_back_what_was_before_both(bench: Bench, store: ManualStore) -> None:
    """The second save must not restore the row of the first, which was never kept either."""
    first, second, third, fourth = (row(expires=expires) for expires in (100, 200, 300, 400))
    bench.add(Save(second, first), Save(third, second))
    bench.outbox.flush()
    later = Save(fourth, third)
    bench.add(later)
    store.fail()
    assert later.previous is first
    assert store.busy


def test_two_failures_in_a_row_of_a_new_one(bench: Bench, store: ManualStore) -> None:
    bench.add(new())
    bench.outbox.flush()
    later = Save(row(expires=60), store.submitted[0][0].record)  # type: ignore[union-attr, arg-type]
    bench.add(later)
    store.fail()
    assert later.previous is None


# A store that commits inside `submit`


def batches(bench: Bench, effects: Sequence[Effect]) -> list[str]:
    bench.outbox.add(effects)
    bench.outbox.flush()
    bench.clock.settle()
    return bench.take()


def test_a_synchronous_store_keeps_the_same_order() -> None:
    bench = Bench(MemoryStore())

    def fan_out(change: StateChange) -> None:
        bench.add(notify(8), Save(row(1), row(1)), notify(9))

    bench.on_change = fan_out
    assert batches(bench, [new(), ok(), notify(), state(), ok("set")]) == [
        "deliver early",
        "200 ok",
        "200 set",
        "notify 8.1",
        "notify 1.1",
        "notify 9.1",
    ]
    assert bench.outbox.idle


def test_a_synchronous_store_that_fails() -> None:
    memory = MemoryStore()
    bench = Bench(memory)
    memory.fail_with = StoreError("disk full")
    assert batches(bench, [new(), ok(), notify()]) == ["not saved 1/3600", "500 ok"]
    assert batches(bench, [Forget(SubscriptionId(3)), ok()]) == ["500 ok"]
    memory.fail_with = None
    assert batches(bench, [new(), ok(), notify()]) == ["200 ok", "notify 1.1"]
