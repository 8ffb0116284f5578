"""Pacing: how fast one target address is told things.

A phone with 60 keys gets 60 NOTIFYs at once after a restart, a reset or a busy minute; many take ten a second, queue a
hundred and drop the rest (phones.md 29). So each target has a rate and a window of NOTIFYs in flight; what exceeds them
waits in line here, as a subscription and not as a message: when its turn comes it is told the newest state.

The rate holds in every second, wherever it begins: a target keeps the times of its last NOTIFYs. One that is idle is
forgotten, so the table holds only those that are being told something.
"""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from sipresence.deadlines import Deadlines
from sipresence.events.profile import UNSAID, Pace
from sipresence.names import SubscriptionId

WINDOW = 1.0  # s in which at most `rate` NOTIFYs go to one target
SWEEP = 10.0  # s between two looks for idle targets


class Target(NamedTuple):
    """Where NOTIFYs go: an address, a connection's other end, or for a phone behind a proxy its Contact."""

    transport: str
    host: str
    port: int


class _Line:
    """What one target is being told, and who waits for it."""

    __slots__ = ("in_flight", "pace", "sent_at", "waiting")

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self.in_flight = 0
        self.sent_at: list[float] = []  # as many of the last as the rate allows
        self.waiting: deque[SubscriptionId] | None = None  # most targets never have one


class Pacing:
    """At most `rate` NOTIFYs a second and `in_flight` unanswered ones per target; 0 for either: no such limit.

    A target whose profile says otherwise has a pace of its own.
    """

    def __init__(self, *, rate: int, in_flight: int) -> None:
        self.limit(rate=rate, in_flight=in_flight)
        self._lines: dict[Target, _Line] = {}
        self._turns: Deadlines[Target] = Deadlines()
        self.waiting = 0
        self._sweep_at = 0.0

    def __len__(self) -> int:
        return len(self._lines)

    def limit(self, *, rate: int, in_flight: int) -> None:
        """From here on let targets have so much."""
        self.rate = rate
        self._most_in_flight = in_flight

    def go(self, target: Target, now: float, *, pace: Pace = UNSAID, forced: bool = False) -> bool:
        """Whether a NOTIFY may go now; if so it is in flight, until `done`. `pace`: what this kind of phone takes.

        `forced`: it goes in any case, since the phone itself has asked for it just now; it counts all the same.
        """
        if pace is UNSAID and not self.rate and not self._most_in_flight:
            return True
        line = self._lines.get(target)
        if line is None:
            line = self._lines[target] = _Line(pace)
        elif not forced and (line.waiting or self._full(line) or self._ready_at(line) > now):
            return False
        self._count(line, now)
        return True

    def wait(self, target: Target, ident: SubscriptionId) -> None:
        """Stand in line for a target that `go` refused."""
        line = self._lines[target]
        if line.waiting is None:
            line.waiting = deque()
        line.waiting.append(ident)
        self.waiting += 1
        self._arrange(target, line)

    def done(self, target: Target) -> None:
        """One NOTIFY to this target is in flight no more."""
        line = self._lines.get(target)
        if line is None:
            return  # there are no limits
        line.in_flight = max(line.in_flight - 1, 0)  # it may be older than the limits
        if line.waiting:
            self._arrange(target, line)

    def next_turn(self) -> float | None:
        """When `turns` has to be asked at the latest: a turn, or the next look for idle targets."""
        turn = self._turns.next()
        if not self._lines:
            return turn
        return self._sweep_at if turn is None else min(turn, self._sweep_at)

    def turns(self, now: float) -> Iterator[tuple[Target, SubscriptionId]]:
        """Yield whose turn it is; each counts as in flight, and the caller gives back with `done` what does not go."""
        for target in list(self._turns.due(now)):
            line = self._lines[target]
            while line.waiting and not self._full(line) and self._ready_at(line) <= now:
                self._count(line, now)
                self.waiting -= 1
                yield target, line.waiting.popleft()
            if line.waiting:
                self._arrange(target, line)
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP
            for target in [target for target, line in self._lines.items() if self._idle(line, now)]:
                del self._lines[target]

    def _arrange(self, target: Target, line: _Line) -> None:
        """Come back when the rate allows another; where the window is full, an answer comes first."""
        if not self._full(line):
            self._turns.set(target, self._ready_at(line))

    def _rate(self, line: _Line) -> int:
        return self.rate if line.pace.rate is None else line.pace.rate

    def _ready_at(self, line: _Line) -> float:
        rate = self._rate(line)
        return line.sent_at[0] + WINDOW if rate and len(line.sent_at) >= rate else 0.0

    def _full(self, line: _Line) -> bool:
        most = self._most_in_flight if line.pace.in_flight is None else line.pace.in_flight
        return 0 < most <= line.in_flight

    def _count(self, line: _Line, now: float) -> None:
        line.in_flight += 1
        surplus = len(line.sent_at) - max(self._rate(line), 1) + 1
        if surplus > 0:
            del line.sent_at[:surplus]
        line.sent_at.append(now)

    def _idle(self, line: _Line, now: float) -> bool:
        return not line.in_flight and not line.waiting and line.sent_at[-1] + WINDOW <= now
