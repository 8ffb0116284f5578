"""Subscription: the machine of one subscriber's lamp on one resource (RFC 6665 section 4.2).

The record is what the store keeps; the machine is what happens between two NOTIFYs. At most one NOTIFY is in flight,
and what changes meanwhile only marks the subscription dirty: order, back-pressure and no storms, for free.

Numbers are reserved ahead: the stored row holds a ceiling for CSeq and document version that lies above everything
sent, so that both continue upwards after a crash (phones.md 1, 2) at one write per block instead of one per NOTIFY.

    subscribe ──> IN_FLIGHT <──── ANSWERED, or the full state again ────┐
                   │  │  └─ CHANGED, REFRESHED ──> DIRTY ──> (ANSWERED) ─┤
                   │  └──── ANSWERED ──> IDLE ──> CHANGED, REFRESHED ────┤
                   ├─────── FAILED ──> WAITING ──> RETRY, REFRESHED ─────┤
                   └── UNREACHABLE ──> STRANDED ──> CHANGED, REFRESHED ──┤
    restart ──> RESTORED ──> CHANGED, RETRY, REFRESHED ──────────────────┘
    ENDED in flight ──> CLOSING ──> ANSWERED, FAILED ──┐
    ENDED in any state without one ─────────────────────┴─> FINAL (terminated NOTIFY in flight) ──> GONE
    REJECTED (481 and the like) from anywhere with a NOTIFY in flight ──> GONE
"""

from enum import IntEnum, StrEnum
from math import ceil
from typing import NamedTuple

from sipresence.events import dialog_info
from sipresence.events.dialog_info import Document
from sipresence.events.effects import Notify, Save
from sipresence.events.notify import render_head
from sipresence.events.record import SubscriptionRecord
from sipresence.sip.dialog import targeting
from sipresence.sip.flow import Flow, Hop

BLOCK = 64
RETRY_DELAYS = (5, 30, 60, 120, 300)
MAX_RETRY_AFTER = 300
UNREACHABLE = 0
"""Instead of a status: there was no connection to the phone. No failure: the NOTIFY waits for the phone's next word."""
ENDING_STATUSES = frozenset((404, 405, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 502, 604))


class SubscriptionState(IntEnum):
    """Where a subscription stands with its NOTIFYs."""

    IDLE = 0
    IN_FLIGHT = 1
    DIRTY = 2
    WAITING = 3
    CLOSING = 4
    FINAL = 5
    GONE = 6
    RESTORED = 7  # from the store; its phone has not been told anything since the start
    STRANDED = 8  # there was no way to the phone


class Input(IntEnum):
    """What can happen to a subscription."""

    CHANGED = 0  # the visible state of the resource changed, or a reset
    REFRESHED = 1  # a SUBSCRIBE was accepted
    MOVED = 2  # one that moves the target: the NOTIFY in flight is abandoned
    ANSWERED = 3
    FAILED = 4
    REJECTED = 5
    RETRY = 6
    ENDED = 7  # unsubscribed, expired
    UNREACHABLE = 8  # the NOTIFY found no connection to the phone


class Action(IntEnum):
    """What the step asks of the notifier."""

    NOTHING = 0
    NOTIFY = 1  # send the full state now
    NOTIFY_FINAL = 2  # send the terminated NOTIFY now
    WAIT = 3  # try again later
    DROP = 4  # the subscription is gone


class Step(NamedTuple):
    state: SubscriptionState
    action: Action


_S, _I, _A = SubscriptionState, Input, Action

