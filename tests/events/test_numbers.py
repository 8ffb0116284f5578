"""The numbers of subscriptions, in order whatever comes and goes."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from sipresence.events.numbers import FEWEST, Numbers
from sipresence.names import SubscriptionId


def numbers(*idents: int) -> Numbers:
    made = Numbers()
    for ident in idents:
        made.add(SubscriptionId(ident))
    return made


def test_those_of_a_restart_are_sorted() -> None:
    made = numbers(7, 3, 5)
    assert list(made.rising()) == [3, 5, 7]
    made.add(SubscriptionId(8))
    assert list(made.rising()) == [3, 5, 7, 8]


def test_what_is_gone_leaves_when_it_is_most_of_them() -> None:
    made = numbers(*range(1, FEWEST + 11))
    for ident in range(1, FEWEST + 1):
        made.remove(SubscriptionId(ident))
    assert len(made.rising()) == FEWEST + 10
    made.remove(SubscriptionId(FEWEST + 1))
    assert list(made.rising()) == list(range(FEWEST + 2, FEWEST + 11))


def test_who_looks_at_them_is_not_disturbed() -> None:
    made = numbers(1, 2, 3)
    seen: Sequence[SubscriptionId] = made.rising()
    made.add(SubscriptionId(4))
    for ident in range(1, FEWEST + 5):
        made.remove(SubscriptionId(ident))
    assert list(seen) == [1, 2, 3, 4]
    assert list(made.rising()) == []


@given(st.lists(st.integers(1, 50), unique=True), st.sets(st.integers(1, 50)))
def test_none_is_missing(added: list[int], removed: set[int]) -> None:
    made = numbers(*added)
    for ident in removed & set(added):
        made.remove(SubscriptionId(ident))
    found = list(made.rising())
    assert found == sorted(found)
    assert set(added) - removed <= set(found) <= set(added)
