"""Subscription: the machine of one subscriber's lamp on one resource (RFC 6665 section 4.2).

The record is what the store keeps; the machine is what happens between two NOTIFYs. At most one NOTIFY is in flight,
and what changes meanwhile only marks the subscription dirty: order, back-pressure and no storms, for free.

Numbers are reserved ahead: the stored row holds a ceiling for CSeq and document version that lies above everything
sent, so that both continue upwards after a crash (phones.md 1, 2) at one write per block instead of one per NOTIFY.
"""

from enum import StrEnum
from math import ceil
from typing import NamedTuple

from sipresence.events.document import Document, Unsaid
from sipresence.events.effects import Notify, Save
from sipresence.events.history import History
from sipresence.events.notify import render_head
from sipresence.events.pacing import Target
from sipresence.events.presentation import PLAIN, Presentation
from sipresence.events.record import SubscriptionRecord
from sipresence.events.terms import ANY, TAGGED
from sipresence.events.transitions import TRANSITIONS, Action, Input, SubscriptionState
from sipresence.sip.dialog import is_secure, targeting
from sipresence.sip.flow import Flow, Hop
from sipresence.sip.uri import join_host_port

BLOCK = 64
LEAP = 65_536
"""How far above its ceilings a subscription goes on that may have passed them while the store failed."""
RETRY_DELAYS = (5, 30, 60, 120, 300)
MAX_RETRY_AFTER = 300
UNREACHABLE = 0
"""Instead of a status: there was no connection to the phone. No failure: the NOTIFY waits for the phone's next word."""
ENDING_STATUSES = frozenset((404, 405, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 502, 604))


class Reason(StrEnum):
    """Why a subscription ended, as Subscription-State says it (RFC 6665 section 4.1.3)."""

    TIMEOUT = "timeout"
    DEACTIVATED = "deactivated"  # "the subscriber SHOULD retry immediately": not here, or for somebody else
    REJECTED = "rejected"  # "the subscriber SHOULD NOT retry"


class SubscriptionView(NamedTuple):
    """A living subscription as an edge may see it."""

    record: SubscriptionRecord
    sequence: int  # CSeq of the last NOTIFY, 0 before the first
    version: int  # of the last document, 0 before the first
    reply: int  # final status of the last NOTIFY, 0 while none came, 408 when none ever will
    body: str | None  # the document last sent, None before the first
    profile: str  # its name, "" for the default one
    replied_at: float  # when that reply came, 0 while none has since the start


