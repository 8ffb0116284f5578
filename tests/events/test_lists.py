"""Subscriptions to lists (RFC 4662), in virtual time: who is told what, in which order, how much at a time."""

from typing import Unpack

import pytest

from sipresence.errors import SipError
from sipresence.events.effects import Effect, Forget, Notify, Respond, Save, SaveList, SendNotify
from sipresence.events.lists import ListSettings
from sipresence.events.profile import Profile
from sipresence.events.resource import DialogState
from sipresence.events.resource_lists import Entry, Listing
from sipresence.events.rlmi import RlmiDocument
from sipresence.events.subscription import UNREACHABLE
from sipresence.events.timeline import End, Ended
from sipresence.names import ResourceId
from sipresence.sip.flow import Flow
from tests.builders import Fields, flow
from tests.events.desk import NOW, OFFICE, Desk, answered, notified, saved
from tests.events.listed import BROUGHT, LIST, LIST_URI, UNDERSTOOD, list_body
from tests.rlmi import Rlmi, Told, read_notify

EARLY, CONFIRMED, TERMINATED = DialogState.EARLY, DialogState.CONFIRMED, DialogState.TERMINATED
USERS = ("101", "102", "*3101", "103", "104", "105", "106")
MEMBERS = tuple((ResourceId(f"{user}@office.example.com"), f"Key {user}") for user in USERS)
ALICE, BOB, PARK = (name for name, _ in MEMBERS[:3])
ALL_AT_ONCE = ListSettings(datagram_bytes=60_000)
THREE = ListSettings(datagram_bytes=3_300)
ONE = ListSettings(datagram_bytes=500)


def a_desk(settings: ListSettings = ALL_AT_ONCE, members: int = 7, coalesce: float = 0.0) -> Desk:
    """With the list `reception`."""
    return Desk(lists={LIST: MEMBERS[:members]}, list_settings=settings, coalesce=coalesce)


def asking(fields: Fields) -> Fields:
    told: Fields = {"uri": LIST_URI, "to": f"<{LIST_URI}>", "headers": UNDERSTOOD}
    told.update(fields)
    return told


def subscribe(desk: Desk, way: Flow | None = None, **fields: Unpack[Fields]) -> list[Effect]:
    return desk.subscribe(LIST, way, **asking(fields))


def refresh(desk: Desk, notify: Notify, way: Flow | None = None, **fields: Unpack[Fields]) -> list[Effect]:
    record = desk.notifier.record(notify.id)
    assert record is not None
    return desk.refresh(record.local_tag, way, **asking(fields))


def told(effects: list[Effect]) -> Rlmi:
    return read_notify(notified(effects))


def subscribed(desk: Desk, **fields: Unpack[Fields]) -> Notify:
    """A subscription that has been told everything."""
    return rest(desk, notified(subscribe(desk, **fields)))[-1]


def rest(desk: Desk, notify: Notify) -> list[Notify]:
    """Answer this NOTIFY and those that follow; return them all."""
    sent = [notify]
    while effects := desk.answer(sent[-1]):
        sent.append(notified(effects))
    return sent


# Who gets a list


def test_the_answer_and_every_notify_require_the_extension() -> None:
    effects = subscribe(a_desk())
    assert "Require: eventlist\r\n" in answered(effects).headers
    assert b"\r\nRequire: eventlist\r\n" in notified(effects).head


def test_the_answer_to_a_refresh_requires_it_too() -> None:
    desk = a_desk()
    assert "Require: eventlist\r\n" in answered(refresh(desk, subscribed(desk))).headers


def test_who_does_not_understand_lists_is_told_that_it_takes_the_extension() -> None:
    with pytest.raises(SipError) as refused:
        subscribe(a_desk(), headers=())
    assert (refused.value.status, refused.value.headers) == (421, "Require: eventlist\r\n")


@pytest.mark.parametrize("header", [("Supported", "replaces, EventList"), ("k", "eventlist"), ("Require", "eventlist")])
def test_it_may_be_said_in_several_ways(header: tuple[str, str]) -> None:
    assert told(subscribe(a_desk(), headers=[header])).full


def test_some_phones_take_lists_though_they_do_not_say_so() -> None:
    desk = Desk(lists={LIST: MEMBERS}, profiles=[Profile("all", lists_unasked=True)])
    assert told(subscribe(desk, headers=())).full


