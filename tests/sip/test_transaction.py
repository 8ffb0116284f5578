"""The transaction layer in virtual time: act, then look at the effects."""

import itertools
from collections.abc import Callable

import pytest

from sipresence.sip import transaction
from sipresence.sip.message import Request, Response
from sipresence.sip.transaction import MERGED, TIMED_OUT, Answered, Deliver, Effect, TransactionLayer, Transmit
from tests.builders import Fields, flow, parsed, parsed_response, request, response_to, subscribe

PHONE = ("192.0.2.7", 5060)
TIMER_E = [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]


class Bench:
    """A layer and its clock. `sent` holds the NOTIFY of each owner, as it went out last."""

    def __init__(self, *, t1: float = 0.5, now: float = 1000.0) -> None:
        tokens = itertools.count(1)
        self.layer = TransactionLayer(t1=t1, token=lambda: f"t{next(tokens)}")
        self.started_at = self.now = now
        self.sent: dict[int, Transmit] = {}

    def send(self, owner: int = 7, *, transport: str = "UDP", connection: int | None = None) -> list[Effect]:
        """Send a NOTIFY for this owner, whose Call-ID is `call-<owner>`."""
        branch = self.layer.branch(owner)
        call_id = f"call-{owner}"
        data = request("NOTIFY", via=f"SIP/2.0/{transport} 192.0.2.1:5060;rport;branch={branch}", call_id=call_id)
        self.sent[owner] = Transmit(data, flow(transport, connection=connection), PHONE)
        return self.layer.send(owner, branch=branch, call_id=call_id, cseq=1, transmit=self.sent[owner], now=self.now)

    def answer(self, status: int = 200, headers: str = "", *, owner: int = 7) -> list[Effect]:
        return self.layer.receive_response(self.response(status, headers, owner=owner))

    def response(self, status: int = 200, headers: str = "", *, owner: int = 7) -> Response:
        return parsed_response(response_to(self.sent[owner].data, status, headers))

    def receive(self, asked: Request) -> list[Effect]:
        return self.layer.receive_request(asked, now=self.now)

    def respond(self, asked: Request, data: bytes = b"200") -> Transmit:
        answer = Transmit(data, asked.flow, PHONE)
        assert self.layer.respond(asked, answer) == [answer]
        return answer

    def run(self, seconds: float) -> list[tuple[float, Effect]]:
        """Let time pass, called back at each deadline; the effects with their times since the start."""
        until = self.now + seconds
        seen: list[tuple[float, Effect]] = []
        while (deadline := self.layer.next_deadline()) is not None and deadline <= until:
            assert deadline >= self.now
            self.now = deadline
            effects = self.layer.expire(now=deadline)
            seen += [(round(deadline - self.started_at, 6), effect) for effect in effects]
            following = self.layer.next_deadline()
            assert following is None or following > deadline
        self.now = until
        return seen


@pytest.fixture
def bench() -> Bench:
    return Bench()


# Client transactions (RFC 3261 section 17.1.2)


def test_a_branch_is_new_each_time(bench: Bench) -> None:
    """RFC 3261 section 8.1.1.7: it begins with the magic cookie and is unique."""
    first, second = bench.layer.branch(7), bench.layer.branch(7)
    assert first != second
    assert first.startswith("z9hG4bK")


def test_it_is_sent_at_once(bench: Bench) -> None:
    assert bench.send() == [bench.sent[7]]
    assert len(bench.layer) == 1


def test_timers_e_and_f(bench: Bench) -> None:
    """RFC 3261 section 17.1.2.2: T1, doubled up to T2, until 64·T1; then as if 408 had come (section 8.1.3.1)."""
    bench.send()
    sent = bench.sent[7]
    assert bench.run(100) == [*((at, sent) for at in TIMER_E), (32.0, Answered(7, 408, None, failed=True))]
    assert bench.layer.next_deadline() is None
    assert len(bench.layer) == 0
    assert bench.layer.retransmissions_sent == len(TIMER_E)


