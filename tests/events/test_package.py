"""Which event packages there are, in which form a subscriber is told, and who is told what of a change."""

import pytest

from sipresence.errors import SipError
from sipresence.events import dialog_info, message_summary, pidf, xpidf
from sipresence.events.effects import Effect, SendNotify
from sipresence.events.package import DIALOG, PACKAGES, choose
from sipresence.events.resource import DialogInfo, DialogState, Source, StateChange
from sipresence.events.state import Messages, set_do_not_disturb, set_messages
from tests.events.desk import LAMP, NOW, OFFICE, Desk, notified, saved

DIALOG_INFO, PIDF, XPIDF = dialog_info.CONTENT_TYPE, pidf.CONTENT_TYPE, xpidf.CONTENT_TYPE
SUMMARY = message_summary.CONTENT_TYPE
CALL = DialogInfo("c", DialogState.CONFIRMED, "recipient", "sip:101@b", "sip:boss@b", "call", "l", "r", "", "The Boss")


def test_the_packages() -> None:
    assert PACKAGES == ("dialog", "presence", "message-summary")


@pytest.mark.parametrize(
    ("package", "accept", "content_type"),
    [
        ("dialog", None, DIALOG_INFO),
        ("dialog", DIALOG_INFO, DIALOG_INFO),
        ("dialog", "*/*", DIALOG_INFO),
        ("dialog", f"application/pidf+xml, {DIALOG_INFO}", DIALOG_INFO),
        pytest.param("presence", None, PIDF, id="baresip sends no Accept; RFC 3856 6.4 has PIDF for that"),
        ("presence", PIDF, PIDF),
        ("presence", "application/*", PIDF),
        pytest.param("presence", XPIDF, XPIDF, id="Polycom, phones.md 23"),
        pytest.param("presence", f"{XPIDF}, {PIDF}", XPIDF, id="what it names first it likes best"),
        ("presence", f"{PIDF}, {XPIDF}", PIDF),
        ("presence", f"{XPIDF};q=0, {PIDF}", PIDF),
        pytest.param("presence", "Application/XPIDF+xml", XPIDF, id="in any case"),
        ("message-summary", None, SUMMARY),
        ("message-summary", SUMMARY, SUMMARY),
        pytest.param("dialog", f"{DIALOG_INFO}, {'x' * 1000}", DIALOG_INFO, id="too long to be cached"),
    ],
)
def test_a_form_is_chosen_by_what_the_subscriber_accepts(package: str, accept: str | None, content_type: str) -> None:
    assert (choose(package, accept).package, choose(package, accept).content_type) == (package, content_type)


@pytest.mark.parametrize(
    ("package", "accept", "told"),
    [
        ("dialog", PIDF, f"Accept: {DIALOG_INFO}\r\n"),
        ("presence", DIALOG_INFO, f"Accept: {PIDF}, {XPIDF}\r\n"),
        ("message-summary", "text/plain", f"Accept: {SUMMARY}\r\n"),
        ("presence", "", f"Accept: {PIDF}, {XPIDF}\r\n"),
    ],
)
def test_who_accepts_none_of_them_is_told_what_there_is(package: str, accept: str, told: str) -> None:
    with pytest.raises(SipError) as refused:
        choose(package, accept)
    assert (refused.value.status, refused.value.headers) == (406, told)


def test_there_is_one_object_of_each_form() -> None:
    assert choose("dialog", None) is choose("dialog", "*/*") is DIALOG


def forms(effects: list[Effect], desk: Desk) -> list[str]:
    """What was told, as content types."""
    notifies = [effect.notify for effect in effects if isinstance(effect, SendNotify)]
    for notify in notifies:
        desk.answer(notify)
    heads = [notify.head.decode() for notify in notifies]
    return [head.partition("Content-Type: ")[2].partition("\r\n")[0] for head in heads]


@pytest.fixture
def desk() -> Desk:
    """One phone for each package, all on one extension."""
    desk = Desk()
    for package in PACKAGES:
        notify = notified(desk.subscribe(call_id=package, event=package, accept=None))
        desk.answer(notify)
    return desk


