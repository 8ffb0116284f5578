"""Histograms, and what readiness is made of."""

from math import inf

import pytest

from sipresence.figures import Health, Histogram


def test_a_value_counts_for_its_bound_and_all_above() -> None:
    seen = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 7.0):
        seen.observe(value)
    assert list(seen.cumulative()) == [(1.0, 2), (2.0, 4), (inf, 5)]
    assert seen.sum == 12.0
    assert seen.count == 5


def test_what_two_clocks_measured_below_zero_took_no_time() -> None:
    seen = Histogram((1.0,))
    seen.observe(-3.0)
    assert list(seen.cumulative()) == [(1.0, 1), (inf, 1)]
    assert seen.sum == 0.0


def test_nothing_seen_is_zero_everywhere() -> None:
    assert list(Histogram((1.0,)).cumulative()) == [(1.0, 0), (inf, 0)]


@pytest.mark.parametrize("wrong", Health._fields)
def test_one_thing_that_is_wrong_makes_it_not_ready(wrong: str) -> None:
    fine = Health(responsive=True, serving=True, store=True, bus=True)
    assert fine.ready
    assert not fine._replace(**{wrong: False}).ready
