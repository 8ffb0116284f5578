"""What several publications of one resource say together, rule by rule (the state of a resource, architecture.md)."""

import itertools
from dataclasses import replace

import pytest

from sipresence.events.policy import LampPolicy
from sipresence.events.published import MAX_DIALOGS, MAX_TOMBSTONES, TOMBSTONE
from sipresence.events.resource import (
    LINGER,
    DialogInfo,
    DialogState,
    Lamp,
    ResourceState,
    Source,
    StateChange,
    manual_dialog,
    reset,
    set_manually,
)
from tests.events.desk import LAMP, NOW, OFFICE

TRYING, PROCEEDING, EARLY, CONFIRMED, TERMINATED = DialogState
HOUR = 3600
TURNS = sorted(set(itertools.permutations("aaabbmmm")))
"""Of two phones and an admin: whose word is next, in all orders there are."""


def call(state: DialogState, ident: str = "d", call_id: str = "c", **more: str) -> DialogInfo:
    return DialogInfo(ident, state, "recipient", "sip:101@b", "sip:102@b", call_id=call_id, **more)  # type: ignore[arg-type]


class Publishers:
    """A resource, and publications that speak of it, each a second after the one before."""

    def __init__(self) -> None:
        self.state = ResourceState(LAMP)
        self.now = NOW

    def say(self, publication: str, *dialogs: DialogInfo, publisher: str = "proxy") -> bool:
        self.now += 1
        return self.merge(publication, *dialogs, publisher=publisher, at=self.now)

    def merge(self, publication: str, *dialogs: DialogInfo, publisher: str = "proxy", at: float) -> bool:
        change = StateChange(
            *(OFFICE, LAMP, Source.PUBLISHED, dialogs, at, self.now + HOUR),
            publication=publication, publisher=publisher, entity_tag=f"{publication}.1",
        )  # fmt: skip
        return self.state.merge(change)

    def expire(self, publication: str) -> None:
        self.now += 1
        known = self.state.publications[publication]
        self.state.merge(replace(known, dialogs=(), at=self.now, expires_at=None, entity_tag=""))

    @property
    def lamp(self) -> DialogState:
        return self.state.lamp.state

    @property
    def shown(self) -> list[tuple[str, DialogState]]:
        """Call-id and state of the living dialogs, in order."""
        return [(dialog.call_id, dialog.state) for dialog in self.state.dialogs]


@pytest.fixture
def them() -> Publishers:
    return Publishers()


# Who is who


def test_a_later_publication_has_the_last_word(them: Publishers) -> None:
    them.say("a", call(TRYING))
    them.say("b", call(EARLY))
    assert them.shown == [("c", EARLY)]
    them.say("a", call(CONFIRMED))
    assert them.shown == [("c", CONFIRMED)]
    assert them.state.publications["b"].dialogs == ()


def test_terminated_ends_a_dialog_in_all_publications(them: Publishers) -> None:
    for publication in "abc":
        them.say(publication, call(CONFIRMED))
    them.say("a", call(TERMINATED))
    assert (them.shown, them.lamp) == ([], TERMINATED)
    assert [name for name, said in them.state.publications.items() if said.dialogs] == ["a"]


@pytest.mark.parametrize(
    "other",
    [call(TERMINATED, ident="e"), call(TERMINATED, call_id="e"), call(TERMINATED, call_id="")],
    ids=["id", "call-id", "no call-id"],
)
def test_another_id_or_call_id_is_another_dialog(them: Publishers, other: DialogInfo) -> None:
    """Edge case 6: a spiral has several ids with one call-id."""
    them.say("a", call(CONFIRMED))
    them.say("b", other)
    assert them.lamp is CONFIRMED


def test_another_publisher_is_another_dialog(them: Publishers) -> None:
    """Edge case 7: several proxies report the same call: a union."""
    them.say("a", call(CONFIRMED), publisher="one")
    them.say("b", call(CONFIRMED), publisher="two")
    them.say("b", call(TERMINATED), publisher="two")
    assert them.lamp is CONFIRMED
    assert len({dialog.id for dialog in them.state.ended + them.state.dialogs}) == 2


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ({"local_tag": "1", "remote_tag": "2"}, {}, True),
        ({}, {"local_tag": "1", "remote_tag": "2"}, True),
        ({"local_tag": "1", "remote_tag": "2"}, {"local_tag": "1"}, True),
        ({"local_tag": "1"}, {"remote_tag": "2"}, True),
        ({"local_tag": "1", "remote_tag": "2"}, {"local_tag": "1", "remote_tag": "3"}, False),
        ({"local_tag": "1", "remote_tag": "2"}, {"local_tag": "3", "remote_tag": "2"}, False),
        ({"local_tag": "1"}, {"local_tag": "3"}, False),
    ],
)
def test_tags_tell_two_apart_only_where_both_have_them(
    them: Publishers, before: dict[str, str], after: dict[str, str], same: bool
) -> None:
    """Kamailio's `early` has tags, its `confirmed` and `terminated` have none."""
    them.say("a", call(EARLY, **before))
    them.say("b", call(TERMINATED, **after))
    assert them.lamp is (TERMINATED if same else EARLY)


