"""Refusals: all are counted, ten a second are logged."""

from sipresence.refusals import Refusals

NOW = 1_700_000_000.0


def test_ten_lines_a_second_in_all_and_the_next_tells_of_the_rest() -> None:
    refusals = Refusals()
    logged = [refusals.count(("malformed", "source_rate")[n % 2], NOW + n / 1000) for n in range(1000)]
    assert [n for n, line in enumerate(logged) if line is not None] == list(range(10))
    assert refusals.count("forbidden", NOW + 1.5) == 990
    assert refusals.count("forbidden", NOW + 1.5) == 0
    assert refusals.counts == {"malformed": 500, "source_rate": 500, "forbidden": 2}