@pytest.mark.parametrize(
    ("t1", "times"),
    [
        pytest.param(0.05, [0.05, 0.15, 0.35, 0.75, 1.55, 3.15, 3.2], id="T2 is never reached"),
        pytest.param(0.0625, [0.0625, 0.1875, 0.4375, 0.9375, 1.9375, 3.9375, 4.0], id="T2 is 64·T1"),
        pytest.param(2.0, [2, 6, *range(10, 127, 4), 128], id="a slow network"),
        pytest.param(5.0, [5, *range(9, 318, 4), 320], id="T1 above T2"),
    ],
)
def test_another_t1(t1: float, times: list[float]) -> None:
    bench = Bench(t1=t1)
    bench.send()
    assert [at for at, _ in bench.run(1000)] == times


@pytest.mark.parametrize("transport", ["TCP", "TLS"])
def test_no_retransmission_on_a_reliable_transport(bench: Bench, transport: str) -> None:
    """RFC 3261 section 17.1.2.2: timer E is for unreliable transports; timer F is for all."""
    bench.send(transport=transport)
    assert bench.run(100) == [(32.0, Answered(7, TIMED_OUT, None, failed=True))]


@pytest.mark.parametrize(
    ("status", "headers", "retry_after"),
    [
        (200, "", None),
        (202, "", None),
        (300, "", None),
        (481, "", None),
        (503, "Retry-After: 18\r\n", 18),
        (603, "", None),
    ],
)
def test_a_final_response_ends_it(bench: Bench, status: int, headers: str, retry_after: int | None) -> None:
    bench.send()
    assert bench.answer(status, headers) == [Answered(7, status, retry_after, failed=status == 503)]
    assert bench.run(100) == []
    assert len(bench.layer) == 0


def test_a_response_late_but_in_time(bench: Bench) -> None:
    bench.send()
    bench.run(31.9)
    assert bench.answer() == [Answered(7, 200, None)]
    assert bench.run(100) == []


def test_a_response_again_is_absorbed(bench: Bench) -> None:
    """RFC 3261 section 17.1.2.2: what timer K is for. The phone sent one for each retransmission of ours."""
    bench.send()
    response = bench.response()
    bench.layer.receive_response(response)
    assert bench.layer.receive_response(response) == []
    assert bench.layer.stray_responses == 1


def test_a_response_after_timer_f_is_dropped(bench: Bench) -> None:
    bench.send()
    bench.run(100)
    assert bench.answer() == []


@pytest.mark.parametrize("provisional_at", [0.1, 0.6, 11.6, 27.6, 31.6])
def test_a_provisional_response_slows_it_down(bench: Bench, provisional_at: float) -> None:
    """RFC 3261 section 17.1.2.2: "If Timer E fires while in the Proceeding state, the request MUST be passed to the
    transport layer for retransmission …, and Timer E MUST be reset with a value of T2 seconds"; timer F goes on.
    """
    bench.send()
    bench.run(provisional_at)
    assert bench.answer(100) == []
    at = next(at for at in [*TIMER_E, 32.0] if at > provisional_at)
    expected = []
    while at < 32:
        expected.append((at, bench.sent[7]))
        at += 4
    assert bench.run(100) == [*expected, (32.0, Answered(7, TIMED_OUT, None))]
    assert bench.layer.next_deadline() is None


def test_a_final_response_after_provisional_ones(bench: Bench) -> None:
    bench.send()
    bench.answer(100)
    bench.answer(183)
    assert bench.answer() == [Answered(7, 200, None)]
    assert bench.run(100) == []


def test_a_provisional_response_on_a_reliable_transport(bench: Bench) -> None:
    bench.send(transport="TCP")
    bench.run(5)
    bench.answer(100)
    assert bench.run(100) == [(32.0, Answered(7, TIMED_OUT, None))]