def test_a_tag_once_known_still_tells_branches_apart(them: Publishers) -> None:
    them.say("a", call(EARLY, local_tag="b1"))
    them.say("a", call(CONFIRMED))
    them.say("b", call(EARLY, local_tag="b2"))
    assert them.shown == [("c", EARLY), ("c", CONFIRMED)]
    them.say("b", call(TERMINATED, local_tag="b2"))
    assert them.shown == [("c", CONFIRMED)]


def test_a_word_without_tags_is_on_all_branches(them: Publishers) -> None:
    them.say("a", call(EARLY, local_tag="b1"))
    them.say("b", call(EARLY, local_tag="b2"))
    assert len({dialog.id for dialog in them.state.dialogs}) == 2
    them.say("a", call(CONFIRMED))
    assert them.shown == [("c", CONFIRMED)]
    assert len(them.state.ended) == 1
    them.say("a", call(TERMINATED))
    assert them.shown == []


@pytest.mark.parametrize(
    ("publisher", "ident", "tags"),
    [("phone-{}", "d", ""), ("nat", "{}", ""), ("nat", "d", "{}")],
    ids=["known by their addresses", "by their ids", "by their tags"],
)
def test_a_forked_call_that_one_phone_answers_in_any_order(publisher: str, ident: str, tags: str) -> None:
    """Two phones of one user, the same Call-ID: `a` answers, `b` loses; an admin goes through all states meanwhile."""
    for turns in TURNS:
        them, alive = Publishers(), dict.fromkeys("abm", TERMINATED)
        words = {who: iter((EARLY, CONFIRMED, TERMINATED)) for who in "am"} | {"b": iter((EARLY, TERMINATED))}
        for who in turns:
            state = alive[who] = next(words[who])
            if who == "m":
                them.state.merge(set_manually(OFFICE, LAMP, state=state, at=them.now))
            else:
                dialog = call(state, ident.format(who), local_tag=tags.format(who))
                them.say(who, dialog, publisher=publisher.format(who))
            most_important = min(alive.values(), key=(EARLY, CONFIRMED, TERMINATED).index)
            assert them.lamp is most_important, (turns, alive)


# Tombstones


@pytest.mark.parametrize("late", [TRYING, PROCEEDING, EARLY, CONFIRMED])
def test_terminated_is_final_for_a_minute(them: Publishers, late: DialogState) -> None:
    them.say("a", call(EARLY))
    them.say("a", call(TERMINATED))
    ended_at = them.now
    them.now = ended_at + 59
    assert them.say("b", call(late)) is False
    assert them.say("a", call(late)) is False
    assert (them.lamp, them.state.publications["a"].dialogs) == (TERMINATED, ())
    them.now = ended_at + TOMBSTONE
    assert them.say("b", call(late)) is True, "by then it is another call"


@pytest.mark.parametrize("order", list(itertools.permutations([TRYING, EARLY, CONFIRMED, TERMINATED])))
def test_no_order_of_arrival_leaves_an_ended_call_lit(them: Publishers, order: tuple[DialogState, ...]) -> None:
    for number, state in enumerate(order):
        them.say(str(number), call(state))
    assert them.lamp is TERMINATED


def test_a_dialog_without_call_id_has_no_tombstone(them: Publishers) -> None:
    for state in (EARLY, TERMINATED, CONFIRMED, TERMINATED, EARLY):
        them.say("a", call(state, "1002", ""))
        assert them.lamp is state


def test_an_ended_branch_does_not_keep_a_living_one_from_being_heard(them: Publishers) -> None:
    them.say("a", call(EARLY, local_tag="b1"), call(EARLY, local_tag="b2"))
    them.say("a", call(TERMINATED, local_tag="b1"), call(EARLY, local_tag="b2"))
    them.say("b", call(CONFIRMED))
    assert them.shown == [("c", CONFIRMED)]


