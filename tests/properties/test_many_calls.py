"""Publications that speak of several calls each, full and partial, from two publishers that begin anew as they like.

What the flows of real proxies (test_call_flows.py) never do: a dialog is left out, named by another publication, ended
with its publication, and named again. The oracle remembers the last word on each dialog, which publication brought it,
and which dialogs have ended within the last minute.
"""

from typing import NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sipresence.events.resource import DialogState, reset
from tests.events.desk import LAMP, OFFICE
from tests.events.publishing import Call, PublishDesk, publish_request, tag_of

BRIEF, LONG = 120, 7200


class Name(NamedTuple):
    publisher: str
    id: str
    call_id: str


class Word(NamedTuple):
    state: DialogState
    publication: int


dialogs = st.tuples(st.sampled_from("xy"), st.sampled_from(("c1", "c2", "")))
publishers = st.sampled_from(("phone", "proxy"))
numbers = st.integers(0, 9)


class ManyCalls(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.desk = PublishDesk()
        self.tags: dict[int, str] = {}
        self.owners: dict[int, str] = {}
        self.expires: dict[int, int] = {}
        self.alive: dict[Name, Word] = {}
        self.over: set[Name] = set()
        self.count = 0

    @rule(
        publisher=publishers,
        which=numbers,
        anew=st.booleans(),
        said=st.dictionaries(dialogs, st.sampled_from(DialogState), max_size=3),
        partial=st.booleans(),
        expires=st.sampled_from((BRIEF, LONG)),
    )
    def body(
        self,
        publisher: str,
        which: int,
        anew: bool,
        said: dict[tuple[str, str], DialogState],
        partial: bool,
        expires: int,
    ) -> None:
        publication = None if anew else self.pick(which, publisher)
        initial = publication is None
        if publication is None:
            self.count += 1
            publication = self.count
        self.tags[publication] = self.desk.says(
            *(Call(state.value, *dialog) for dialog, state in said.items()),
            tag=self.tags.get(publication, ""),
            expires=expires,
            state="partial" if partial else "full",
            publisher=publisher,
        )
        self.owners[publication], self.expires[publication] = publisher, expires
        if initial or not partial:
            named = {Name(publisher, *dialog) for dialog in said}
            self.leave_out({name for name in self.of(publication) if name not in named})
        for dialog, state in said.items():
            self.heard(Name(publisher, *dialog), Word(state, publication))

    def heard(self, name: Name, word: Word) -> None:
        if word.state is DialogState.TERMINATED:
            self.leave_out({name})
        elif name not in self.over:
            before = self.alive.get(name, word).state if name.call_id else word.state
            self.alive[name] = word._replace(state=max(before, word.state, key=list(DialogState).index))

    def leave_out(self, names: set[Name]) -> None:
        for name in names:
            self.alive.pop(name, None)
        self.over |= {name for name in names if name.call_id}

    @rule(publisher=publishers, which=numbers)
    def refresh(self, publisher: str, which: int) -> None:
        publication = self.pick(which, publisher)
        if publication is not None:
            self.tags[publication] = self.desk.refresh(self.tags[publication], expires=LONG)
            self.expires[publication] = LONG

    @rule(publisher=publishers, which=numbers)
    def remove(self, publisher: str, which: int) -> None:
        publication = self.pick(which, publisher)
        if publication is not None:
            request = publish_request(tag=self.tags[publication], expires=0)
            tag_of(self.desk.publish(request, publisher=publisher))
            self.leave_out(self.of(publication))
            self.forget(publication)

    @rule()
    def two_minutes_pass(self) -> None:
        """Brief publications expire; what had ended may come again."""
        self.desk.wait(BRIEF)
        for publication in [number for number, expires in self.expires.items() if expires == BRIEF]:
            self.alive = {name: word for name, word in self.alive.items() if word.publication != publication}
            self.forget(publication)
        self.over.clear()

    @rule()
    def reset(self) -> None:
        self.desk.change(reset(OFFICE, LAMP, at=self.desk.now))
        self.alive.clear()

    @rule()
    def crash(self) -> None:
        self.desk.restart()
        self.desk.do_what_is_due()

    def pick(self, which: int, publisher: str) -> int | None:
        own = [number for number, owner in self.owners.items() if owner == publisher]
        return own[which % len(own)] if own else None

    def of(self, publication: int) -> set[Name]:
        return {name for name, word in self.alive.items() if word.publication == publication}

    def forget(self, publication: int) -> None:
        for kept in (self.tags, self.owners, self.expires):
            del kept[publication]

    @invariant()
    def the_union_is_what_was_said_last(self) -> None:
        shown = self.desk.resource.state.dialogs
        assert sorted(dialog.state for dialog in shown) == sorted(word.state for word in self.alive.values())
        assert len({dialog.id for dialog in shown}) == len(shown)

    @invariant()
    def saying_it_again_changes_nothing(self) -> None:
        state = self.desk.resource.state
        before = (state.dialogs, state.revision)
        for publication in list(state.publications.values()):
            assert state.merge(publication) is False
        assert (state.dialogs, state.revision) == before


TestManyCalls = ManyCalls.TestCase
TestManyCalls.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
