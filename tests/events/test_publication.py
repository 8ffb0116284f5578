"""What a PUBLISH is answered, and what it does to the lamp: RFC 3903, and what real publishers need beyond it."""

import pytest

from sipresence.errors import Excess, SipError
from sipresence.events.publication import PublishRules
from sipresence.events.published import TOMBSTONE
from sipresence.events.resource import DialogState, reset, set_manually
from sipresence.names import ResourceId
from tests.builders import parsed, request
from tests.events.desk import LAMP, NOW, OFFICE
from tests.events.publishing import (
    CONTENT_TYPE,
    Call,
    PublishDesk,
    dialog_info,
    publish_request,
    sent,
    tag_of,
)

TRYING, EARLY, CONFIRMED, TERMINATED = (
    DialogState.TRYING,
    DialogState.EARLY,
    DialogState.CONFIRMED,
    DialogState.TERMINATED,
)
STRICT = PublishRules(min_expires=60, strict=True)


def refused(desk: PublishDesk, body: bytes = b"", *, rules: PublishRules | None = None, **fields: str) -> SipError:
    with pytest.raises(SipError) as caught:
        desk.publish(publish_request(body, **fields), rules=rules)
    assert desk.resources.publications == len(desk.resource.state.publications)
    return caught.value


# The four requests


def test_initial_refresh_modify_and_remove_each_have_a_fresh_entity_tag() -> None:
    desk = PublishDesk()
    tags = [desk.says(Call("early"))]
    assert desk.lamp is EARLY
    tags.append(desk.refresh(tags[-1]))
    assert desk.lamp is EARLY
    tags.append(desk.says(Call("confirmed"), tag=tags[-1]))
    assert desk.lamp is CONFIRMED
    removed = desk.publish(publish_request(tag=tags[-1], expires=0))
    tags.append(tag_of(removed))
    assert desk.lamp is TERMINATED
    assert len(set(tags)) == 4
    assert removed is not None
    assert removed.headers == f"Expires: 0\r\nSIP-ETag: {tags[-1]}\r\n"
    desk.wait(TOMBSTONE)
    assert desk.resource.state.blank
    assert desk.rows.load() == []


def test_what_is_committed_is_all_that_the_publication_says() -> None:
    desk = PublishDesk()
    granted = desk.publish(sent("kamailio-early"), publisher="127.0.0.1")
    assert granted is not None
    (change,) = granted.changes
    assert (change.account, change.resource, change.source) == (OFFICE, LAMP, "published")
    assert (change.publication, change.publisher, change.entity_tag) == ("p1", "127.0.0.1", granted.entity_tag)
    assert (change.at, change.expires_at) == (NOW, NOW + 7200)
    assert [dialog.call_id for dialog in change.dialogs] == ["1-28424@127.0.0.1"]


@pytest.mark.parametrize(
    ("asked", "granted"),
    [(None, 3600), (1, 120), (11, 120), (120, 120), (121, 121), (3601, 3601), (43201, 7200), (2**40, 7200)],
)
def test_at_least_two_minutes_are_granted_and_at_most_the_limit(asked: int | None, granted: int) -> None:
    """Kamailio's ending says Expires 11, and its refreshes come up to 100 s late."""
    desk = PublishDesk()
    answer = desk.publish(publish_request(dialog_info(Call("early")), expires=asked))
    assert answer is not None
    assert answer.headers.startswith(f"Expires: {granted}\r\nSIP-ETag: ")
    desk.wait(granted - 0.5)
    assert desk.lamp is EARLY
    desk.wait(0.5)
    assert desk.lamp is TERMINATED
    assert desk.rows.load() == []


def test_a_refresh_moves_the_expiry_and_says_nothing_anew() -> None:
    desk = PublishDesk()
    tag = desk.says(Call("early"), expires=120)
    revision, since = desk.resource.state.revision, desk.resource.state.lamp.since
    desk.wait(100)
    desk.refresh(tag, expires=120)
    desk.wait(119)
    assert desk.lamp is EARLY
    assert (desk.resource.state.revision, desk.resource.state.lamp.since) == (revision, since)
    desk.wait(1)
    assert desk.lamp is TERMINATED


# What is refused, in the order of RFC 3903 section 6


def test_other_events_are_489() -> None:
    for event in ("message-summary", "dialog.winfo", "asterisk-devicestate"):
        with pytest.raises(SipError) as caught:
            PublishDesk().publish(parsed(request("PUBLISH", event=event, body=b"x")))
        assert (caught.value.status, caught.value.headers) == (489, "Allow-Events: dialog, presence\r\n")


