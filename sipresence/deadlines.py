"""Deadlines: who is due, and when to look again.

Two structures, chosen by the kind of delay. `Deadlines` is a heap for delays that differ (expiries): a deadline that
moves later costs one dictionary write, since the heap entry is only looked at again when it comes up. `Interval` is a
queue for one constant delay (RFC 3261 timers E, F, J, K): what was added first is due first, so nothing is sorted.
Neither reads a clock.
"""

from collections import deque
from collections.abc import Hashable, Iterator
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")


class Deadlines(Generic[Key]):
    """One deadline per key, in a heap. Keys must be orderable among themselves, for ties."""

    __slots__ = ("_heap", "_when")

    def __init__(self) -> None:
        self._when: dict[Key, tuple[float, float]] = {}  # key -> (deadline, deadline of its heap entry)
        self._heap: list[tuple[float, Key]] = []

    def __len__(self) -> int:
        return len(self._when)

    def __contains__(self, key: Key) -> bool:
        return key in self._when

    def set(self, key: Key, when: float) -> None:
        """Give `key` the deadline `when`, replacing an earlier one."""
        known = self._when.get(key)
        if known is not None and known[1] <= when:
            self._when[key] = (when, known[1])  # its heap entry comes up first and is moved then
            return
        self._when[key] = (when, when)
        heappush(self._heap, (when, key))
        if len(self._heap) > 64 + 2 * len(self._when):
            self._rebuild()

    def discard(self, key: Key) -> None:
        """Forget the deadline of `key`, if it has one."""
        self._when.pop(key, None)

    def next(self) -> float | None:
        """Return when to look again at the latest, or None while nothing is waited for."""
        self._drop_stale()
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> Iterator[Key]:
        """Yield, and forget, every key whose deadline is `now` or earlier, the earliest first."""
        while self._heap and self._heap[0][0] <= now:
            queued_at, key = heappop(self._heap)
            known = self._when.get(key)
            if known is None or known[1] != queued_at:
                continue  # discarded, or replaced by an earlier entry
            if known[0] > queued_at:  # it moved later: in its turn, if it is due as well
                self._when[key] = (known[0], known[0])
                heappush(self._heap, (known[0], key))
                continue
            del self._when[key]
            yield key

    def _rebuild(self) -> None:
        """Drop what discarded keys left behind: the heap must not grow with every subscription that ever was."""
        self._when = {key: (deadline, deadline) for key, (deadline, _) in self._when.items()}
        self._heap = [(deadline, key) for key, (deadline, _) in self._when.items()]
        heapify(self._heap)

    def _drop_stale(self) -> None:
        while self._heap:
            queued_at, key = self._heap[0]
            known = self._when.get(key)
            if known is not None and known[1] == queued_at:
                return
            heappop(self._heap)


class Interval(Generic[Item]):
    """Items that all wait equally long, first come first due."""

    __slots__ = ("_queue", "delay")

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self._queue: deque[tuple[float, Item]] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, item: Item, now: float) -> None:
        """Let `item` be due in `delay` seconds."""
        self._queue.append((now + self.delay, item))

    def next(self) -> float | None:
        """Return when the first item is due, or None."""
        return self._queue[0][0] if self._queue else None

    def due(self, now: float) -> Iterator[Item]:
        """Yield, and forget, the items that are due at `now`."""
        queue = self._queue
        while queue and queue[0][0] <= now:
            yield queue.popleft()[1]