def test_a_phone_that_understands_lists_gets_none_for_a_single_lamp() -> None:
    effects = a_desk().subscribe(ALICE, headers=UNDERSTOOD)
    assert "eventlist" not in answered(effects).headers
    assert b"eventlist" not in notified(effects).head


def test_the_form_of_its_members_is_what_is_acceptable() -> None:
    with pytest.raises(SipError) as refused:
        subscribe(a_desk(), accept="text/plain")
    assert refused.value.status == 406


# What it is told


def test_all_members_are_named_in_their_order_with_their_labels() -> None:
    rlmi = told(subscribe(a_desk()))
    assert (rlmi.uri, rlmi.version, rlmi.full) == (LIST_URI, 0, True)
    assert list(rlmi.members) == [f"sip:{user}@office.example.com" for user in USERS]
    assert rlmi.names == [f"Key {user}" for user in USERS]
    assert set(rlmi.lamps.values()) == {"terminated"}


def test_members_are_addressed_by_the_host_by_which_we_are() -> None:
    """So that a pressed key calls where the list is (phones.md 36)."""
    desk = a_desk(members=1)
    rlmi = told(subscribe(desk, uri="sip:reception@192.0.2.1:5070", to="<sip:reception@192.0.2.1>"))
    assert list(rlmi.members) == ["sip:101@192.0.2.1"]


def test_a_member_without_a_label_is_called_by_its_extension() -> None:
    assert told(subscribe(Desk(lists={LIST: [(PARK, "")]}))).names == ["*3101"]


def test_the_first_document_shows_what_was_set_before() -> None:
    desk = a_desk()
    desk.set(EARLY, BOB)
    assert told(subscribe(desk)).lamps["102"] == "early"


def test_a_list_without_members_is_granted() -> None:
    """Phones whose list is refused ask again and again (phones.md 18)."""
    effects = subscribe(Desk(lists={LIST: []}))
    assert answered(effects).status == 200
    assert (told(effects).members, told(effects).full) == ({}, True)


def test_of_many_members_the_rest_follows_each_after_the_answer_to_the_one_before() -> None:
    desk = a_desk(THREE)
    sent = rest(desk, notified(subscribe(desk)))
    told = [read_notify(notify) for notify in sent]
    assert [rlmi.full for rlmi in told] == [True, False, False]
    assert [list(rlmi.lamps) for rlmi in told] == [["101", "102", "*3101"], ["103", "104", "105"], ["106"]]
    assert [rlmi.version for rlmi in told] == [0, 1, 2]
    assert [len(rlmi.members) for rlmi in told] == [7, 3, 1]
    sizes = [len(notify.document.stamp(notify.version, notify.entity)) for notify in sent]
    assert max(sizes) <= THREE.datagram_bytes


def test_over_a_stream_more_has_room() -> None:
    desk = a_desk(ListSettings(stream_bytes=60_000, datagram_bytes=500))
    assert len(told(subscribe(desk, flow("TCP"))).lamps) == 7


def test_one_member_is_told_however_large_it_is() -> None:
    desk = a_desk(ONE)
    sent = [read_notify(notify) for notify in rest(desk, notified(subscribe(desk)))]
    assert [list(rlmi.lamps) for rlmi in sent] == [[user] for user in USERS]


def test_a_change_is_told_of_the_member_alone() -> None:
    desk = a_desk()
    subscribed(desk)
    rlmi = told(desk.set(EARLY, BOB))
    assert (rlmi.full, rlmi.version, rlmi.lamps) == (False, 1, {"102": "early"})
    assert rlmi.names == ["Key 102"]


def test_what_changes_before_the_answer_follows_together() -> None:
    desk = a_desk()
    subscribed(desk)
    first = notified(desk.set(EARLY, BOB))
    assert desk.set(CONFIRMED, ALICE) == []
    assert desk.set(CONFIRMED, BOB) == []
    assert told(desk.answer(first)).lamps == {"101": "confirmed", "102": "confirmed"}


def test_a_change_goes_before_what_was_not_told_yet() -> None:
    desk = a_desk(ONE)
    first = notified(subscribe(desk))
    desk.set(EARLY, MEMBERS[6][0])
    assert told(desk.answer(first)).lamps == {"106": "early"}