STRAY: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("another branch of the same owner", lambda data: data.replace(b"z9hG4bKt1", b"z9hG4bKt2")),
    ("an unknown owner", lambda data: data.replace(b"t1.7", b"t1.8")),
    ("no owner", lambda data: data.replace(b"t1.7", b"t1.")),
    ("an owner that is no number", lambda data: data.replace(b"t1.7", "t1.\u0667".encode())),
    ("an owner too large to be one", lambda data: data.replace(b"t1.7", b"t1." + b"7" * 5000)),
    ("no branch at all", lambda data: data.replace(b";branch=z9hG4bKt1.7", b"")),
    ("RFC 3261 17.1.3: another method in CSeq", lambda data: data.replace(b"1 NOTIFY", b"1 SUBSCRIBE")),
    ("no CSeq", lambda data: data.replace(b"CSeq: 1 NOTIFY\r\n", b"")),
    ("RFC 4475 3.1.2.5: an overlarge CSeq", lambda data: data.replace(b"1 NOTIFY", b"9292394834772304023312 NOTIFY")),
    ("another phone's Call-ID", lambda data: data.replace(b"call-7", b"call-8")),
    ("no Call-ID", lambda data: data.replace(b"Call-ID: call-7\r\n", b"")),
    ("RFC 3261 8.1.3.3: two Vias", lambda data: data.replace(b"Via:", b"Via: SIP/2.0/UDP h;branch=z9hG4bK1\r\nVia:")),
]


@pytest.mark.parametrize("stray", [row[1] for row in STRAY], ids=[row[0] for row in STRAY])
def test_a_stray_response_is_dropped(bench: Bench, stray: Callable[[bytes], bytes]) -> None:
    bench.send()
    data = response_to(bench.sent[7].data)
    assert stray(data) != data
    assert bench.layer.receive_response(parsed_response(stray(data))) == []
    assert bench.layer.stray_responses == 1
    assert bench.answer() == [Answered(7, 200, None)]  # the transaction goes on all the same


def test_an_ordinary_success_needs_no_parsing(bench: Bench) -> None:
    bench.send()
    bench.now += 0.25
    data = response_to(bench.sent[7].data).replace(b";rport", b";received=192.0.2.7;rport=5060")
    assert bench.layer.receive_success(data) == [Answered(7, 200, None)]
    assert bench.layer.receive_success(data) is None  # its transaction is gone
    assert len(bench.layer) == 0


@pytest.mark.parametrize(
    "odd",
    [
        *(row[1] for row in STRAY),
        lambda data: data.replace(b"\r\nFrom", b"\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom"),
        lambda data: data.replace(b".7", b".\xb2"),
    ],
    ids=[*(row[0] for row in STRAY), "two Vias, ours first", "a digit of Latin-1 that is no number"],
)
def test_a_success_that_is_odd_has_to_be_parsed(bench: Bench, odd: Callable[[bytes], bytes]) -> None:
    bench.send()
    data = response_to(bench.sent[7].data)
    assert odd(data) != data
    assert bench.layer.receive_success(odd(data)) is None
    assert bench.layer.receive_success(data) == [Answered(7, 200, None)]


def test_owners_do_not_disturb_each_other(bench: Bench) -> None:
    bench.send(1)
    bench.run(0.25)
    bench.send(2)
    assert bench.run(0.5) == [(0.5, bench.sent[1]), (0.75, bench.sent[2])]
    assert bench.answer(owner=1) == [Answered(1, 200, None)]
    assert bench.run(1.0) == [(1.75, bench.sent[2])]


def test_a_newer_request_takes_the_place_of_the_older(bench: Bench) -> None:
    """At most one NOTIFY of a subscription is on its way."""
    bench.send()
    late = bench.response()
    bench.run(5)
    bench.send()
    assert bench.layer.receive_response(late) == []
    assert len(bench.layer) == 1
    assert bench.run(1.0) == [(5.5, bench.sent[7])]
    assert bench.answer() == [Answered(7, 200, None)]


