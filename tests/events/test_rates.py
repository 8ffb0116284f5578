"""RFC 6446: a subscriber that wants to be told no more often than it says, or no less often, in virtual time."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipresence.events.effects import Effect, Notify, SendNotify
from sipresence.events.rates import Rates, read_rates
from sipresence.events.resource import DialogState
from sipresence.names import resource_id
from tests.events.desk import LAMP, NOW, OTHER_LAMP, Desk, notified, numbers, saved
from tests.events.listed import LIST, LIST_URI, UNDERSTOOD
from tests.rlmi import read_notify

EARLY, CONFIRMED, TERMINATED = DialogState.EARLY, DialogState.CONFIRMED, DialogState.TERMINATED
SELDOM = "dialog;max-rate=0.1"  # every ten seconds at most
OFTEN = "dialog;min-rate=0.05"  # every twenty seconds at least


def quiet(desk: Desk, seconds: float) -> None:
    """Let time pass in steps, in which nobody is told anything."""
    for _ in range(int(seconds * 4)):
        assert desk.wait(0.25) == []


# What the Event header says


@pytest.mark.parametrize(
    ("event", "params", "shortest", "longest"),
    [
        ("dialog;max-rate=0.5", ";max-rate=0.5", 2, 0),
        ("dialog;id=7;max-rate=2", ";max-rate=2", 0.5, 0),
        ("dialog; Max-Rate = 2.50", ";max-rate=2.5", 0.4, 0),
        ("dialog;max-rate=99.9999999999", ";max-rate=99.9999999999", 1 / 99.9999999999, 0),
        ("dialog;min-rate=0.02", ";min-rate=0.02", 0, 50),
        ("dialog;min-rate=0.02;max-rate=1", ";max-rate=1;min-rate=0.02", 1, 50),
        ("dialog;min-rate=0.02;max-rate=nonsense", ";min-rate=0.02", 0, 50),
    ],
)
def test_it_is_applied_and_repeated_as_it_was_asked_for(
    event: str, params: str, shortest: float, longest: float
) -> None:
    rates = read_rates(event, 3600)
    assert rates is not None
    assert rates.params == params
    assert rates[:2] == pytest.approx((shortest, longest))


@pytest.mark.parametrize(
    "event",
    [
        "dialog",
        "dialog;max-rate",
        "dialog;max-rate=0",
        "dialog;max-rate=0.0000000000",
        "dialog;max-rate=100",
        "dialog;max-rate=.5",
        "dialog;max-rate=1.",
        "dialog;max-rate=0.12345678901",
        "dialog;max-rate=-1",
        "dialog;max-rate=1e1",
        "dialog;max-rate=٣",
        'dialog;max-rate="1"',
        "dialog;adaptive-min-rate=1",
        "dialog;flat-rate=1",
    ],
)
def test_what_the_grammar_does_not_allow_is_as_none(event: str) -> None:
    assert read_rates(event, 3600) is None


def test_a_rate_that_would_silence_a_subscription_is_raised() -> None:
    rates = read_rates("dialog;max-rate=0.0000000001", 3600)
    assert rates is not None
    assert rates.params == ";max-rate=0.0002777778"
    assert 3599.99 < rates.shortest <= 3600


def test_a_min_rate_is_not_higher_than_the_max_rate() -> None:
    assert read_rates("dialog;min-rate=5;max-rate=0.01", 3600) == Rates(100, 100, ";max-rate=0.01;min-rate=0.01")


def test_nor_higher_than_we_like() -> None:
    assert read_rates("dialog;min-rate=5", 3600) == Rates(0, 10, ";min-rate=0.1")


@given(
    st.one_of(st.just(""), st.decimals("0.0000000001", "99.9999999999", places=10).map(lambda rate: f"{rate:.10f}")),
    st.one_of(st.just(""), st.decimals("0.0000000001", "99.9999999999", places=10).map(lambda rate: f"{rate:.10f}")),
    st.integers(1, 2**31),
)
def test_what_is_repeated_is_what_is_applied(most: str, least: str, expires: int) -> None:
    asked = f"dialog{f';max-rate={most}' if most else ''}{f';min-rate={least}' if least else ''}"
    rates = read_rates(asked, expires)
    if rates is None:
        assert not most
        assert not least
        return
    again = read_rates(f"dialog{rates.params}", expires)
    assert again is not None
    assert again.params == rates.params
    assert again[:2] == pytest.approx(rates[:2])
    assert rates.shortest <= expires
    if most and least:
        assert rates.shortest <= rates.longest


# max-rate


def test_every_notify_of_a_living_subscription_repeats_it() -> None:
    desk = Desk()
    assert desk.subscribed(event=SELDOM).subscription_state == "active;expires=3600;max-rate=0.1"
    desk.now += 600
    assert notified(desk.set(EARLY)).subscription_state == "active;expires=3000;max-rate=0.1"


def test_what_comes_too_soon_waits_and_is_told_by_its_last_state() -> None:
    desk = Desk()
    first = desk.subscribed(event=SELDOM)
    assert desk.wait(3) == []
    assert desk.set(EARLY) == []
    assert desk.set(CONFIRMED) == []
    quiet(desk, 6.75)
    second = notified(desk.wait(0.25))
    assert numbers(second) == (first.id, 2, 1)
    assert second.document.state is CONFIRMED
    desk.answer(second)
    quiet(desk, 60)


def test_after_a_while_a_change_goes_at_once() -> None:
    desk = Desk()
    desk.subscribed(event=SELDOM)
    desk.wait(10)
    notified(desk.set(EARLY))


def test_it_counts_from_when_the_last_one_was_sent() -> None:
    desk = Desk()
    first = notified(desk.subscribe(event=SELDOM))
    desk.now += 2
    desk.answer(first, took=1.0)
    assert desk.set(EARLY) == []
    quiet(desk, 8.75)
    notified(desk.wait(0.25))


def test_what_changes_while_one_is_in_flight_waits_as_well() -> None:
    desk = Desk()
    first = notified(desk.subscribe(event=SELDOM))
    assert desk.set(EARLY) == []
    desk.now += 1
    assert desk.answer(first, took=1.0) == []
    quiet(desk, 8.75)
    assert notified(desk.wait(0.25)).document.state is EARLY


def test_a_failed_one_goes_again_no_sooner() -> None:
    desk = Desk()
    first = notified(desk.subscribe(event=SELDOM))
    desk.answer(first, 500)
    quiet(desk, 9.75)
    assert notified(desk.wait(0.25)).cseq == 2


def test_a_reset_waits_as_well() -> None:
    desk = Desk()
    desk.subscribed(event=SELDOM)
    assert desk.reset() == []
    quiet(desk, 9.75)
    notified(desk.wait(0.25))


def test_a_refresh_is_answered_at_once_and_has_told_what_waited() -> None:
    desk = Desk()
    effects = desk.subscribe(event=SELDOM)
    desk.answer(notified(effects))
    desk.now += 3
    assert desk.set(EARLY) == []
    refreshed = notified(desk.refresh(saved(effects).record.local_tag, event=SELDOM))
    assert refreshed.document.state is EARLY
    desk.answer(refreshed)
    quiet(desk, 30)


def test_a_refresh_without_it_takes_it_back() -> None:
    desk = Desk()
    effects = desk.subscribe(event=SELDOM)
    desk.answer(notified(effects))
    desk.now += 1
    assert desk.set(EARLY) == []
    refreshed = notified(desk.refresh(saved(effects).record.local_tag))
    assert refreshed.subscription_state == "active;expires=3600"
    desk.answer(refreshed)
    notified(desk.set(CONFIRMED))


def test_a_refresh_may_bring_another_one() -> None:
    desk = Desk()
    effects = desk.subscribe()
    desk.answer(notified(effects))
    refreshed = notified(desk.refresh(saved(effects).record.local_tag, event=SELDOM))
    assert refreshed.subscription_state == "active;expires=3600;max-rate=0.1"
    desk.answer(refreshed)
    assert desk.set(EARLY) == []


def test_the_last_notify_does_not_wait() -> None:
    desk = Desk()
    effects = desk.subscribe(event=SELDOM)
    desk.answer(notified(effects))
    assert desk.set(EARLY) == []
    last = notified(desk.refresh(saved(effects).record.local_tag, event=SELDOM, expires=0))
    assert last.subscription_state == "terminated;reason=timeout"
    assert last.document.state is EARLY
    desk.answer(last)
    quiet(desk, 30)


def test_a_subscription_that_expires_while_it_waits() -> None:
    desk = Desk()
    desk.subscribed(event="dialog;max-rate=0.0000000001", expires=60)
    assert desk.set(EARLY) == []
    assert desk.wait(59.5) == []
    told = [effect.notify for effect in desk.wait(1) if isinstance(effect, SendNotify)]
    assert told[-1].subscription_state == "terminated;reason=timeout"


def test_who_was_told_right_before_a_restart_is_not_told_right_after_it() -> None:
    desk = Desk()
    effects = desk.subscribe(event=SELDOM)
    desk.answer(notified(effects))
    desk.now += 5
    desk.restart(saved(effects), spread=1.0)
    quiet(desk, 9.75)
    again = notified(desk.wait(0.25))
    assert again.subscription_state == "active;expires=3585;max-rate=0.1"
    desk.answer(again)
    assert desk.set(EARLY) == []


def test_others_do_not_wait() -> None:
    desk = Desk()
    desk.subscribed(event=SELDOM, call_id="seldom")
    plain = desk.subscribed(call_id="plain")
    assert notified(desk.set(EARLY)).id == plain.id


def test_pacing_holds_all_the_same() -> None:
    desk = Desk(rate=1)
    desk.subscribed(event="dialog;max-rate=0.5", call_id="a")
    desk.now += 5
    desk.subscribed(resource_id("102", "office.example.com"), call_id="b")
    assert desk.set(EARLY) == []
    quiet(desk, 0.75)
    told = notified(desk.wait(0.25))
    desk.answer(told)
    assert desk.set(CONFIRMED) == []
    quiet(desk, 1.75)
    assert notified(desk.wait(0.25)).document.state is CONFIRMED


def test_of_a_list_it_is_the_rate_of_all_its_notifies() -> None:
    desk = Desk(lists={LIST: [(LAMP, "Alice"), (OTHER_LAMP, "Bob")]})
    desk.subscribed(LIST, uri=LIST_URI, to=f"<{LIST_URI}>", headers=UNDERSTOOD, event=SELDOM)
    assert desk.set(EARLY, LAMP) == []
    assert desk.set(CONFIRMED, OTHER_LAMP) == []
    quiet(desk, 9.75)
    told = notified(desk.wait(0.25))
    assert told.subscription_state.endswith(";max-rate=0.1")
    assert read_notify(told).lamps == {"101": "early", "102": "confirmed"}


# min-rate


def test_the_state_is_told_again_by_itself() -> None:
    desk = Desk()
    first = desk.subscribed(event=OFTEN)
    assert first.subscription_state == "active;expires=3600;min-rate=0.05"
    for turn in range(2, 5):
        quiet(desk, 19.75)
        again = notified(desk.wait(0.25))
        assert numbers(again) == (first.id, turn, turn - 1)
        assert again.document is first.document
        assert not again.changed_at  # it is no news
        desk.answer(again)


def test_a_change_puts_it_off() -> None:
    desk = Desk()
    desk.subscribed(event=OFTEN)
    desk.wait(15)
    desk.answer(notified(desk.set(EARLY)))
    quiet(desk, 19.75)
    assert notified(desk.wait(0.25)).document.state is EARLY


def test_while_one_is_in_flight_it_waits_for_the_answer() -> None:
    desk = Desk()
    first = notified(desk.subscribe(event=OFTEN))
    assert desk.wait(25) == []
    again = notified(desk.answer(first, took=25))
    desk.answer(again)
    quiet(desk, 19.75)
    notified(desk.wait(0.25))


def test_a_phone_that_cannot_be_reached_is_left_alone() -> None:
    desk = Desk()
    desk.answer(notified(desk.subscribe(event=OFTEN)), 0)
    quiet(desk, 60)
    desk.answer(notified(desk.set(EARLY)))
    quiet(desk, 19.75)
    notified(desk.wait(0.25))


def test_one_that_waited_long_for_its_turn_is_followed_by_the_next() -> None:
    desk = Desk(rate=1)
    for number in range(15):
        desk.subscribed(call_id=f"{number}")
    rated = desk.subscribed(event="dialog;min-rate=0.1", call_id="rated")
    desk.now += 2
    sent: list[float] = []
    effects = desk.set(EARLY)
    for _ in range(30 * 4):
        for effect in effects:
            assert isinstance(effect, SendNotify)
            desk.answer(effect.notify)
            if effect.notify.id == rated.id:
                sent.append(desk.now - NOW)
        effects = desk.wait(0.25)
    assert sent == [17, 27]


def test_it_ends_with_the_subscription() -> None:
    desk = Desk()
    effects = desk.subscribe(event=OFTEN)
    desk.answer(notified(effects))
    desk.answer(notified(desk.refresh(saved(effects).record.local_tag, event=OFTEN, expires=0)))
    quiet(desk, 60)
    desk.answer(notified(desk.subscribe(event=OFTEN, call_id="another")), 481)
    quiet(desk, 60)


def test_a_fetch_has_no_rates() -> None:
    desk = Desk()
    last = notified(desk.subscribe(event=OFTEN, expires=0))
    assert last.subscription_state == "terminated;reason=timeout"
    desk.answer(last)
    quiet(desk, 60)


def test_it_goes_on_after_a_restart() -> None:
    desk = Desk()
    effects = desk.subscribe(event=OFTEN)
    desk.answer(notified(effects))
    desk.restart(saved(effects), spread=0.0)
    desk.answer(notified(desk.wait(0)))
    quiet(desk, 19.75)
    assert notified(desk.wait(0.25)).subscription_state.endswith(";min-rate=0.05")


# Both, over a long and busy time


@given(st.lists(st.tuples(st.sampled_from([0.25, 1.0, 3.0, 11.0, 30.0]), st.sampled_from([*DialogState, None]))))
def test_neither_too_often_nor_too_seldom_and_always_the_last_state(
    events: Sequence[tuple[float, DialogState | None]],
) -> None:
    desk = Desk()
    sent: list[tuple[float, Notify]] = []

    def take(effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, SendNotify):
                sent.append((desk.now, effect.notify))
                take(desk.answer(effect.notify))

    take(desk.subscribe(event="dialog;max-rate=0.5;min-rate=0.1", expires=7200))
    state = TERMINATED
    for seconds, wanted in [*events, (30.0, None)]:
        if wanted is not None and wanted in (EARLY, CONFIRMED, TERMINATED):
            state = wanted
            take(desk.set(state))
        for _ in range(int(seconds * 4)):
            take(desk.wait(0.25))
    gaps = [later - sooner for (sooner, _), (later, _) in pairwise(sent)]
    assert all(2 <= gap <= 10 for gap in gaps)
    assert sent[-1][1].document.state is state
