"""Real call flows on one resource, from several publishers at once, in any order, with copies, losses and crashes.

The publishers are Kamailio (answers that come late make it publish initially again, so that orphans are left, which it
goes on to refresh), OpenSIPS (one chain, ended by Expires 0), a forked call that two phones publish themselves, one
that a proxy publishes, and Asterisk, whose one dialog is the state of the extension. What they send is heard in any
order within a call; commits come late or fail; the server crashes and reads its rows again; an admin sets and resets
the lamp; time passes.

The oracle is small: a call lives from the first word on it that is committed until the first `terminated`, a reset, or
the expiry of the publication that spoke last, and is as its last word says. The lamp shows the most important of the
calls that live, what an extension's state says, and what an admin has set.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sipresence.errors import SipError
from sipresence.events.publication import Granted
from sipresence.events.resource import DialogState, reset, set_manually
from sipresence.sip.message import Request
from tests.events.desk import LAMP, OFFICE
from tests.events.publishing import Call, PublishDesk, dialog_info, publish_request

LIVING = ("Trying", "early", "confirmed", "confirmed")
PROGRESS = tuple(DialogState)
IMPORTANCE = (DialogState.EARLY, DialogState.CONFIRMED, DialogState.TRYING, DialogState.TERMINATED)
numbers = st.integers(0, 3)


@dataclass
class Chain:
    """What one publisher publishes of one dialog, or extension. `tags` are all it was ever given, the last one last."""

    publisher: str
    call: Call
    partial: bool = False  # as OpenSIPS does
    tags: list[str] = field(default_factory=list)
    said: str = ""  # the last word
    speaker: str = ""  # the publication that says it lives
    over: bool = False  # `terminated` has arrived: no word counts any more
    silent: bool = False  # so long ago that a word would be one on another call

    def request(self, state: str, *, tag: str) -> Request:
        """With the Expires that they ask for: OpenSIPS removes what it ends, Kamailio leaves it for some seconds."""
        expires = 43201
        if state == "terminated" and self.call.call_id:
            expires = 0 if self.partial and tag else 11
        body = dialog_info(self.call._replace(state=state), state="partial" if self.partial else "full")
        return publish_request(body, tag=tag, expires=expires)

    def heard(self, state: str, publication: str) -> None:
        """A word is committed."""
        ends = state == "terminated"
        self.over |= ends and bool(self.call.call_id)
        back = self.speaker and self.call.call_id and PROGRESS.index(state.lower()) < PROGRESS.index(self.said.lower())
        self.said = self.said if back else state
        self.speaker = "" if ends or self.over else publication


def kamailio(number: int) -> list[Chain]:
    return [Chain("kamailio", Call("", f"padi-{number}", f"{number}@proxy"))]


def opensips(number: int) -> list[Chain]:
    return [Chain("opensips", Call("", f"{number}@proxy.0", f"{number}@proxy", "a1", "b1"), partial=True)]


def forked(number: int) -> list[Chain]:
    """Two phones ring, and publish themselves: one id, one call-id."""
    return [Chain(phone, Call("", "1", f"{number}@fork", phone, "caller")) for phone in ("phone-a", "phone-b")]


def branches(number: int) -> list[Chain]:
    """A forked call that one proxy publishes, a dialog for each branch, told apart by their tags alone."""
    return [Chain("kamailio", Call("", "x", f"{number}@branches", branch, "caller")) for branch in ("b1", "b2")]


class CallFlows(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.desk = PublishDesk()
        self.chains: list[Chain] = [Chain("asterisk", Call("", "101", ""))]
        self.expires_at: dict[str, float] = {}  # by publication
        self.manual = DialogState.TERMINATED
        self.calls = 0
        self.commits: list[Callable[[], None]] = []  # what those that are under way will mean

    # Calls

    @precondition(lambda self: len(self.chains) < 8)
    @rule(flow=st.sampled_from((kamailio, opensips, forked, branches)))
    def begin(self, flow: Callable[[int], list[Chain]]) -> None:
        self.calls += 1
        self.chains += flow(self.calls)

    @precondition(lambda self: len(self.chains) < 8)
    @rule(late_answers=st.integers(0, 3), ends=st.booleans())
    def ordinary_call(self, late_answers: int, ends: bool) -> None:
        """A call through Kamailio whose first answers come so late that it publishes initially again."""
        self.begin(kamailio)
        for number, state in enumerate((*LIVING, "terminated") if ends else LIVING):
            self.speak(self.chains[-1], state, answered=number > late_answers)

    @rule(which=numbers, state=st.sampled_from(LIVING), back=numbers, answered=st.booleans())
    def word(self, which: int, state: str, back: int, answered: bool) -> None:
        """Any living state, once more or too late; with an old tag, or as if no answer had come."""
        self.speak(self.chain(which), state, back=back, answered=answered)

    @rule(which=numbers, back=numbers)
    def end(self, which: int, back: int) -> None:
        self.speak(self.chain(which), "terminated", back=back)

    @rule(which=numbers, back=numbers)
    def refresh(self, which: int, back: int) -> None:
        """Without a body, also of an orphan, also after the end."""
        chain = self.chain(which)
        if chain.tags:
            self.publish(chain, publish_request(tag=chain.tags[-1 - back % len(chain.tags)], expires=43201))

    def chain(self, which: int) -> Chain:
        return self.chains[-1 - which % len(self.chains)]

    def speak(self, chain: Chain, state: str, *, back: int = 0, answered: bool = True) -> None:
        if chain.silent:
            return
        tag = chain.tags[-1 - back % len(chain.tags)] if chain.tags and answered else ""
        if chain.tags and not chain.call.call_id:
            tag = chain.tags[-1]  # Asterisk has one request in flight
        granted = self.publish(chain, chain.request(state, tag=tag), state)
        if granted is None and tag and not self.desk.holding:
            self.publish(chain, chain.request(state, tag=""), state)  # after a 412

    def publish(self, chain: Chain, request: Request, state: str = "") -> Granted | None:
        """None after a 412, and while it has to be sent again."""
        self.desk.now += 0.01
        tag = request.get("sip-if-match") or ""
        try:
            granted = self.desk.publish(request, publisher=chain.publisher)
        except SipError as error:
            assert (error.status, self.is_over(tag)) == (412, True)  # noqa: PT017
            return None
        assert granted or self.desk.holding, "silence, though nothing is under way"
        if granted is not None:
            publication, expires_at = granted.entity_tag.partition(".")[0], self.desk.now + granted.expires
            self.when_committed(lambda: self.answered(chain, granted, state, publication, expires_at))
        return granted

    def answered(self, chain: Chain, granted: Granted, state: str, publication: str, expires_at: float) -> None:
        if granted.expires:
            chain.tags.append(granted.entity_tag)
            self.expires_at[publication] = expires_at
        if state:
            chain.heard(state, publication)

    def is_over(self, tag: str) -> bool:
        known = self.desk.resource.state.publications.get(tag.partition(".")[0])
        return known is None or not known.entity_tag

    # The admin

    @rule(state=st.sampled_from((DialogState.EARLY, DialogState.CONFIRMED, DialogState.TERMINATED, None)))
    def admin(self, state: DialogState | None) -> None:
        """Set the lamp, or reset it."""
        self.desk.now += 0.01
        if state is None:
            self.desk.change(reset(OFFICE, LAMP, at=self.desk.now))
        else:
            self.desk.change(set_manually(OFFICE, LAMP, state=state, at=self.desk.now))
        self.when_committed(lambda: self.was_set(state))

    def was_set(self, state: DialogState | None) -> None:
        self.manual = state or DialogState.TERMINATED
        for chain in self.chains if state is None else ():
            chain.speaker = ""

    # The store and the timers

    def when_committed(self, meaning: Callable[[], None]) -> None:
        if self.desk.holding:
            self.commits.append(meaning)
        else:
            meaning()

    @precondition(lambda self: not self.desk.holding)
    @rule(timers=st.booleans())
    def delay(self, timers: bool) -> None:
        """The timers, or the store, take their time from here on."""
        self.desk.timers_run, self.desk.holding = not timers, not timers

    @precondition(lambda self: self.desk.holding)
    @rule(fails=st.booleans())
    def commit(self, fails: bool) -> None:
        commits, self.commits = self.commits, []
        if fails:
            self.desk.fail()
            return
        self.desk.commit()
        for meaning in commits:
            meaning()

    @rule()
    def crash(self) -> None:
        self.commits = []
        self.desk.holding, self.desk.timers_run = False, True
        self.desk.restart()
        self.desk.do_what_is_due()

    @precondition(lambda self: not self.desk.holding)
    @rule(seconds=st.sampled_from((1, 130, 130, 3600, 7201)))
    def wait(self, seconds: int) -> None:
        """What has ended is forgotten after two minutes, while orphans live on as long as they are refreshed."""
        self.desk.timers_run = True
        self.desk.wait(seconds)
        for chain in self.chains:
            chain.silent |= chain.over and seconds > 60
            if self.expires_at.get(chain.speaker, 0.0) <= self.desk.now:
                chain.speaker = ""

    # What must hold

    @invariant()
    def the_lamp_shows_the_most_important_of_what_lives(self) -> None:
        if not self.desk.holding:
            living = [DialogState(chain.said.lower()) for chain in self.chains if chain.speaker]
            assert self.desk.lamp is min((self.manual, *living), key=IMPORTANCE.index)

    @invariant()
    def what_was_stored_shows_the_same_lamp(self) -> None:
        if not self.desk.holding:
            other = PublishDesk()
            other.rows = self.desk.rows
            other.restart()
            assert other.lamp is self.desk.lamp
            assert shown(other) == shown(self.desk)

    def teardown(self) -> None:
        """All calls end."""
        if self.desk.holding:
            self.commit(fails=False)
        self.admin(DialogState.TERMINATED)
        for chain in self.chains:
            self.speak(chain, "terminated")
        assert self.desk.lamp is DialogState.TERMINATED
        self.wait(7201)
        assert [row.source for row in self.desk.rows.load()] == ["manual"]


def shown(desk: PublishDesk) -> list[tuple[DialogState, str]]:
    """Without the order of equals, which is by what a row cannot tell: since when."""
    return sorted((dialog.state, dialog.call_id) for dialog in desk.resource.state.dialogs)


TestCallFlows = CallFlows.TestCase
TestCallFlows.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
