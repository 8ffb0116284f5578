"""RFC 3263, branch by branch, over a zone that answers from memory and in virtual time."""

import asyncio
import random
import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import dns.name
import dns.zone
import pytest
from dns.rdatatype import RdataType

from sipresence.net.nameserver import UNANSWERED, Reply
from sipresence.net.resolver import MAX_ANSWERS, MAX_FAILURES, Resolver, Target, Targets
from sipresence.sip.flow import Hop
from tests.builders import flow

V4, V6 = socket.AF_INET, socket.AF_INET6
EVERYTHING: Mapping[str, Sequence[socket.AddressFamily]] = {"UDP": (V4, V6), "TCP": (V4, V6), "TLS": (V4,)}

ZONE = """
phone                   300   A     192.0.2.7
dual                    300   A     192.0.2.8
dual                    300   AAAA  2001:db8::8
alias                   300   CNAME phone
nowhere                 300   TXT   "no address"
a                       300   A     192.0.2.1
b                       300   A     192.0.2.2
c                       300   A     192.0.2.3

_sip._udp.srv           120   SRV   20 0 5070 b
_sip._udp.srv           120   SRV   10 0 5060 a
_sip._tcp.srv           120   SRV   10 0 5080 c
_sips._tcp.srv          120   SRV   10 0 5081 c
srv                     300   A     192.0.2.99

_sip._udp.refused       120   SRV   0 0 0 .
_sip._tcp.refused       120   SRV   0 0 5060 a
refused                 300   A     192.0.2.99
_sip._udp.dangling      120   SRV   0 0 5060 nobody
dangling                300   A     192.0.2.99

naptr                   60    NAPTR 50 50 "s" "SIP+D2U"  "" _sip._udp.srv
naptr                   60    NAPTR 20 90 "S" "sip+d2t"  "" _sip._tcp.srv
naptr                   60    NAPTR 20 50 "s" "SIPS+D2T" "" _sips._tcp.srv
naptr                   60    NAPTR 10 50 "s" "SIP+D2S"  "" _sip._sctp.srv
naptr                   60    NAPTR 10 60 "u" "SIP+D2U"  "!^.*$!sip:x@a!" .
_sip._udp.naptr         60    SRV   0 0 5060 phone
useless                 60    NAPTR 10 50 "s" "E2U+mail" "" _sip._udp.srv
useless                 300   A     192.0.2.9

_sip._udp.many          120   SRV   0 0 5060 a
_sip._udp.many          120   SRV   0 60 5060 b
_sip._udp.many          120   SRV   0 30 5060 c
quick                   1     A     192.0.2.7
lasting                 86400 A     192.0.2.7
"""


class Zone:
    """A name server in memory. Of the names in `silent` it knows nothing, and does not say so either."""

    def __init__(self, text: str = ZONE, *, silent: Sequence[str] = ()) -> None:
        self._zone = dns.zone.from_text(text, "example.com.", relativize=False, check_origin=False)
        self._silent = silent
        self.asked: list[str] = []

    async def ask(self, name: str, kind: RdataType) -> Reply:
        question = f"{name.removesuffix('.').removesuffix('.example.com')} {kind.name}"
        self.asked.append(question)
        await asyncio.sleep(0)
        if question in self._silent:
            return UNANSWERED
        owner = dns.name.from_text(name)
        alias = self._zone.get_rdataset(owner, "CNAME")
        found = self._zone.get_rdataset(alias[0].target if alias else owner, kind)
        return Reply(tuple(found), float(found.ttl)) if found else Reply((), 15.0)


class Time:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> float:
        return self.seconds


