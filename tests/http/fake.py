"""A service with one office in it, for the tests of the HTTP dialects: constant answers, and commands on record."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple
from typing import TYPE_CHECKING, NamedTuple

from sipresence.audit import Asker, AuditEntry, AuditId, AuditTrail
from sipresence.commands import Command, NotifyAgain, SetState, Terminate, goes_by
from sipresence.directory import Directory
from sipresence.errors import InvalidExtension, UnknownSubscription
from sipresence.events.dialog_info import render
from sipresence.events.document import Document
from sipresence.events.history import Asked, Moved, Notified, Subscribed
from sipresence.events.record import SubscriptionRecord
from sipresence.events.resource import DialogState, Lamp, ResourceState, Source, set_manually
from sipresence.events.state import Messages, set_do_not_disturb, set_messages
from sipresence.events.timeline import Belief, Changed, End, Ended, Event, Timeline
from sipresence.figures import Figures, Health, Histogram, Kind, NotifierFigures, OutboxFigures, WireFigures
from sipresence.names import AccountId, CallId, ResourceId, SubscriptionId, resource_id
from sipresence.receipt import Receipt
from tests.office import OFFICE, OTHER, REALM, accounts

if TYPE_CHECKING:
    from sipresence.events.subscription import SubscriptionView

NOW = 1_700_000_000.0


class View(NamedTuple):
    """The shape of a SubscriptionView."""

    record: SubscriptionRecord
    sequence: int = 0
    version: int = 0
    reply: int = 0
    body: str | None = None
    profile: str = ""
    replied_at: float = 0.0


def record(number: int, extension: str, call_id: str, **fields: object) -> SubscriptionRecord:
    """A subscription of alice to `extension`, granted 1800 s and subscribed 600 s ago."""
    plain = SubscriptionRecord(
        id=SubscriptionId(number),
        account=OFFICE,
        resource=resource_id(extension, REALM),
        event="dialog",
        event_id="",
        call_id=CallId(call_id),
        local_tag=f"local-{number}",
        remote_tag=f"remote-{number}",
        local_address=f"<sip:{extension}@{REALM}>",
        remote_address=f'"<sip:not@this>" <sip:Alice:secret@Office.example.com:5070;transport=udp>;tag=remote-{number}',
        entity=f"sip:{extension}@{REALM}",
        contact="sip:alice@192.0.2.10:5060;ob",
        route_set="",
        transport="UDP",
        listener="udp://127.0.0.1:5060",
        source_host="192.0.2.10",
        source_port=5060,
        local="127.0.0.1:5060",
        direct=1,
        accept="",
        user_agent="",
        authenticated_user="",
        subscribe_cseq=7,
        subscribe_event="dialog",
        expires=1800,
        subscribed_at=NOW - 600.25,
        expires_at=NOW + 1199.75,
        cseq_ceiling=64,
        version_ceiling=64,
    )
    return plain._replace(**fields)  # type: ignore[arg-type]


VIEWS = (
    View(record(1, "101", "first@192.0.2.10")),
    View(
        record(2, "101", "second@192.0.2.10", user_agent="Yealink SIP-T46S 66.86.0.15"),
        sequence=4, version=3, reply=200, body='<?xml version="1.0"?><dialog-info/>', replied_at=NOW - 12.25,
    ),
    View(record(3, "101", "mwi@192.0.2.10", event="message-summary", remote_address="sip:gateway.example.com;tag=x")),
    View(record(4, "*3101", "forked@192.0.2.10", expires_at=NOW - 5)),
    View(record(5, "*3101", "forked@192.0.2.10", remote_address="<tel:+15551234>;tag=remote-5")),
    View(record(6, "*3101", "forked@192.0.2.10", remote_tag="remote-4")),
    View(record(7, "*3101", "forked@192.0.2.10", remote_tag="remote-4")),
)  # fmt: skip

LAMP, PARKED = resource_id("101", REALM), resource_id("*3101", REALM)
LAMPS = {
    LAMP: Lamp(DialogState.EARLY, NOW - 12.5),
    PARKED: Lamp(DialogState.TERMINATED, 0.0),
}

VOICEMAIL = resource_id("103", REALM)
SAID = {
    VOICEMAIL: (
        set_messages(OFFICE, VOICEMAIL, Messages(2, 5, 1), at=NOW),
        set_do_not_disturb(OFFICE, VOICEMAIL, on=True, at=NOW),
    ),
}


def _trail() -> AuditTrail:
    """Three commands: two of one request, and one of another account."""
    trail = AuditTrail()
    alice = (OFFICE, "a" * 32, "192.0.2.77", "request-1")
    trail.add(
        (
            AuditEntry(AuditId(1), OFFICE, NOW - 12.5, "set", LAMP, '{"state": "early", "expires": 60}', *alice),
            AuditEntry(AuditId(2), OFFICE, NOW - 12.5, "reset", PARKED, "{}", *alice),
            AuditEntry(AuditId(3), OTHER, NOW, "reset", LAMP, "{}", OTHER, "", "192.0.2.78", "request-2"),
        )
    )
    return trail


class FakeCommands(list[list[object]]):
    """Those that were accepted. `failure`, where one is set, is raised by every one; `askers` are who asked for them.

    Two phones acknowledge, one refuses, one stays silent, one has nothing to learn.
    """

    def __init__(self) -> None:
        super().__init__()
        self.failure: Exception | None = None
        self.askers: list[Asker] = []
        self.patience = 0.0
        self.trail = _trail()

    async def carry_out(
        self, account: AccountId, commands: Sequence[Command], *, by: Asker, patience: float
    ) -> Receipt:
        if self.failure is not None:
            raise self.failure
        for command in commands:
            self.append([command.action, account, list(command.resources), *_details(command)])
        self.askers.append(by)
        self.patience = patience
        return Receipt(2, 1, 1, 1)


def _details(command: Command) -> list[object]:
    match command:
        case SetState(_, state, expires, messages, dnd):
            more = [messages and list(astuple(messages)), dnd] if (messages, dnd) != (None, None) else []
            return [state and state.value, expires, *more]
        case NotifyAgain(names, dialog) | Terminate(names, dialog):
            living = (view.record for view in VIEWS if view.record.resource in names)
            if dialog is not None and not any(goes_by(record, dialog) for record in living):
                raise UnknownSubscription(dialog)
            return [dialog, *([command.reason.value] if isinstance(command, Terminate) else [])]
    return []


class FakeService:
    """Constant answers; `commands` are on record."""

    def __init__(self) -> None:
        self.directory = Directory(accounts())
        self.node = "blf1.example.com"
        self.commands = FakeCommands()

    def now(self) -> float:
        return NOW

    def subscriptions(
        self, account: AccountId, *, resource: ResourceId | None = None, event: str | None = None
    ) -> Iterator["SubscriptionView | View"]:
        return (
            view
            for view in reversed(VIEWS)
            if view.record.account == account
            and resource in (None, view.record.resource)
            and event in (None, view.record.event)
        )

    def resources(self) -> Sequence[ResourceId]:
        return tuple(dict.fromkeys(view.record.resource for view in reversed(VIEWS)))

    def subscription_ids(self) -> Sequence[SubscriptionId]:
        return [view.record.id for view in VIEWS]

    def subscription(self, ident: SubscriptionId, *, account: AccountId) -> View | None:
        view = VIEWS[ident - 1]
        return view if view.record.account == account else None

    def namesakes(self, one: SubscriptionRecord) -> Sequence[SubscriptionRecord]:
        alike = [view.record for view in VIEWS if view.record.call_id == one.call_id]
        return [other for other in reversed(alike) if (other.resource, other.event) == (one.resource, one.event)]

    def counts(self, resource: ResourceId, account: AccountId) -> Mapping[str, int]:
        return Counter(view.record.event for view in self.subscriptions(account, resource=resource))

    def lamp(self, resource: ResourceId) -> Lamp:
        return LAMPS.get(resource, Lamp(DialogState.TERMINATED, 0.0))

    def state(self, resource: ResourceId) -> ResourceState:
        state = ResourceState(resource)
        lamp = self.lamp(resource)
        if lamp.since:
            state.merge(set_manually(OFFICE, resource, state=lamp.state, at=lamp.since))
        for change in SAID.get(resource, ()):
            state.merge(change)
        return state

    def resource(self, account: AccountId, extension: str) -> ResourceId:
        if not extension.isprintable() or " " in extension or "@" in extension:
            raise InvalidExtension(extension)
        return resource_id(extension, self.directory.account(account).realm)


def _document(state: DialogState) -> Document:
    resource = ResourceState(resource_id("101", REALM))
    resource.merge(set_manually(OFFICE, resource.id, state=state, at=NOW - 12.5))
    return render(resource)


def _timeline() -> Timeline:
    """A lamp that was set, on a phone that moved and refused the last NOTIFY, and on one that has gone."""
    phone, gone = VIEWS[1].record, VIEWS[0].record
    early = DialogState.EARLY
    told = Notified(NOW - 12.25, 3, 2, early, 1, news=True, final=False, status=200, rtt=0.25)
    refused = told._replace(at=NOW - 10, cseq=4, version=3, status=0, rtt=0.0)
    events = (
        Event(NOW - 60, Subscribed(NOW - 60, Asked.SUBSCRIBED, 1800), phone),
        Event(NOW - 30, Ended(NOW - 30, End.EXPIRED), gone),
        Event(NOW - 12.5, Changed(NOW - 12.5, Source.MANUAL, early, early, OFFICE)),
        Event(NOW - 12.25, told, phone, _document(early)),
        Event(NOW - 11, Moved(NOW - 11, "UDP 192.0.2.10:5060"), phone),
        Event(NOW - 11, Subscribed(NOW - 11, Asked.REFRESHED, 1800), phone),
        Event(NOW - 10, refused, phone),
        Event(NOW - 5.0004, Changed(NOW - 5.0004, None, DialogState.TERMINATED, DialogState.TERMINATED, "")),
    )
    lamp = LAMPS[resource_id("101", REALM)]
    return Timeline(resource_id("101", REALM), lamp, [Belief(phone, early, None)], events)


class FakeInsight:
    """A timeline of 101, figures in which everything has a number of its own, and health that can be taken away."""

    def __init__(self) -> None:
        self.now_health = Health(responsive=True, serving=True, store=True, bus=True)

    def health(self) -> Health:
        return self.now_health

    def timeline(self, account: AccountId, resource: ResourceId, *, call_id: CallId | None = None) -> Timeline:
        found = _timeline()
        if resource != found.resource:
            return Timeline(resource, Lamp(DialogState.TERMINATED, 0.0), (), ())
        if call_id is None:
            return found
        events = [event for event in found.events if event.record is None or event.record.call_id == call_id]
        phones = [belief for belief in found.phones if belief.record.call_id == call_id]
        return found._replace(events=events, phones=phones)

    def timelines(self, account: AccountId, call_id: CallId) -> Sequence[Timeline]:
        known = any(event.record is not None and event.record.call_id == call_id for event in _timeline().events)
        return [self.timeline(account, _timeline().resource, call_id=call_id)] if known else []

    def figures(self) -> Figures:
        seen = Histogram()
        for value in (0.0005, 0.001, 0.2, 99.0):
            seen.observe(value)
        wire = WireFigures(
            answers={("SUBSCRIBE", 200): 1, ("other", 501): 2}, notifies_sent=3, change_to_sent=seen, oversized=4,
            retransmissions_received=5, retransmissions_sent=6, stray_responses=7, keepalives=8, sends_failed=9,
            server_transactions=10, client_transactions=11, connections={"TCP": 12}, connections_closed={"peer": 13},
        )  # fmt: skip
        notifier = NotifierFigures(
            subscriptions={Kind(OFFICE, "dialog", "UDP", "yealink"): 14}, subscriptions_ended={"expired": 15},
            resources=16, state_changes={"manual": 17}, notifies={200: 18, 0: 19}, change_to_answered=seen, paced=20,
        )  # fmt: skip
        outbox = OutboxFigures(commit_time=seen, commits_failed=21, failing=True, waiting_since=NOW - 0.5, lane=22)
        return Figures(
            now=NOW, wire=wire, notifier=notifier, outbox=outbox, refusals={"malformed": 23}, inbox=24, bus_up=True,
            loop_delay=seen,
        )  # fmt: skip
