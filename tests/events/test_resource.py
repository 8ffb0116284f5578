"""The merged state of a resource: what its sources say, what is visible of it, what expires."""

import itertools

import pytest

from sipresence.events.resource import (
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
from sipresence.names import ResourceId
from tests.events.desk import LAMP, NOW, OFFICE

EARLY, CONFIRMED, TERMINATED = DialogState.EARLY, DialogState.CONFIRMED, DialogState.TERMINATED


def manually(state: DialogState, *, at: float = NOW, expires_at: float | None = None) -> StateChange:
    return set_manually(OFFICE, LAMP, state=state, at=at, expires_at=expires_at)


def dialog(name: str, state: DialogState) -> DialogInfo:
    return DialogInfo(name, state, "recipient", f"sip:{LAMP}", f"sip:{LAMP}")


def said(*dialogs: DialogInfo, at: float = NOW) -> StateChange:
    """All that a source with several calls says."""
    return StateChange(OFFICE, LAMP, Source.MANUAL, dialogs, at)


# What a set asks for


def test_a_set_is_one_pseudo_dialog_under_a_constant_id() -> None:
    early, confirmed = manually(EARLY).dialogs, manually(CONFIRMED).dialogs
    assert early == (manual_dialog(LAMP, EARLY),)
    assert early[0].id == confirmed[0].id == "10af63dbe1028edd09984815d6ff772e"
    assert (early[0].direction, early[0].local_identity) == ("recipient", "sip:101@office.example.com")


def test_a_set_to_terminated_says_that_nothing_is_there() -> None:
    assert manually(TERMINATED, expires_at=NOW + 5) == StateChange(OFFICE, LAMP, Source.MANUAL, (), NOW, None)


def test_a_reset_has_no_source() -> None:
    assert reset(OFFICE, LAMP, at=NOW).is_reset
    assert not manually(TERMINATED).is_reset


@pytest.mark.parametrize(
    ("user", "identity"),
    [
        ("*3101", "sip:*3101@office.example.com"),
        ("+4930-1(23)", "sip:+4930-1(23)@office.example.com"),
        ("a&b;c=d", "sip:a&b;c=d@office.example.com"),
        ("##1", "sip:%23%231@office.example.com"),
        ("100%", "sip:100%25@office.example.com"),
        ("a b", "sip:a%20b@office.example.com"),
        ('"<x>"', "sip:%22%3Cx%3E%22@office.example.com"),
        ("müller", "sip:m%C3%BCller@office.example.com"),
        ("a@b", "sip:a%40b@office.example.com"),
    ],
)
def test_the_identity_is_a_sip_uri(user: str, identity: str) -> None:
    """A resource's name is unescaped; in a URI the user part is escaped again (RFC 3261 section 25.1)."""
    assert manual_dialog(ResourceId(f"{user}@office.example.com"), EARLY).local_identity == identity


# Merging


def test_nothing_is_known_at_first() -> None:
    state = ResourceState(LAMP)
    assert state.blank
    assert state.lamp == Lamp(TERMINATED, 0.0)
    assert state.expires_at is None


def test_the_last_set_wins() -> None:
    state = ResourceState(LAMP)
    for at, word in enumerate((CONFIRMED, TERMINATED, EARLY, CONFIRMED, TERMINATED), start=1):
        assert state.merge(manually(word, at=at)) is True
        assert state.lamp == Lamp(word, at)
    assert state.dialogs == ()


def test_the_same_again_is_no_news_and_keeps_since() -> None:
    state = ResourceState(LAMP)
    state.merge(manually(EARLY, at=1))
    revision = state.revision
    assert state.merge(manually(EARLY, at=2, expires_at=9)) is False
    assert (state.revision, state.lamp, state.expires_at) == (revision, Lamp(EARLY, 1), 9)


def test_terminated_where_nothing_was_known_is_no_news_but_counts_since_then() -> None:
    state = ResourceState(LAMP)
    assert state.merge(manually(TERMINATED, at=7)) is False
    assert state.lamp == Lamp(TERMINATED, 7)
    assert not state.blank
    assert state.merge(manually(TERMINATED, at=8)) is False
    assert state.lamp == Lamp(TERMINATED, 7)


@pytest.mark.parametrize("before", [[], [manually(EARLY)], [manually(TERMINATED)]])
def test_a_reset_is_always_news_and_forgets_all(before: list[StateChange]) -> None:
    state = ResourceState(LAMP)
    for change in before:
        state.merge(change)
    revision = state.revision
    assert state.merge(reset(OFFICE, LAMP, at=NOW)) is True
    assert state.blank
    assert state.revision > revision
    assert state.lamp == Lamp(TERMINATED, 0.0)


@pytest.mark.parametrize("order", list(itertools.permutations(DialogState)), ids=lambda order: "-".join(order))
def test_the_most_important_dialog_is_first(order: tuple[DialogState, ...]) -> None:
    state = ResourceState(LAMP)
    state.merge(said(*(dialog(word, word) for word in order)))
    assert [one.state for one in state.dialogs] == ["early", "confirmed", "proceeding", "trying", "terminated"]
    assert state.lamp.state is EARLY


# Expiry


def test_what_expires_is_ended_by_a_change_like_any_other() -> None:
    state = ResourceState(LAMP)
    state.merge(manually(EARLY, at=1, expires_at=10))
    assert state.expires_at == 10
    assert state.due(9.9) == []
    (ending,) = state.due(10)
    assert ending == manually(TERMINATED, at=10)
    assert state.merge(ending) is True
    assert state.lamp == Lamp(TERMINATED, 10)
    assert state.expires_at is None


def test_a_later_set_without_an_expiry_stays() -> None:
    state = ResourceState(LAMP)
    state.merge(manually(EARLY, expires_at=10))
    state.merge(manually(CONFIRMED))
    assert state.expires_at is None
    assert state.due(99) == []