class Bench:
    """A resolver, what it asks, and its clock."""

    def __init__(
        self,
        zone: Zone | None = None,
        *,
        reach: Mapping[str, Sequence[socket.AddressFamily]] = EVERYTHING,
        lots: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.zone = zone or Zone()
        self.time = Time()
        self.resolver = Resolver(self.zone.ask, reach=reach, now=self.time.now, random=lots)

    async def find(self, host: str, port: int = 0, transport: str = "", *, secure: bool = False) -> list[Target]:
        return list(await self.resolver.targets(hop(host, port, transport, secure=secure)))


def hop(host: str, port: int = 0, transport: str = "", *, secure: bool = False, source: str = "192.0.2.7") -> Hop:
    return Hop(flow(host=source), transport, f"{host}.example.com", port, secure=secure)


def udp(number: int, port: int = 5060) -> Target:
    return Target("UDP", f"192.0.2.{number}", port)


def tcp(number: int, port: int = 5060) -> Target:
    return Target("TCP", f"192.0.2.{number}", port)


def tls(number: int, port: int = 5061) -> Target:
    return Target("TLS", f"192.0.2.{number}", port)


# Which records, in which order (sections 4.1 and 4.2)


@pytest.mark.parametrize(
    ("asked", "targets", "questions"),
    [
        pytest.param(hop("srv", 5062), [udp(99, 5062)], ["srv A", "srv AAAA"], id="a port: no SRV, and UDP"),
        pytest.param(hop("srv", 5062, "TCP"), [tcp(99, 5062)], ["srv A", "srv AAAA"], id="port and transport"),
        pytest.param(hop("srv", 5062, secure=True), [tls(99, 5062)], ["srv A"], id="sips with a port: TLS"),
        pytest.param(
            hop("srv", 0, "UDP"),
            [udp(1), udp(2, 5070)],
            ["_sip._udp.srv SRV", "a A", "a AAAA", "b A", "b AAAA"],
            id="a transport: its SRV records by priority",
        ),
        pytest.param(hop("srv", 0, "TCP"), [tcp(3, 5080)], ["_sip._tcp.srv SRV", "c A", "c AAAA"], id="transport=tcp"),
        pytest.param(hop("srv", 0, "TLS"), [tls(3, 5081)], ["_sips._tcp.srv SRV", "c A"], id="transport=tls"),
        pytest.param(
            hop("phone", 0, "TCP"),
            [tcp(7)],
            ["_sip._tcp.phone SRV", "phone A", "phone AAAA"],
            id="a transport without SRV: the address, at its port",
        ),
        pytest.param(hop("phone", 0, "TLS"), [tls(7)], ["_sips._tcp.phone SRV", "phone A"], id="likewise TLS: 5061"),
        pytest.param(
            hop("naptr"),
            [tls(3, 5081), tcp(3, 5080), udp(1), udp(2, 5070)],
            None,
            id="NAPTR by order and preference, without what we do not speak",
        ),
        pytest.param(
            hop("naptr", secure=True),
            [tls(3, 5081)],
            ["naptr NAPTR", "_sips._tcp.srv SRV", "c A"],
            id="sips: NAPTR of SIPS services only",
        ),
        pytest.param(
            hop("srv"), [udp(1), udp(2, 5070), tcp(3, 5080)], None, id="no NAPTR: SRV of UDP and TCP, as we prefer them"
        ),
        pytest.param(
            hop("srv", secure=True), [tls(3, 5081)], ["srv NAPTR", "_sips._tcp.srv SRV", "c A"], id="sips without NAPTR"
        ),
        pytest.param(
            hop("phone"),
            [udp(7)],
            ["phone NAPTR", "_sip._udp.phone SRV", "_sip._tcp.phone SRV", "phone A", "phone AAAA"],
            id="neither NAPTR nor SRV: UDP, 5060",
        ),
        pytest.param(hop("phone", secure=True), [tls(7)], None, id="sips with neither: TLS, 5061"),
        pytest.param(hop("useless"), [udp(9)], None, id="NAPTR of other services is none"),
        pytest.param(hop("alias", 5060), [udp(7)], None, id="CNAME"),
        pytest.param(hop("refused", 0, "UDP"), [], ["_sip._udp.refused SRV"], id="SRV '.': not available, no A"),
        pytest.param(hop("refused"), [tcp(1)], None, id="SRV '.' of one transport only"),
        pytest.param(hop("dangling", 0, "UDP"), [], None, id="SRV to a name without address"),
        pytest.param(hop("nobody"), [], None, id="no such name"),
        pytest.param(hop("nowhere"), [], None, id="a name without address"),
        pytest.param(hop("srv", 0, "WS"), [], [], id="a transport that we cannot connect by"),
        pytest.param(hop("srv", 5060, "SCTP"), [], [], id="one that we do not have, with a port"),
        pytest.param(hop("srv", 0, "UDP", secure=True), [], [], id="sips over UDP"),
    ],
)
async def test_the_targets_of_a_name(asked: Hop, targets: list[Target], questions: list[str] | None) -> None:
    bench = Bench()
    assert list(await bench.resolver.targets(asked)) == targets
    if questions is not None:
        assert sorted(bench.zone.asked) == sorted(questions)


async def test_a_server_without_tls_passes_over_sips_services() -> None:
    bench = Bench(reach={"UDP": (V4,), "TCP": (V4,)})
    assert await bench.find("naptr") == [tcp(3, 5080), udp(1), udp(2, 5070)]
    assert await bench.find("srv", secure=True) == []


# Addresses


@pytest.mark.parametrize(
    ("source", "families", "hosts"),
    [
        ("192.0.2.50", (V4, V6), ["192.0.2.8", "2001:db8::8"]),
        ("2001:db8::50", (V4, V6), ["2001:db8::8", "192.0.2.8"]),
        ("192.0.2.50", (V6,), ["2001:db8::8"]),
        ("2001:db8::50", (V4,), ["192.0.2.8"]),
    ],
)
async def test_the_families_of_our_listeners_the_subscribers_own_first(
    source: str, families: Sequence[socket.AddressFamily], hosts: list[str]
) -> None:
    bench = Bench(reach={"UDP": families})
    found = await bench.resolver.targets(hop("dual", 5060, source=source))
    assert [target.host for target in found] == hosts
    assert len(bench.zone.asked) == len(families)


# RFC 2782


async def test_equal_priorities_are_drawn_by_weight() -> None:
    dice = random.Random(3263)
    zone, first = Zone(), Counter[str]()
    for _ in range(2000):
        found = await Bench(zone, lots=dice.random).find("many", 0, "UDP")
        assert sorted(target.host for target in found) == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
        first[found[0].host] += 1
    assert 1200 < first["192.0.2.2"] < 1450  # 60 of 91
    assert 560 < first["192.0.2.3"] < 760  # 30 of 91
    assert 5 < first["192.0.2.1"] < 60  # 1 of 91: weight 0 has "a very small chance"


@pytest.mark.parametrize(
    ("lot", "hosts"),
    [
        # They stand as 1 (weight 0), 3 (30), 2 (60); what is left is drawn from in the same way.
        pytest.param(0.0, "132", id="0: always the first"),
        pytest.param(0.3, "321", id="27 of 90, then 18 of 60: the first that is not 0"),
        pytest.param(0.99, "231", id="90 of 90: the last"),
    ],
)
async def test_a_lot_falls_on_the_first_whose_running_sum_reaches_it(lot: float, hosts: str) -> None:
    found = await Bench(lots=lambda: lot).find("many", 0, "UDP")
    assert "".join(target.host[-1] for target in found) == hosts


async def test_a_drawn_order_holds_as_long_as_the_records() -> None:
    dice = random.Random(1)
    bench = Bench(lots=dice.random)
    orders = {tuple(await bench.find("many", 0, "UDP")) for _ in range(50)}
    assert len(orders) == 1
    for _ in range(50):
        bench.time.seconds += 121
        orders.add(tuple(await bench.find("many", 0, "UDP")))
    assert len(orders) > 1


# What is kept, and for how long


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        pytest.param(hop("phone", 5060), 300, id="the TTL"),
        pytest.param(hop("srv", 0, "UDP"), 120, id="the shortest of those that led there"),
        pytest.param(hop("naptr"), 60, id="NAPTR counts as well"),
        pytest.param(hop("quick", 5060), 5, id="at least 5 s"),
        pytest.param(hop("lasting", 5060), 3600, id="at most an hour"),
        pytest.param(hop("nobody"), 15, id="that there is nothing: as its zone says"),
    ],
)
async def test_answers_are_kept_for_their_time(asked: Hop, seconds: float) -> None:
    bench = Bench()
    assert bench.resolver.cached(asked) is None
    found = await bench.resolver.targets(asked)
    questions = len(bench.zone.asked)
    bench.time.seconds += seconds - 0.1
    assert bench.resolver.cached(asked) == found
    await bench.resolver.targets(asked)
    assert len(bench.zone.asked) == questions
    bench.time.seconds += 0.2
    assert bench.resolver.cached(asked) is None
    assert await bench.resolver.targets(asked) == found
    assert len(bench.zone.asked) == 2 * questions