TRANSITIONS: dict[tuple[SubscriptionState, Input], Step] = {
    (_S.IDLE, _I.CHANGED): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.IDLE, _I.REFRESHED): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.IDLE, _I.MOVED): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.IDLE, _I.ENDED): Step(_S.FINAL, _A.NOTIFY_FINAL),
    (_S.IN_FLIGHT, _I.CHANGED): Step(_S.DIRTY, _A.NOTHING),
    (_S.IN_FLIGHT, _I.REFRESHED): Step(_S.DIRTY, _A.NOTHING),
    (_S.IN_FLIGHT, _I.MOVED): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.IN_FLIGHT, _I.ANSWERED): Step(_S.IDLE, _A.NOTHING),
    (_S.IN_FLIGHT, _I.FAILED): Step(_S.WAITING, _A.WAIT),
    (_S.IN_FLIGHT, _I.REJECTED): Step(_S.GONE, _A.DROP),
    (_S.IN_FLIGHT, _I.ENDED): Step(_S.CLOSING, _A.NOTHING),
    (_S.DIRTY, _I.CHANGED): Step(_S.DIRTY, _A.NOTHING),
    (_S.DIRTY, _I.REFRESHED): Step(_S.DIRTY, _A.NOTHING),
    (_S.DIRTY, _I.MOVED): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.DIRTY, _I.ANSWERED): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.DIRTY, _I.FAILED): Step(_S.WAITING, _A.WAIT),
    (_S.DIRTY, _I.REJECTED): Step(_S.GONE, _A.DROP),
    (_S.DIRTY, _I.ENDED): Step(_S.CLOSING, _A.NOTHING),
    # A change waits for the retry, which carries the full state anyway: a phone that answers 500 to everything must
    # not use up its failures within a second because its lamp happens to blink (phones.md 3, 11).
    (_S.WAITING, _I.CHANGED): Step(_S.WAITING, _A.NOTHING),
    (_S.WAITING, _I.REFRESHED): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.WAITING, _I.MOVED): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.WAITING, _I.RETRY): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.WAITING, _I.ENDED): Step(_S.FINAL, _A.NOTIFY_FINAL),
    (_S.IN_FLIGHT, _I.UNREACHABLE): Step(_S.STRANDED, _A.NOTHING),
    (_S.DIRTY, _I.UNREACHABLE): Step(_S.STRANDED, _A.NOTHING),
    (_S.CLOSING, _I.UNREACHABLE): Step(_S.GONE, _A.DROP),
    (_S.FINAL, _I.UNREACHABLE): Step(_S.GONE, _A.DROP),
    (_S.STRANDED, _I.CHANGED): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.STRANDED, _I.REFRESHED): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.STRANDED, _I.MOVED): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.STRANDED, _I.ENDED): Step(_S.FINAL, _A.NOTIFY_FINAL),
    (_S.RESTORED, _I.CHANGED): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.RESTORED, _I.REFRESHED): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.RESTORED, _I.MOVED): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.RESTORED, _I.RETRY): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.RESTORED, _I.ENDED): Step(_S.FINAL, _A.NOTIFY_FINAL),
    (_S.CLOSING, _I.ANSWERED): Step(_S.FINAL, _A.NOTIFY_FINAL),
    (_S.CLOSING, _I.FAILED): Step(_S.FINAL, _A.NOTIFY_FINAL),
    (_S.CLOSING, _I.REJECTED): Step(_S.GONE, _A.DROP),
    (_S.FINAL, _I.ANSWERED): Step(_S.GONE, _A.DROP),
    (_S.FINAL, _I.FAILED): Step(_S.GONE, _A.DROP),
    (_S.FINAL, _I.REJECTED): Step(_S.GONE, _A.DROP),
}


class Reason(StrEnum):
    """Why a subscription ended, as Subscription-State says it (RFC 6665 section 4.1.3)."""

    TIMEOUT = "timeout"


class SubscriptionView(NamedTuple):
    """A living subscription as an edge may see it."""

    record: SubscriptionRecord
    sequence: int  # CSeq of the last NOTIFY, 0 before the first
    version: int  # of the last document, 0 before the first
    reply: int  # final status of the last NOTIFY, 0 while none came, 408 when none ever will
    body: str | None  # the document last sent, None before the first


