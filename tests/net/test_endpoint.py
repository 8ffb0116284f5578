"""The endpoint without sockets: whom it hears, who pays for what, and what of a request is kept."""

import itertools
from collections.abc import Callable

import pytest
from dns.rdatatype import RdataType

from sipresence.events.effects import Respond
from sipresence.names import SubscriptionId
from sipresence.net.endpoint import SipEndpoint
from sipresence.net.nameserver import Reply
from sipresence.net.transports import StreamSettings
from sipresence.sip.admission import Admission, RateLimits
from sipresence.sip.flow import Flow
from sipresence.sip.message import Request
from tests.builders import flow, options, request, response_to, subscribe
from tests.fakes import ManualClock

BURST = 5
STRANGER = flow(host="198.51.100.7")
STREAM = flow("TCP", host="198.51.100.7")
STUN = b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12)
ANSWER = response_to(request("NOTIFY", via="SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKguessed.1"))


async def no_names(name: str, kind: RdataType) -> Reply:
    raise AssertionError(f"{name} is looked up")


class Core:
    """Remembers what the endpoint reports; it answers nothing."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.excess: list[Request] = []
        self.refusals: list[str] = []

    def on_request(self, request: Request) -> None:
        self.requests.append(request)

    def on_excess(self, request: Request) -> None:
        self.excess.append(request)

    def on_refusal(self, reason: str, flow: Flow, count: int = 1) -> None:
        self.refusals += [reason] * count

    def on_notify_answered(
        self, ident: SubscriptionId, status: int, retry_after: int | None, sent_at: float = 0.0
    ) -> None:
        pass

    def on_saturation(self) -> None:
        pass

    def on_turn_end(self) -> None:
        pass

    def carries_subscription(self, flow: Flow) -> bool:
        return False


class Edge:
    def __init__(self) -> None:
        self.core = Core()
        self.clock = ManualClock()
        self.admission = Admission(RateLimits(source_burst=BURST))
        tokens = itertools.count()
        self.endpoint = SipEndpoint(
            self.core,
            (),
            streams=StreamSettings(),
            admission=self.admission,
            ask=no_names,
            clock=self.clock,
            t1=0.5,
            token=lambda: f"{next(tokens)}",
        )

    def receive(self, *messages: bytes, way: Flow = STRANGER) -> list[bool]:
        return [self.endpoint.receive(message, way) for message in messages]


@pytest.fixture
def edge() -> Edge:
    return Edge()


@pytest.mark.parametrize(
    "make",
    [
        lambda number: b"garbage",
        lambda number: request("ACK"),
        lambda number: STUN,
        lambda number: STUN[:21],
    ],
    ids=["garbage", "ACK", "STUN", "broken STUN"],
)
def test_what_nobody_asked_for_is_paid_by_its_source(edge: Edge, make: Callable[[int], bytes]) -> None:
    heard = edge.receive(*(make(number) for number in range(BURST + 3)))
    assert heard == [True] * BURST + [False] * 3
    assert edge.core.refusals[-3:] == ["source_rate"] * 3
    assert edge.receive(options(), way=flow(host="198.51.100.8")) == [True]


@pytest.mark.parametrize("message", [subscribe(), ANSWER], ids=["a request", "an answer"])
def test_repetitions_cost_a_quarter(edge: Edge, message: bytes) -> None:
    """A phone repeats itself when we are slow; for nothing, a flood of one message would be read as it comes."""
    heard = edge.receive(*[message] * 50)
    assert sum(heard) == pytest.approx(4 * BURST, abs=2)
    assert heard == sorted(heard, reverse=True)
    assert len(edge.core.requests) <= 1


def test_large_messages_cost_more(edge: Edge) -> None:
    assert edge.receive(*[options(headers={"X": 4096 * "x"})] * 5) == [True] * 3 + [False] * 2


def test_keepalives_and_what_the_core_has_to_judge_cost_nothing_here(edge: Edge) -> None:
    edge.receive(*[b"\r\n\r\n"] * 100)
    edge.receive(*(options(cseq=number + 1) for number in range(100)))
    edge.receive(*(subscribe(cseq=number + 1) for number in range(100)))
    assert len(edge.core.requests) == 200


def test_over_a_stream_whoever_asks_too_much_is_told(edge: Edge) -> None:
    edge.receive(*[b"garbage"] * BURST, way=STREAM)
    assert edge.receive(options(), subscribe(), ANSWER, b"garbage", way=STREAM) == [False] * 4
    assert [asked.method for asked in edge.core.excess] == ["OPTIONS", "SUBSCRIBE"]
    assert edge.core.requests == []


def test_a_request_that_is_dropped_is_looked_at_anew(edge: Edge) -> None:
    edge.receive(subscribe(), subscribe())
    (first,) = edge.core.requests
    edge.endpoint.drop(first)
    edge.receive(subscribe())
    assert len(edge.core.requests) == 2


def test_what_is_answered_after_it_was_dropped_is_not_kept(edge: Edge) -> None:
    edge.receive(subscribe())
    (first,) = edge.core.requests
    edge.endpoint.drop(first)
    edge.endpoint.respond(Respond(first, 401, "tag"))
    edge.receive(subscribe())
    assert len(edge.core.requests) == 2, "RFC 3261 section 8.2.7"