def test_every_member_has_a_version_of_its_own() -> None:
    desk = a_desk()
    subscribed(desk)
    for state in (EARLY, CONFIRMED, TERMINATED):
        last = notified(desk.set(state, BOB))
        desk.answer(last)
    assert read_notify(last).members["sip:102@office.example.com"].version == 3
    assert told(desk.set(EARLY, ALICE)).members["sip:101@office.example.com"].version == 1


def test_a_change_that_nobody_sees_is_not_told() -> None:
    desk = a_desk()
    subscribed(desk)
    desk.answer(notified(desk.set(EARLY, BOB)))
    assert desk.set(EARLY, BOB) == []


def test_a_refresh_tells_everything_again_and_the_versions_go_on() -> None:
    desk = a_desk()
    notify = subscribed(desk)
    desk.answer(notified(desk.set(EARLY, BOB)))
    rlmi = told(refresh(desk, notify))
    assert (rlmi.full, rlmi.version, len(rlmi.lamps)) == (True, 2, 7)
    assert {user: rlmi.members[f"sip:{user}@office.example.com"].version for user in ("101", "102")} == {
        "101": 1, "102": 2,
    }  # fmt: skip


def test_a_refresh_before_the_answer_is_told_after_it() -> None:
    desk = a_desk(THREE)
    first = notified(subscribe(desk))
    assert [type(effect) for effect in refresh(desk, first)] == [Save, Respond]
    rlmi = told(desk.answer(first))
    assert (rlmi.full, list(rlmi.lamps)) == (True, ["101", "102", "*3101"])


def test_a_fetch_has_one_notify_with_all_there_is() -> None:
    effects = subscribe(a_desk(ONE), expires=0)
    assert notified(effects).subscription_state == "terminated;reason=timeout"
    assert len(told(effects).lamps) == 7
    assert not any(isinstance(effect, Save | SaveList) for effect in effects)


def test_an_end_is_told_with_the_full_state_and_then_nobody_is() -> None:
    desk = a_desk()
    notify = subscribed(desk)
    effects = refresh(desk, notify, expires=0)
    assert notified(effects).subscription_state == "terminated;reason=timeout"
    assert told(effects).full
    assert Forget(notify.id) in effects
    assert desk.answer(notified(effects)) == []
    assert desk.set(EARLY, BOB) == []
    assert desk.notifier.unanswered == 0


def test_nothing_follows_the_last_one() -> None:
    desk = a_desk(ONE)
    notify = subscribed(desk)
    assert desk.answer(notified(refresh(desk, notify, expires=0))) == []


def test_a_list_that_is_taken_away_ends_all_of_it() -> None:
    desk = a_desk()
    subscribed(desk)
    assert desk.notifier.deactivate(lambda _: True, now=desk.now, spread=0) == 1
    effects = desk.wait(0)
    assert notified(effects).subscription_state == "terminated;reason=deactivated"
    assert told(effects).full


def test_a_failure_is_followed_by_the_full_state() -> None:
    desk = a_desk()
    subscribed(desk)
    assert desk.answer(notified(desk.set(EARLY, BOB)), 500) == []
    rlmi = told(desk.wait(5))
    assert (rlmi.full, len(rlmi.lamps)) == (True, 7)


def test_a_change_after_the_connection_was_lost_brings_the_full_state() -> None:
    desk = a_desk()
    subscribed(desk)
    desk.answer(notified(desk.set(EARLY, BOB)), UNREACHABLE)
    rlmi = told(desk.set(EARLY, ALICE))
    assert (rlmi.full, rlmi.lamps["101"], rlmi.lamps["102"]) == (True, "early", "early")


def test_a_phone_that_moves_is_told_everything_at_once() -> None:
    desk = a_desk(THREE)
    first = notified(subscribe(desk))
    effects = refresh(desk, first, contact="<sip:102@192.0.2.9:5060>")
    assert told(effects).full


def test_a_reset_of_one_member_tells_it_at_once_though_it_was_idle() -> None:
    desk = a_desk()
    subscribed(desk)
    rlmi = told(desk.reset(BOB))
    assert (rlmi.full, rlmi.lamps) == (False, {"102": "terminated"})


def test_a_reset_of_the_list_itself_tells_everything() -> None:
    desk = a_desk()
    subscribed(desk)
    rlmi = told(desk.reset(LIST))
    assert (rlmi.full, len(rlmi.lamps)) == (True, 7)