def test_an_event_with_parameters_is_the_event() -> None:
    fields = {"Content-Type": CONTENT_TYPE}
    body = dialog_info(Call("early"))
    desk = PublishDesk()
    desk.publish(parsed(request("PUBLISH", event="dialog;sla", headers=fields, body=body)))
    assert desk.lamp is EARLY


@pytest.mark.parametrize("value", ["a, b", "", " , "])
def test_anything_but_one_entity_tag_is_400(value: str) -> None:
    headers = [("SIP-If-Match", value), ("Content-Type", CONTENT_TYPE)]
    with pytest.raises(SipError) as caught:
        PublishDesk().publish(parsed(request("PUBLISH", event="dialog", headers=headers, body=b"<x/>")))
    assert caught.value.status == 400


def test_two_lines_of_entity_tags_are_400() -> None:
    headers = [("SIP-If-Match", "a"), ("SIP-If-Match", "b")]
    with pytest.raises(SipError) as caught:
        PublishDesk().publish(parsed(request("PUBLISH", event="dialog", headers=headers)))
    assert caught.value.status == 400


def test_a_tag_that_was_never_issued_is_412() -> None:
    desk = PublishDesk()
    tag = desk.says(Call("early"))
    assert tag == "p1.1"
    for unknown in ("x", "p2.1", "p1.2", "p1.0", "p1.01", "p1.", "p1", "p1.1x", "p1.11", "p1.²", ".1", f"{tag}.1"):
        assert refused(desk, tag=unknown).status == 412, unknown
        assert refused(desk, dialog_info(Call("confirmed")), tag=unknown).status == 412, unknown
    assert desk.lamp is EARLY


def test_a_tag_of_another_resource_is_412() -> None:
    desk = PublishDesk()
    tag = desk.says(Call("early"))
    with pytest.raises(SipError) as caught:
        desk.publish(publish_request(tag=tag), resource=ResourceId("102@office.example.com"))
    assert caught.value.status == 412


def test_the_tag_of_a_publication_that_is_over_is_412() -> None:
    desk = PublishDesk()
    expired, removed = desk.says(Call("early"), expires=120), desk.says(Call("early", id="d2"))
    desk.publish(publish_request(tag=removed, expires=0))
    assert refused(desk, tag=removed).status == 412
    desk.wait(120)
    assert refused(desk, tag=expired).status == 412


def test_every_tag_of_a_living_publication_is_good() -> None:
    """Kamailio says `confirmed` and `terminated` with one tag if the answer to the first is late; a 412 would make
    phones and OpenSIPS say nothing more of the call."""
    desk = PublishDesk()
    first = desk.says(Call("early"))
    second = desk.says(Call("confirmed"), tag=first)
    third = desk.says(Call("terminated"), tag=first)
    assert desk.lamp is TERMINATED
    assert len({first, second, third}) == 3
    assert len(desk.resource.state.publications) == 1
    desk.refresh(second)


def test_a_strict_account_knows_the_last_tag_only_and_refuses_what_is_brief() -> None:
    """RFC 3903 to the letter."""
    desk = PublishDesk()
    body = dialog_info(Call("early"))
    first = tag_of(desk.publish(publish_request(body, expires=60), rules=STRICT))
    second = tag_of(desk.publish(publish_request(tag=first), rules=STRICT))
    assert refused(desk, tag=first, rules=STRICT).status == 412
    brief = refused(desk, tag=second, expires="59", rules=STRICT)
    assert (brief.status, brief.headers) == (423, "Min-Expires: 60\r\n")
    assert desk.publish(publish_request(tag=second, expires=0), rules=STRICT) is not None


@pytest.mark.parametrize("content_type", ["application/pidf+xml", "application/json", "", "text/plain"])
def test_other_bodies_are_415(content_type: str) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    with pytest.raises(SipError) as caught:
        PublishDesk().publish(parsed(request("PUBLISH", event="dialog", headers=headers, body=b"{}")))
    assert (caught.value.status, caught.value.headers) == (415, f"Accept: {CONTENT_TYPE}\r\n")


