"""Deadlines against a model that knows nothing but a dictionary, and the constant-delay queue."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipresence.deadlines import Deadlines, Interval

KEYS = st.integers(0, 5)
TIMES = st.integers(0, 20).map(float)
STEPS = st.one_of(
    st.tuples(st.just("set"), KEYS, TIMES),
    st.tuples(st.just("discard"), KEYS, st.just(0.0)),
    st.tuples(st.just("due"), st.just(0), TIMES),
)


def heap_size(deadlines: Deadlines[int]) -> int:
    return len(deadlines._heap)


@settings(deadline=None)
@given(st.lists(STEPS, max_size=60))
def test_deadlines_agree_with_a_dictionary(steps: list[tuple[str, int, float]]) -> None:
    deadlines: Deadlines[int] = Deadlines()
    model: dict[int, float] = {}
    for verb, key, when in steps:
        if verb == "set":
            deadlines.set(key, when)
            model[key] = when
        elif verb == "discard":
            deadlines.discard(key)
            model.pop(key, None)
        else:
            due = list(deadlines.due(when))
            assert sorted(due) == sorted(key for key, deadline in model.items() if deadline <= when)
            for gone in due:
                del model[gone]
        assert len(deadlines) == len(model)
        look_again = deadlines.next()
        assert (look_again is None) == (not model)
        # "at the latest": earlier is allowed, since a deadline that moved later is looked at again when it comes up.
        assert look_again is None or look_again <= min(model.values())


@settings(deadline=None)
@given(st.lists(st.tuples(KEYS, TIMES), min_size=1, max_size=40))
def test_following_next_ends(sets: list[tuple[int, float]]) -> None:
    """Whoever sleeps until `next` and then asks who is due sees every key, none too early, and comes to an end."""
    deadlines: Deadlines[int] = Deadlines()
    model: dict[int, float] = {}
    for key, when in sets:
        deadlines.set(key, when)
        model[key] = when
    rounds = 0
    while (now := deadlines.next()) is not None:
        for key in deadlines.due(now):
            assert model.pop(key) == now
        rounds += 1
    assert model == {}
    assert rounds <= 2 * len(sets)


def test_earliest_first() -> None:
    deadlines: Deadlines[str] = Deadlines()
    for key, when in (("c", 3.0), ("a", 1.0), ("b", 2.0)):
        deadlines.set(key, when)
    assert list(deadlines.due(3.0)) == ["a", "b", "c"]


def test_earliest_first_after_a_move() -> None:
    deadlines: Deadlines[str] = Deadlines()
    deadlines.set("moved", 1.0)
    deadlines.set("other", 2.0)
    deadlines.set("moved", 3.0)
    assert list(deadlines.due(10.0)) == ["other", "moved"]


@pytest.mark.parametrize(
    ("moves", "not_before", "due_at"),
    [
        pytest.param([10.0, 20.0], 19.9, 20.0, id="later"),
        pytest.param([10.0, 5.0], 4.9, 5.0, id="earlier"),
        pytest.param([10.0, 5.0, 20.0], 19.9, 20.0, id="earlier, then later"),
        pytest.param([10.0, 20.0, 5.0], 4.9, 5.0, id="later, then earlier"),
        pytest.param([10.0, 10.0], 9.9, 10.0, id="the same"),
    ],
)
def test_the_last_set_counts(moves: list[float], not_before: float, due_at: float) -> None:
    deadlines: Deadlines[str] = Deadlines()
    for when in moves:
        deadlines.set("key", when)
    assert list(deadlines.due(not_before)) == []
    assert list(deadlines.due(due_at)) == ["key"]
    assert list(deadlines.due(1e9)) == []
    assert deadlines.next() is None


def test_a_key_may_be_set_again_and_others_discarded_while_due() -> None:
    deadlines: Deadlines[str] = Deadlines()
    for key in ("a", "b", "c"):
        deadlines.set(key, 1.0)
    seen = []
    for key in deadlines.due(1.0):
        seen.append(key)
        deadlines.set(key, 5.0)
        deadlines.discard("b")
    assert seen == ["a", "c"]
    assert sorted(deadlines.due(5.0)) == ["a", "c"]


def test_discarding_the_unknown_is_no_error() -> None:
    Deadlines[str]().discard("nobody")


@pytest.mark.parametrize(
    "churn",
    [
        pytest.param(lambda d, i: (d.set(i, float(i)), d.discard(i)), id="ever new keys"),
        pytest.param(lambda d, i: (d.set(0, float(i)), d.discard(0)), id="one key, ever later"),
        pytest.param(lambda d, i: (d.set(0, float(-i)), d.discard(0)), id="one key, ever earlier"),
        pytest.param(lambda d, i: d.set(0, float(-i)), id="moved earlier"),
        pytest.param(lambda d, i: d.set(0, float(i)), id="moved later"),
        pytest.param(lambda d, i: d.set(i % 3, float(i % 7)), id="to and fro"),
    ],
)
def test_churn_does_not_grow_the_heap(churn) -> None:  # type: ignore[no-untyped-def]
    deadlines: Deadlines[int] = Deadlines()
    for key in range(-100, 0):
        deadlines.set(key, 1e9)
    for i in range(1, 5000):
        churn(deadlines, i)
        assert heap_size(deadlines) <= 64 + 2 * 103
    assert set(range(-100, 0)) <= set(deadlines.due(1e9))


def test_interval_is_first_come_first_due() -> None:
    interval: Interval[str] = Interval(5.0)
    assert interval.next() is None
    interval.add("a", 1.0)
    interval.add("b", 2.0)
    assert (len(interval), interval.next()) == (2, 6.0)
    assert list(interval.due(5.9)) == []
    assert list(interval.due(6.0)) == ["a"]
    assert interval.next() == 7.0
    assert list(interval.due(100.0)) == ["b"]
    assert (len(interval), interval.next()) == (0, None)


def test_an_item_added_while_due_waits_its_turn() -> None:
    interval: Interval[str] = Interval(1.0)
    interval.add("again", 0.0)
    for item in interval.due(1.0):
        interval.add(item, 1.0)
    assert (len(interval), interval.next()) == (1, 2.0)