@pytest.mark.parametrize("provisional", [False, True])
@pytest.mark.parametrize("transport", ["UDP", "TCP"])
def test_abandoned_means_silence(bench: Bench, transport: str, provisional: bool) -> None:
    bench.send(transport=transport)
    if provisional:
        bench.answer(100)
    bench.layer.abandon(7)
    bench.layer.abandon(7)
    assert bench.answer() == []
    assert bench.run(100) == []
    assert len(bench.layer) == 0


def test_who_waits_over_a_connection(bench: Bench) -> None:
    bench.send(1, transport="TCP", connection=1)
    bench.send(2, transport="TCP", connection=1)
    bench.send(3, transport="TCP", connection=2)
    bench.send(4)
    assert sorted(bench.layer.owners_over(flow("TCP", connection=1))) == [1, 2]
    bench.answer(owner=1)
    bench.send(2, transport="TCP", connection=2)  # the phone has connected anew
    assert bench.layer.owners_over(flow("TCP", connection=1)) == []
    assert sorted(bench.layer.owners_over(flow("TCP", connection=2))) == [2, 3]
    bench.run(100)
    assert bench.layer.owners_over(flow("TCP", connection=2)) == []


def test_datagrams_have_no_connection(bench: Bench) -> None:
    bench.send()
    assert bench.layer.owners_over(flow()) == []


# Server transactions (RFC 3261 section 17.2.2)


def test_a_new_request_is_delivered(bench: Bench) -> None:
    asked = parsed(subscribe())
    assert bench.receive(asked) == [Deliver(asked)]


def test_a_retransmission_before_the_answer_is_absorbed(bench: Bench) -> None:
    """ "Once in the Trying state, any further request retransmissions are discarded." """
    bench.receive(parsed(subscribe()))
    assert bench.receive(parsed(subscribe())) == []
    assert bench.receive(parsed(subscribe())) == []
    assert bench.layer.retransmissions_received == 2


def test_a_retransmission_after_the_answer_gets_it_again(bench: Bench) -> None:
    """ "While in the Completed state, the … final response … MUST be passed to the transport layer … whenever a
    retransmission of the request is received."
    """
    asked = parsed(subscribe())
    bench.receive(asked)
    answer = bench.respond(asked)
    assert bench.receive(parsed(subscribe())) == [answer]
    assert bench.receive(parsed(subscribe())) == [answer]


@pytest.mark.parametrize("fields", [{"cseq": 2}, {"call_id": "2"}, {"branch": "z9hG4bKx"}])
def test_another_request_is_no_retransmission(bench: Bench, fields: Fields) -> None:
    asked = parsed(subscribe())
    bench.receive(asked)
    bench.respond(asked)
    other = parsed(subscribe(**fields))
    assert bench.receive(other) == [Deliver(other)]


def delivered(effects: list[Effect]) -> Request:
    (effect,) = effects
    assert isinstance(effect, Deliver)
    return effect.request


@pytest.mark.parametrize("answered", [False, True])
def test_a_merged_request_is_to_be_refused(bench: Bench, answered: bool) -> None:
    """RFC 3261 section 8.2.2.2: From tag, Call-ID and CSeq of a request that came by another way: 482."""
    first = delivered(bench.receive(parsed(subscribe())))
    if answered:
        bench.respond(first)
    merged = delivered(bench.receive(parsed(subscribe(branch="z9hG4bKx"))))
    assert (first.defect, merged.defect) == (None, MERGED)
    refusal = bench.respond(merged, b"482")
    assert bench.receive(parsed(subscribe(branch="z9hG4bKx"))) == [refusal]  # a transaction of its own


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"cseq": 2}, id="another CSeq"),
        pytest.param({"call_id": "2"}, id="another Call-ID"),
        pytest.param({"from_tag": "phone-2"}, id="another From tag"),
        pytest.param({"to_tag": "ours"}, id="RFC 3261 8.2.2.2: only without a tag in To"),
    ],
)
def test_what_is_not_merged(bench: Bench, fields: Fields) -> None:
    bench.receive(parsed(subscribe()))
    other: Fields = {"branch": "z9hG4bKx"}
    other.update(fields)
    assert delivered(bench.receive(parsed(subscribe(**other)))).defect is None


