"""The pulse: how late the loop comes to what is due.

Twice a second it asks to be called, and sees how much later that was. The loop does everything here, so this is what
each phone, timer and request waits on top of everything else.
"""

from collections.abc import Callable

from sipresence.figures import Histogram
from sipresence.ports import Clock

INTERVAL = 0.5  # s
TOO_LATE = 2.0  # s: phones have sent everything twice by then


class Pulse:
    """Measures from `start` to `stop`. `delays` are all that were seen."""

    def __init__(self, clock: Clock) -> None:
        self.delays = Histogram()
        self._clock = clock
        self._due_at = 0.0
        self._late = 0.0
        self._cancel: Callable[[], None] = lambda: None

    def start(self) -> None:
        self._due_at = self._clock.now() + INTERVAL
        self._cancel = self._clock.call_at(self._due_at, self._beat)

    def stop(self) -> None:
        self._cancel()

    @property
    def regular(self) -> bool:
        """Whether the loop gets round in time: so it did last, and it is not overdue now."""
        overdue = self._clock.now() - self._due_at if self._due_at else 0.0
        return max(self._late, overdue) < TOO_LATE

    def _beat(self) -> None:
        self._late = self._clock.now() - self._due_at
        self.delays.observe(self._late)
        self.start()