def test_packed_bodies_are_415() -> None:
    headers = {"Content-Type": CONTENT_TYPE, "Content-Encoding": "gzip"}
    with pytest.raises(SipError) as caught:
        PublishDesk().publish(parsed(request("PUBLISH", event="dialog", headers=headers, body=b"\x1f\x8b")))
    assert (caught.value.status, caught.value.headers) == (415, "Accept-Encoding: identity\r\n")


def test_parameters_and_case_of_the_content_type_do_not_matter() -> None:
    headers = {"Content-Type": "Application/Dialog-Info+XML ; charset=utf-8"}
    body = dialog_info(Call("early"))
    desk = PublishDesk()
    desk.publish(parsed(request("PUBLISH", event="dialog", headers=headers, body=body)))
    assert desk.lamp is EARLY


def test_an_initial_one_without_a_body_is_400() -> None:
    assert refused(PublishDesk()).status == 400
    assert refused(PublishDesk(), expires="0").status == 400


@pytest.mark.parametrize("body", [b"no xml", b"<x/>", b"<dialog-info><dialog><state>x</state></dialog></dialog-info>"])
def test_a_body_that_is_none_is_400(body: bytes) -> None:
    desk = PublishDesk()
    assert refused(desk, body).status == 400
    tag = desk.says(Call("early"))
    assert refused(desk, body, tag=tag).status == 400
    assert desk.lamp is EARLY
    assert desk.refresh(tag) == "p1.2"


def test_an_expires_that_is_no_number_is_400() -> None:
    assert refused(PublishDesk(), dialog_info(Call("early")), expires="soon").status == 400


# Bodies


def test_a_full_body_ends_the_dialogs_that_it_leaves_out() -> None:
    desk = PublishDesk()
    tag = desk.says(Call("early", "a", "c1"), Call("confirmed", "b", "c2"), Call("confirmed", "x", ""))
    tag = desk.says(Call("confirmed", "b", "c2"), tag=tag)
    assert [dialog.call_id for dialog in desk.resource.state.dialogs] == ["c2"]
    assert [(dialog.call_id, dialog.state) for dialog in desk.resource.state.ended] == [
        ("c1", TERMINATED),
        ("", TERMINATED),
    ]
    desk.says(Call("early", "a", "c1"), Call("early", "x", ""))
    assert [dialog.call_id for dialog in desk.resource.state.dialogs] == ["", "c2"], "c1 comes too late"


def test_a_partial_body_changes_the_dialogs_that_it_names() -> None:
    desk = PublishDesk()
    tag = desk.says(Call("early", "a", "c1"), Call("early", "b", "c2"), state="partial")
    tag = desk.says(Call("confirmed", "b", "c2"), tag=tag, state="partial")
    tag = desk.says(Call("early", "x", "c3"), tag=tag, state="partial")
    assert {dialog.call_id: dialog.state for dialog in desk.resource.state.dialogs} == {
        "c1": EARLY,
        "c2": CONFIRMED,
        "c3": EARLY,
    }
    tag = desk.says(Call("terminated", "a", "c1"), tag=tag, state="partial")
    assert {dialog.call_id for dialog in desk.resource.state.dialogs} == {"c2", "c3"}
    tag = desk.says(tag=tag, state="partial")
    assert {dialog.call_id for dialog in desk.resource.state.dialogs} == {"c2", "c3"}
    desk.says(tag=tag)
    assert desk.lamp is TERMINATED


def test_a_partial_body_does_not_speak_for_what_another_publication_overtook() -> None:
    desk = PublishDesk()
    tag = desk.says(Call("early", "a", "c1"), Call("early", "b", "c2"))
    desk.says(Call("confirmed", "a", "c1"))
    desk.says(Call("terminated", "b", "c2"), tag=tag, state="partial")
    assert [(dialog.call_id, dialog.state) for dialog in desk.resource.state.dialogs] == [("c1", CONFIRMED)]


def test_a_partial_publication_holds_a_bounded_number_of_dialogs() -> None:
    desk = PublishDesk()
    tag = ""
    for number in range(70):
        tag = desk.says(Call("confirmed", f"d{number}", f"c{number}"), tag=tag, state="partial")
    assert len(desk.resource.state.dialogs) == 64
    assert desk.resource.state.dialogs[0].call_id == "c69"


