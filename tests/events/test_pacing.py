"""Pacing: the rate holds in every second, the window holds always, nobody is forgotten, nothing piles up."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sipresence.events.pacing import SWEEP, Pacing, Target
from sipresence.names import SubscriptionId

PHONE = Target("UDP", "192.0.2.7", 5060)
OTHER = Target("UDP", "192.0.2.8", 5060)
NOW = 1_700_000_000.0


def queued(pacing: Pacing, target: Target, count: int, now: float = NOW) -> int:
    """Ask for `count` NOTIFYs; return how many go at once. The others stand in line."""
    went = 0
    for number in range(count):
        if pacing.go(target, now):
            went += 1
        else:
            pacing.wait(target, SubscriptionId(number))
    return went


def test_a_second_holds_the_rate() -> None:
    pacing = Pacing(rate=10, in_flight=0)
    assert queued(pacing, PHONE, 60) == 10
    assert list(pacing.turns(NOW + 0.9)) == []
    assert pacing.next_turn() == NOW + 1
    assert [ident for _, ident in pacing.turns(NOW + 1)] == list(range(10, 20))
    assert pacing.next_turn() == NOW + 2


def test_the_window_holds_until_an_answer() -> None:
    pacing = Pacing(rate=0, in_flight=3)
    assert queued(pacing, PHONE, 5) == 3
    assert list(pacing.turns(NOW + 60)) == []
    pacing.done(PHONE)
    assert [ident for _, ident in pacing.turns(NOW + 60)] == [3]
    pacing.done(PHONE)
    pacing.done(PHONE)
    assert [ident for _, ident in pacing.turns(NOW + 60)] == [4]


def test_targets_do_not_wait_for_each_other() -> None:
    pacing = Pacing(rate=1, in_flight=1)
    assert queued(pacing, PHONE, 3) == 1
    assert pacing.go(OTHER, NOW)


def test_who_comes_later_stands_behind() -> None:
    pacing = Pacing(rate=1, in_flight=0)
    queued(pacing, PHONE, 2)
    assert not pacing.go(PHONE, NOW + 1.5), "somebody waits"


def test_what_the_phone_asked_for_goes_at_once_and_counts() -> None:
    pacing = Pacing(rate=2, in_flight=0)
    assert all(pacing.go(PHONE, NOW, forced=True) for _ in range(5))
    assert not pacing.go(PHONE, NOW + 0.5)


def test_no_limits() -> None:
    assert queued(Pacing(rate=0, in_flight=0), PHONE, 1000) == 1000


def test_idle_targets_are_forgotten() -> None:
    pacing = Pacing(rate=10, in_flight=10)
    for port in range(1000):
        target = Target("UDP", "192.0.2.7", port)
        assert pacing.go(target, NOW)
        pacing.done(target)
    assert list(pacing.turns(NOW)) == []
    assert pacing.next_turn() == NOW + SWEEP
    assert list(pacing.turns(NOW + SWEEP)) == []
    assert len(pacing) == 0
    assert pacing.next_turn() is None


@given(
    st.integers(1, 10),
    st.integers(1, 10),
    st.lists(st.tuples(st.floats(0, 0.5), st.integers(1, 20), st.booleans()), max_size=40),
)
def test_limits_hold_and_everybody_has_a_turn(rate: int, in_flight: int, script: list[tuple[float, int, bool]]) -> None:
    pacing, now, number = Pacing(rate=rate, in_flight=in_flight), NOW, 0
    sent: list[float] = []
    open_ones = 0
    waiting: Counter[SubscriptionId] = Counter()

    def turn() -> None:
        nonlocal open_ones
        for _, ident in pacing.turns(now):
            waiting[ident] -= 1
            sent.append(now)
            open_ones += 1

    for pause, asked, answers in script:
        now += pause
        turn()
        for _ in range(asked):
            number += 1
            if pacing.go(PHONE, now):
                sent.append(now)
                open_ones += 1
            else:
                pacing.wait(PHONE, SubscriptionId(number))
                waiting[SubscriptionId(number)] += 1
        assert open_ones <= in_flight
        while answers and open_ones:
            pacing.done(PHONE)
            open_ones -= 1
    for _ in range(4 * number + 50):
        while open_ones:
            pacing.done(PHONE)
            open_ones -= 1
        if not +waiting:
            break
        due = pacing.next_turn()
        assert due is not None
        now = max(now, due)
        turn()
    assert not +waiting, "everybody had a turn"
    assert all(later - earlier >= 1.0 - 1e-6 for earlier, later in zip(sent, sent[rate:], strict=False))