def test_tombstones_are_bounded_and_go_with_time(them: Publishers) -> None:
    ended = [call(TERMINATED, f"d{number}") for number in range(MAX_TOMBSTONES + 10)]
    them.say("a", *ended)
    them.say("b", call(EARLY, "d9"))
    assert them.lamp is EARLY, "its tombstone was the tenth"
    them.say("b", call(EARLY, "d10"))
    assert them.lamp is TERMINATED
    assert them.state._published is not None
    assert len(them.state._published._ended) == MAX_TOMBSTONES
    them.now += TOMBSTONE
    them.say("b")
    assert them.state._published._ended == ()


# Endings without a word


def test_what_a_body_leaves_out_has_ended(them: Publishers) -> None:
    them.say("a", call(CONFIRMED, "1"), call(EARLY, "2", ""))
    them.say("a", call(CONFIRMED, "1"))
    assert them.shown == [("c", CONFIRMED)]
    them.say("a")
    assert them.lamp is TERMINATED


def test_what_another_publication_speaks_of_is_not_ended_by_leaving_it_out(them: Publishers) -> None:
    them.say("a", call(EARLY))
    them.say("b", call(CONFIRMED))
    them.say("a")
    assert them.shown == [("c", CONFIRMED)]
    them.say("b")
    assert them.shown == []


def test_an_expiry_ends_without_a_tombstone(them: Publishers) -> None:
    them.say("a", call(EARLY))
    them.say("b", call(CONFIRMED))
    them.expire("b")
    assert them.lamp is TERMINATED, "also in the other publication"
    them.say("a", call(CONFIRMED))
    assert them.lamp is CONFIRMED


def test_an_orphan_that_expires_ends_nothing(them: Publishers) -> None:
    them.say("a", call(TRYING))
    them.say("b", call(CONFIRMED))
    them.expire("a")
    assert them.lamp is CONFIRMED
    assert list(them.state.publications) == ["b"]


def test_the_end_of_a_publication_nobody_knows_does_nothing() -> None:
    state = ResourceState(LAMP)
    assert state.merge(StateChange(OFFICE, LAMP, Source.PUBLISHED, (), NOW, publication="x", publisher="y")) is False
    assert state.blank


# Saying it again


def test_a_change_merged_twice_does_nothing_the_second_time(them: Publishers) -> None:
    them.say("a", call(TRYING))
    at = them.now
    them.say("b", call(EARLY))
    revision = them.state.revision
    assert them.merge("a", call(TRYING), at=at) is False
    assert them.merge("b", call(EARLY), at=them.now) is False
    assert (them.shown, them.state.revision) == ([("c", EARLY)], revision)


def test_the_same_word_again_is_no_news_and_keeps_since(them: Publishers) -> None:
    them.say("a", call(EARLY))
    revision, lamp = them.state.revision, them.state.lamp
    assert them.say("a", call(EARLY)) is False
    assert them.say("b", call(EARLY)) is False
    assert (them.state.revision, them.state.lamp) == (revision, lamp)


def test_a_new_name_is_news_but_the_lamp_shines_since_then(them: Publishers) -> None:
    them.say("a", call(EARLY))
    since = them.now
    assert them.say("a", call(EARLY, remote_display="Alice")) is True
    assert them.state.lamp == Lamp(EARLY, since)
    assert them.state.changed_at == them.now


def test_rows_of_one_dialog_are_merged_by_age_as_they_were_said(them: Publishers) -> None:
    """A refresh has the time of the body before, so that a restored orphan is as old as it was."""
    them.say("a", call(TRYING))
    at = them.now
    them.say("b", call(EARLY))
    them.merge("a", call(TRYING), at=at)  # refreshed
    restored = ResourceState(LAMP)
    for row in sorted(them.state.publications.values(), key=lambda row: row.at):
        restored.merge(row)
    assert restored.dialogs == them.state.dialogs


# What is shown


@pytest.mark.parametrize("order", list(itertools.permutations([TRYING, PROCEEDING, EARLY, CONFIRMED])))
def test_the_lamp_is_the_most_important_of_the_union(them: Publishers, order: tuple[DialogState, ...]) -> None:
    for state in order:
        them.say(state, call(state, state), publisher=state)
    assert [dialog.state for dialog in them.state.dialogs] == [EARLY, CONFIRMED, PROCEEDING, TRYING]


def test_an_account_may_put_confirmed_first(them: Publishers) -> None:
    them.say("a", call(CONFIRMED, "1"))
    change = StateChange(
        *(OFFICE, LAMP, Source.PUBLISHED, (call(EARLY, "2"),), NOW + 9), publication="b", entity_tag="b.1"
    )
    them.state.merge(change, LampPolicy(confirmed_first=True))
    assert [dialog.state for dialog in them.state.dialogs] == [CONFIRMED, EARLY]
    them.state.merge(replace(change, at=NOW + 10))
    assert them.lamp is EARLY


