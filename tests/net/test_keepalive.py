"""The keeper of NAT pinholes, in virtual time."""

from collections import Counter

from sipresence.net.keepalive import KEEPALIVE, PinholeKeeper
from sipresence.sip.flow import Flow
from sipresence.sip.transaction import Transmit
from tests.builders import flow
from tests.fakes import ManualClock


def keep(clock: ManualClock, pinholes: list[Flow], *, interval: int) -> tuple[PinholeKeeper, list[Transmit]]:
    sent: list[Transmit] = []
    keeper = PinholeKeeper(interval=interval, clock=clock, pinholes=lambda: tuple(pinholes), send=sent.append)
    keeper.start()
    return keeper, sent


def test_each_source_gets_one_crlf_an_interval() -> None:
    clock, flows = ManualClock(), [flow(port=1000 + number) for number in range(100)]
    _, sent = keep(clock, flows, interval=30)
    clock.advance(90)
    assert {transmit.data for transmit in sent} == {KEEPALIVE}
    assert Counter(transmit.address for transmit in sent) == {(f.host, f.port): 3 for f in flows}


def test_a_round_is_spread_over_the_interval() -> None:
    clock, flows = ManualClock(), [flow(port=1000 + number) for number in range(100)]
    _, sent = keep(clock, flows, interval=10)
    for second in range(1, 11):
        clock.advance(1)
        assert len(sent) == 10 * second


def test_zero_turns_it_off() -> None:
    clock = ManualClock()
    _, sent = keep(clock, [flow()], interval=0)
    clock.advance(100)
    assert sent == []
    assert clock.armed == []


def test_it_stops() -> None:
    clock = ManualClock()
    keeper, sent = keep(clock, [flow()], interval=1)
    clock.advance(3)
    keeper.stop()
    clock.advance(10)
    assert len(sent) == 3