def test_what_is_set_for_the_lists_own_name_is_nothing_to_its_members() -> None:
    desk = a_desk()
    subscribed(desk)
    assert desk.set(EARLY, LIST) == []


# Many changes


def test_changes_of_several_members_within_the_window_are_told_together() -> None:
    desk = a_desk(coalesce=0.05)
    subscribed(desk)
    assert desk.answer(notified(desk.set(EARLY, ALICE))) == []
    assert desk.set(EARLY, BOB) == []
    assert desk.set(EARLY, PARK) == []
    assert desk.notifier.next_deadline() == NOW + 0.05
    assert told(desk.wait(0.05)).lamps == {"*3101": "early", "102": "early"}


def test_a_member_that_is_again_as_it_was_is_not_told() -> None:
    desk = a_desk(coalesce=0.05)
    subscribed(desk)
    desk.answer(notified(desk.set(EARLY, BOB)))
    desk.set(EARLY, ALICE)
    desk.now += 0.06
    desk.answer(notified(desk.notifier.expire(now=desk.now)))
    desk.set(CONFIRMED, BOB)
    desk.now += 0.01
    desk.set(EARLY, BOB)
    assert desk.wait(0.2) == []


def test_a_phone_is_paced_by_what_its_lists_tell_as_well() -> None:
    desk = Desk(lists={LIST: MEMBERS}, list_settings=ONE, rate=2)
    first = notified(subscribe(desk))
    second = notified(desk.answer(first))
    assert desk.answer(second) == []
    assert told(desk.wait(1.0)).lamps == {"*3101": "terminated"}


# Who may see what


def test_who_may_not_watch_a_member_is_told_so() -> None:
    desk = a_desk(THREE)
    desk.unwatchable.add(BOB)
    sent = [read_notify(notify) for notify in rest(desk, notified(subscribe(desk)))]
    assert sent[0].members["sip:102@office.example.com"] == Told("Key 102", "terminated", "rejected")
    assert all("sip:102@office.example.com" not in rlmi.members for rlmi in sent[1:])
    assert desk.set(EARLY, BOB) == []


def test_who_may_not_know_callers_is_not_told_in_a_list_either() -> None:
    desk = a_desk()
    desk.private.add("102@")
    hidden = notified(subscribe(desk))
    desk.private.clear()
    shown = notified(subscribe(desk, call_id="another"))
    assert isinstance(hidden.document, RlmiDocument)
    assert isinstance(shown.document, RlmiDocument)
    assert not {line.document for line in hidden.document.lines} & {line.document for line in shown.document.lines}


# Lists that come with the SUBSCRIBE


def bring(desk: Desk, *uris: str) -> list[Effect]:
    return subscribe(desk, headers=BROUGHT, body=list_body(*uris, names={uris[0]: "Alice"}))


def test_the_members_are_those_of_the_body_as_it_writes_them() -> None:
    desk = Desk()
    effects = bring(desk, "sip:101@office.example.com", "sip:bob@elsewhere.example", "tel:+4930")
    (alice, ours), *others = told(effects).members.items()
    assert (alice, ours.name, ours.instance) == ("sip:101@office.example.com", "Alice", "active")
    refused = Told(None, "terminated", "rejected")
    assert others == [("sip:bob@elsewhere.example", refused), ("tel:+4930", refused)]
    desk.answer(notified(effects))
    assert told(desk.set(EARLY, ALICE)).lamps == {"101": "early"}


def test_such_a_list_needs_the_extension_as_well() -> None:
    with pytest.raises(SipError) as refused:
        subscribe(Desk(), headers=BROUGHT[1:], body=list_body())
    assert refused.value.status == 421


def test_what_the_configuration_does_not_know_may_be_refused() -> None:
    desk = Desk(list_settings=ListSettings(unknown_resources_allowed=False))
    rlmi = told(bring(desk, "sip:101@office.example.com", "sip:999@office.example.com"))
    assert [member.instance for member in rlmi.members.values()] == ["active", "terminated"]


def test_a_refresh_without_a_body_goes_on_with_the_list() -> None:
    desk = Desk()
    notify = notified(bring(desk, "sip:101@office.example.com"))
    desk.answer(notify)
    effects = refresh(desk, notify)
    assert list(told(effects).lamps) == ["101"]
    assert not any(isinstance(effect, SaveList) for effect in effects)