def test_expires_0_with_a_body_uses_the_body_for_the_ended_dialog() -> None:
    """OpenSIPS: the terminated body comes with Expires 0 (publishers.md, D6)."""
    desk = PublishDesk()
    twin = desk.says(Call("early", "1-26379@127.0.0.1.0", "1-26379@127.0.0.1"))
    last = desk.says(Call("confirmed", "1-26379@127.0.0.1.0", "1-26379@127.0.0.1"))
    answer = desk.publish(sent("opensips-terminated", tag=twin))
    assert answer is not None
    assert answer.expires == 0
    assert desk.lamp is TERMINATED, "in all publications"
    desk.refresh(last)
    desk.says(Call("confirmed", "1-26379@127.0.0.1.0", "1-26379@127.0.0.1"))
    assert desk.lamp is TERMINATED, "a late word"


def test_an_initial_expires_0_says_how_a_dialog_has_ended_and_leaves_nothing() -> None:
    desk = PublishDesk()
    desk.says(Call("early"))
    desk.says(Call("confirmed"), expires=0)
    assert desk.lamp is TERMINATED
    desk.wait(TOMBSTONE)
    assert len(desk.resource.state.publications) == 1
    assert tag_of(desk.publish(publish_request(dialog_info(), expires=0)))


@pytest.mark.parametrize("crash", [False, True])
def test_an_ending_is_remembered_though_its_publication_goes_on_or_goes(crash: bool) -> None:
    """A phone says all of its calls in one publication, and ends that when it is switched off."""
    desk = PublishDesk()
    tag = desk.says(Call("confirmed", "a", "c1"), Call("confirmed", "b", "c2"))
    tag = desk.says(Call("confirmed", "b", "c2"), tag=tag)
    tag = desk.says(Call("terminated", "b", "c2"), tag=tag, state="partial")
    tag = desk.says(tag=tag)
    desk.publish(publish_request(tag=tag, expires=0))
    if crash:
        desk.restart()
    desk.says(Call("confirmed", "a", "c1"), Call("early", "b", "c2"))
    assert desk.lamp is TERMINATED
    desk.wait(TOMBSTONE)
    desk.says(Call("confirmed", "a", "c3"))
    assert desk.lamp is CONFIRMED


def test_an_ending_in_the_row_ends_nothing_once_more() -> None:
    desk = PublishDesk()
    tag = desk.says(Call("early", local_tag="b1"), Call("early", "x", ""))
    tag = desk.says(Call("terminated", local_tag="b1"), Call("terminated", "x", ""), tag=tag)
    desk.says(Call("confirmed", "x", ""))
    desk.says(Call("early", local_tag="b2"), Call("early", local_tag="b3"))
    desk.says(Call("confirmed"))
    desk.says(tag=tag)
    assert [dialog.state for dialog in desk.resource.state.dialogs] == [CONFIRMED, CONFIRMED]


def test_endings_do_not_gather_in_a_row() -> None:
    desk = PublishDesk()
    tag = ""
    for number in range(200):
        tag = desk.says(Call("confirmed", "d", f"c{number}"), tag=tag)
    (row,) = desk.rows.load()
    assert len(row.dialogs) == 64
    desk.now += TOMBSTONE
    desk.says(Call("confirmed", "d", "c"), tag=tag)
    (row,) = desk.rows.load()
    assert [dialog.call_id for dialog in row.dialogs] == ["c199", "c"]


# Captured publishers


def test_kamailio_leaves_an_orphan_and_refreshes_it_after_the_call() -> None:
    """`Trying` and `early` are both initial; only the second is ended (publishers.md, D1, edge cases 1-3)."""
    desk = PublishDesk()
    orphan = tag_of(desk.publish(sent("kamailio-trying")))
    assert desk.lamp is TRYING
    desk.now += 0.1
    tag = tag_of(desk.publish(sent("kamailio-early")))
    assert [dialog.state for dialog in desk.resource.state.dialogs] == [EARLY], "Trying does not outlive it"
    desk.wait(5)
    orphan = desk.refresh(orphan)
    tag = tag_of(desk.publish(sent("kamailio-terminated", tag=tag)))
    assert desk.lamp is TERMINATED
    revision = desk.resource.state.revision
    desk.now += 9
    desk.refresh(orphan)
    assert desk.resource.state.revision == revision, "no NOTIFY"
    desk.wait(3000)
    desk.refresh(orphan)
    assert desk.lamp is TERMINATED
    desk.restart()
    assert desk.lamp is TERMINATED


def test_a_lone_terminated_creates_nothing_visible() -> None:
    """Edge case 1: a 486 without 18x."""
    desk = PublishDesk()
    desk.publish(sent("kamailio-terminated", tag=""))
    assert (desk.resource.state.revision, desk.lamp) == (0, TERMINATED)
    assert desk.resource.state.since == NOW


