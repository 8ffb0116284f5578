"""The machine of a subscription: every pair of its table, the pairs that must not be, its numbers and its answers."""

import pytest

from sipresence.events.dialog_info import render
from sipresence.events.effects import Notify, Save
from sipresence.events.record import SubscriptionRecord
from sipresence.events.resource import ResourceState
from sipresence.events.subscription import (
    BLOCK,
    MAX_RETRY_AFTER,
    RETRY_DELAYS,
    UNREACHABLE,
    Reason,
    Subscription,
    stored_flow,
)
from sipresence.events.transitions import TRANSITIONS, Action, Input, SubscriptionState
from tests.builders import flow
from tests.events.desk import LAMP, NOW, Desk, saved

S, I, A = SubscriptionState, Input, Action  # noqa: E741 (as the table under test names them)

# The table once more, row by row as the drawing in the module tells it: input -> (next state, action).
TABLE = {
    S.IDLE: {
        I.CHANGED: (S.IN_FLIGHT, A.NOTIFY),
        I.REFRESHED: (S.IN_FLIGHT, A.NOTIFY),
        I.MOVED: (S.IN_FLIGHT, A.NOTIFY),
        I.ENDED: (S.FINAL, A.NOTIFY_FINAL),
        I.FLUSHED: (S.IN_FLIGHT, A.NOTIFY),
        I.DUE: (S.IN_FLIGHT, A.NOTIFY),
        I.KNOWN: (S.IDLE, A.NOTHING),
    },
    S.IN_FLIGHT: {
        I.CHANGED: (S.DIRTY, A.NOTHING),
        I.REFRESHED: (S.DIRTY, A.NOTHING),
        I.MOVED: (S.IN_FLIGHT, A.NOTIFY),
        I.ANSWERED: (S.IDLE, A.NOTHING),
        I.FAILED: (S.WAITING, A.WAIT),
        I.REJECTED: (S.GONE, A.DROP),
        I.ENDED: (S.CLOSING, A.NOTHING),
        I.UNREACHABLE: (S.STRANDED, A.NOTHING),
        I.FLUSHED: (S.DIRTY, A.NOTHING),
        I.HELD: (S.QUEUED, A.NOTHING),
        I.TOO_SOON: (S.RESTING, A.NOTHING),
        I.DUE: (S.DIRTY, A.NOTHING),
        I.SPARED: (S.IDLE, A.NOTHING),
        I.KNOWN: (S.IN_FLIGHT, A.NOTHING),
    },
    S.DIRTY: {
        I.CHANGED: (S.DIRTY, A.NOTHING),
        I.REFRESHED: (S.DIRTY, A.NOTHING),
        I.MOVED: (S.IN_FLIGHT, A.NOTIFY),
        I.ANSWERED: (S.IN_FLIGHT, A.NOTIFY),
        I.FAILED: (S.WAITING, A.WAIT),
        I.REJECTED: (S.GONE, A.DROP),
        I.ENDED: (S.CLOSING, A.NOTHING),
        I.UNREACHABLE: (S.STRANDED, A.NOTHING),
        I.FLUSHED: (S.DIRTY, A.NOTHING),
        I.DUE: (S.DIRTY, A.NOTHING),
        I.KNOWN: (S.DIRTY, A.NOTHING),
    },
    S.WAITING: {
        I.CHANGED: (S.WAITING, A.NOTHING),
        I.REFRESHED: (S.IN_FLIGHT, A.NOTIFY),
        I.MOVED: (S.IN_FLIGHT, A.NOTIFY),
        I.RETRY: (S.IN_FLIGHT, A.NOTIFY),
        I.ENDED: (S.FINAL, A.NOTIFY_FINAL),
        I.FLUSHED: (S.IN_FLIGHT, A.NOTIFY),
        I.DUE: (S.WAITING, A.NOTHING),
        I.KNOWN: (S.IDLE, A.NOTHING),
    },
    S.STRANDED: {
        I.CHANGED: (S.IN_FLIGHT, A.NOTIFY),
        I.REFRESHED: (S.IN_FLIGHT, A.NOTIFY),
        I.MOVED: (S.IN_FLIGHT, A.NOTIFY),
        I.ENDED: (S.FINAL, A.NOTIFY_FINAL),
        I.FLUSHED: (S.IN_FLIGHT, A.NOTIFY),
        I.DUE: (S.STRANDED, A.NOTHING),
        I.KNOWN: (S.IDLE, A.NOTHING),
    },
    S.RESTORED: {
        I.CHANGED: (S.IN_FLIGHT, A.NOTIFY),
        I.REFRESHED: (S.IN_FLIGHT, A.NOTIFY),
        I.MOVED: (S.IN_FLIGHT, A.NOTIFY),
        I.RETRY: (S.IN_FLIGHT, A.NOTIFY),
        I.ENDED: (S.FINAL, A.NOTIFY_FINAL),
        I.FLUSHED: (S.IN_FLIGHT, A.NOTIFY),
        I.KNOWN: (S.IDLE, A.NOTHING),
    },
    S.CLOSING: {
        I.ANSWERED: (S.FINAL, A.NOTIFY_FINAL),
        I.FAILED: (S.FINAL, A.NOTIFY_FINAL),
        I.REJECTED: (S.GONE, A.DROP),
        I.UNREACHABLE: (S.GONE, A.DROP),
    },
    S.FINAL: {
        I.ANSWERED: (S.GONE, A.DROP),
        I.FAILED: (S.GONE, A.DROP),
        I.REJECTED: (S.GONE, A.DROP),
        I.UNREACHABLE: (S.GONE, A.DROP),
    },
    S.QUEUED: {
        I.CHANGED: (S.QUEUED, A.NOTHING),
        I.FLUSHED: (S.QUEUED, A.NOTHING),
        I.REFRESHED: (S.IN_FLIGHT, A.NOTIFY),
        I.MOVED: (S.IN_FLIGHT, A.NOTIFY),
        I.TURN: (S.IN_FLIGHT, A.NOTIFY),
        I.ENDED: (S.FINAL, A.NOTIFY_FINAL),
        I.DUE: (S.QUEUED, A.NOTHING),
        I.KNOWN: (S.IDLE, A.NOTHING),
    },
    S.RESTING: {
        I.CHANGED: (S.RESTING, A.NOTHING),
        I.FLUSHED: (S.RESTING, A.NOTHING),
        I.REFRESHED: (S.IN_FLIGHT, A.NOTIFY),
        I.MOVED: (S.IN_FLIGHT, A.NOTIFY),
        I.DUE: (S.IN_FLIGHT, A.NOTIFY),
        I.ENDED: (S.FINAL, A.NOTIFY_FINAL),
        I.KNOWN: (S.IDLE, A.NOTHING),
    },
    S.GONE: {},
}
PAIRS = [(state, event) for state in S for event in I]


