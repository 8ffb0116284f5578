"""The registrar as a state machine: phones that register, refresh, repeat and overtake themselves; commits that come
late or fail; restarts that lose what was not committed.

A model that knows the rules of RFC 3261 section 10.3 only says what must be there. Three devices have two lamps.
"""

from typing import Any, NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from sipresence.errors import SipError
from sipresence.events.effects import Effect
from sipresence.events.register import Registrant
from sipresence.events.registrar import RETRY
from tests.events.registering import BOBS, DESK, LAMP, OTHER_LAMP, SOFT, Reception, listed

PHONES = (DESK, SOFT, BOBS)
SPELLINGS = {
    "a": ("sip:a@192.0.2.7", "sip:%61@192.0.2.7;ob"),
    "b": ("sip:b@Desk.example.com", "sip:b@desk.EXAMPLE.com"),
    "c": ("sip:c@192.0.2.7", "sip:c@192.0.2.7"),
}
LEAST = 60
TIMES = (0, LEAST, 100, 600)


class Binding(NamedTuple):
    """What the model knows of a contact."""

    call_id: str
    cseq: int
    expires_at: float

    def precedes(self, call_id: str, cseq: int) -> bool:
        """Whether a request with these may change it."""
        return self.call_id != call_id or self.cseq < cseq


class Pending(NamedTuple):
    """A decision that is not settled: its effects, and what the model is once it is."""

    effects: list[Effect]
    after: dict[Registrant, dict[str, Binding]]


def name_of(uri: str) -> str:
    return next(name for name, spelt in SPELLINGS.items() if uri in spelt)


wanted = st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.sampled_from(TIMES)), max_size=3)
phones = st.sampled_from(PHONES)
call_ids = st.sampled_from(("first", "second"))
cseqs = st.integers(1, 6)


class Machine(RuleBasedStateMachine):
    """`model` is what is committed."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Reception()
        self.model: dict[Registrant, dict[str, Binding]] = {phone: {} for phone in PHONES}
        self.had: set[str] = set()  # lamps that ever had a phone
        self.pending: list[Pending] = []

    def living(self, phone: Registrant) -> dict[str, Binding]:
        return {name: one for name, one in self.model[phone].items() if one.expires_at > self.desk.now}

    @rule(phone=phones, contacts=wanted, call_id=call_ids, cseq=cseqs)
    def register(self, phone: Registrant, contacts: list[tuple[str, bool, int]], call_id: str, cseq: int) -> None:
        """A REGISTER, which may be an old one; with no contacts a question."""
        if self.desk.registrar.is_under_way(phone):
            return  # it waits
        headers = [f"<{SPELLINGS[name][spelt]}>;expires={expires}" for name, spelt, expires in contacts]
        before, after, overtaken = self.living(phone), self.living(phone), False
        for name, _, expires in contacts:
            known = after.pop(name, None)  # one that this very request has named is not old
            overtaken |= known is not None and known is before.get(name) and not known.precedes(call_id, cseq)
            if expires:
                after[name] = Binding(call_id, cseq, self.desk.now + expires)
        effects = self.asked(*headers, who=phone, call_id=call_id, cseq=cseq)
        assert (effects is None) is overtaken
        if effects is not None:
            self.decided(phone, effects, after)

    @rule(phone=phones, call_id=call_ids, cseq=cseqs)
    def remove_all(self, phone: Registrant, call_id: str, cseq: int) -> None:
        """Contact: *"""
        if self.desk.registrar.is_under_way(phone):
            return
        overtaken = not all(one.precedes(call_id, cseq) for one in self.living(phone).values())
        effects = self.asked("*", who=phone, call_id=call_id, cseq=cseq, expires=0)
        assert (effects is None) is overtaken
        if effects is not None:
            self.decided(phone, effects, {})

    def asked(self, *contacts: str, **fields: Any) -> list[Effect] | None:
        """What is decided, None for what is out of order."""
        try:
            return self.desk.later(*contacts, **fields)
        except SipError as error:
            if error.status != 500:
                raise
            return None

    def decided(self, phone: Registrant, effects: list[Effect], after: dict[str, Binding]) -> None:
        told = {name_of(uri): left for uri, left in listed(effects).items()}
        assert told == {name: round(one.expires_at - self.desk.now) for name, one in after.items()}
        if len(effects) > 1:  # else nothing is to be committed
            self.pending.append(Pending(effects, {phone: after}))

    @precondition(lambda self: self.pending)
    @rule(data=st.data(), saved=st.booleans())
    def settle(self, data: st.DataObject, saved: bool) -> None:
        """One of the decisions is committed, or fails."""
        self.settled(self.pending.pop(data.draw(st.integers(0, len(self.pending) - 1))), saved=saved)

    def settled(self, pending: Pending, *, saved: bool) -> None:
        self.desk.settle(pending.effects, saved=saved)
        if saved:
            self.model.update(pending.after)
            self.had |= {phone.resource for phone, after in pending.after.items() if after}

    @rule(seconds=st.sampled_from((1, 30, 60, 100, 700)), saved=st.booleans())
    def wait(self, seconds: int, saved: bool) -> None:
        """Time passes; what has expired ends, unless the store fails."""
        self.desk.now += seconds
        self.desk.settle(self.desk.registrar.expire(now=self.desk.now), saved=saved)

    @rule()
    def everything_is_committed_in_time(self) -> None:
        """Nothing outlives its expiry."""
        while self.pending:
            self.settled(self.pending.pop(0), saved=True)
        self.desk.wait(RETRY)
        self.desk.wait(0)
        assert all(row.expires_at > self.desk.now for row in self.desk.rows.values())
        for phone in PHONES:
            there = {
                name_of(row.contact): Binding(row.call_id, row.cseq, row.expires_at)
                for row in self.desk.rows.values()
                if row.user == phone.user
            }
            assert there == self.living(phone)
        deadline = self.desk.registrar.next_deadline()
        assert (deadline is None) == (not self.desk.rows)

    @rule()
    def restart(self) -> None:
        """What was not committed is lost."""
        self.pending.clear()
        self.desk.restart()

    @invariant()
    def the_lamp_is_what_the_bindings_are(self) -> None:
        for lamp in (LAMP, OTHER_LAMP):
            if lamp in self.had:
                assert self.desk.said[lamp] == any(row.resource == lamp for row in self.desk.rows.values())
            else:
                assert lamp not in self.desk.said

    @invariant()
    def what_is_seen_is_counted(self) -> None:
        registrar = self.desk.registrar
        seen = list(registrar.bindings_of(DESK.account))
        assert len(registrar) == len(seen) == len({binding.id for binding in seen})
        assert all(registrar.knows(binding.call_id) for binding in seen)
        if not self.pending:
            assert sorted(seen) == sorted(self.desk.rows.values())


def test_registrations() -> None:
    run_state_machine_as_test(Machine, settings=settings(max_examples=150, stateful_step_count=40, deadline=None))