def test_of_two_equals_the_newer_is_first(them: Publishers) -> None:
    them.say("a", call(CONFIRMED, "1", "c1"))
    them.say("b", call(CONFIRMED, "2", "c2"))
    assert them.shown == [("c2", CONFIRMED), ("c1", CONFIRMED)]
    assert them.say("a", call(CONFIRMED, "1", "c1")) is False, "an INFO makes it no newer"
    them.state.merge(set_manually(OFFICE, LAMP, state=CONFIRMED, at=them.now))
    assert them.shown == [("", CONFIRMED), ("c2", CONFIRMED), ("c1", CONFIRMED)]
    them.state.merge(set_manually(OFFICE, LAMP, state=CONFIRMED, at=them.now - 9))
    assert them.shown == [("", CONFIRMED), ("c2", CONFIRMED), ("c1", CONFIRMED)]


def test_ids_are_ours_unique_and_stable(them: Publishers) -> None:
    them.say("a", call(EARLY, "x", local_tag="1"), call(EARLY, "x", local_tag="2"), call(EARLY, "x", "other"))
    them.say("b", call(EARLY, "x"), publisher="another")
    them.state.merge(set_manually(OFFICE, LAMP, state=EARLY, at=them.now))
    ids = {dialog.id for dialog in them.state.dialogs}
    assert len(ids) == 5
    assert "x" not in ids
    assert manual_dialog(LAMP, EARLY).id in ids
    them.say(
        "a", call(CONFIRMED, "x", local_tag="1"), call(CONFIRMED, "x", local_tag="2"), call(CONFIRMED, "x", "other")
    )
    assert {dialog.id for dialog in them.state.dialogs} == ids


def test_ids_stay_unique_however_branches_come_and_go(them: Publishers) -> None:
    """An id that a branch was given by its tag may have gone on to another one, by a word without tags."""
    them.say("a", call(EARLY, local_tag="1"), call(EARLY, local_tag="2"))
    them.say("a", call(TERMINATED, local_tag="1"), call(EARLY, local_tag="2"))
    them.say("a", call(EARLY, local_tag="2"), call(EARLY, local_tag="3"))
    them.say("a", call(CONFIRMED))
    for tag in "452":
        them.say(tag, call(EARLY, local_tag=tag))
    assert len({dialog.id for dialog in them.state.dialogs}) == len(them.state.dialogs) == 3


def test_what_a_publisher_does_not_say_is_the_resource_itself(them: Publishers) -> None:
    them.say("a", DialogInfo("101", EARLY, "", "", ""))
    (dialog,) = them.state.dialogs
    assert (dialog.local_identity, dialog.remote_identity) == ("sip:101@office.example.com",) * 2


def test_an_ending_is_told_under_the_id_of_the_dialog(them: Publishers) -> None:
    them.say("a", call(CONFIRMED, "1", "c1"))
    them.say("b", replace(call(CONFIRMED, "2", "c2"), held=True))
    before = {dialog.call_id: dialog.id for dialog in them.state.dialogs}
    them.say("b", call(TERMINATED, "2", "c2"))
    (ended,) = them.state.ended
    assert (ended.id, ended.state, ended.held) == (before["c2"], TERMINATED, False)
    assert them.shown == [("c1", CONFIRMED)]


def test_endings_that_follow_each_other_at_once_are_told_together(them: Publishers) -> None:
    """Changes may be held together for a moment, or a NOTIFY be under way."""
    them.say("a", call(CONFIRMED, "1", "c1"), call(CONFIRMED, "2", "c2"))
    them.merge("a", call(CONFIRMED, "2", "c2"), at=them.now + 1)
    them.merge("a", call(TERMINATED, "2", "c2"), at=them.now + 1 + LINGER / 2)
    assert {dialog.call_id for dialog in them.state.ended} == {"c1", "c2"}
    them.now += 5
    them.say("b", call(EARLY, "3", "c3"))
    assert them.state.ended == ()


def test_a_later_idle_document_knows_nothing_of_the_endings(them: Publishers) -> None:
    them.say("a", call(CONFIRMED))
    them.say("a", call(TERMINATED))
    revision, changed_at = them.state.revision, them.state.changed_at
    assert (len(them.state.ended), them.state.quiet) == (1, False)
    assert them.merge("a", call(TERMINATED), at=them.now + 90) is False
    assert (them.state.ended, them.state.quiet) == ((), True)
    assert (them.state.revision, them.state.changed_at) == (revision + 1, changed_at)