@pytest.mark.parametrize("expires", [0, 600])
def test_headers_of_a_list_without_one_change_nothing(expires: int) -> None:
    """Linphone unsubscribes so, with `Content-Encoding: deflate` and no body."""
    desk = Desk()
    notify = notified(bring(desk, "sip:101@office.example.com"))
    desk.answer(notify)
    headers = (*BROUGHT, ("Content-Encoding", "deflate"))
    effects = refresh(desk, notify, headers=headers, expires=expires)
    assert answered(effects).status == 200
    assert not any(isinstance(effect, SaveList) for effect in effects)


def test_a_refresh_may_bring_another_list() -> None:
    desk = Desk()
    notify = notified(bring(desk, "sip:101@office.example.com"))
    desk.answer(notify)
    effects = refresh(desk, notify, headers=BROUGHT, body=list_body("sip:102@office.example.com"))
    assert list(told(effects).lamps) == ["102"]
    (kept,) = (effect for effect in effects if isinstance(effect, SaveList))
    assert kept.listing == Listing((Entry("sip:102@office.example.com", ""),))
    desk.answer(notified(effects))
    assert desk.set(EARLY, ALICE) == []


def test_another_list_that_could_not_be_kept_is_undone() -> None:
    desk = Desk()
    notify = notified(bring(desk, "sip:101@office.example.com"))
    desk.answer(notify)
    effects = refresh(desk, notify, headers=BROUGHT, body=list_body("sip:102@office.example.com"))
    for write in reversed([effect for effect in effects if isinstance(effect, Save | SaveList)]):
        assert not desk.notifier.not_saved(write, now=desk.now)
    assert list(told(desk.answer(notified(effects))).lamps) == ["101"]
    assert desk.set(EARLY, BOB) == []


def test_a_refresh_whose_list_is_malformed_changes_nothing() -> None:
    desk = Desk()
    notify = notified(bring(desk, "sip:101@office.example.com"))
    desk.answer(notify)
    with pytest.raises(SipError) as refused:
        refresh(desk, notify, headers=BROUGHT, body=b"?")
    assert refused.value.status == 400
    assert told(desk.set(EARLY, ALICE)).lamps == {"101": "early"}


# Restart, reload, what is seen of it


def kept_of(effects: list[Effect]) -> tuple[Save, SaveList]:
    (kept,) = (effect for effect in effects if isinstance(effect, SaveList))
    return saved(effects), kept


def test_after_a_restart_everything_is_told_above_all_numbers() -> None:
    desk = a_desk()
    save, kept = kept_of(subscribe(desk))
    desk.restart(save, lists=[kept], spread=0)
    rlmi = told(desk.wait(0))
    assert (rlmi.full, list(rlmi.lamps)) == (True, list(USERS))
    assert rlmi.version == save.record.version_ceiling + 1
    assert {member.version for member in rlmi.members.values()} == {rlmi.version}


def test_a_list_that_came_with_the_subscribe_outlives_a_restart() -> None:
    desk = Desk()
    save, kept = kept_of(bring(desk, "sip:102@office.example.com", "sip:bob@elsewhere.example"))
    desk.restart(save, lists=[kept], spread=0)
    rlmi = told(desk.wait(0))
    assert list(rlmi.members) == ["sip:102@office.example.com", "sip:bob@elsewhere.example"]


def test_after_the_store_failed_members_leap_with_their_list() -> None:
    desk = a_desk()
    save, kept = kept_of(subscribe(desk))
    desk.notifier = desk._new()
    desk.notifier.restore([save.record], [], now=desk.now, spread=0, numbers_passed=1, listings={kept.id: kept.listing})
    rlmi = told(desk.wait(0))
    assert rlmi.version > save.record.version_ceiling + 60_000
    assert {member.version for member in rlmi.members.values()} == {rlmi.version}


def test_a_lamp_that_became_a_list_stays_a_lamp_for_those_who_subscribe() -> None:
    desk = Desk()
    save = saved(desk.subscribe(LIST, **asking({"headers": ()})))
    desk.lists[LIST] = MEMBERS
    desk.restart(save, spread=0)
    assert b"eventlist" not in notified(desk.wait(0)).head


