"""A subscription to a list (RFC 4662): one dialog, one machine, many members.

What is told is decided when a NOTIFY is: of the members that are `pending`, as many documents as have room. The rest
makes the subscription dirty again, and so follows the 200, at most one NOTIFY in flight as for any other.

After a SUBSCRIBE, a failure and a restart the list starts over: the next document names all members in their order and
has "full state", and all of them are pending. "The first NOTIFY sent in a subscription MUST contain full state, as must
the first NOTIFY sent after receipt of a SUBSCRIBE request" (section 5.2). After a failure nobody knows what arrived.

Each member's document has a version of its own, which rises by one with each. It begins at that of the list, and rises
no faster, since a member is told at most once per NOTIFY; so the stored ceiling of the one bounds all the others.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from sipresence.events import rlmi
from sipresence.events.document import Document, Form
from sipresence.events.effects import Notify, Save
from sipresence.events.presentation import Presentation
from sipresence.events.record import SubscriptionRecord
from sipresence.events.resource_lists import Listing
from sipresence.events.rlmi import LISTED, Line, RlmiDocument
from sipresence.events.subscription import Reason, Subscription
from sipresence.events.transitions import Action, Input
from sipresence.names import ResourceId
from sipresence.sip.flow import Flow

FETCHED_BYTES = 60_000
"""A fetch has one NOTIFY only: what a datagram can hold of it."""

DocumentOf: TypeAlias = Callable[[ResourceId, Form], Document]


class Member(NamedTuple):
    """One member as its subscriber sees it: `resource` in `form`, under the address and name that the list has for it.

    `form` is None where it may not be watched, or is not ours.
    """

    resource: ResourceId
    uri: str
    label: str
    form: Form | None


class Seat:
    """A member, and what was told of it: `version` and `document` are the last ones. `due`: it has to be told whatever
    it says."""

    __slots__ = ("document", "due", "member", "number", "version")

    def __init__(self, version: int) -> None:
        self.version = version
        self.number = 0
        self.member = Member(ResourceId(""), "", "", None)
        self.document: Document | None = None
        self.due = True

    def line(self) -> Line:
        """It is named, no more."""
        uri, label, form = self.member.uri, self.member.label, self.member.form
        return Line(uri, label, reason="" if form is not None else rlmi.REJECTED)


class ListSubscription(Subscription):
    """Machine and members. `listing` says where the members come from; they are seated once it is made.

    Changes are held together until `held_until` (see Teller), Unix seconds.
    """

    __slots__ = ("_document_of", "_full", "_pending", "_room_bytes", "held_until", "listing", "seats")

    def __init__(
        self,
        record: SubscriptionRecord,
        listing: Listing,
        *,
        flow: Flow,
        presentation: Presentation,
        document_of: DocumentOf,
    ) -> None:
        self._document_of = document_of
        self._full = True
        self._pending: dict[str, Seat] = {}
        self._room_bytes = 0
        self.listing = listing
        self.held_until = 0.0
        self.seats: dict[str, Seat] = {}
        super().__init__(record, flow=flow, presentation=presentation._replace(form=LISTED))

    @property
    def content_type(self) -> str:
        return rlmi.content_type(rlmi.shortened(self.record.local_tag))

    @property
    def required(self) -> str:
        return rlmi.REQUIRE

    @property
    def pending(self) -> bool:
        """Whether a member has changed, or has not been told yet."""
        return bool(self._pending)

    def present(self, presentation: Presentation) -> None:
        """From here on its subscriber is told so; its members' forms are those of their seats."""
        super().present(presentation._replace(form=LISTED))

    def seat(self, members: Mapping[str, Member], *, room_bytes: int) -> None:
        """These are the members now, in this order; of those that stay the versions go on.

        A NOTIFY has so many bytes, or more where a single document needs them.
        """
        self._room_bytes = room_bytes
        before, self.seats = self.seats, {}
        for number, (key, member) in enumerate(members.items(), 1):
            seat = self.seats[key] = before.get(key) or Seat(self.version)
            seat.number, seat.member = number, member
        self.start_over()

    @property
    def members(self) -> list[Member]:
        """The members as they were seated last, in their order."""
        return [seat.member for seat in self.seats.values()]

    @property
    def watched(self) -> set[ResourceId]:
        """The members whose documents it is told."""
        return {seat.member.resource for seat in self.seats.values() if seat.member.form is not None}

    def start_over(self) -> None:
        """Everything has to be told once more."""
        self._full = True
        self._pending = {key: seat for key, seat in self.seats.items() if seat.member.form is not None}
        for seat in self._pending.values():
            seat.due = True

    def mark(self, name: ResourceId, *, flushed: bool) -> bool:
        """A member has changed, or was reset; return whether its subscriber has to be told."""
        seat = self.seats[name]
        form = seat.member.form
        if form is None:
            return False
        document = self._document_of(name, form)
        if flushed:
            seat.due = True
        elif seat.document is not None and document.says_the_same_as(seat.document):
            if not seat.due:
                self._pending.pop(name, None)  # it is again as it was told
            return False
        elif not document.changed_at:
            return False
        self._pending = {name: seat, **self._pending}  # before those that were not told yet, but are as they were
        return True

    def feed(self, event: Input) -> Action:
        if event is Input.REFRESHED or event is Input.MOVED:
            self.start_over()
        return super().feed(event)

    def answered(self, status: int, retry_after: int | None, *, failures_allowed: int) -> tuple[Action, float | None]:
        if not 200 <= status < 300:
            self.start_over()
        return super().answered(status, retry_after, failures_allowed=failures_allowed)

    def leap(self, times: int) -> Save:
        save = super().leap(times)
        for seat in self.seats.values():
            seat.version = self.version
        return save

    def notify(self, document: Document, now: float, *, ended: Reason | None = None) -> Notify:
        """Make the next NOTIFY. `document` is that of the list's name, which says nothing.

        Where nothing is pending, as after a `reset` of the list itself, everything is told. So it is in the last one.
        """
        if ended is not None or not self._pending:
            self.start_over()
        fetched = ended is not None and self.version < 0
        notify = super().notify(self._next(FETCHED_BYTES if fetched else self._room_bytes), now, ended=ended)
        if self._pending and ended is None:
            self.feed(Input.CHANGED)  # the rest follows its 200
        return notify

    def _next(self, room_bytes: int) -> RlmiDocument:
        """Take of the pending members as many as have room, the first one in any case."""
        tag, full = rlmi.shortened(self.record.local_tag), self._full
        named = {key: seat.line() for key, seat in self.seats.items()} if full else {}
        taken = {key: len(line.element(tag)) for key, line in named.items()}
        room = room_bytes - rlmi.ROOT_BYTES - sum(taken.values())
        told: dict[str, Line] = {}
        changed_at = 0.0
        for key, seat in self._pending.items():
            line, document = self._told(seat)
            room -= len(line.element(tag)) - taken.get(key, 0) + len(line.part(tag)) + rlmi.BOUNDARY_BYTES
            if told and room < 0:
                break
            told[key] = line
            if not full and seat.document is not None and document is not seat.document:
                changed_at = max(changed_at, document.changed_at)
            seat.document, seat.version, seat.due = document, line.version, False
        for key in told:
            del self._pending[key]
        self._full = False
        lines = [told.get(key, line) for key, line in named.items()] if full else list(told.values())
        return RlmiDocument(lines, full=full, tag=tag, number=self.version + 1, changed_at=changed_at)

    def _told(self, seat: Seat) -> tuple[Line, Document]:
        resource, uri, label, form = seat.member
        assert form is not None  # else it is never pending
        document = self._document_of(resource, form)
        return Line(uri, label, document, form.content_type, seat.number, seat.version + 1), document
