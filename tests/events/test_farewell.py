"""Subscriptions that we end ourselves."""

import pytest

from sipresence.events.effects import Forget
from sipresence.events.farewell import farewell_times
from sipresence.events.pacing import Target
from sipresence.events.resource import DialogState
from tests.builders import flow
from tests.events.desk import NOW, Desk, notified

SPREAD = 4.0
ALICE, BOB = Target("UDP", "192.0.2.1", 5060), Target("UDP", "192.0.2.2", 5060)


def test_farewells_are_spread() -> None:
    targets = [Target("UDP", "192.0.2.1", port) for port in range(4)]
    assert farewell_times(targets, now=NOW, spread=SPREAD, rate=1) == [NOW, NOW + 1, NOW + 2, NOW + 3]


def test_one_target_is_told_no_faster_than_it_takes() -> None:
    assert farewell_times([ALICE, ALICE, BOB, ALICE], now=NOW, spread=0, rate=2) == [NOW, NOW + 0.5, NOW, NOW + 1]
    assert farewell_times([ALICE, ALICE], now=NOW, spread=0, rate=0) == [NOW, NOW]


def test_a_subscription_ends_with_deactivated() -> None:
    desk = Desk()
    first = desk.subscribed()
    assert desk.notifier.deactivate(lambda _: True, now=desk.now, spread=SPREAD) == 1
    assert desk.notifier.next_deadline() == desk.now
    forget, last = desk.wait(0)
    assert forget == Forget(first.id)
    assert notified([last]).subscription_state == "terminated;reason=deactivated"
    assert (len(desk.notifier), desk.notifier.unanswered) == (0, 1)
    desk.answer(notified([last]))
    assert desk.notifier.unanswered == 0
    assert desk.notifier.figures().subscriptions_ended == {"deactivated": 1}


def test_only_those_that_are_meant_end() -> None:
    desk = Desk()
    desk.subscribed(call_id="stays")
    desk.subscribed(call_id="goes")
    assert desk.notifier.deactivate(lambda record: record.call_id == "goes", now=desk.now, spread=0) == 1
    assert notified(desk.wait(0)).call_id == "goes"
    assert desk.wait(10) == []
    assert len(desk.notifier) == 1


def test_the_reason_waits_for_the_answer_to_the_notify_in_flight() -> None:
    desk = Desk()
    desk.subscribed()
    busy = notified(desk.set(DialogState.EARLY))
    desk.notifier.deactivate(lambda _: True, now=desk.now, spread=0)
    assert desk.wait(0) == [Forget(busy.id)]
    assert notified(desk.answer(busy)).subscription_state == "terminated;reason=deactivated"


def test_until_it_is_told_it_lives() -> None:
    desk = Desk()
    desk.subscribed(call_id="first", way=flow(port=5061))
    second = desk.subscribed(call_id="second", way=flow(port=5062))
    desk.notifier.deactivate(lambda _: True, now=desk.now, spread=SPREAD)
    assert notified(desk.wait(0)).call_id == "first"
    told = notified(desk.set(DialogState.EARLY))
    assert (told.call_id, told.subscription_state.partition(";")[0]) == ("second", "active")
    desk.answer(told)
    desk.refresh(second.head.decode().partition(";tag=")[2].partition("\r\n")[0], call_id="second", expires=0)
    assert desk.wait(SPREAD) == [], "it has left by itself"


@pytest.mark.parametrize("rate", [1, 5])
def test_pacing_takes_another_rate(rate: int) -> None:
    desk = Desk(rate=10)
    phones = [desk.subscribed(call_id=f"key-{number}") for number in range(10)]
    assert phones
    desk.now += 2.0
    pacing = desk.pacing
    pacing.limit(rate=rate, in_flight=0)
    assert [pacing.go(ALICE, desk.now) for _ in range(rate + 1)] == [*[True] * rate, False]
