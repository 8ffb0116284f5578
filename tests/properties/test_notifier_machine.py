"""A state machine over notifier, outbox and service, in virtual time: phones that subscribe, refresh, move, leave,
refuse and fall silent; lamps that are set, expire and are reset; commits that come late or fail; crashes at any moment.

The model knows what each phone was promised and what it was sent, and holds the server to it:

- CSeq rises strictly, over a crash too; CSeq and version by one as long as no crash came between; nothing follows a
  terminated NOTIFY; one NOTIFY is in flight, unless the target moved;
- no NOTIFY leaves above the stored ceiling, unless the last commit of that row failed;
- what was answered 200 is subscribed till its expiry, over a crash too, and not a moment longer;
- once everything is answered, each phone's last NOTIFY shows the last state.
"""

import asyncio
import logging
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import ip_network

import pytest
import structlog
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sipresence.accounts import Account
from sipresence.authentication import Authenticator
from sipresence.backends.memory import LocalBus
from sipresence.commands import Command as Asked
from sipresence.commands import NotifyAgain, Reset, SetState, Terminate
from sipresence.directory import Directory
from sipresence.errors import StoreError
from sipresence.events import subscribe as subscribe_module
from sipresence.events import subscription as subscription_module
from sipresence.events.effects import Forget, Notify, Respond, Save, Write
from sipresence.events.notifier import Notifier
from sipresence.events.pacing import Pacing
from sipresence.events.publication import PublicationCompositor
from sipresence.events.record import SubscriptionRecord
from sipresence.events.resource import DialogState
from sipresence.events.resources import Resources
from sipresence.events.subscribe import Limits
from sipresence.events.subscription import ENDING_STATUSES, UNREACHABLE, Reason, SubscriptionView
from sipresence.events.timeline import Chronicle
from sipresence.names import ResourceId, SubscriptionId, extension_of
from sipresence.receipt import Receipt
from sipresence.service import PresenceService, ServiceSettings
from sipresence.sip.digest import Nonces
from sipresence.sip.flow import Flow
from sipresence.sip.message import Request
from tests.builders import flow, parsed, subscribe
from tests.events.desk import OFFICE, local_tag
from tests.fakes import ManualClock, ManualStore

FAILURES_ALLOWED = 4
NOTIFY_RATE, NOTIFY_WINDOW = 3, 2  # few, so that pacing is met often
RESOURCES = tuple(ResourceId(f"{user}@office.example.com") for user in ("101", "*3101"))
ACCOUNT = Account(
    OFFICE, "office", "office.example.com", (), api_key=None, tokens=(), users=(), devices=(), lists=()
)  # fmt: skip
WAYS = (flow(), flow(port=5999), flow(host="192.0.2.8"))

numbers = st.integers(0, 2)
resources = st.sampled_from(RESOURCES)
answers = st.sampled_from(
    [(200, None)] * 8 + [(481, None), (500, None), (408, None), (408, None), (503, 7), (UNREACHABLE, None)]
)


class Then(IntEnum):
    """How far the world goes on after an event, before the next one."""

    NOTHING = 0
    TURN_END = 1
    FAILED = 2
    COMMITTED = 3
    SETTLED = 4


thens = st.sampled_from((Then.NOTHING, Then.TURN_END, Then.FAILED, *[Then.COMMITTED] * 2, *[Then.SETTLED] * 3))


@dataclass
class Sent:
    """A SUBSCRIBE that waits for its answer."""

    message: bytes
    way: Flow
    expires: int
    at: float
    life: int  # of the server that took it
    crashed: bool = False


@dataclass
class Phone:
    """One lamp key: what its user knows of the subscription."""

    number: int
    generation: int = 0
    cseq: int = 0
    resource: ResourceId = RESOURCES[0]
    way: Flow = WAYS[0]
    tag: str = ""
    expires_at: float = 0.0
    failures: int = 0
    waits: Sent | None = None

    @property
    def name(self) -> tuple[str, str]:
        return f"{self.number}@phone", f"g{self.generation}"

    def forget(self) -> None:
        """Begin anew, under another From tag."""
        self.generation += 1
        self.tag, self.waits = "", None


