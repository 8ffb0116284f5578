"""The inbox: refreshes go before new work.

A subscription that is refreshed late is lost, a new one that is made late is merely late. So what asks for something
new waits here until the turn's reads are over, and under load it comes in small slices, one per turn of the loop, while
everything that belongs to a living dialog is decided at once. The queue is bounded; what finds it full is refused.
"""

from collections import deque
from collections.abc import Callable

from sipresence.ports import Clock
from sipresence.sip.message import Request

SLICE = 256  # requests decided per turn of the loop
SATURATED_SLICE = 64  # in a turn that could not read all that had arrived
MAX_WAITING = 20_000


class Inbox:
    """New work in order of arrival. `decide` takes one request; `turn_end` is called in the turn after a full slice."""

    def __init__(self, *, decide: Callable[[Request], None], turn_end: Callable[[], None], clock: Clock) -> None:
        self._decide = decide
        self._turn_end = turn_end
        self._clock = clock
        self._waiting: deque[Request] = deque()
        self._saturated = False
        self._promised = False

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, request: Request) -> bool:
        """Let a request wait for the end of the turn; return False, and keep nothing, when too many wait."""
        if len(self._waiting) >= MAX_WAITING:
            return False
        self._waiting.append(request)
        return True

    def on_saturation(self) -> None:
        """This turn could not read all that had arrived."""
        self._saturated = True

    def on_turn_end(self) -> None:
        """Reads are over: decide a slice, unless the next turn is promised to one already."""
        if self._promised:
            return
        waiting = self._waiting
        most = SATURATED_SLICE if self._saturated else SLICE
        self._saturated = False
        for _ in range(min(most, len(waiting))):
            self._decide(waiting.popleft())
        if waiting:  # they must not starve: the next datagram may never come
            self._promised = True
            self._clock.call_soon(self._resume)

    def _resume(self) -> None:
        self._promised = False
        self._turn_end()