def test_of_a_forked_call_kamailio_names_the_branch_that_rang_last() -> None:
    """One dialog, one publication: `early` has the tags of a branch, and nothing is said of the one that loses."""
    desk = PublishDesk()
    tag = ""
    for ringing in ("b1", "b2", "b1", "b2"):
        tag = desk.says(Call("early", local_tag=ringing, remote_tag="a1"), tag=tag)
        assert desk.lamp is EARLY
    tag = desk.says(Call("confirmed"), tag=tag)
    assert desk.lamp is CONFIRMED
    desk.says(Call("terminated"), tag=tag)
    assert desk.lamp is TERMINATED


def test_both_parties_of_a_call_are_each_a_resource() -> None:
    """Edge case 5: Kamailio's dialog has one id and one call-id at both."""
    desk = PublishDesk()
    callee = ResourceId("102@office.example.com")
    ringing = publish_request(dialog_info(Call("early")))
    desk.publish(ringing)
    tag = tag_of(desk.publish(ringing, resource=callee))
    desk.publish(publish_request(dialog_info(Call("terminated")), tag=tag), resource=callee)
    assert (desk.lamp, desk.resources.get(callee).state.lamp.state) == (EARLY, TERMINATED)
    desk.says(Call("confirmed"))
    assert desk.lamp is CONFIRMED, "what has ended at the other resource is no late word here"


def test_a_confirmed_after_terminated_comes_too_late() -> None:
    """Edge case 4: the INFO of a call that is over."""
    desk = PublishDesk()
    tag = desk.says(Call("confirmed"))
    tag = desk.says(Call("terminated"), tag=tag)
    desk.says(Call("confirmed"), tag=tag)
    desk.says(Call("confirmed"))
    assert desk.lamp is TERMINATED
    desk.restart()
    assert desk.lamp is TERMINATED


@pytest.mark.parametrize("initial", [False, True])
def test_an_early_after_confirmed_comes_too_late(initial: bool) -> None:
    """It was lost, and comes again when the call is answered: a call goes one way only (RFC 4235 section 3.7.1)."""
    desk = PublishDesk()
    tag = desk.says(Call("trying"))
    desk.says(Call("confirmed"), tag=tag)
    desk.says(Call("early", local_tag="b1", remote_tag="a1"), tag="" if initial else tag)
    assert desk.lamp is CONFIRMED
    desk.restart()
    assert desk.lamp is CONFIRMED


def test_asterisk_speaks_of_an_extension_not_of_calls() -> None:
    """The same id for ever, without call-id: the next call within a minute lights the lamp again (D2)."""
    desk = PublishDesk()
    tag = desk.says(Call("terminated", "101", ""))
    for state in (EARLY, CONFIRMED, TERMINATED, EARLY, TERMINATED):
        tag = desk.says(Call(state.value, "101", ""), tag=tag)
        assert desk.lamp is state
    assert desk.publish(sent("asterisk-early", tag=tag)) is not None
    assert desk.lamp is EARLY


def test_asterisk_restarts_and_publishes_anew() -> None:
    desk = PublishDesk()
    before = desk.says(Call("confirmed", "101", ""))
    after = desk.says(Call("terminated", "101", ""))
    assert desk.lamp is TERMINATED
    desk.refresh(before)
    assert desk.lamp is TERMINATED
    desk.says(Call("early", "101", ""), tag=after)
    assert desk.lamp is EARLY


def test_state_said_again_after_another_publication_counts_again() -> None:
    desk = PublishDesk()
    first = desk.says(Call("terminated", "101", ""))
    desk.says(Call("confirmed", "101", ""))
    desk.says(Call("terminated", "101", ""), tag=first)
    assert desk.lamp is TERMINATED


def test_a_word_on_all_branches_is_no_late_word_while_one_lives() -> None:
    desk = PublishDesk()
    tag = desk.says(Call("early", local_tag="b1"), Call("early", local_tag="b2"))
    tag = desk.says(Call("terminated", local_tag="b1"), Call("early", local_tag="b2"), tag=tag)
    desk.says(Call("confirmed"), tag=tag)
    assert desk.lamp is CONFIRMED


# Reset


