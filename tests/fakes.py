"""The edges of the service in virtual time: a clock that is turned by hand, a store that commits when told, an endpoint
that only remembers. Nothing here sleeps.
"""

import itertools
from collections.abc import Callable, Sequence
from heapq import heappop, heappush

from sipresence.backends.memory import MemoryStore
from sipresence.errors import StoreError
from sipresence.events.effects import Notify, Respond, Write
from sipresence.ports import Loaded
from sipresence.sip.message import Request

NOW = 1_700_000_000.0


class ManualClock:
    """Time that passes only in `advance`; callbacks for the next turn wait for `turn`."""

    def __init__(self, now: float = NOW) -> None:
        self._now = now
        self._soon: list[Callable[[], None]] = []
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._cancelled: set[int] = set()

    def now(self) -> float:
        return self._now

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._soon.append(callback)

    def call_at(self, when: float, callback: Callable[[], None]) -> Callable[[], None]:
        number = next(self._numbers)
        heappush(self._timers, (when, number, callback))
        return lambda: self._cancelled.add(number)

    @property
    def armed(self) -> list[float]:
        """When the timers are due that nobody has cancelled."""
        return sorted(when for when, number, _ in self._timers if number not in self._cancelled)

    def turn(self) -> None:
        """Let the loop turn once."""
        callbacks, self._soon = self._soon, []
        for callback in callbacks:
            callback()

    def settle(self) -> None:
        """Let the loop turn until nothing waits for its next turn."""
        while self._soon:
            self.turn()

    def advance(self, seconds: float) -> None:
        """Let time pass; what becomes due meanwhile is called at its time."""
        end = self._now + seconds
        self.settle()
        while self._timers and self._timers[0][0] <= end:
            when, number, callback = heappop(self._timers)
            if number not in self._cancelled:
                self._now = max(self._now, when)
                callback()
                self.settle()
        self._now = end


class ManualStore:
    """A store that commits later: `commit` or `fail` completes the batch in flight. `rows` is what it keeps."""

    def __init__(self) -> None:
        self.rows = MemoryStore()
        self.submitted: list[Sequence[Write]] = []
        self.on_submit: Callable[[], None] = lambda: None
        self._done: Callable[[StoreError | None], None] | None = None

    @property
    def busy(self) -> bool:
        return self._done is not None

    async def load(self) -> Loaded:
        return await self.rows.load()

    def submit(self, writes: Sequence[Write], done: Callable[[StoreError | None], None]) -> None:
        assert self._done is None, "one batch is in flight"
        self.submitted.append(list(writes))
        self._done = done
        self.on_submit()

    async def close(self) -> None:
        pass

    def commit(self) -> None:
        """The batch in flight is kept."""
        self.rows.submit(self.submitted[-1], self._take())

    def fail(self) -> None:
        """Nothing of the batch in flight is kept."""
        self._take()(StoreError("disk full"))

    def _take(self) -> Callable[[StoreError | None], None]:
        done, self._done = self._done, None
        assert done is not None, "a batch is in flight"
        return done


class RecordingEndpoint:
    """Remembers what was sent, in order."""

    def __init__(self) -> None:
        self.sent: list[Respond | Notify] = []
        self.dropped: list[Request] = []

    def respond(self, response: Respond) -> None:
        self.sent.append(response)

    def drop(self, request: Request) -> None:
        self.dropped.append(request)

    def send(self, notify: Notify) -> None:
        self.sent.append(notify)

    @property
    def answers(self) -> list[Respond]:
        return [message for message in self.sent if isinstance(message, Respond)]

    @property
    def notifies(self) -> list[Notify]:
        return [message for message in self.sent if isinstance(message, Notify)]

    def take(self) -> list[Respond | Notify]:
        """What was sent since the last call."""
        sent, self.sent = self.sent, []
        return sent
