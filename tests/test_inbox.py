"""The inbox in virtual time: in slices, in order, none forgotten."""

import pytest

from sipresence import inbox as module
from sipresence.inbox import SATURATED_SLICE, SLICE, Inbox
from sipresence.sip.message import Request
from tests.builders import parsed, subscribe
from tests.fakes import ManualClock


class Desk:
    """An inbox whose decisions are noted, one list per turn of the loop."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.inbox = Inbox(decide=self.decide, turn_end=self.turn_end, clock=self.clock)
        self.decided: list[Request] = []

    def decide(self, request: Request) -> None:
        self.decided.append(request)

    def turn_end(self, saturated: bool = False) -> None:
        if saturated:
            self.inbox.on_saturation()
        self.inbox.on_turn_end()

    def arrive(self, count: int) -> list[Request]:
        requests = [parsed(subscribe(call_id=f"call-{number}")) for number in range(count)]
        assert all(self.inbox.add(request) for request in requests)
        return requests

    def turns(self) -> list[int]:
        """How many are decided in each turn until none waits; nothing more arrives."""
        counts = []
        while self.inbox:
            before = len(self.decided)
            self.clock.turn()
            counts.append(len(self.decided) - before)
        return counts


def test_all_are_decided_at_the_end_of_an_ordinary_turn() -> None:
    desk = Desk()
    requests = desk.arrive(SLICE)
    assert desk.decided == []
    desk.turn_end()
    assert desk.decided == requests


def test_a_saturated_turn_decides_a_small_slice() -> None:
    desk = Desk()
    requests = desk.arrive(1000)
    desk.turn_end(saturated=True)
    assert desk.decided == requests[:SATURATED_SLICE]
    assert desk.turns() == [SLICE, SLICE, SLICE, 1000 - SATURATED_SLICE - 3 * SLICE], "nothing more came"
    assert desk.decided == requests


def test_one_slice_per_turn_of_the_loop_however_many_listeners_report_its_end() -> None:
    desk = Desk()
    desk.arrive(1000)
    for _ in range(5):
        desk.turn_end(saturated=True)
        desk.turn_end(saturated=False)
    assert len(desk.decided) == SATURATED_SLICE
    desk.clock.turn()
    assert len(desk.decided) == 2 * SATURATED_SLICE


def test_a_mistake_of_ours_starves_nobody() -> None:
    desk = Desk()
    desk.arrive(SLICE + 1)
    desk.turn_end()
    assert desk.turns() == [1]


def test_the_queue_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 10)
    desk = Desk()
    desk.arrive(10)
    assert not desk.inbox.add(parsed(subscribe(call_id="one too many")))
    desk.turn_end()
    assert len(desk.decided) == 10