def row() -> SubscriptionRecord:
    return saved(Desk().subscribe()).record


def subscription(state: SubscriptionState = S.IDLE) -> Subscription:
    one = Subscription(row(), flow=flow())
    one.state = state
    return one


def send(one: Subscription, count: int = 1) -> Notify:
    for _ in range(count):
        notify = one.notify(render(ResourceState(LAMP)), NOW)
    return notify


@pytest.mark.parametrize(("state", "event"), PAIRS, ids=lambda key: key.name)
def test_every_pair(state: SubscriptionState, event: Input) -> None:
    one = subscription(state)
    if event not in TABLE[state]:
        with pytest.raises(KeyError):
            one.feed(event)
        assert one.state is state
        return
    after, action = TABLE[state][event]
    assert one.feed(event) is action
    assert one.state is after


def test_nothing_leaves_gone_and_every_other_state_can_be_left() -> None:
    assert {state for state, _ in TRANSITIONS} == set(S) - {S.GONE}
    assert {step.state for step in TRANSITIONS.values()} == set(S) - {S.RESTORED}


# Numbers


def test_numbers_start_at_1_and_0_and_rise_by_one() -> None:
    one = subscription()
    assert [(n.cseq, n.version) for n in (send(one), send(one), send(one))] == [(1, 0), (2, 1), (3, 2)]


def test_half_a_block_is_used_before_the_ceilings_are_raised() -> None:
    one = subscription()
    before = one.record
    left = before.cseq_ceiling - BLOCK // 2
    send(one, left - 1)
    assert one.raise_ceilings() is None
    send(one)
    match one.raise_ceilings():
        case Save(after, previous):
            assert previous is before
            assert after.cseq_ceiling == one.cseq + BLOCK
            assert after.version_ceiling == one.version + BLOCK
        case other:
            pytest.fail(f"not raised: {other}")
    assert one.raise_ceilings() is None


def test_exact_numbers_are_written_once() -> None:
    one = subscription()
    send(one, 5)
    match one.exact_numbers():
        case Save(after, _):
            assert (after.cseq_ceiling, after.version_ceiling) == (5, 4)
        case None:
            pytest.fail("nothing to write")
    assert one.exact_numbers() is None


def test_a_restored_subscription_goes_on_above_its_ceilings() -> None:
    record = row()._replace(cseq_ceiling=70, version_ceiling=69)
    one = Subscription.restored(record)
    assert one.state is S.RESTORED
    assert one.flow == stored_flow(record)
    notify = send(one)
    assert (notify.cseq, notify.version) == (71, 70)


# What a NOTIFY says


def test_the_remaining_time_is_told_rounded_up_and_never_negative() -> None:
    one = subscription()
    document = render(ResourceState(LAMP))
    ends = one.record.expires_at
    assert one.notify(document, ends - 0.2).subscription_state == "active;expires=1"
    assert one.notify(document, ends - 59).subscription_state == "active;expires=59"
    assert one.notify(document, ends + 3).subscription_state == "active;expires=0"