@dataclass
class Dialog:
    """What was sent in one dialog."""

    cseq: int = 0
    version: int = -1
    life: int = 0
    exact: bool = False  # a clean stop: the next numbers are these + 1
    terminated: bool = False
    stranded: bool = False
    shows: DialogState | None = None


@dataclass
class Command:
    """A command that waits for its commit; `state` is None for one that changes no lamp."""

    task: "asyncio.Task[Receipt]"
    batch: int
    resource: ResourceId
    state: DialogState | None
    until: float = float("inf")


class NotifierMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.store = ManualStore()
        self.clock = ManualClock()
        self.life = 0
        self.phones = [Phone(number) for number in range(3)]
        self.dialogs: dict[tuple[str, str], Dialog] = {}
        self.in_flight: dict[SubscriptionId, Notify] = {}
        self.lamps: dict[ResourceId, tuple[DialogState, float]] = {}
        self.commands: list[Command] = []
        self.failed: set[SubscriptionId] = set()  # rows whose last commit failed
        self.failed_batches: set[int] = set()
        self.failed_in_life = False
        self.age = 0  # steps since the start of the server
        self.fetches = 0
        self._start()

    # The server

    def _start(self) -> None:
        self.life += 1
        self.failed_in_life = False
        self.age = 0
        self.clock = ManualClock(self.clock.now())
        self.in_flight.clear()
        resources = Resources(Chronicle())
        notifier = Notifier(
            Limits(),
            failures_allowed=FAILURES_ALLOWED,
            local_tag=local_tag,
            pacing=Pacing(rate=NOTIFY_RATE, in_flight=NOTIFY_WINDOW),
            resources=resources,
        )
        directory = Directory([ACCOUNT])
        self.service = PresenceService(
            ServiceSettings("blf", (ip_network("192.0.2.0/24"),)),
            directory=directory,
            authenticator=Authenticator(directory, Nonces(bytes(32), since=self.clock.now())),
            notifier=notifier,
            compositor=PublicationCompositor(resources, token=lambda: "publication"),
            tag=local_tag,
            clock=self.clock,
        )
        self.service.attach(store=self.store, bus=LocalBus(self.service.on_state_change), endpoint=self)
        loaded = self.loop.run_until_complete(self.store.load())
        self.restored = {_name_of(row) for row in loaded.subscriptions}
        self.service.restore(loaded)
        self.service.start()

    def _views(self) -> list[SubscriptionView]:
        return list(self.service.subscriptions(OFFICE))

    def _rows(self) -> dict[SubscriptionId, SubscriptionRecord]:
        return self.store.rows._subscriptions

    def _rows_by_name(self) -> dict[tuple[str, str], SubscriptionRecord]:
        return {_name_of(row): row for row in self._rows().values()}

    # What the server sends (ports.Endpoint)

    def respond(self, response: Respond) -> None:
        request = response.request
        name = (request.call_id, request.from_tag)
        phone = next((one for one in self.phones if one.name == name), None)
        if phone is None or phone.waits is None or parsed(phone.waits.message).cseq != request.cseq:
            assert response.status in (200, 481, 500, 503)  # to a fetch, or to one who asks no more
            return
        waits, phone.waits = phone.waits, None
        if response.status == 200:
            assert f"Expires: {waits.expires}\r\n" in response.headers
            assert phone.tag in ("", response.to_tag)
            row = self._rows_by_name().get(name)
            assert row is None if not waits.expires else row and row.subscribe_cseq == request.cseq, "committed first"
            phone.tag, phone.expires_at, phone.way = response.to_tag, waits.at + waits.expires, waits.way
            if not waits.expires:
                phone.forget()
        elif response.status in (500, 503):
            assert self.failed_in_life or not phone.tag, "what is new may be refused while commits are late"
            if not phone.tag or not waits.expires:
                phone.forget()  # unsubscribed all the same
            elif waits.crashed:  # the row of its first try may have been kept
                phone.expires_at = self._rows_by_name()[name].expires_at
        else:
            assert response.status == 481
            assert phone.expires_at <= waits.at or waits.crashed  # it may have unsubscribed, and not heard of it
            phone.forget()

    def drop(self, request: Request) -> None:
        """Left unanswered: it comes again."""

    def send(self, notify: Notify) -> None:
        dialog = self.dialogs.setdefault(_name(notify), self._unheard_of(notify))
        assert not dialog.terminated, "nothing follows a terminated NOTIFY"
        if dialog.life == self.life or dialog.exact:
            assert (notify.cseq, notify.version) == (dialog.cseq + 1, dialog.version + 1)
        else:
            assert notify.cseq > dialog.cseq
            assert notify.version > dialog.version
        older = self.in_flight.get(notify.id)
        if older is not None and not self.failed_in_life:
            assert (older.request_uri, older.hop) != (notify.request_uri, notify.hop), "one NOTIFY in flight"
        row = self._rows().get(notify.id)
        if row is not None and notify.id not in self.failed:
            assert notify.cseq <= row.cseq_ceiling
            assert notify.version <= row.version_ceiling
        dialog.cseq, dialog.version, dialog.life, dialog.exact = notify.cseq, notify.version, self.life, False
        dialog.terminated = notify.subscription_state.startswith("terminated")
        dialog.shows, dialog.stranded = notify.document.state, False
        self.in_flight[notify.id] = notify

    def _unheard_of(self, notify: Notify) -> Dialog:
        """A dialog in which nothing was sent, which begins at 1 and 0 unless it is older than this life."""
        return Dialog(life=0 if _name(notify) in self.restored else self.life)

    # Phones

    @rule(
        number=numbers,
        resource=resources,
        expires=st.sampled_from((0, 60, 600, 600, 7200)),
        way=st.sampled_from([None, None, *WAYS]),
        then=thens,
    )
    def subscribe(self, number: int, resource: ResourceId, expires: int, way: Flow | None, then: Then) -> None:
        """What a phone asks for depends on where it stands."""
        phone = self.phones[number]
        if phone.waits is None:
            if not phone.tag:
                phone.resource = resource
                expires = expires or 60
            self._subscribe(phone, expires=expires, way=way or phone.way)
        elif phone.waits.life != self.life:  # it retransmits what the server took before its crash
            phone.waits.at, phone.waits.life, phone.waits.crashed = self.clock.now(), self.life, True
            self._receive(phone)
        elif not phone.tag:  # it was restarted, and asks once more under the same name
            self._subscribe(phone, expires=expires or 60, way=phone.waits.way)
        self._go_on(then)

    def _subscribe(self, phone: Phone, *, expires: int, way: Flow) -> None:
        call_id, from_tag = phone.name
        phone.cseq += 1
        address = f"sip:{extension_of(phone.resource)}@office.example.com"
        message = subscribe(
            uri=address, to=f"<{address}>", call_id=call_id, from_tag=from_tag, to_tag=phone.tag, cseq=phone.cseq,
            expires=expires, contact=f"<sip:{phone.number}@{way.host}:{way.port}>",
        )  # fmt: skip
        phone.waits = Sent(message, way, expires, self.clock.now(), self.life)
        self._receive(phone)

    def _receive(self, phone: Phone) -> None:
        assert phone.waits is not None
        phone.failures = 0
        self.service.on_request(parsed(phone.waits.message, phone.waits.way))

    @rule(resource=resources, then=thens)
    def fetch(self, resource: ResourceId, then: Then) -> None:
        self.fetches += 1
        uri = f"sip:{extension_of(resource)}@office.example.com"
        message = subscribe(uri=uri, to=f"<{uri}>", call_id=f"fetch-{self.fetches}@phone", expires=0)
        self.service.on_request(parsed(message))
        self._go_on(then)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), how=answers, then=thens)
    def answer(self, data: st.DataObject, how: tuple[int, int | None], then: Then) -> None:
        ident = data.draw(st.sampled_from(sorted(self.in_flight)))
        self._answer(ident, *how)
        self._go_on(then)

    def _answer(self, ident: SubscriptionId, status: int, retry_after: int | None = None) -> None:
        notify = self.in_flight.pop(ident)
        phone = next((one for one in self.phones if one.name == _name(notify)), None)
        abandoned = self.service.outbox.unsent(ident)
        if not abandoned:
            self.dialogs[_name(notify)].stranded = status == UNREACHABLE
        self.service.on_notify_answered(ident, status, retry_after)
        if phone is None or abandoned:
            return
        if status == 200:
            phone.failures = 0
        elif status in ENDING_STATUSES:
            phone.failures = FAILURES_ALLOWED
        elif status != UNREACHABLE and retry_after is None:
            phone.failures += 1
        if phone.failures >= FAILURES_ALLOWED:
            phone.forget()

    # Admins

    def _command(self, asked: Asked, *, state: DialogState | None = None, until: float = float("inf")) -> None:
        batch = len(self.store.submitted)
        task = self.loop.create_task(self.service.commands.carry_out(OFFICE, [asked]))
        self.commands.append(Command(task, batch, asked.resources[0], state, until))
        self._spin()

    def _done(self, command: Command) -> None:
        if command.state is not None:
            self.lamps[command.resource] = (command.state, command.until)

    def _spin(self) -> None:
        """Let the loop run until every task waits; take note of the commands that are done."""
        for _ in range(3):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()
        for command in [one for one in self.commands if one.task.done()]:
            self.commands.remove(command)
            if command.task.exception() is None:
                assert command.batch not in self.failed_batches
                self._done(command)
            else:
                assert isinstance(command.task.exception(), StoreError)
                assert command.batch in self.failed_batches

    @rule(
        resource=resources,
        state=st.sampled_from(["early", "confirmed", "terminated", None]),
        expires=st.sampled_from([None, 5, 40]),
        then=thens,
    )
    def command(self, resource: ResourceId, state: str | None, expires: int | None, then: Then) -> None:
        """A set, or a reset."""
        if state is None:
            self._reset(resource)
        else:
            asked = SetState([resource], DialogState(state), expires)
            until = float("inf") if expires is None else self.clock.now() + expires
            self._command(asked, state=DialogState(state), until=until)
        self._go_on(then)

    def _reset(self, resource: ResourceId) -> None:
        self._command(Reset([resource]), state=DialogState.TERMINATED)

    @rule(resource=resources, then=thens)
    def notify_again(self, resource: ResourceId, then: Then) -> None:
        self._command(NotifyAgain([resource]))
        self._go_on(then)

    @rule(number=numbers, reason=st.sampled_from(Reason), then=thens)
    def terminate(self, number: int, reason: Reason, then: Then) -> None:
        phone = self.phones[number]
        if phone.tag and phone.waits is None:
            call_id, from_tag = phone.name
            phone.forget()
            self._command(Terminate([phone.resource], f"{call_id};from-tag={from_tag}", reason))
        self._go_on(then)

    # The store, the loop, time

    @rule(then=thens)
    def go_on(self, then: Then) -> None:
        self._go_on(then)

    def _go_on(self, then: Then) -> None:
        if then >= Then.TURN_END:
            self.service.on_turn_end()
        if then >= Then.FAILED and self.store.busy:
            if then is Then.FAILED:
                self._fail()
            else:
                self._commit()
        if then is Then.SETTLED:
            self.clock.settle()

    def _commit(self) -> None:
        self.failed -= _ids(self.store.submitted[-1])
        self.store.commit()
        self._spin()

    def _fail(self) -> None:
        self.failed |= _ids(self.store.submitted[-1])
        self.failed_batches.add(len(self.store.submitted) - 1)
        self.failed_in_life = True
        self.store.fail()
        self._spin()

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 5.0, 31.0, 61.0]), then=thens)
    def wait(self, seconds: float, then: Then) -> None:
        self._wait(seconds)
        self._go_on(then)

    def _wait(self, seconds: float) -> None:
        self.service.on_turn_end()  # which is sooner than any time passes
        self.clock.advance(seconds)
        for phone in self.phones:
            if phone.waits is not None and phone.waits.at + 32 <= self.clock.now():
                phone.forget()  # timer F
            elif phone.tag and phone.waits is None and phone.expires_at <= self.clock.now():
                phone.forget()

    @precondition(lambda self: self.age > 10)
    @rule(end=st.sampled_from(["clean", "crash", "crash, the batch in flight was kept"]))
    def another_life(self, end: str) -> None:
        if end == "clean":
            self._stop()
        else:
            self._crash(kept=end != "crash")

    def _crash(self, *, kept: bool) -> None:
        """kill -9; the batch in flight may have reached the disk or not."""
        batch = None
        if self.store.busy:
            done = self.store._take()
            if kept:
                batch = len(self.store.submitted) - 1
                self.store.rows.submit(self.store.submitted[batch], lambda error: None)
                self.failed -= _ids(self.store.submitted[batch])
            del done  # nobody is left to hear of it
        for command in self.commands:
            if command.batch == batch:
                self._done(command)
            command.task.cancel()
        self.commands.clear()
        self.loop.run_until_complete(asyncio.sleep(0))
        self._begin_another_life()

    def _stop(self) -> None:
        self._calm_store()
        living = {_name_of(view.record) for view in self._views()}
        stopping = self.loop.create_task(self.service.stop())
        self._spin()
        self._calm_store()
        self._spin()
        assert stopping.done()
        stopping.result()
        self._begin_another_life(exact=living)

    def _begin_another_life(self, *, exact: Container[tuple[str, str]] = ()) -> None:
        """`exact`: the dialogs whose numbers were written."""
        rows = self._rows_by_name()
        for name, dialog in self.dialogs.items():
            row = rows.get(name)
            if row is None:
                continue
            dialog.terminated = False  # its deletion failed
            dialog.exact = name in exact and (dialog.exact or dialog.life == self.life)
            if row.id in self.failed:  # nobody could know what was sent above the ceiling
                dialog.cseq, dialog.version, dialog.exact = row.cseq_ceiling, row.version_ceiling, False
        for phone in self.phones:
            phone.failures = 0
        self._start()

    def _calm_store(self) -> None:
        self.service.on_turn_end()
        while self.store.busy or not self.service.outbox.idle:
            if self.store.busy:
                self._commit()
            self.service.on_turn_end()
            self.clock.settle()

    # What must always hold

    @invariant()
    def subscribed_is_what_was_promised(self) -> None:
        self.age += 1
        now = self.clock.now()
        views = {_name_of(view.record): view for view in self._views()}
        if not any(when <= now for when in self.clock.armed):  # right after a start the clock has not come round yet
            assert all(view.record.expires_at > now for view in views.values())
        for phone in self.phones:
            if phone.tag and phone.waits is None:
                assert phone.name in views
                record = views[phone.name].record
                assert (record.expires_at, record.local_tag) == (phone.expires_at, phone.tag)

    def teardown(self) -> None:
        try:
            self._settle_down()
            for view in self._views():
                dialog = self.dialogs[_name_of(view.record)]
                state, until = self.lamps.get(view.record.resource, (DialogState.TERMINATED, float("inf")))
                expected = state if until > self.clock.now() else DialogState.TERMINATED
                assert dialog.stranded or dialog.shows is expected
            self._wait(8000)
            self._reset(RESOURCES[0])  # a deletion that failed goes with the next batch
            self._settle_down()
            assert self._views() == []
            assert self._rows() == {}
            assert len(self.service._notifier._subscriptions) == 0
        finally:
            for command in self.commands:
                command.task.cancel()
            self.loop.run_until_complete(asyncio.sleep(0))
            self.loop.close()

    def _settle_down(self) -> None:
        """Everything is committed, every NOTIFY answered, every retry made."""
        for _ in range(3):
            self._calm_store()
            while self.in_flight:
                for ident in sorted(self.in_flight):
                    self._answer(ident, 200)
                self._calm_store()
            self._wait(61)  # the longest delay before the fourth failure, which ends a subscription
        self._calm_store()


def _name_of(record: SubscriptionRecord) -> tuple[str, str]:
    return record.call_id, record.remote_tag


def _ids(writes: Sequence[Write]) -> set[SubscriptionId]:
    """The rows that these writes are about."""
    saved = {write.record.id for write in writes if isinstance(write, Save)}
    return saved | {write.id for write in writes if isinstance(write, Forget)}


def _name(notify: Notify) -> tuple[str, str]:
    """Call-ID and the phone's tag, as the NOTIFY has them."""
    to = next(line for line in notify.head.decode().split("\r\n") if line.startswith("To: "))
    return notify.call_id, to.rpartition(";tag=")[2]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ceilings that are raised every other NOTIFY; and thousands of commands need not be logged."""
    monkeypatch.setattr(subscription_module, "BLOCK", 4)
    monkeypatch.setattr(subscribe_module, "BLOCK", 4)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    yield
    structlog.reset_defaults()


NotifierMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
TestNotifierMachine = NotifierMachine.TestCase