def test_a_refresh_by_two_ways_is_not_merged(bench: Bench) -> None:
    """Inside a dialog the CSeq decides."""
    bench.receive(parsed(subscribe(to_tag="ours")))
    assert delivered(bench.receive(parsed(subscribe(to_tag="ours", branch="z9hG4bKx")))).defect is None


def test_a_merged_request_keeps_a_defect_of_its_own(bench: Bench) -> None:
    bench.receive(parsed(subscribe(cseq="x SUBSCRIBE")))
    merged = delivered(bench.receive(parsed(subscribe(cseq="x SUBSCRIBE", branch="z9hG4bKx"))))
    assert merged.defect is not None
    assert merged.defect.status == 400


def test_merging_is_found_as_long_as_the_transaction_is_kept(bench: Bench) -> None:
    bench.receive(parsed(subscribe()))
    bench.run(33)
    assert delivered(bench.receive(parsed(subscribe(branch="z9hG4bKx")))).defect is MERGED
    bench.run(64)
    assert delivered(bench.receive(parsed(subscribe(branch="z9hG4bKy")))).defect is None


def test_nothing_merges_with_a_dropped_request(bench: Bench) -> None:
    """A phone that was asked for its password, or found us busy, may ask again under any branch."""
    asked = delivered(bench.receive(parsed(subscribe())))
    bench.layer.drop(asked)
    again = delivered(bench.receive(parsed(subscribe(branch="z9hG4bKx"))))
    assert again.defect is None
    merged = delivered(bench.receive(parsed(subscribe(branch="z9hG4bKy"))))
    bench.layer.drop(merged)  # takes nothing with it that is not its own
    assert delivered(bench.receive(parsed(subscribe(branch="z9hG4bKz")))).defect is MERGED


@pytest.mark.parametrize("arrives_at", [0.0, 10.0, 31.9])
def test_an_answer_lives_for_timer_j_at_least(bench: Bench, arrives_at: float) -> None:
    """RFC 3261 section 17.2.2: timer J is 64·T1. Two generations make it one to two of these."""
    bench.receive(parsed(subscribe(call_id="first")))  # the generations' clock starts here
    bench.run(arrives_at)
    asked = parsed(subscribe())
    bench.receive(asked)
    answer = bench.respond(asked)
    bench.run(32)
    assert bench.receive(parsed(subscribe())) == [answer]
    bench.run(64)
    again = parsed(subscribe())
    assert bench.receive(again) == [Deliver(again)]


def test_an_answer_given_a_generation_later(bench: Bench) -> None:
    """A slow commit: the request is of the older generation when its answer comes."""
    asked = parsed(subscribe())
    bench.receive(asked)
    bench.run(33)
    assert bench.receive(parsed(subscribe())) == []
    answer = bench.respond(asked)
    assert bench.receive(parsed(subscribe())) == [answer]


def test_an_idle_layer_wants_no_wake_up(bench: Bench) -> None:
    assert bench.layer.next_deadline() is None
    asked = parsed(subscribe())
    bench.receive(asked)
    bench.respond(asked)
    assert bench.run(1000) == []
    assert bench.layer.next_deadline() is None


def test_the_table_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of new requests is as good as lost; what is known is still answered, and room comes back."""
    monkeypatch.setattr(transaction, "MAX_SERVER_TRANSACTIONS", 3)
    asked = [parsed(subscribe(cseq=number)) for number in range(1, 5)]
    delivered = [bench.receive(one) for one in asked]
    assert delivered == [[Deliver(one)] for one in asked[:3]] + [[]]
    answer = bench.respond(asked[0])
    assert bench.receive(asked[0]) == [answer]
    bench.run(32)
    assert bench.receive(asked[3]) == [Deliver(asked[3])]


def test_both_sides_share_one_clock(bench: Bench) -> None:
    bench.receive(parsed(subscribe()))
    bench.run(31.8)
    bench.send()
    assert [at for at, _ in bench.run(1)] == [32.3]