def test_a_call_is_told_to_those_who_watch_calls_or_presence(desk: Desk) -> None:
    assert forms(desk.set(DialogState.CONFIRMED), desk) == [DIALOG_INFO, PIDF]


def test_messages_are_told_to_those_who_watch_the_mailbox(desk: Desk) -> None:
    assert forms(desk.deliver(set_messages(OFFICE, LAMP, Messages(new=1), at=NOW)), desk) == [SUMMARY]


def test_do_not_disturb_is_told_to_those_who_watch_presence(desk: Desk) -> None:
    assert forms(desk.deliver(set_do_not_disturb(OFFICE, LAMP, on=True, at=NOW)), desk) == [PIDF]


def test_what_is_said_again_is_told_to_nobody(desk: Desk) -> None:
    desk.deliver(set_messages(OFFICE, LAMP, Messages(new=1), at=NOW))
    assert desk.deliver(set_messages(OFFICE, LAMP, Messages(new=1), at=NOW + 1)) == []


def test_a_reset_is_told_to_all(desk: Desk) -> None:
    assert forms(desk.reset(), desk) == [DIALOG_INFO, PIDF, SUMMARY]


def test_the_end_of_a_call_is_not_told_again_with_what_comes_later(desk: Desk) -> None:
    """Endings that were told are left out of later documents, which is no news for who watches calls."""
    forms(desk.set(DialogState.CONFIRMED), desk)
    desk.now += 10
    forms(desk.set(DialogState.TERMINATED), desk)
    desk.now += 10
    assert desk.set(DialogState.TERMINATED) == []
    change = set_do_not_disturb(OFFICE, LAMP, on=True, at=desk.now)
    assert forms(desk.deliver(change), desk) == [PIDF]


def test_a_refresh_may_ask_for_another_form() -> None:
    desk = Desk()
    first = desk.subscribed(event="presence", accept=PIDF)
    record = desk.notifier.record(first.id)
    assert record is not None
    again = notified(desk.refresh(record.local_tag, event="presence", accept=XPIDF))
    assert f"Content-Type: {XPIDF}\r\n" in again.head.decode()


def test_a_restart_goes_on_in_the_same_form(desk: Desk) -> None:
    save = saved(desk.subscribe(call_id="poly", event="presence", accept=XPIDF))
    desk.restart(save, spread=0)
    assert forms(desk.wait(0), desk) == [XPIDF]


# Privacy


def call_of_the_boss() -> StateChange:
    return StateChange(OFFICE, LAMP, Source.PUBLISHED, (CALL,), NOW, publication="p", entity_tag="p.1")


def body(desk: Desk, user: str) -> str:
    notify = notified(desk.subscribe(call_id=user, from_=f"<sip:{user}@office.example.com>"))
    return notify.document.stamp(0, notify.entity).decode()


def test_who_may_not_know_callers_sees_the_call_and_can_pick_it_up() -> None:
    desk = Desk()
    desk.private.add("sip:guest@")
    desk.deliver(call_of_the_boss())
    shown = body(desk, "guest")
    assert "boss" not in shown.lower()
    assert 'call-id="call" local-tag="l" remote-tag="r" direction="recipient"' in shown
    assert "<state>confirmed</state>" in shown
    assert "The Boss" in body(desk, "alice"), "others are told"


def test_a_change_of_who_calls_is_no_news_for_who_may_not_know() -> None:
    desk = Desk()
    desk.private.add("sip:guest@")
    desk.deliver(call_of_the_boss())
    notify = notified(desk.subscribe(call_id="guest", from_="<sip:guest@office.example.com>"))
    desk.answer(notify)
    renamed = DialogInfo("c", DialogState.CONFIRMED, "recipient", "sip:101@b", "sip:other@b", "call", "l", "r")
    change = StateChange(OFFICE, LAMP, Source.PUBLISHED, (renamed,), NOW + 1, publication="p", entity_tag="p.2")
    assert desk.deliver(change) == []


def test_presence_names_no_callers() -> None:
    desk = Desk()
    desk.deliver(call_of_the_boss())
    notify = notified(desk.subscribe(event="presence", accept=PIDF))
    assert "boss" not in notify.document.stamp(0, notify.entity).decode().lower()
