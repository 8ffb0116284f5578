"""Figures: what a metrics page shows, as plain numbers.

Whoever works counts in plain integers, since a call of a metrics library costs 2 to 3 µs and an integer 0.03. They are
gathered, as `Figures`, only when somebody looks.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

from sipresence.names import AccountId

LATENCIES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds in seconds, from a commit in memory to a phone that answers the last retransmission."""


class Histogram:
    """How many observations lie at or below each bound."""

    __slots__ = ("_bounds", "_counts", "sum")

    def __init__(self, bounds: Sequence[float] = LATENCIES) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one. What is negative was measured with two clocks, and took no time."""
        if value < 0:
            value = 0.0
        self._counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        return sum(self._counts)

    def cumulative(self) -> Iterator[tuple[float, int]]:
        """Yield each bound, infinity last, with the number of observations that do not exceed it."""
        return zip((*self._bounds, float("inf")), accumulate(self._counts), strict=True)


class Kind(NamedTuple):
    """What subscriptions are counted by."""

    account: AccountId
    package: str
    transport: str
    family: str  # of the User-Agent


@dataclass(slots=True, frozen=True)
class WireFigures:
    """What an endpoint has counted since it began, and how much it holds now (connections, transactions)."""

    answers: Mapping[tuple[str, int], int] = field(default_factory=dict)  # requests by method and status
    notifies_sent: int = 0
    change_to_sent: Histogram = field(default_factory=Histogram)
    oversized: int = 0
    retransmissions_received: int = 0
    retransmissions_sent: int = 0
    stray_responses: int = 0
    keepalives: int = 0
    sends_failed: int = 0
    server_transactions: int = 0
    client_transactions: int = 0
    connections: Mapping[str, int] = field(default_factory=dict)  # by transport
    connections_closed: Mapping[str, int] = field(default_factory=dict)  # by reason


@dataclass(slots=True, frozen=True)
class NotifierFigures:
    """What the notifier has counted since it began, and how much it holds now (subscriptions, resources, paced)."""

    subscriptions: Mapping[Kind, int]
    subscriptions_ended: Mapping[str, int]  # by reason
    resources: int
    state_changes: Mapping[str, int]  # by source
    notifies: Mapping[int, int]  # by final status
    change_to_answered: Histogram
    paced: int  # NOTIFYs that wait for their turn at their target


@dataclass(slots=True, frozen=True)
class OutboxFigures:
    """What the outbox has counted since it began, and what waits in it."""

    commit_time: Histogram
    commits_failed: int
    failing: bool  # the last commit failed
    waiting_since: float | None  # Unix s, when the oldest write was decided that is not committed
    lane: int  # NOTIFYs that wait for their turn of the loop


@dataclass(slots=True, frozen=True)
class Figures:
    """All of them."""

    now: float
    wire: WireFigures
    notifier: NotifierFigures
    outbox: OutboxFigures
    refusals: Mapping[str, int]  # by reason
    inbox: int  # requests that wait to be decided
    bus_up: bool
    loop_delay: Histogram


class Health(NamedTuple):
    """Whether the process does its work. `responsive` by itself says that it lives."""

    responsive: bool  # the loop gets round
    serving: bool  # the store is loaded and the listeners are open; neither draining nor stopping
    store: bool
    bus: bool

    @property
    def ready(self) -> bool:
        return all(self)