def test_a_resource_holds_a_bounded_number_of_dialogs(them: Publishers) -> None:
    for number in range(MAX_DIALOGS + 5):
        them.say(f"p{number}", call(CONFIRMED, f"d{number}"))
    assert len(them.state.dialogs) == MAX_DIALOGS
    them.say(f"p{MAX_DIALOGS}", call(CONFIRMED, f"d{MAX_DIALOGS}"))
    assert len(them.state.dialogs) == MAX_DIALOGS
    them.say("p0", call(TERMINATED, "d0"))
    them.say(f"p{MAX_DIALOGS}", call(CONFIRMED, f"d{MAX_DIALOGS}"))
    assert them.state.dialogs[0].id != them.state.dialogs[-1].id
    assert len(them.state.dialogs) == MAX_DIALOGS


# Manual state and reset


def test_a_manual_terminated_hides_no_living_dialog(them: Publishers) -> None:
    them.say("a", call(CONFIRMED))
    assert them.state.merge(set_manually(OFFICE, LAMP, state=TERMINATED, at=them.now)) is False
    assert them.lamp is CONFIRMED
    them.state.merge(set_manually(OFFICE, LAMP, state=EARLY, at=them.now))
    assert them.lamp is EARLY
    them.state.merge(set_manually(OFFICE, LAMP, state=TERMINATED, at=them.now + 1))
    assert them.lamp is CONFIRMED
    assert [dialog.id for dialog in them.state.ended] == [manual_dialog(LAMP, TERMINATED).id]


def test_an_ended_call_leaves_the_manual_state(them: Publishers) -> None:
    them.state.merge(set_manually(OFFICE, LAMP, state=EARLY, at=NOW))
    them.say("a", call(CONFIRMED))
    them.say("a", call(TERMINATED))
    assert them.lamp is EARLY


def test_a_reset_empties_all_and_keeps_the_publications(them: Publishers) -> None:
    them.state.merge(set_manually(OFFICE, LAMP, state=EARLY, at=NOW))
    them.say("a", call(CONFIRMED))
    them.say("b", call(TERMINATED, "2"))
    assert them.state.merge(reset(OFFICE, LAMP, at=them.now)) is True
    assert (them.state.dialogs, them.state.lamp) == ((), Lamp(TERMINATED, 0.0))
    assert {dialog.state for dialog in them.state.ended} == {TERMINATED}
    assert len(them.state.ended) == 2
    assert {name: said.dialogs for name, said in them.state.publications.items()} == {
        "a": (),
        "b": (call(TERMINATED, "2"),),
    }
    assert [said.entity_tag for said in them.state.publications.values()] == ["a.1", "b.1"]
    them.say("c", call(EARLY, "2"))
    assert them.lamp is TERMINATED, "tombstones stay"
    them.say("a", call(CONFIRMED))
    assert them.lamp is CONFIRMED


def test_a_refresh_after_a_reset_says_nothing(them: Publishers) -> None:
    them.say("a", call(CONFIRMED))
    at = them.now
    them.state.merge(reset(OFFICE, LAMP, at=them.now))
    assert them.merge("a", call(CONFIRMED), at=at) is False, "decided before the reset was merged"
    assert them.lamp is TERMINATED
    assert them.state.due_at == 0.0, "its row has to forget the dialog, too"
    assert [change.dialogs for change in them.state.due(them.now)] == [()]


# Time


def test_the_first_to_expire_is_due_first(them: Publishers) -> None:
    them.say("a", call(CONFIRMED))
    assert them.state.due_at == them.state.expires_at == them.now + HOUR
    until = them.now + 10
    them.state.merge(set_manually(OFFICE, LAMP, state=EARLY, at=them.now, expires_at=until))
    assert them.state.due_at == until
    assert [change.source for change in them.state.due(until)] == [Source.MANUAL]
    manual, published = them.state.due(them.now + HOUR)
    assert (manual.source, published.is_end) == (Source.MANUAL, True)
    assert them.state.merge(manual) is True
    assert them.lamp is CONFIRMED
    assert them.state.merge(published) is True
    assert them.lamp is TERMINATED
    assert them.state.expires_at is None


def test_when_the_last_publication_is_over_nothing_is_kept_of_it(them: Publishers) -> None:
    them.say("a", call(TERMINATED))
    assert not them.state.blank
    them.expire("a")
    assert them.state.blank
