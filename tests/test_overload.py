"""Overload in virtual time: refreshes before new work, quotas, a store that is behind, and what a stranger pays."""

from typing import Any

import pytest
import structlog.testing

from sipresence import inbox
from sipresence.directory import Directory
from sipresence.errors import SipError
from sipresence.events.effects import Notify, Respond
from sipresence.events.quotas import Quotas
from sipresence.events.subscribe import Limits
from sipresence.inbox import SATURATED_SLICE, SLICE
from sipresence.names import AccountId, ResourceId
from sipresence.service import PresenceService
from sipresence.sip.admission import RateLimits
from sipresence.sip.flow import Flow
from sipresence.uas_core import MAX_COMMIT_AGE
from tests.authorization import Phone, challenges
from tests.builders import flow, options, parsed, request, subscribe
from tests.events.desk import Desk, saved
from tests.fakes import NOW, ManualStore
from tests.test_service import STRANGER, House, house

__all__ = ["house"]

STREAM = flow("TCP")


def call_ids(sent: list[Respond | Notify]) -> list[str]:
    return [answer.request.call_id for answer in sent if isinstance(answer, Respond)]


def refused(service: PresenceService) -> dict[str, int]:
    return dict(service.refusals)


def refresh(known: Notify, **fields: Any) -> bytes:
    """A refresh of the subscription that this NOTIFY is of."""
    tag = known.head.partition(b";tag=")[2].partition(b"\r\n")[0].decode()
    return subscribe(to_tag=tag, **{"cseq": 2, **fields})


# Refreshes before new work


def test_a_refresh_is_answered_before_what_came_before_it(house: House) -> None:
    known = house.subscribed(call_id="old")
    sent = house.receive(*(subscribe(call_id=f"new-{n}") for n in range(5)), refresh(known, call_id="old"))
    assert call_ids(sent) == ["old", *(f"new-{n}" for n in range(5))]


def test_a_dialog_that_nobody_knows_is_new_work(house: House) -> None:
    known = house.subscribed(call_id="old")
    sent = house.receive(subscribe(call_id="forged", to_tag="guessed"), refresh(known, call_id="old"))
    assert call_ids(sent) == ["old", "forged"]


def test_in_saturated_turns_new_work_comes_in_slices_and_does_not_starve(house: House) -> None:
    known = house.subscribed(call_id="old")
    for number in range(2 * SLICE):
        house.service.on_request(parsed(subscribe(call_id=f"new-{number}")))
    house.service.on_saturation()
    house.service.on_request(parsed(refresh(known, call_id="old")))
    house.service.on_turn_end()
    assert call_ids(house.endpoint.sent) == ["old", *(f"new-{n}" for n in range(SATURATED_SLICE))]
    house.clock.settle()
    assert len(call_ids(house.endpoint.take())) == 1 + 2 * SLICE, "no further datagram was needed"


def test_new_work_that_finds_the_queue_full_is_looked_at_anew(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "MAX_WAITING", 3)
    sent = house.receive(*(subscribe(call_id=f"new-{n}") for n in range(5)))
    assert call_ids(sent) == ["new-0", "new-1", "new-2"]
    assert [dropped.call_id for dropped in house.endpoint.dropped] == ["new-3", "new-4"]
    assert refused(house.service) == {"new_work": 2}


def test_over_a_stream_it_is_told_when_to_come_back(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "MAX_WAITING", 0)
    (answer,) = house.receive(subscribe(), way=STREAM)
    assert isinstance(answer, Respond)
    assert (answer.status, answer.headers) == (503, "Retry-After: 5\r\n")


def test_a_mistake_of_ours_costs_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    def knows(_: Directory, resource: ResourceId) -> bool:
        if resource.startswith("102@"):
            raise ZeroDivisionError
        return True

    monkeypatch.setattr(Directory, "knows", knows)
    house = House(unknown_resources_allowed=False)
    sent = house.receive(subscribe(call_id="new-0", uri="sip:102@office.example.com"), subscribe(call_id="new-1"))
    assert call_ids(sent) == ["new-1"]


# The store is behind


def test_a_store_that_is_behind_refuses_new_work_only() -> None:
    store = ManualStore()
    house = House(store=store)
    house.receive(subscribe(call_id="old"))
    store.commit()
    house.clock.settle()
    _, known = house.endpoint.take()
    assert isinstance(known, Notify)
    house.receive(refresh(known, call_id="old"))  # its commit hangs
    house.clock.advance(MAX_COMMIT_AGE)
    house.receive(subscribe(call_id="in time"))
    house.clock.advance(0.1)
    house.receive(subscribe(call_id="late"), refresh(known, call_id="old", cseq=3))
    assert house.endpoint.sent == [], "nothing precedes the commit of what was decided before"
    store.commit()
    store.commit()
    house.clock.settle()
    answers = {(sent.request.call_id, sent.status): sent.headers for sent in house.endpoint.answers}
    assert sorted(answers) == [("in time", 200), ("late", 500), ("old", 200)]
    assert answers["late", 500] == "Retry-After: 5\r\n"
    assert refused(house.service) == {"commits_late": 1}

    house.endpoint.take()
    house.receive(subscribe(call_id="later"))
    store.commit()
    assert [sent.status for sent in house.endpoint.answers] == [200]


# What a stranger pays


def test_a_stranger_pays_for_whatever_he_asks_and_nothing_of_it_is_kept(house: House) -> None:
    admission = house.service.admission
    asked = [subscribe(), subscribe(to_tag="guessed"), options(), request("INVITE"), subscribe(max_forwards=0)]
    messages = [asked[n % len(asked)] for n in range(150)]
    house.receive(*messages, way=STRANGER)
    assert not admission.admits(STRANGER.host, STRANGER.port, NOW)
    assert len(house.endpoint.dropped) == 150