async def test_that_there_is_nothing_is_kept_for_30_s_at_most() -> None:
    class Sure(Zone):
        async def ask(self, name: str, kind: RdataType) -> Reply:
            return Reply((), 86400.0)

    bench = Bench(Sure())
    assert await bench.find("phone") == []
    bench.time.seconds += 29.9
    assert bench.resolver.cached(hop("phone")) == ()
    bench.time.seconds += 0.2
    assert bench.resolver.cached(hop("phone")) is None


@pytest.mark.parametrize(
    ("silent", "targets", "seconds"),
    [
        pytest.param(["srv NAPTR"], [udp(1), udp(2, 5070), tcp(3, 5080)], 30, id="NAPTR unanswered: SRV, for 30 s"),
        pytest.param(["_sip._udp.srv SRV"], [tcp(3, 5080)], 30, id="one of two SRV"),
        pytest.param(["b A"], [udp(1), tcp(3, 5080)], 30, id="one of three addresses"),
        pytest.param(["a A", "b A", "c A"], [], 5, id="no address: asked again after 5 s"),
    ],
)
async def test_a_name_server_that_is_silent_now_and_then(
    silent: list[str], targets: list[Target], seconds: float
) -> None:
    bench = Bench(Zone(silent=silent))
    assert await bench.find("srv") == targets
    bench.time.seconds += seconds - 0.1
    assert bench.resolver.cached(hop("srv")) is not None
    bench.time.seconds += 0.2
    assert bench.resolver.cached(hop("srv")) is None