class Subscription:
    """One machine. Owned by the notifier, never leaves it."""

    __slots__ = (
        "cseq", "document", "ends", "failures", "flow", "form", "head", "history", "hop", "names", "paced", "profile",
        "record", "remote_cseq", "reply", "request_uri", "state", "target", "terms", "version",
    )  # fmt: skip

    def __init__(
        self,
        record: SubscriptionRecord,
        *,
        flow: Flow,
        presentation: Presentation = PLAIN,
    ) -> None:
        self.record = record
        self.form, self.profile, self.names, self.terms = presentation
        self.state = SubscriptionState.IDLE
        self.cseq = 0
        self.version = -1
        self.reply = 0
        self.failures = 0
        self.ends = Reason.TIMEOUT  # what its last NOTIFY will say
        self.paced: Target | None = None  # where the NOTIFY in flight counts
        self.remote_cseq = record.subscribe_cseq  # the last seen, accepted or not
        self.document: Document | None = None  # the one last sent
        self.history = History()
        self.aim(flow)

    @classmethod
    def restored(cls, record: SubscriptionRecord, presentation: Presentation = PLAIN) -> "Subscription":
        """Go on with a stored subscription: above every number that was sent, its connection gone."""
        subscription = cls(record, flow=stored_flow(record), presentation=presentation)
        subscription.take_up()
        return subscription

    def take_up(self) -> None:
        """This is a stored one: go on above the numbers that are reserved."""
        self.state = SubscriptionState.RESTORED
        self.cseq, self.version = self.record.cseq_ceiling, self.record.version_ceiling

    @property
    def content_type(self) -> str:
        """What its NOTIFYs carry."""
        return self.form.content_type

    @property
    def required(self) -> str:
        """The Require line of its answers and NOTIFYs, "" without."""
        return ""

    def aim(self, flow: Flow) -> None:
        """Render what depends on the dialog's target, and on nothing that changes between two SUBSCRIBEs."""
        record = self.record
        target = targeting(contact=record.contact, routes=record.route_set, flow=flow, direct=bool(record.direct))
        self.flow = flow
        self.hop: Hop = target.hop
        self.target = self._target()
        self.request_uri = target.request_uri
        self.head = render_head(
            record,
            contact=flow.contact(secure=is_secure(record.contact)),
            route=target.route,
            content_type=self.content_type,
            required=self.required,
            names=self.names,
        )

    def present(self, presentation: Presentation) -> None:
        """From here on its subscriber is told so."""
        form, self.profile, names, self.terms = presentation
        if form is not self.form or names is not self.names:
            self.form, self.names = form, names
            self.aim(self.flow)

    def impose(self, condition: str) -> None:
        """From here on be silent as long as its subscriber has what it says it has."""
        self.terms = (self.terms or TAGGED)._replace(condition=condition)

    def lift(self) -> None:
        """What its subscriber says it has is not what there is to tell; but who wants nothing is told nothing."""
        if self.terms is not None and self.terms.condition != ANY:
            self.terms = self.terms._replace(condition="")

    def replace(self, record: SubscriptionRecord, flow: Flow, *, now: float) -> bool:
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
            self.history.moved(self._address, now)
            self.aim(flow)
        return moved

    @property
    def _address(self) -> str:
        """Where its NOTIFYs go, to be read by people."""
        way = self.flow if self.hop.prefer_flow or not self.hop.host else self.hop
        return f"{way.transport} {join_host_port(way.host, way.port)}".strip()

    def _target(self) -> Target:
        """Whom its NOTIFYs go to, as pacing counts them: the phone, not the proxy that many phones may be behind."""
        hop = self.hop
        if not self.record.direct:
            return Target("", self.record.contact, 0)
        if hop.host and not hop.prefer_flow:
            return Target(hop.transport, hop.host, hop.port)
        return Target(self.flow.transport, self.flow.host, self.flow.port)

    @property
    def lifeline(self) -> Flow | None:
        """The flow that must not break: its connection, or the datagram flow that leads to it through a NAT."""
        return self.flow if self.flow.connection or (not self.hop.host and not self.flow.reliable) else None

    def feed(self, event: Input) -> Action:
        """Take one step of the machine; an absent pair is a mistake of ours and raises KeyError."""
        step = TRANSITIONS[self.state, event]
        self.state = step.state
        return step.action

    def notify(self, document: Document, now: float, *, ended: Reason | None = None) -> Notify:
        """Make the next NOTIFY: from this moment it is in flight."""
        news = document is not self.document and self.document is not None
        self.cseq += 1
        self.version += 1
        self.reply = 0
        self.document = document
        self.history.notified(document, now, news=news, final=ended is not None)
        state = f"terminated;reason={ended}" if ended else self._active(now)
        return self._make(self.cseq, self.version, state, document, changed_at=document.changed_at if news else 0.0)

    def corrected(self, notify: Notify, now: float) -> Notify:
        """A NOTIFY that has not left, when what it was decided with was undone: the same numbers, the truth again."""
        if notify.subscription_state.startswith("terminated"):
            return notify
        document = notify.document.document if isinstance(notify.document, Unsaid) else notify.document
        return self._make(notify.cseq, notify.version, self._active(now), document, changed_at=notify.changed_at)

    def _active(self, now: float) -> str:
        return f"active;expires={max(ceil(self.record.expires_at - now), 0)}"

    def _make(self, cseq: int, version: int, state: str, document: Document, *, changed_at: float) -> Notify:
        record = self.record
        notify = Notify(
            record.id, record.call_id, cseq, version, self.request_uri, self.head, state, document, record.entity,
            self.hop, self.names, changed_at,
        )  # fmt: skip
        return notify if self.terms is None else self.terms.applied(notify)

    @property
    def in_flight(self) -> bool:
        """Whether a NOTIFY waits for its answer."""
        return self.state in (SubscriptionState.IN_FLIGHT, SubscriptionState.DIRTY)

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

    def leap(self, times: int) -> Save:
        """Go on above whatever was sent while the store failed, by as many processes."""
        old = self.record
        self.cseq += times * LEAP
        self.version += times * LEAP
        self.record = old._replace(cseq_ceiling=self.cseq, version_ceiling=self.version)
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
        full state goes again, until `failures_allowed` failed in a row. RFC 6665 section 4.2.2 ends it at the first
        time-out: a phone that is busy for a moment must not lose its lamp (phones.md 3, 11).
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
        replied_at = self.history.answered_at
        return SubscriptionView(self.record, self.cseq, version, self.reply, body, self.profile.name, replied_at)

    @property
    def due_cseq(self) -> int:
        """The CSeq of the NOTIFY that tells what there is to tell now, 0 where all of it was told and answered."""
        if self.state is SubscriptionState.IDLE:
            return 0
        told_by_this_one = self.state in (SubscriptionState.IN_FLIGHT, SubscriptionState.FINAL)
        return self.cseq if told_by_this_one else self.cseq + 1


def stored_flow(record: SubscriptionRecord) -> Flow:
    """The flow of a stored subscription: its address is known, its connection is gone."""
    return Flow(record.transport, record.listener, record.source_host, record.source_port, record.local)