class Subscription:
    """One machine. Owned by the notifier, never leaves it."""

    __slots__ = (
        "cseq", "document", "failures", "flow", "head", "hop", "record", "remote_cseq", "reply", "request_uri",
        "state", "version",
    )  # fmt: skip

    def __init__(self, record: SubscriptionRecord, *, flow: Flow) -> None:
        self.record = record
        self.state = SubscriptionState.IDLE
        self.cseq = 0
        self.version = -1
        self.reply = 0
        self.failures = 0
        self.remote_cseq = record.subscribe_cseq  # the last seen, accepted or not
        self.document: Document | None = None  # the one last sent
        self.aim(flow)

    @classmethod
    def restored(cls, record: SubscriptionRecord) -> "Subscription":
        """Go on with a stored subscription: above every number that was sent, its connection gone."""
        subscription = cls(record, flow=stored_flow(record))
        subscription.state = SubscriptionState.RESTORED
        subscription.cseq = record.cseq_ceiling
        subscription.version = record.version_ceiling
        return subscription

    def aim(self, flow: Flow) -> None:
        """Render what depends on the dialog's target, and on nothing that changes between two SUBSCRIBEs."""
        record = self.record
        target = targeting(contact=record.contact, routes=record.route_set, flow=flow, direct=bool(record.direct))
        self.flow = flow
        self.hop: Hop = target.hop
        self.request_uri = target.request_uri
        self.head = render_head(record, contact=flow.contact, route=target.route, content_type=dialog_info.CONTENT_TYPE)

    def replace(self, record: SubscriptionRecord, flow: Flow) -> bool:
        """Go on with a new row; return whether its NOTIFYs go elsewhere now."""
        old = self.record
        self.record = record
        moved = (
            flow != self.flow
            or record.contact != old.contact
            or record.route_set != old.route_set
            or record.direct != old.direct
        )
        if moved:
            self.aim(flow)
        return moved

    def feed(self, event: Input) -> Action:
        """Take one step of the machine; an absent pair is a mistake of ours and raises KeyError."""
        step = TRANSITIONS[self.state, event]
        self.state = step.state
        return step.action

    def notify(self, document: Document, now: float, *, ended: Reason | None = None) -> Notify:
        """Make the next NOTIFY: from this moment it is in flight."""
        record = self.record
        self.cseq += 1
        self.version += 1
        self.reply = 0
        self.document = document
        state = f"terminated;reason={ended}" if ended else f"active;expires={max(ceil(record.expires_at - now), 0)}"
        return Notify(
            record.id, record.call_id, self.cseq, self.version, self.request_uri, self.head, state, document,
            record.entity, self.hop,
        )  # fmt: skip

    @property
    def reserved(self) -> bool:
        """Whether the last NOTIFY lies below the ceilings, so that a restart goes on above it."""
        return self.cseq <= self.record.cseq_ceiling  # the version never has less room than the CSeq

    def raise_ceilings(self) -> Save | None:
        """Reserve another block when half of the last is used."""
        old = self.record
        if old.cseq_ceiling - self.cseq > BLOCK // 2:
            return None
        self.record = old._replace(cseq_ceiling=self.cseq + BLOCK, version_ceiling=self.version + BLOCK)
        return Save(self.record, old)

    def exact_numbers(self) -> Save | None:
        """The row with which the next start goes on at exactly +1, or None where it is stored already."""
        old = self.record
        if (old.cseq_ceiling, old.version_ceiling) == (self.cseq, self.version):
            return None
        self.record = old._replace(cseq_ceiling=self.cseq, version_ceiling=self.version)
        return Save(self.record, old)

    def answered(self, status: int, retry_after: int | None, *, failures_allowed: int) -> tuple[Action, float | None]:
        """The NOTIFY in flight has its final answer: what to do, and when a failed one goes again by itself.

        481 and its like end the subscription; Retry-After makes it wait; all else but 2xx is a failure, after which the
        full state goes again, until `failures_allowed` failed in a row. Deviations from RFC 6665 section 4.2.2, where
        every error ends it: a phone that is busy for a moment must not lose its lamp (phones.md 3, 11).
        """
        if status == UNREACHABLE:
            return self.feed(Input.UNREACHABLE), None
        self.reply = status
        if 200 <= status < 300:
            self.failures = 0
            return self.feed(Input.ANSWERED), None
        if status == 481 or (status in ENDING_STATUSES and retry_after is None):
            return self.feed(Input.REJECTED), None
        if retry_after is not None:
            return self.feed(Input.FAILED), min(max(retry_after, 1), MAX_RETRY_AFTER)
        self.failures += 1
        if self.failures >= failures_allowed:
            return self.feed(Input.REJECTED), None
        return self.feed(Input.FAILED), RETRY_DELAYS[min(self.failures, len(RETRY_DELAYS)) - 1]

    def view(self) -> SubscriptionView:
        version = max(self.version, 0)
        body = self.document.stamp(version, self.record.entity).decode() if self.document else None
        return SubscriptionView(self.record, self.cseq, version, self.reply, body)


def stored_flow(record: SubscriptionRecord) -> Flow:
    """The flow of a stored subscription: its address is known, its connection is gone."""
    return Flow(record.transport, record.listener, record.source_host, record.source_port, record.local)
