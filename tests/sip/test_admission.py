"""Admission in virtual time: who is heard, who is not, and that nothing grows."""

import random
from collections import Counter
from heapq import heappop, heappush
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipresence.sip import admission as module
from sipresence.sip.admission import Admission, Buckets, Generations, RateLimits

NOW = 1_700_000_000.0
HOST, PORT = "198.51.100.7", 5060


def drain(admission: Admission, host: str = HOST, port: int = PORT, *, now: float = NOW, most: int = 100_000) -> int:
    """Send one malformed message after the other; return how many were looked at."""
    for count in range(most):
        if not admission.admits(host, port, now):
            return count
        admission.charge(host, port, now)
    return most


def test_a_source_has_a_burst_and_then_its_rate() -> None:
    admission = Admission(RateLimits())
    assert drain(admission) == 150
    assert drain(admission, now=NOW + 1) == 10
    assert drain(admission, now=NOW + 3600) == 150


def test_each_port_has_a_bucket_of_its_own() -> None:
    admission = Admission(RateLimits())
    drain(admission, port=5060)
    assert admission.admits(HOST, 5061, NOW)
    assert not admission.admits(HOST, 5060, NOW)


def test_all_ports_of_a_host_share_a_ceiling() -> None:
    admission = Admission(RateLimits(host_burst=1000))
    assert sum(drain(admission, port=port) for port in range(1024, 1124)) == 1000
    assert not admission.admits(HOST, 9999, NOW)
    assert admission.admits("198.51.100.8", 9999, NOW)


def test_above_the_ceiling_phones_that_have_authenticated_are_heard() -> None:
    admission = Admission(RateLimits(host_burst=1000))
    admission.known_good(HOST, PORT, NOW)
    for port in range(1024, 1124):
        drain(admission, port=port)
    assert not admission.admits(HOST, PORT + 1, NOW)
    assert drain(admission) == 150, "its own bucket counts nevertheless"


def test_a_phone_is_known_good_until_it_refreshes() -> None:
    admission = Admission(RateLimits(host_burst=1))
    admission.known_good(HOST, PORT, NOW)
    admission.charge(HOST, 1, later := NOW + 3599)
    admission.known_good(HOST, 2, later)
    assert admission.admits(HOST, PORT, later)


def test_trusted_networks_have_no_limit() -> None:
    admission = Admission(RateLimits(), [ip_network("198.51.100.0/24"), ip_network("2001:db8::/32")])
    assert drain(admission, most=20_000) == 20_000
    assert drain(admission, "::ffff:198.51.100.9", most=20_000) == 20_000
    assert drain(admission, "2001:db8::1", most=20_000) == 20_000
    assert [admission.trusts(host) for host in (HOST, "203.0.113.1", "fe80::1%eth0")] == [True, False, False]


def test_in_ipv6_the_ceiling_is_that_of_the_64() -> None:
    admission = Admission(RateLimits(host_burst=1000))
    assert sum(drain(admission, f"2001:db8::{number:x}") for number in range(100)) == 1000
    assert not admission.admits("2001:db8:0:0:ffff::1", PORT, NOW)
    assert admission.admits("2001:db8:0:1::1", PORT, NOW)


def test_a_subscriber_has_a_burst_and_then_his_rate() -> None:
    admission = Admission(RateLimits())

    def asked(now: float) -> int:
        return sum(admission.allows("account", "alice", now) for _ in range(1000))

    assert [asked(NOW), asked(NOW + 1), asked(NOW + 60)] == [600, 50, 600]
    assert admission.allows("account", "bob", NOW)


def test_an_office_behind_one_address_comes_back() -> None:
    """200 phones with 30 keys each behind one NAT, all within 30 s, though one packet in ten is lost.

    Each key asks, is challenged, and asks again with its credentials; each message is repeated after 0.5, 1.5, 3.5, …
    s while it is not answered. The phones of an office that lost its power start within some seconds.
    """
    admission = Admission(RateLimits())
    dice = random.Random(1)
    events: list[tuple[float, int, int, bool, int]] = []  # when, port, key, with credentials, how often sent
    for phone in range(200):
        started_at = NOW + dice.uniform(0, 5)
        for key in range(30):
            heappush(events, (started_at + key * 0.02, 10_000 + phone, key, False, 0))
    done_at: list[float] = []
    counts: Counter[str] = Counter()
    while events:
        now, port, key, authenticated, sent = heappop(events)
        counts["sent"] += 1
        heard = dice.random() >= 0.1
        if heard and not admission.admits(HOST, port, now):
            counts["refused"] += 1
            heard = False
        if heard and authenticated:
            admission.known_good(HOST, port, now)
            assert admission.allows("account", f"user-{port}", now)
        elif heard:
            admission.charge(HOST, port, now)
        if not heard or dice.random() < 0.1:  # it, or its answer, is lost
            heappush(events, (now + min(0.5 * 2**sent, 4.0), port, key, authenticated, sent + 1))
        elif authenticated:
            done_at.append(now - NOW)
        else:
            heappush(events, (now + 0.05, port, key, True, 0))
    assert len(done_at) == 6000
    assert counts["refused"] == 0, counts
    assert max(done_at) < 30