def test_a_list_that_could_not_be_kept_never_existed() -> None:
    desk = a_desk()
    save, kept = kept_of(subscribe(desk))
    assert not desk.notifier.not_saved(kept, now=desk.now)
    assert desk.notifier.not_saved(save, now=desk.now)
    assert desk.set(EARLY, BOB) == []
    assert len(desk.notifier) == 0


def test_other_members_are_told_at_a_reload() -> None:
    desk = a_desk(members=2)
    subscribed(desk)
    desk.set(EARLY, PARK)
    desk.lists[LIST] = MEMBERS[1:3]
    effects = desk.notifier.lists_changed(now=desk.now)
    assert (told(effects).full, told(effects).lamps) == (True, {"102": "terminated", "*3101": "early"})
    assert told(effects).members["sip:102@office.example.com"].version == 1
    desk.answer(notified(effects))
    assert desk.set(EARLY, ALICE) == []
    assert told(desk.set(TERMINATED, PARK)).lamps == {"*3101": "terminated"}


def test_another_order_is_told_as_well() -> None:
    desk = a_desk(members=2)
    subscribed(desk)
    desk.lists[LIST] = MEMBERS[1::-1]
    assert told(desk.notifier.lists_changed(now=desk.now)).names == ["Key 102", "Key 101"]


def test_a_member_that_comes_back_goes_on_above_what_it_was_told() -> None:
    desk = a_desk(members=2)
    subscribed(desk)
    for state in (EARLY, CONFIRMED):
        desk.answer(notified(desk.set(state, BOB)))
    for members in (MEMBERS[:1], MEMBERS[:2]):
        desk.lists[LIST] = members
        last = notified(desk.notifier.lists_changed(now=desk.now))
        desk.answer(last)
    assert read_notify(last).members["sip:102@office.example.com"].version > 2


def test_a_reload_that_changes_nothing_tells_nothing() -> None:
    desk = a_desk()
    subscribed(desk)
    assert desk.notifier.lists_changed(now=desk.now) == []


def test_a_list_that_is_gone_from_the_configuration_ends() -> None:
    desk = a_desk()
    notify = subscribed(desk)
    record = desk.notifier.record(notify.id)
    assert record is not None
    assert not desk.notifier.is_without_list(record)
    del desk.lists[LIST]
    assert desk.notifier.is_without_list(record)
    assert desk.notifier.lists_changed(now=desk.now) == []


def test_it_is_seen_under_the_name_of_the_list() -> None:
    desk = a_desk()
    subscribed(desk)
    desk.answer(notified(desk.set(EARLY, BOB)))
    (view,) = desk.notifier.views.subscriptions(LIST)
    assert (view.version, view.reply) == (1, 200)
    assert view.body is not None
    assert 'version="1" fullState="false"' in view.body
    assert list(desk.notifier.views.subscriptions(BOB)) == []


def test_what_happened_to_it_can_be_looked_up() -> None:
    desk = a_desk()
    notify = subscribed(desk)
    desk.answer(notified(desk.set(EARLY, BOB)))
    desk.answer(notified(refresh(desk, notify, expires=0)))
    timeline = desk.notifier.views.timeline(LIST, account=OFFICE)
    notifies = [event for event in timeline.events if type(event.what).__name__ == "Notified"]
    assert [event.what.state for event in notifies] == [TERMINATED, EARLY, EARLY]  # type: ignore[union-attr]
    assert isinstance(notifies[-1].document, RlmiDocument)
    assert any(event.what == Ended(NOW, End.UNSUBSCRIBED) for event in timeline.events)


def test_only_changes_are_measured() -> None:
    """What a refresh tells again is no news, however long ago it came about."""
    desk = a_desk(THREE)
    desk.set(EARLY, BOB)
    desk.now += 1000
    notify = subscribed(desk)
    rest(desk, notified(refresh(desk, notify)))
    desk.now += 1000
    change = notified(desk.set(CONFIRMED, BOB))
    assert change.changed_at == desk.now
    desk.answer(change)
    assert desk.notifier.figures().change_to_answered.count == 1


def test_who_subscribes_to_a_member_is_told_beside() -> None:
    desk = a_desk()
    subscribed(desk)
    desk.subscribed(BOB, call_id="lamp")
    effects = desk.set(EARLY, BOB)
    assert len([effect for effect in effects if isinstance(effect, SendNotify)]) == 2