async def test_the_same_question_at_the_same_time_is_asked_once() -> None:
    bench = Bench()
    found = await asyncio.gather(*(bench.find("phone", 5060) for _ in range(100)))
    assert found == [[udp(7)]] * 100
    assert sorted(bench.zone.asked) == ["phone A", "phone AAAA"]


async def test_who_gives_up_leaves_the_look_up_to_the_others() -> None:
    bench = Bench()
    impatient, patient = (asyncio.create_task(bench.find("phone", 5060)) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient == [udp(7)]
    assert impatient.cancelled()


async def test_a_look_up_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class Deaf(Zone):
        async def ask(self, name: str, kind: RdataType) -> Reply:
            await asyncio.Event().wait()
            raise AssertionError

    monkeypatch.setattr("sipresence.net.resolver.LOOK_UP_TIME", 0.02)
    bench = Bench(Deaf())
    assert await bench.find("phone") == []
    assert bench.resolver.cached(hop("phone")) == ()


async def test_a_stop_ends_the_look_ups() -> None:
    bench = Bench()
    waiting = asyncio.create_task(bench.find("phone"))
    await asyncio.sleep(0)
    bench.resolver.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_the_table_is_bounded() -> None:
    bench = Bench()
    for number in range(MAX_ANSWERS + 1):
        await bench.find(f"n{number}", 5060)
    assert bench.resolver.cached(hop("n0", 5060)) is None
    assert bench.resolver.cached(hop("n1", 5060)) == ()
    assert len(bench.resolver._answers) == MAX_ANSWERS


async def test_a_large_zone_costs_few_questions() -> None:
    lines = [f"_sip._udp.big 60 SRV 0 0 5060 h{n}\nh{n} 60 A 192.0.2.1" for n in range(200)]
    lines += [f"wide 60 A 198.51.100.{n}" for n in range(200)]
    bench = Bench(Zone("\n".join(lines)), reach={"UDP": (V4,)})
    assert len(await bench.find("big", 0, "UDP")) == 8
    assert len(bench.zone.asked) == 9
    assert len(await bench.find("wide", 5060)) == 8


# Failures (section 4.3)


def order(found: Targets | None) -> str:
    return "".join(target.host[-1] for target in found or ())


async def test_a_failed_target_comes_last_for_30_s() -> None:
    bench = Bench()
    asked = hop("srv")
    first = (await bench.resolver.targets(asked))[0]
    bench.resolver.failed(first)
    assert order(bench.resolver.cached(asked)) == "231"
    assert order(await bench.resolver.targets(asked)) == "231"
    bench.time.seconds += 30
    assert order(bench.resolver.cached(asked)) == "123"


async def test_where_all_have_failed_the_order_is_the_old_one() -> None:
    bench = Bench()
    for target in await bench.resolver.targets(hop("srv")):
        bench.resolver.failed(target)
    assert order(bench.resolver.cached(hop("srv"))) == "123"


async def test_a_target_that_fails_again_and_again_rests_for_longer() -> None:
    bench = Bench()
    asked = hop("srv")
    first = (await bench.resolver.targets(asked))[0]

    def pause() -> float:
        bench.resolver.failed(first)
        began = bench.time.seconds
        while first in bench.resolver.failures:
            bench.time.seconds += 1
            bench.resolver.failed(udp(250))  # somebody else's failures have no part in it
        return bench.time.seconds - began

    assert [pause() for _ in range(5)] == [30, 60, 120, 240, 240]
    bench.time.seconds += 64  # it worked for a while
    assert pause() == 30


async def test_further_requests_that_were_under_way_prolong_nothing() -> None:
    bench = Bench()
    bench.resolver.failed(udp(1))
    bench.time.seconds += 29
    bench.resolver.failed(udp(1))
    bench.time.seconds += 1
    assert udp(1) not in bench.resolver.failures


def test_failures_are_bounded() -> None:
    failures = Bench().resolver.failures
    for port in range(MAX_FAILURES + 1):
        failures.add(udp(1, port))
    assert udp(1, 0) not in failures
    assert udp(1, 1) in failures
    assert len(failures._marks) == MAX_FAILURES