def test_the_last_notify_says_why() -> None:
    notify = subscription().notify(render(ResourceState(LAMP)), NOW, ended=Reason.TIMEOUT)
    assert notify.subscription_state == "terminated;reason=timeout"


def test_the_view_before_and_after_the_first_notify() -> None:
    one = subscription()
    assert one.view() == (one.record, 0, 0, 0, None, "", 0.0)
    sent = send(one)
    one.state = S.IN_FLIGHT
    body = sent.document.stamp(0, sent.entity).decode()
    assert one.view() == (one.record, 1, 0, 0, body, "", 0.0)
    one.answered(200, None, failures_allowed=4)
    assert one.view() == (one.record, 1, 0, 200, body, "", 0.0)
    send(one)
    assert one.view().reply == 0


# What the answers do


@pytest.mark.parametrize("status", [404, 405, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 502, 604])
def test_these_end_the_subscription(status: int) -> None:
    assert subscription(S.IN_FLIGHT).answered(status, None, failures_allowed=4) == (A.DROP, None)


@pytest.mark.parametrize("status", [301, 400, 401, 403, 408, 486, 491, 500, 503, 600, 603, 606])
def test_all_else_is_a_failure_that_is_tried_again(status: int) -> None:
    one = subscription(S.IN_FLIGHT)
    assert one.answered(status, None, failures_allowed=4) == (A.WAIT, 5)
    assert (one.failures, one.reply) == (1, status)


@pytest.mark.parametrize("status", [404, 480, 486, 500, 503, 603])
def test_retry_after_makes_it_wait_and_is_no_failure(status: int) -> None:
    one = subscription(S.IN_FLIGHT)
    assert one.answered(status, 17, failures_allowed=1) == (A.WAIT, 17)
    assert one.failures == 0


def test_481_ends_it_whatever_else_it_says() -> None:
    assert subscription(S.IN_FLIGHT).answered(481, 17, failures_allowed=4) == (A.DROP, None)


@pytest.mark.parametrize(("said", "waits"), [(0, 1), (1, 1), (300, 300), (301, MAX_RETRY_AFTER), (10**9, 300)])
def test_retry_after_is_kept_within_bounds(said: int, waits: int) -> None:
    assert subscription(S.IN_FLIGHT).answered(503, said, failures_allowed=4) == (A.WAIT, waits)


def test_the_delays_grow_and_the_last_one_stays() -> None:
    one = subscription()
    waits = []
    for _ in range(7):
        one.state = S.IN_FLIGHT
        waits.append(one.answered(408, None, failures_allowed=99)[1])
    assert waits == [*RETRY_DELAYS, 300, 300]


@pytest.mark.parametrize("allowed", [1, 2, 4])
def test_as_many_failures_in_a_row_as_configured_end_it(allowed: int) -> None:
    one = subscription()
    for _ in range(allowed - 1):
        one.state = S.IN_FLIGHT
        assert one.answered(408, None, failures_allowed=allowed)[0] is A.WAIT
    one.state = S.IN_FLIGHT
    assert one.answered(408, None, failures_allowed=allowed) == (A.DROP, None)


def test_a_success_sets_the_count_to_0() -> None:
    one = subscription(S.IN_FLIGHT)
    one.answered(408, None, failures_allowed=4)
    one.state = S.IN_FLIGHT
    one.answered(204, None, failures_allowed=4)
    assert one.failures == 0
    one.state = S.IN_FLIGHT
    assert one.answered(408, None, failures_allowed=4) == (A.WAIT, 5)


def test_no_connection_is_no_failure() -> None:
    one = subscription(S.IN_FLIGHT)
    assert one.answered(UNREACHABLE, None, failures_allowed=1) == (A.NOTHING, None)
    assert (one.state, one.failures) == (S.STRANDED, 0)


# The target


@pytest.mark.parametrize(
    ("moved", "change"),
    [
        (False, {}),
        (False, {"expires": 60, "subscribe_cseq": 9, "user_agent": "Other/2"}),
        (True, {"contact": "sip:102@192.0.2.7:5999"}),
        (True, {"route_set": "<sip:192.0.2.99;lr>"}),
        (True, {"direct": 0}),
    ],
)
def test_what_moves_the_target(moved: bool, change: dict[str, str | int]) -> None:
    one = subscription()
    assert one.replace(one.record._replace(**change), flow(), now=NOW) is moved  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "way", [flow(port=5999), flow(host="192.0.2.8"), flow("TCP"), flow("TCP", connection=2)], ids=str
)
def test_another_way_moves_the_target(way: object) -> None:
    one = subscription()
    assert one.replace(one.record, way, now=NOW) is True  # type: ignore[arg-type]
    assert one.hop.flow == way