def test_a_reset_keeps_the_publications_and_their_tags() -> None:
    """A 412 would silence OpenSIPS for the rest of the call; the next body tells the truth anew (D3)."""
    desk = PublishDesk()
    tag = desk.says(Call("early"))
    desk.change(reset(OFFICE, LAMP, at=desk.now))
    assert desk.lamp is TERMINATED
    tag = desk.refresh(tag)
    assert desk.lamp is TERMINATED
    desk.restart()
    assert desk.lamp is TERMINATED
    tag = desk.says(Call("confirmed"), tag=tag)
    assert desk.lamp is CONFIRMED
    desk.change(reset(OFFICE, LAMP, at=desk.now))
    desk.says(Call("confirmed"), tag=tag)
    assert desk.lamp is CONFIRMED, "the same again is the truth, too"


def test_a_reset_keeps_the_memory_of_what_has_ended() -> None:
    desk = PublishDesk()
    tag = desk.says(Call("early"))
    desk.says(Call("terminated"), tag=tag)
    desk.change(reset(OFFICE, LAMP, at=desk.now))
    desk.says(Call("confirmed"))
    assert desk.lamp is TERMINATED


# On the way to the store


def test_while_a_change_of_the_publication_is_under_way_nothing_is_decided() -> None:
    """The publisher sends again in 500 ms."""
    desk = PublishDesk()
    tag = desk.says(Call("early"))
    desk.holding = True
    second = desk.says(Call("confirmed"), tag=tag)
    terminated = publish_request(dialog_info(Call("terminated")), tag=tag)
    assert desk.publish(terminated) is None
    assert desk.publish(publish_request(tag=tag)) is None
    assert desk.publish(publish_request(dialog_info(Call("early", id="d2")))) is not None, "another one"
    desk.commit()
    assert desk.publish(terminated) is not None
    assert [dialog.state for dialog in desk.resource.state.dialogs] == [EARLY]
    assert refused(desk, tag=second[:-1] + "9").status == 412


def test_while_a_reset_is_under_way_no_publication_goes_on() -> None:
    """A refresh would write down again what the reset makes it forget."""
    desk = PublishDesk()
    tag = desk.says(Call("early"))
    desk.holding = True
    desk.change(reset(OFFICE, LAMP, at=desk.now))
    assert desk.publish(publish_request(tag=tag)) is None
    assert desk.publish(publish_request(dialog_info(Call("confirmed", id="d2")))) is not None, "a new one does"
    desk.commit()
    assert desk.publish(publish_request(tag=tag)) is not None
    assert [dialog.state for dialog in desk.resource.state.dialogs] == [CONFIRMED]


def test_what_a_reset_leaves_of_a_publication_is_what_has_ended() -> None:
    desk = PublishDesk()
    desk.says(Call("terminated"))
    desk.change(reset(OFFICE, LAMP, at=desk.now))
    desk.restart()
    desk.says(Call("confirmed"))
    assert desk.lamp is TERMINATED


def test_a_commit_that_failed_leaves_everything_as_it_was() -> None:
    desk = PublishDesk()
    tag = desk.says(Call("early"))
    desk.holding = True
    desk.says(Call("confirmed"), tag=tag)
    desk.says(Call("confirmed", id="d2"))
    desk.fail()
    assert [dialog.state for dialog in desk.resource.state.dialogs] == [EARLY]
    assert desk.resources.publications == 1
    assert desk.says(Call("confirmed"), tag=tag) == "p1.2"
    assert desk.lamp is CONFIRMED


def test_an_expiry_that_is_under_way_is_waited_for() -> None:
    desk = PublishDesk()
    tag = desk.says(Call("early"), expires=120)
    desk.now += 120
    (ending,) = desk.resources.expired(now=desk.now)
    assert desk.publish(publish_request(tag=tag)) is None
    desk.resources.merge(ending)
    assert refused(desk, tag=tag).status == 412


def test_an_expiry_that_could_not_be_committed_comes_up_again() -> None:
    desk = PublishDesk()
    tag = desk.says(Call("early"), expires=120)
    desk.now += 120
    (ending,) = desk.resources.expired(now=desk.now)
    desk.resources.not_saved(ending, now=desk.now)
    assert desk.resources.expired(now=desk.now) == []
    assert desk.publish(publish_request(tag=tag, expires=120)) is not None, "it is not over yet"