def test_the_office_comes_back_as_well_while_a_neighbour_floods() -> None:
    """Whoever floods from one port of the office's address pays with the bucket of that port alone."""
    admission = Admission(RateLimits())
    heard = 0
    for tick in range(30_000):  # 1,000 messages a second for 30 s
        now = NOW + tick / 1000
        if admission.admits(HOST, 6666, now):
            heard += 1
            admission.charge(HOST, 6666, now)
        if tick % 5 == 0:  # 6,000 challenges meanwhile, from 200 phones
            assert admission.admits(HOST, 10_000 + tick // 5 % 200, now)
            admission.charge(HOST, 10_000 + tick // 5 % 200, now)
    assert heard == pytest.approx(150 + 30 * 10, abs=2)


def test_hosts_are_remembered_but_not_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SOURCES", 100)
    admission = Admission(RateLimits(), [ip_network("198.51.100.0/24")])
    for number in range(1000):
        assert not admission.trusts(f"203.0.{number // 250}.{number % 250}")
        assert admission.trusts(HOST)
    assert len(admission._payers) <= 100


def test_a_generation_that_is_full_ends_early() -> None:
    table: Generations[int, int] = Generations(period=10.0, most=4)
    for number in range(100):
        table.set(number, number, NOW)
        assert len(table) <= 8
    assert [table.get(number) for number in (91, 96, 99)] == [None, 96, 99]


# Properties

gaps = st.floats(0, 40, allow_nan=False)


@given(st.lists(st.tuples(gaps, st.integers(0, 40), st.integers(1, 30)), max_size=80))
def test_tables_are_bounded(steps: list[tuple[float, int, int]]) -> None:
    buckets: Buckets[int] = Buckets(10.0, 150, most=16)
    now = NOW
    for gap, first, count in steps:
        now += gap
        for key in range(first, first + count):
            buckets.charge(key, now)
        assert len(buckets) <= 32


@given(
    st.floats(0.5, 1000),
    st.integers(2, 5000),
    st.lists(st.floats(1.0, 50.0), max_size=200),
    st.lists(st.integers(0, 7), max_size=200),
)
def test_a_source_below_its_rate_is_never_refused(
    rate: float, burst: int, gaps_in_tokens: list[float], neighbours: list[int]
) -> None:
    """Whatever its neighbours do, however few the table holds."""
    buckets: Buckets[str] = Buckets(rate, burst, most=4)
    now = NOW
    for gap, neighbour in zip(gaps_in_tokens, neighbours, strict=False):
        now += gap / rate
        for _ in range(burst):
            buckets.charge(f"neighbour {neighbour}", now)
        assert not buckets.overdrawn("me", now)
        buckets.charge("me", now)


@given(st.floats(0.5, 1000), st.integers(2, 500), st.lists(st.floats(0, 3), max_size=100))
def test_no_more_than_burst_and_rate_are_looked_at(rate: float, burst: int, gaps_s: list[float]) -> None:
    buckets: Buckets[str] = Buckets(rate, burst)
    now, heard = NOW, 0
    for gap in gaps_s:
        now += gap
        while not buckets.overdrawn("me", now):
            heard += 1
            buckets.charge("me", now)
    assert heard <= burst + (now - NOW) * rate * 1.001 + 1


def test_how_many_tokens_are_left() -> None:
    buckets: Buckets[str] = Buckets(rate=10, burst=100)
    now = 1_700_000_000.0
    assert buckets.left("a", now) == 100
    buckets.charge("a", now, 35)
    assert buckets.left("a", now) == pytest.approx(65, abs=0.001)
    assert buckets.left("a", now + 2) == pytest.approx(85, abs=0.001)
    buckets.charge("a", now, 1000)
    assert buckets.left("a", now) == 0
    assert (buckets.left("a", now + 60), buckets.left("b", now)) == (100, 100)
