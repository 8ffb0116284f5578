"""A state machine over one subscription to a list, in virtual time: members change, are reset, join and leave; answers
are lost, late or refusals; the phone refreshes and moves; the server restarts.

The model knows what each lamp is, and what the phone has read. It holds the server to this:

- one NOTIFY is in flight, unless the phone moved; the list's version rises by one, but for restarts;
- the first NOTIFY after a SUBSCRIBE, a restart and a failure has full state, and full state names all members in order;
- each member's version rises with each of its documents, for ever;
- once everything is answered, the phone shows every member as it is.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sipresence.events.effects import Effect, Notify, Save, SaveList, SendNotify
from sipresence.events.lists import ListSettings
from sipresence.events.resource import DialogState
from sipresence.events.subscription import UNREACHABLE
from sipresence.names import ResourceId, extension_of
from tests.builders import Fields
from tests.events.desk import Desk
from tests.events.listed import LIST, LIST_URI, UNDERSTOOD
from tests.rlmi import read_notify

NAMES = [ResourceId(f"{user}@office.example.com") for user in ("101", "102", "103", "104", "*3101")]
CONTACTS = [f"<sip:102@192.0.2.{host}:5060>" for host in (7, 8)]
STATES = (DialogState.EARLY, DialogState.CONFIRMED, DialogState.TERMINATED)

members = st.sampled_from(NAMES)


class ListMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        listed = [(name, extension_of(name)) for name in NAMES[:4]]
        # Room for about two members, so that hardly anything is told at once.
        sizes = ListSettings(datagram_bytes=2_200)
        self.desk = Desk(
            lists={LIST: listed}, list_settings=sizes, coalesce=0.05, rate=4, window=2, failures_allowed=1000
        )
        self.lamps = dict.fromkeys(NAMES, DialogState.TERMINATED)
        self.shown: dict[str, str | None] = {}
        self.versions: dict[str, int] = {}
        self.in_flight: Notify | None = None
        self.version = -1
        self.restarted = self.must_be_full = self.moved = self.stranded = False
        self.cseq = 1
        self.contact = CONTACTS[0]
        self.must_be_full = True
        self._take(self.desk.subscribe(LIST, **self._fields()))

    def _fields(self) -> Fields:
        return {"uri": LIST_URI, "to": f"<{LIST_URI}>", "headers": UNDERSTOOD, "contact": self.contact}

    def _take(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Save):
                self.row = effect
            elif isinstance(effect, SaveList):
                self.kept = effect
            elif isinstance(effect, SendNotify):
                self._read(effect.notify)

    def _read(self, notify: Notify) -> None:
        assert self.in_flight is None or self.moved
        self.in_flight, self.moved = notify, False
        rlmi = read_notify(notify)
        assert rlmi.version == self.version + 1 or (self.restarted and rlmi.version > self.version)
        self.version, self.restarted = rlmi.version, False
        assert rlmi.full or not self.must_be_full
        self.must_be_full = False
        if rlmi.full:
            assert rlmi.names == [label for _, label in self.desk.lists[LIST]]
        for uri, told in rlmi.members.items():
            if told.document is not None:
                assert self.versions.get(uri, -1) < told.version <= rlmi.version
                self.versions[uri] = told.version

    @rule(name=members, state=st.sampled_from(STATES))
    def set(self, name: ResourceId, state: DialogState) -> None:
        self.lamps[name] = state
        self._take(self.desk.set(state, name))

    @rule(name=members)
    def reset(self, name: ResourceId) -> None:
        self.lamps[name] = DialogState.TERMINATED
        self._take(self.desk.reset(name))

    @rule()
    def reset_the_list(self) -> None:
        self._take(self.desk.reset(LIST))

    @precondition(lambda self: self.in_flight is not None)
    @rule(status=st.sampled_from([200] * 6 + [500, 408, UNREACHABLE]))
    def answer(self, status: int) -> None:
        notify, self.in_flight = self.in_flight, None
        assert notify is not None
        if status == 200:
            self.shown |= read_notify(notify).lamps
        else:
            self.must_be_full = True
        self._take(self.desk.answer(notify, status))

    @rule(moves=st.booleans())
    def refresh(self, moves: bool) -> None:
        if moves:
            self.contact = CONTACTS[self.contact == CONTACTS[0]]
        self.cseq += 1
        self.moved = moves
        in_flight = self.in_flight
        fields = self._fields()
        fields["cseq"] = self.cseq
        self._take(self.desk.refresh(self.row.record.local_tag, **fields))
        if self.in_flight is in_flight:  # it follows the one in flight
            self.must_be_full = True

    @rule(which=st.lists(members, unique=True, max_size=5))
    def reload(self, which: list[ResourceId]) -> None:
        self.desk.lists[LIST] = [(name, extension_of(name)) for name in which]
        self._take(self.desk.notifier.lists_changed(now=self.desk.now))

    @rule()
    def restart(self) -> None:
        states = [change for name in NAMES for change in self.desk.notifier.state_of(name)._said]
        self.desk.restart(self.row, states=states, lists=[self.kept], spread=0.5)
        self.in_flight = None
        self.restarted = self.must_be_full = True

    @rule(seconds=st.sampled_from([0.01, 0.06, 0.3, 1.1, 6.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self._take(self.desk.wait(seconds))

    @invariant()
    def it_lives(self) -> None:
        assert len(self.desk.notifier) == 1

    def teardown(self) -> None:
        self.moved = False
        self.refresh(moves=False)  # it may have been unreachable
        for _ in range(400):
            if self.in_flight is not None:
                self.answer(200)
            deadline = self.desk.notifier.next_deadline()
            if self.in_flight is None and (deadline is None or deadline > self.desk.now + 100):
                break
            self.wait(0.3)
        assert self.in_flight is None
        listed = {name for name, _ in self.desk.lists[LIST]}
        assert {name: self.shown.get(extension_of(name)) for name in listed} == {
            name: self.lamps[name].value for name in listed
        }


ListMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestListMachine = ListMachine.TestCase