def test_the_rows_say_no_more_than_what_counts() -> None:
    """Else an orphan would light the lamp when it is read again after the call."""
    desk = PublishDesk()
    orphan = desk.says(Call("trying"))
    tag = desk.says(Call("early"))
    rows = {row.publication: row for row in desk.rows.load()}
    assert rows["p1"].dialogs == ()
    assert rows["p1"].entity_tag == orphan
    desk.says(Call("terminated"), tag=tag, expires=11)
    desk.says(Call("confirmed"))
    assert {row.publication: [d.state for d in row.dialogs] for row in desk.rows.load()} == {
        "p1": [],
        "p2": [TERMINATED],
        "p3": [TERMINATED],
    }
    desk.wait(121)
    desk.restart()
    assert desk.lamp is TERMINATED


def test_a_row_that_could_not_be_written_anew_comes_up_again() -> None:
    desk = PublishDesk()
    desk.timers_run = False
    desk.says(Call("trying"))
    desk.says(Call("early"))
    (late,) = desk.resources.expired(now=desk.now)
    assert (late.publication, late.dialogs) == ("p1", ())
    desk.resources.not_saved(late, now=desk.now)
    assert desk.resources.expired(now=desk.now + 4) == []
    assert desk.resources.expired(now=desk.now + 5) == [late]


def test_a_crash_before_the_rows_were_written_anew_changes_nothing() -> None:
    desk = PublishDesk()
    desk.timers_run = False
    desk.says(Call("trying"))
    tag = desk.says(Call("early"))
    desk.says(Call("terminated"), tag=tag)
    desk.restart()
    assert desk.lamp is TERMINATED
    desk.timers_run = True
    desk.wait(121)
    desk.restart()
    assert desk.lamp is TERMINATED


def test_what_expired_while_the_server_was_down_ends_at_its_start() -> None:
    desk = PublishDesk()
    desk.says(Call("early"), expires=120)
    desk.change(set_manually(OFFICE, LAMP, state=CONFIRMED, at=desk.now))
    desk.now += 500
    desk.restart()
    desk.do_what_is_due()
    assert [dialog.state for dialog in desk.resource.state.dialogs] == [CONFIRMED]
    assert len(desk.rows.load()) == 1


# Bounds


def test_a_resource_has_a_bounded_number_of_publications() -> None:
    desk = PublishDesk(per_resource=3)
    for number in range(3):
        desk.says(Call("early", f"d{number}", f"c{number}"))
    with pytest.raises(Excess):
        desk.says(Call("early", "d3", "c3"))
    desk.says(Call("early", "d4", "c4"), expires=0)
    desk.refresh("p1.1")


def test_endings_that_have_no_publication_are_bounded_too() -> None:
    desk = PublishDesk(per_resource=3)
    for number in range(20):
        desk.says(Call("terminated", f"d{number}", f"c{number}"), expires=0)
    assert desk.resources.publications == len(desk.rows.load()) == 3


def test_the_oldest_that_says_nothing_goes_first() -> None:
    desk = PublishDesk(per_resource=3)
    desk.says(Call("confirmed", "a", "c1"))
    orphan = desk.says(Call("trying"))
    desk.says(Call("early"))
    desk.says(Call("early", "d3", "c3"))
    assert list(desk.resource.state.publications) == ["p1", "p3", "p4"]
    assert desk.resources.publications == len(desk.rows.load()) == 3
    assert refused(desk, tag=orphan).status == 412


def test_all_resources_together_have_a_bounded_number_too() -> None:
    desk = PublishDesk(in_all=2)
    desk.says(Call("early"))
    other = ResourceId("102@office.example.com")
    body = dialog_info(Call("early"))
    assert desk.publish(publish_request(body), resource=other) is not None
    third = ResourceId("103@office.example.com")
    with pytest.raises(Excess):
        desk.publish(publish_request(body), resource=third)
    desk.compositor.configure(per_resource=10, in_all=3)
    assert desk.publish(publish_request(body), resource=third) is not None
    assert desk.resources.publications == 3


def test_publications_are_counted_until_they_are_over() -> None:
    desk = PublishDesk()
    for number in range(200):
        tag = desk.says(Call("early", f"d{number}", f"c{number}"))
        desk.says(Call("trying", f"d{number}", f"c{number}"))
        desk.says(Call("terminated", f"d{number}", f"c{number}"), tag=tag, expires=0 if number % 2 else 11)
    assert desk.lamp is TERMINATED
    assert desk.resources.publications == len(desk.rows.load())
    desk.wait(7200)
    assert desk.resources.publications == len(desk.resources) == len(desk.rows.load()) == 0
