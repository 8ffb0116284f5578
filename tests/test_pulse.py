"""How late the loop is, in virtual time."""

import pytest

from sipresence.pulse import INTERVAL, TOO_LATE, Pulse
from tests.fakes import ManualClock


class LateClock(ManualClock):
    """Calls back later than it was asked to."""

    late = 0.0

    def advance(self, seconds: float) -> None:
        if self.late:
            self._now += self.late  # the loop is busy meanwhile
        super().advance(seconds)


def test_it_beats_twice_a_second() -> None:
    clock = ManualClock()
    pulse = Pulse(clock)
    pulse.start()
    clock.advance(10.2)
    assert pulse.delays.count == 20
    assert pulse.delays.sum == pytest.approx(0.0, abs=1e-5)
    assert pulse.regular


def test_a_busy_loop_is_late_and_recovers() -> None:
    clock = LateClock()
    pulse = Pulse(clock)
    pulse.start()
    clock.late = INTERVAL + TOO_LATE
    clock.advance(0)
    assert pulse.delays.sum == pytest.approx(TOO_LATE, abs=1e-5)
    assert not pulse.regular
    clock.late = 0.0
    clock.advance(INTERVAL)
    assert pulse.regular


def test_an_overdue_beat_counts_before_it_comes() -> None:
    clock = ManualClock()
    pulse = Pulse(clock)
    assert pulse.regular, "it has not begun"
    pulse.start()
    clock._now += INTERVAL + TOO_LATE
    assert not pulse.regular


def test_it_stops() -> None:
    clock = ManualClock()
    pulse = Pulse(clock)
    pulse.start()
    pulse.stop()
    assert clock.armed == []