def test_who_is_trusted_pays_nothing(house: House) -> None:
    house.receive(*(subscribe(call_id=f"{n}", event="presence") for n in range(1000)))
    assert house.service.admission.admits("192.0.2.7", 5060, NOW)
    assert house.endpoint.dropped == []


def test_every_refusal_is_counted_by_name_and_few_are_logged(house: House) -> None:
    with structlog.testing.capture_logs() as lines:
        house.receive(*(subscribe(call_id=f"{n}", expires=1) for n in range(100)))
        house.clock.advance(1)
        house.receive(subscribe(event="refer"), options(headers={"Require": "x"}))
    assert refused(house.service) == {"interval_too_brief": 100, "event": 1, "extension": 1}
    assert len(lines) == 12
    assert (lines[0]["reason"], lines[0]["source"]) == ("interval_too_brief", "192.0.2.7:5060")
    assert [line["suppressed"] for line in lines] == [0] * 10 + [90, 0]


def test_a_challenge_is_counted_but_no_news(house: House) -> None:
    with structlog.testing.capture_logs() as lines:
        house.receive(subscribe(), way=STRANGER)
        house.receive(subscribe(cseq=2, headers={"Authorization": "Digest x"}), way=STRANGER)
    assert refused(house.service) == {"challenged": 1, "not_authenticated": 1}
    assert [line["reason"] for line in lines] == ["not_authenticated"]


# What a subscriber may ask


def authenticated(house: House, count: int, way: Flow = STRANGER) -> list[bytes]:
    """Requests with the right credentials, each for another subscription."""
    (answer,) = house.receive(subscribe(call_id="challenge"), way=way)
    assert isinstance(answer, Respond)
    challenge, phone = challenges(answer.headers)[0], Phone("101", "secret")
    return [
        subscribe(call_id=f"{number}", headers={"Authorization": phone.authorization(challenge)})
        for number in range(count)
    ]


def test_a_subscriber_who_asks_too_much_is_not_heard() -> None:
    house = House(rates=RateLimits(subscriber_burst=3))
    sent = house.receive(*authenticated(house, 5), way=STRANGER)
    assert call_ids(sent) == ["0", "1", "2"]
    assert [dropped.call_id for dropped in house.endpoint.dropped[1:]] == ["3", "4"]
    assert refused(house.service) == {"challenged": 1, "subscriber_rate": 2}
    house.clock.advance(1)
    assert house.receive(*authenticated(house, 1), way=STRANGER)


def test_over_a_stream_he_is_told_so() -> None:
    house = House(rates=RateLimits(subscriber_burst=1))
    way = flow("TCP", host=STRANGER.host)
    sent = house.receive(*authenticated(house, 2, way), way=way)
    answers = {answer.request.call_id: answer.status for answer in sent if isinstance(answer, Respond)}
    assert answers == {"0": 200, "1": 503}


def test_whoever_authenticates_costs_his_source_nothing() -> None:
    house = House(rates=RateLimits(source_burst=2))
    admission = house.service.admission
    asked = authenticated(house, 20)
    for message in asked:
        house.service.on_request(parsed(message, STRANGER))
    assert not admission.admits(STRANGER.host, STRANGER.port, NOW), "paid in advance"
    house.service.on_turn_end()
    house.clock.settle()
    assert admission.admits(STRANGER.host, STRANGER.port, NOW)
    assert len(call_ids(house.endpoint.take())) == 20


def test_a_subscriber_has_so_many_subscriptions() -> None:
    house = House(limits=Limits(subscriptions_per_subscriber=2))
    sent = house.receive(*authenticated(house, 3), way=STRANGER)
    assert sorted(answer.status for answer in sent if isinstance(answer, Respond)) == [200, 200, 403]
    assert refused(house.service) == {"challenged": 1, "subscriber_full": 1}


# Quotas


def quota_refusal(quotas: Quotas, user: str, account: str = "a") -> tuple[int, str] | None:
    record = saved(Desk().subscribe()).record._replace(account=AccountId(account), authenticated_user=user)
    try:
        quotas.refuse(record)
    except SipError as error:
        return error.status, error.name
    quotas.add(record)
    return None


def test_a_subscriber_has_so_many_subscriptions_and_no_more() -> None:
    quotas = Quotas(in_all=100, per_subscriber=2)
    assert [quota_refusal(quotas, "alice") for _ in range(3)] == [None, None, (403, "subscriber_full")]
    assert quota_refusal(quotas, "bob") is None
    assert quota_refusal(quotas, "alice", account="b") is None
    assert [quota_refusal(quotas, "") for _ in range(5)] == [None] * 5, "a trusted network is nobody in particular"
    quotas.remove(saved(Desk().subscribe()).record._replace(account=AccountId("a"), authenticated_user="alice"))
    assert [quota_refusal(quotas, "alice") for _ in range(2)] == [None, (403, "subscriber_full")]


def test_all_together_have_so_many_and_existing_ones_are_kept() -> None:
    house = House(limits=Limits(max_subscriptions=2))
    known = house.subscribed(call_id="one")
    house.subscribed(call_id="two")
    (answer,) = house.receive(subscribe(call_id="three"))
    assert isinstance(answer, Respond)
    assert (answer.status, answer.headers) == (500, "Retry-After: 60\r\n")
    assert refused(house.service) == {"full": 1}
    assert house.status(refresh(known, call_id="one")) == 200
    assert house.status(subscribe(call_id="one", cseq=9)) == 200, "the same phone, after a restart of its own"
    assert house.status(refresh(known, call_id="one", cseq=10, expires=0)) == 200
    assert house.status(subscribe(call_id="three", cseq=2)) == 200
