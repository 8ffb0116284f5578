"""The notifier, verb by verb: what happens at what time -> which effects, in order."""

from collections.abc import Sequence

import pytest

from sipresence.errors import SipError
from sipresence.events.effects import Effect, Forget, Notify, Respond, Save, SaveState, SendNotify
from sipresence.events.resource import DialogState, Lamp, reset, set_manually
from sipresence.events.subscribe import Limits
from sipresence.events.subscription import BLOCK, LEAP, UNREACHABLE
from sipresence.names import ResourceId, SubscriptionId
from tests.builders import flow, parsed, subscribe
from tests.events.desk import LAMP, NOW, OFFICE, OTHER_LAMP, Desk, answered, notified, numbers, saved

EARLY, CONFIRMED, TERMINATED = DialogState.EARLY, DialogState.CONFIRMED, DialogState.TERMINATED
ONE = SubscriptionId(1)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def refused(desk: Desk, tag: str, **fields: int | str) -> int:
    """The status of a refused refresh."""
    with pytest.raises(SipError) as caught:
        desk.refresh(tag, **fields)  # type: ignore[arg-type]
    return caught.value.status


def lamps(effects: Sequence[Effect]) -> list[DialogState]:
    """What the NOTIFYs among the effects show."""
    return [effect.notify.document.state for effect in effects if isinstance(effect, SendNotify)]


# Accept


def test_a_subscribe_is_saved_then_answered_then_notified(desk: Desk) -> None:
    match desk.subscribe(expires=600):
        case [Save(record, None), Respond(_, 200, tag, headers), SendNotify(notify)]:
            assert record.id == ONE
            assert record.local_tag == tag
            assert "Expires: 600\r\n" in headers
            assert numbers(notify) == (ONE, 1, 0)
            assert notify.subscription_state == "active;expires=600"
            assert (notify.request_uri, notify.entity) == ("sip:102@192.0.2.7:5060", "sip:101@office.example.com")
            assert notify.document.state is TERMINATED
        case effects:
            pytest.fail(f"{effects}")
    assert len(desk.notifier) == 1


def test_the_first_notify_shows_what_was_set_before(desk: Desk) -> None:
    desk.set(CONFIRMED)
    assert lamps(desk.subscribe()) == [CONFIRMED]


def test_subscriptions_are_counted_up(desk: Desk) -> None:
    ids = [saved(desk.subscribe(call_id=f"{n}@phone")).record.id for n in range(3)]
    assert ids == [1, 2, 3]


def test_first_ceilings_differ_so_that_a_fan_out_does_not_raise_them_all_at_once(desk: Desk) -> None:
    ceilings = {saved(desk.subscribe(call_id=f"{n}@phone")).record.cseq_ceiling for n in range(BLOCK)}
    assert ceilings == set(range(BLOCK, 2 * BLOCK))


def test_one_phone_may_watch_twice_by_event_id(desk: Desk) -> None:
    desk.subscribed(event="dialog;id=1")
    desk.subscribed(event="dialog;id=2", cseq=2)
    assert len(desk.notifier) == 2


def test_a_subscribe_without_contact_is_refused(desk: Desk) -> None:
    with pytest.raises(SipError) as caught:
        desk.subscribe(contact=None)
    assert caught.value.status == 400
    assert len(desk.notifier) == 0


@pytest.mark.parametrize(("fields", "status"), [({"event": "x"}, 489), ({"accept": "x/y"}, 406), ({"expires": 1}, 423)])
def test_a_refused_subscribe_leaves_nothing_behind(desk: Desk, fields: dict[str, str], status: int) -> None:
    with pytest.raises(SipError) as caught:
        desk.subscribe(**fields)  # type: ignore[arg-type]
    assert caught.value.status == status
    assert len(desk.notifier) == 0
    assert desk.notifier.resources() == ()
    assert desk.notifier.next_deadline() is None


# Fetch


def test_a_fetch_gets_one_notify_and_nothing_is_kept(desk: Desk) -> None:
    desk.set(EARLY)
    match desk.subscribe(expires=0):
        case [Respond(_, 200, _, headers), SendNotify(notify)]:
            assert "Expires: 0\r\n" in headers
            assert (notify.cseq, notify.version) == (1, 0)
            assert notify.subscription_state == "terminated;reason=timeout"
            assert notify.document.state is EARLY
        case effects:
            pytest.fail(f"{effects}")
    assert len(desk.notifier) == 0
    assert list(desk.notifier.views.subscriptions(LAMP)) == []
    assert desk.answer(notify) == []


def test_a_fetch_of_an_unknown_resource_leaves_no_resource(desk: Desk) -> None:
    desk.subscribe(expires=0)
    assert desk.notifier.resources() == ()


def test_a_second_fetch_under_the_same_call_id_is_another_dialog(desk: Desk) -> None:
    """Its CSeq begins at 1 again, which in the same dialog would go back."""
    tags = {answered(desk.subscribe(expires=0, cseq=cseq)).to_tag for cseq in (1, 2)}
    assert len(tags) == 2
    assert answered(desk.subscribe(expires=0, cseq=2)).to_tag in tags


# Refresh


def test_a_refresh_is_saved_answered_and_notified(desk: Desk) -> None:
    first = desk.subscribe(expires=600)
    desk.answer(notified(first))
    desk.now += 100
    match desk.refresh(saved(first).record.local_tag, expires=300):
        case [Save(record, previous), Respond(_, 200, tag, _), SendNotify(notify)]:
            assert previous is saved(first).record
            assert tag == previous.local_tag
            assert (record.expires_at, record.subscribe_cseq) == (NOW + 400, 2)
            assert numbers(notify) == (ONE, 2, 1)
            assert notify.subscription_state == "active;expires=300"
        case effects:
            pytest.fail(f"{effects}")


def test_a_refresh_moves_the_expiry(desk: Desk) -> None:
    tag = saved(desk.subscribe(expires=600)).record.local_tag
    desk.now += 500
    desk.refresh(tag, expires=600)
    assert desk.wait(599) == []
    assert Forget(ONE) in desk.wait(1)


def test_a_refresh_with_a_notify_in_flight_is_notified_after_its_answer(desk: Desk) -> None:
    first = desk.subscribe()
    match desk.refresh(saved(first).record.local_tag):
        case [Save(), Respond()]:
            pass
        case effects:
            pytest.fail(f"{effects}")
    assert notified(desk.answer(notified(first))).cseq == 2


def test_a_refresh_from_elsewhere_abandons_the_notify_in_flight(desk: Desk) -> None:
    first = desk.subscribe()
    moved = desk.refresh(saved(first).record.local_tag, flow(port=5999), contact="<sip:102@192.0.2.7:5999>")
    match moved:
        case [Save(), Respond(), SendNotify(notify)]:
            assert numbers(notify) == (ONE, 2, 1)
            assert notify.request_uri == "sip:102@192.0.2.7:5999"
            assert notify.hop.flow.port == 5999
        case effects:
            pytest.fail(f"{effects}")


def test_the_same_subscribe_again_is_answered_as_before(desk: Desk) -> None:
    """A crash came between the commit and its 200; the phone repeats itself."""
    first = desk.subscribe()
    match desk.subscribe():
        case [Save(record, previous), Respond(_, 200, tag, _)]:
            assert (record.id, record.local_tag) == (ONE, tag)
            assert previous is saved(first).record
        case effects:
            pytest.fail(f"{effects}")
    assert len(desk.notifier) == 1


def test_another_cseq_renews_the_subscription_of_the_same_name(desk: Desk) -> None:
    """A phone that was restarted and counts from 1 again keeps its Call-ID."""
    tag = answered(desk.subscribe(cseq=50)).to_tag
    renewal = desk.subscribe(cseq=1, headers={"Record-Route": "<sip:p.example.com;lr>"})
    assert answered(renewal).to_tag == tag
    assert saved(renewal).record.route_set == "<sip:p.example.com;lr>"
    assert refused(desk, tag, cseq=0) == 500
    assert len(desk.notifier) == 1


def test_a_refresh_of_an_unknown_dialog_gets_481(desk: Desk) -> None:
    tag = answered(desk.subscribe()).to_tag
    assert refused(desk, "unknown") == 481
    assert refused(desk, tag, from_tag="x") == 481
    assert refused(desk, tag, event="dialog;id=2") == 481
    assert refused(desk, tag, event="presence") == 481


def test_a_lower_cseq_gets_500_and_an_equal_one_the_answer_as_before(desk: Desk) -> None:
    tag = answered(desk.subscribe(cseq=5)).to_tag
    assert refused(desk, tag, cseq=4) == 500
    assert answered(desk.refresh(tag, cseq=5)).status == 200
    assert answered(desk.refresh(tag, cseq=6)).status == 200
    assert answered(desk.refresh(tag, cseq=6)).status == 200
    assert refused(desk, tag, cseq=5) == 500


def test_a_refused_refresh_changes_nothing_but_its_cseq_counts(desk: Desk) -> None:
    first = desk.subscribe(expires=600)
    tag = answered(first).to_tag
    assert refused(desk, tag, cseq=9, expires=1) == 423
    (view,) = desk.notifier.views.subscriptions(LAMP)
    assert view.record is saved(first).record
    assert refused(desk, tag, cseq=8) == 500
    assert Forget(ONE) in desk.wait(600)


# The end


def test_an_unsubscribe_forgets_answers_and_says_goodbye(desk: Desk) -> None:
    tag = answered(effects := desk.subscribe()).to_tag
    desk.answer(notified(effects))
    match desk.refresh(tag, expires=0):
        case [Forget(1), Respond(_, 200, _, headers), SendNotify(notify)]:
            assert "Expires: 0\r\n" in headers
            assert notify.subscription_state == "terminated;reason=timeout"
            assert numbers(notify) == (ONE, 2, 1)
        case other:
            pytest.fail(f"{other}")
    assert len(desk.notifier) == 0
    assert list(desk.notifier.views.subscriptions(LAMP)) == []
    assert refused(desk, tag, cseq=3) == 481
    assert desk.answer(notify) == []
    assert desk.set(EARLY) == []


def test_an_unsubscribe_with_a_notify_in_flight_says_goodbye_after_its_answer(desk: Desk) -> None:
    first = desk.subscribe()
    match desk.refresh(answered(first).to_tag, expires=0):
        case [Forget(1), Respond()]:
            pass
        case other:
            pytest.fail(f"{other}")
    assert desk.set(EARLY) == []
    goodbye = notified(desk.answer(notified(first)))
    assert goodbye.subscription_state == "terminated;reason=timeout"
    assert goodbye.document.state is EARLY
    assert desk.answer(goodbye, 500) == []
    assert desk.answer(goodbye) == []


@pytest.mark.parametrize("status", [481, UNREACHABLE])
def test_no_goodbye_to_a_phone_that_is_gone(desk: Desk, status: int) -> None:
    first = desk.subscribe()
    desk.refresh(answered(first).to_tag, expires=0)
    assert desk.answer(notified(first), status) == []


def test_an_unsubscribe_is_never_too_brief(desk: Desk) -> None:
    assert answered(desk.subscribe(expires=0)).status == 200


def test_an_expiry_forgets_and_says_goodbye(desk: Desk) -> None:
    desk.subscribed(expires=60)
    assert desk.notifier.next_deadline() == NOW + 60
    assert desk.wait(59.9) == []
    match desk.wait(0.1):
        case [Forget(1), SendNotify(notify)]:
            assert notify.subscription_state == "terminated;reason=timeout"
        case other:
            pytest.fail(f"{other}")
    assert desk.notifier.next_deadline() is None
    assert desk.notifier.resources() == ()


def test_an_expiry_with_a_notify_in_flight(desk: Desk) -> None:
    first = notified(desk.subscribe(expires=60))
    assert desk.wait(60) == [Forget(ONE)]
    assert notified(desk.answer(first, 408)).subscription_state == "terminated;reason=timeout"


def test_an_expiry_while_a_retry_waits(desk: Desk) -> None:
    desk.answer(notified(desk.subscribe(expires=60)), 503, retry_after=300)
    assert notified(desk.wait(60)).subscription_state == "terminated;reason=timeout"
    assert desk.notifier.next_deadline() is None


# Changes


def test_a_change_is_told_to_every_subscriber_of_the_resource_and_no_other(desk: Desk) -> None:
    for n in range(3):
        desk.subscribed(call_id=f"{n}@phone")
    desk.subscribed(OTHER_LAMP, call_id="other@phone")
    effects = desk.set(EARLY)
    assert [effect.notify.id for effect in effects if isinstance(effect, SendNotify)] == [1, 2, 3]
    assert lamps(effects) == [EARLY] * 3


def test_the_document_is_rendered_once_per_change(desk: Desk) -> None:
    for n in range(3):
        desk.subscribed(call_id=f"{n}@phone")
    documents = {id(effect.notify.document) for effect in desk.set(EARLY) if isinstance(effect, SendNotify)}
    assert len(documents) == 1


def test_nothing_visible_changed_nothing_sent(desk: Desk) -> None:
    desk.subscribed()
    assert desk.set(TERMINATED) == []
    assert len(desk.set(EARLY)) == 1
    assert desk.set(EARLY) == []


def test_what_changed_meanwhile_goes_in_one_next_notify(desk: Desk) -> None:
    first = notified(desk.subscribe())
    for word in (CONFIRMED, TERMINATED, EARLY, CONFIRMED):
        assert desk.set(word) == []
    second = notified(desk.answer(first))
    assert (second.cseq, second.version, second.document.state) == (2, 1, CONFIRMED)
    assert desk.answer(second) == []


def test_a_reset_tells_everybody_also_where_the_lamp_was_idle(desk: Desk) -> None:
    desk.subscribed()
    told = notified(desk.reset())
    assert told.document.state is TERMINATED
    desk.answer(told)
    desk.set(EARLY)
    assert lamps(desk.reset()) == []  # it follows the NOTIFY in flight
    assert desk.notifier.state_of(LAMP).lamp == Lamp(TERMINATED, 0.0)
    assert len(desk.notifier) == 1


def test_a_reset_of_a_resource_nobody_knows(desk: Desk) -> None:
    assert desk.reset() == []
    assert desk.notifier.resources() == ()


def test_a_known_state_keeps_a_resource_a_reset_frees_it(desk: Desk) -> None:
    desk.set(EARLY)
    assert desk.notifier.resources() == (LAMP,)
    desk.reset()
    assert desk.notifier.resources() == ()


def test_the_ceiling_is_raised_behind_the_notify(desk: Desk) -> None:
    """No NOTIFY waits for the store."""
    first = desk.subscribe()
    notify, ceiling = notified(first), saved(first).record.cseq_ceiling
    desk.answer(notify)
    while notify.cseq < ceiling - BLOCK // 2 - 1:
        effects = desk.reset()
        notify = notified(effects)
        assert effects == [SendNotify(notify)]
        desk.answer(notify)
    match desk.reset():
        case [SendNotify(last), Save(record, previous)]:
            assert previous is saved(first).record
            assert record == previous._replace(cseq_ceiling=last.cseq + BLOCK, version_ceiling=last.version + BLOCK)
        case other:
            pytest.fail(f"{other}")


def test_in_a_fan_out_all_notifies_come_before_all_raised_ceilings() -> None:
    desk = Desk()
    for n in range(3):
        desk.subscribed(call_id=f"{n}@phone")
    kinds: list[list[type]] = []
    for _ in range(BLOCK):
        effects = desk.reset()
        kinds.append([type(effect) for effect in effects])
        for effect in effects:
            if isinstance(effect, SendNotify):
                desk.answer(effect.notify)
    assert [SendNotify] * 3 in kinds
    assert [SendNotify, SendNotify, SendNotify, Save] in kinds


def test_the_ceiling_is_raised_behind_a_notify_that_follows_an_answer(desk: Desk) -> None:
    notify = notified(desk.subscribe())
    for _ in range(BLOCK):
        desk.reset()
        match desk.answer(notify):
            case [SendNotify(notify)]:
                pass
            case [SendNotify(last), Save(record, _)]:
                assert record.cseq_ceiling == last.cseq + BLOCK
                return
            case other:
                pytest.fail(f"{other}")
    pytest.fail("never raised")


# Failures


def test_a_failed_notify_goes_again_with_the_full_state(desk: Desk) -> None:
    first = notified(desk.subscribe())
    assert desk.answer(first, 500) == []
    assert desk.notifier.next_deadline() == NOW + 5
    assert desk.set(EARLY) == []  # it waits for the retry
    assert desk.wait(4.9) == []
    again = notified(desk.wait(0.1))
    assert (again.cseq, again.document.state) == (2, EARLY)


def test_failures_in_a_row_end_a_subscription_silently() -> None:
    desk = Desk(failures_allowed=3)
    notify = notified(desk.subscribe())
    for delay in (5, 30):
        assert desk.answer(notify, 408) == []
        notify = notified(desk.wait(delay))
    assert desk.answer(notify, 408) == [Forget(ONE)]
    assert len(desk.notifier) == 0
    assert desk.notifier.next_deadline() is None


def test_a_refresh_sets_the_failures_to_0_and_sends_at_once() -> None:
    desk = Desk(failures_allowed=2)
    first = desk.subscribe()
    desk.answer(notified(first), 500)
    again = notified(desk.refresh(answered(first).to_tag))
    assert desk.answer(again, 500) == []
    assert desk.notifier.next_deadline() == NOW + 5


def test_a_reset_goes_at_once_to_a_phone_that_refused(desk: Desk) -> None:
    desk.answer(notified(desk.subscribe()), 500)
    assert lamps(desk.reset()) == [TERMINATED]
    assert desk.wait(5) == []  # not twice


def test_481_ends_the_subscription(desk: Desk) -> None:
    first = notified(desk.subscribe())
    assert desk.answer(first, 481) == [Forget(ONE)]
    assert desk.answer(first, 481) == []
    assert len(desk.notifier) == 0
    assert desk.notifier.resources() == ()


def test_retry_after_is_waited_for(desk: Desk) -> None:
    desk.answer(notified(desk.subscribe()), 503, retry_after=17)
    assert desk.wait(16.9) == []
    assert len(desk.wait(0.1)) == 1


def test_a_phone_without_a_connection_hears_of_the_next_change(desk: Desk) -> None:
    desk.answer(notified(desk.subscribe()), UNREACHABLE)
    assert desk.wait(600) == []
    assert lamps(desk.set(EARLY)) == [EARLY]


def test_an_answer_for_a_subscription_nobody_knows(desk: Desk) -> None:
    assert desk.notifier.notify_answered(SubscriptionId(99), status=200, retry_after=None, now=NOW) == []


# State that expires


def test_a_state_that_expires_is_committed_like_any_other(desk: Desk) -> None:
    desk.subscribed()
    desk.answer(notified(desk.set(EARLY, expires_at=NOW + 30)))
    assert desk.notifier.next_deadline() == NOW + 30
    match desk.wait(30):
        case [SaveState(change)]:
            assert change == set_manually(OFFICE, LAMP, state=TERMINATED, at=NOW + 30)
        case other:
            pytest.fail(f"{other}")
    assert desk.wait(1) == []
    assert lamps(desk.deliver(change)) == [TERMINATED]


def test_another_set_moves_the_expiry_and_a_reset_ends_it(desk: Desk) -> None:
    desk.set(EARLY, expires_at=NOW + 30)
    desk.set(EARLY, expires_at=NOW + 60)
    assert desk.wait(30) == []
    desk.reset()
    assert desk.notifier.next_deadline() is None


def test_an_expiry_that_was_not_committed_is_tried_again(desk: Desk) -> None:
    desk.set(EARLY, expires_at=NOW + 30)
    (save,) = desk.wait(30)
    assert isinstance(save, SaveState)
    desk.notifier.not_saved(save, now=desk.now)
    assert desk.wait(4) == []
    assert desk.wait(1) == [SaveState(set_manually(OFFICE, LAMP, state=TERMINATED, at=NOW + 35))]


def test_an_expiry_does_not_overtake_a_newer_set_on_its_way_to_the_store(desk: Desk) -> None:
    """Else a set that is repeated each time it expires would be wiped out by the end of the one before."""
    desk.set(EARLY, expires_at=NOW + 30)
    desk.now += 29.9
    newer = set_manually(OFFICE, LAMP, state=EARLY, at=desk.now, expires_at=desk.now + 30)
    desk.notifier.change_decided(newer)
    assert desk.wait(0.2) == []
    desk.deliver(newer)
    assert desk.notifier.next_deadline() == newer.expires_at


def test_a_newer_set_that_was_not_committed_leaves_the_older_one_to_its_expiry(desk: Desk) -> None:
    desk.set(EARLY, expires_at=NOW + 30)
    newer = set_manually(OFFICE, LAMP, state=EARLY, at=NOW)
    desk.notifier.change_decided(newer)
    desk.notifier.not_saved(SaveState(newer), now=NOW)
    assert len(desk.wait(30)) == 1


# A restart


def test_a_restored_phone_is_told_within_the_spread() -> None:
    desk = Desk()
    rows = [saved(desk.subscribe(call_id=f"{n}@phone")) for n in range(3)]
    desk.restart(*rows, states=[set_manually(OFFICE, LAMP, state=EARLY, at=NOW)], spread=3.0)
    told = [lamps(desk.wait(0)), lamps(desk.wait(1)), lamps(desk.wait(1)), lamps(desk.wait(1))]
    assert told == [[EARLY], [EARLY], [EARLY], []]


def test_the_restored_whose_state_changed_last_are_told_first() -> None:
    desk = Desk()
    lamps = [ResourceId(f"10{n}@office.example.com") for n in range(4)]
    rows = [saved(desk.subscribe(lamp, call_id=f"{lamp}.phone")) for lamp in lamps]
    changes = [set_manually(OFFICE, lamps[n], state=EARLY, at=NOW + at) for n, at in ((1, 1), (3, 2))]
    desk.restart(*rows, states=changes, spread=4.0)
    told = [notified(desk.wait(seconds)).call_id for seconds in (0, 1, 1, 1)]
    assert told == [f"{lamps[n]}.phone" for n in (3, 1, 0, 2)]


def test_numbers_go_on_above_the_ceilings_once_more_are_reserved(desk: Desk) -> None:
    """A crash right after the first NOTIFY must not find a ceiling below it: here the Save comes first."""
    row = saved(desk.subscribe())
    desk.restart(row)
    match desk.wait(0):
        case [Save(record, previous), SendNotify(notify)]:
            assert numbers(notify) == (ONE, row.record.cseq_ceiling + 1, row.record.version_ceiling + 1)
            assert previous is not None
            assert (previous.cseq_ceiling, record.cseq_ceiling) == (notify.cseq - 1, notify.cseq + BLOCK)
        case other:
            pytest.fail(f"{other}")


def test_a_change_right_after_a_restart_goes_out_at_once_and_not_twice(desk: Desk) -> None:
    row = saved(desk.subscribe())
    desk.restart(row)
    match desk.set(EARLY):
        case [Save(), SendNotify(notify)]:
            assert notify.document.state is EARLY
        case other:
            pytest.fail(f"{other}")
    assert desk.wait(10) == []


def test_a_fan_out_holds_back_only_the_restored(desk: Desk) -> None:
    desk.restart(saved(desk.subscribe(call_id="old@phone")))
    fresh = desk.subscribed(call_id="new@phone")
    match desk.set(EARLY):
        case [SendNotify(first), Save(record, _), SendNotify(second)]:
            assert (first.id, record.id, second.id) == (fresh.id, ONE, ONE)
        case other:
            pytest.fail(f"{other}")


def test_the_old_dialog_is_refreshed_after_a_restart(desk: Desk) -> None:
    first = desk.subscribe(cseq=5)
    desk.restart(saved(first))
    tag = answered(first).to_tag
    assert refused(desk, tag, cseq=4) == 500
    match desk.refresh(tag, cseq=6):
        case [Save(record, _), Respond(_, 200, _, _), SendNotify(notify)]:
            assert notify.cseq == saved(first).record.cseq_ceiling + 1
            assert record.cseq_ceiling > notify.cseq
        case other:
            pytest.fail(f"{other}")
    assert desk.wait(10) == []


def test_a_subscribe_repeated_across_a_restart_gets_its_200(desk: Desk) -> None:
    first = desk.subscribe()
    desk.restart(saved(first))
    assert answered(desk.subscribe()).to_tag == answered(first).to_tag
    assert len(desk.notifier) == 1


def test_ids_go_on_above_the_stored_ones(desk: Desk) -> None:
    rows = [saved(desk.subscribe(call_id=f"{n}@phone")) for n in range(5)]
    desk.restart(rows[3])
    assert saved(desk.subscribe(call_id="new@phone")).record.id == 5


def test_what_expired_while_nobody_looked_ends_now(desk: Desk) -> None:
    row = saved(desk.subscribe(expires=60))
    state = set_manually(OFFICE, LAMP, state=EARLY, at=NOW, expires_at=NOW + 30)
    desk.now += 100
    desk.restart(row, states=[state])
    match desk.wait(0):
        case [Forget(1), SendNotify(notify), SaveState(change)]:
            assert notify.subscription_state == "terminated;reason=timeout"
            assert change.dialogs == ()
        case other:
            pytest.fail(f"{other}")


def test_a_wrong_clock_makes_no_row_last_for_ever() -> None:
    desk = Desk(limits=Limits(max_expires=7200))
    row = saved(desk.subscribe())
    desk.now -= 10**8
    desk.restart(row)
    (view,) = desk.notifier.views.subscriptions(LAMP)
    assert view.record.expires_at == desk.now + 7200


def test_exact_numbers_let_the_next_start_go_on_at_plus_one(desk: Desk) -> None:
    notify = desk.subscribed()
    exact = desk.notifier.exact_numbers()
    assert [(s.record.cseq_ceiling, s.record.version_ceiling) for s in exact] == [(notify.cseq, notify.version)]
    assert desk.notifier.exact_numbers() == []
    desk.restart(*exact)
    again = notified(desk.wait(0))
    assert (again.cseq, again.version) == (2, 1)


# A commit that failed


def test_a_new_subscription_that_was_not_saved_never_existed(desk: Desk) -> None:
    first = desk.subscribe()
    assert desk.notifier.not_saved(saved(first), now=NOW) is True
    assert len(desk.notifier) == 0
    assert desk.notifier.resources() == ()
    assert desk.notifier.next_deadline() is None
    assert refused(desk, answered(first).to_tag) == 481
    assert desk.answer(notified(first)) == []


def test_a_refresh_that_was_not_saved_leaves_expiry_target_and_cseq(desk: Desk) -> None:
    first = desk.subscribe(expires=600, cseq=5)
    desk.answer(notified(first))
    tag = answered(first).to_tag
    desk.now += 10
    refresh = desk.refresh(tag, flow(port=5999), cseq=7, expires=3600, contact="<sip:102@192.0.2.7:5999>")
    assert desk.notifier.not_saved(saved(refresh), now=desk.now) is False
    (view,) = desk.notifier.views.subscriptions(LAMP)
    assert view.record is saved(first).record
    desk.answer(notified(refresh))
    told = notified(desk.set(EARLY))
    assert (told.request_uri, told.hop.flow.port) == ("sip:102@192.0.2.7:5060", 5060)
    assert answered(desk.refresh(tag, cseq=6)).status == 200  # 7 was never accepted


def test_the_expiry_of_a_refresh_that_was_not_saved_is_the_old_one(desk: Desk) -> None:
    first = desk.subscribe(expires=600)
    refresh = desk.refresh(answered(first).to_tag, expires=3600)
    desk.notifier.not_saved(saved(refresh), now=desk.now)
    assert Forget(ONE) in desk.wait(600)


def test_a_ceiling_that_was_not_saved_is_raised_again_with_the_next_notify(desk: Desk) -> None:
    desk.subscribed()
    notify: Notify | None = None
    raised: list[Save] = []
    for _ in range(2 * BLOCK):
        effects = desk.reset()
        notify = notified(effects)
        desk.answer(notify)
        raised += [effect for effect in effects if isinstance(effect, Save)]
        if raised:
            break
    (lost,) = raised
    desk.notifier.not_saved(lost, now=NOW)
    match desk.reset():
        case [SendNotify(again), Save(record, previous)]:
            assert previous is lost.previous
            assert record.cseq_ceiling == again.cseq + BLOCK
        case other:
            pytest.fail(f"{other}")


def test_a_later_subscribe_whose_commit_is_still_open_decides(desk: Desk) -> None:
    first = desk.subscribe()
    second = desk.refresh(answered(first).to_tag)
    assert desk.notifier.not_saved(saved(first), now=NOW) is False
    (view,) = desk.notifier.views.subscriptions(LAMP)
    assert view.record is saved(second).record


def test_a_subscription_that_ended_before_its_commit_failed_says_goodbye(desk: Desk) -> None:
    first = desk.subscribe()
    desk.refresh(answered(first).to_tag, expires=0)
    assert desk.notifier.not_saved(saved(first), now=NOW) is False
    goodbye = notified(desk.answer(notified(first)))
    assert goodbye.subscription_state == "terminated;reason=timeout"


def test_a_subscription_that_expired_before_its_commit_failed(desk: Desk) -> None:
    """A store that hangs for a minute."""
    first = desk.subscribe(expires=60)
    assert desk.wait(60) == [Forget(ONE)]
    assert desk.notifier.not_saved(saved(first), now=desk.now) is False
    assert desk.notifier.next_deadline() is None


def test_a_change_of_state_that_was_not_saved_changes_nothing(desk: Desk) -> None:
    desk.set(EARLY)
    desk.notifier.not_saved(SaveState(reset(OFFICE, LAMP, at=NOW)), now=NOW)
    desk.notifier.not_saved(SaveState(reset(OFFICE, OTHER_LAMP, at=NOW)), now=NOW)
    assert desk.notifier.state_of(LAMP).lamp.state is EARLY
    assert desk.notifier.next_deadline() is None


# What edges may see


def test_the_views_of_a_resource_come_newest_first(desk: Desk) -> None:
    for n in range(3):
        desk.subscribed(call_id=f"{n}@phone")
    views = list(desk.notifier.views.subscriptions(LAMP))
    assert [view.record.call_id for view in views] == ["2@phone", "1@phone", "0@phone"]
    assert {(view.sequence, view.version, view.reply) for view in views} == {(1, 0, 200)}
    assert list(desk.notifier.views.subscriptions(ResourceId("nobody@office.example.com"))) == []


def test_a_request_is_read_before_anything_is_changed(desk: Desk) -> None:
    """A refused one of the same name leaves the living subscription as it was."""
    desk.subscribed()
    with pytest.raises(SipError):
        desk.subscribe(cseq=2, accept="text/plain")
    assert len(desk.notifier) == 1
    assert parsed(subscribe()).cseq == 1


def test_a_restart_after_a_failing_store_leaps() -> None:
    desk = Desk()
    row = saved(desk.subscribe()).record
    effects = desk.restart_after_failure(row)
    (save,) = (effect for effect in effects if isinstance(effect, Save))
    assert save.record.cseq_ceiling == row.cseq_ceiling + LEAP
    assert save.record.version_ceiling == row.version_ceiling + LEAP
    assert save.previous is not None
    notify = notified([effect for effect in desk.wait(1) if isinstance(effect, SendNotify)])
    assert (notify.cseq, notify.version) == (row.cseq_ceiling + LEAP + 1, row.version_ceiling + LEAP + 1)


def test_crash_upon_crash_while_the_store_fails_leaps_further_each_time() -> None:
    desk = Desk()
    row = saved(desk.subscribe()).record
    seen: set[int] = set()
    for times in (1, 2, 3):
        effects = desk.restart_after_failure(row, times=times)
        for effect in effects:
            assert isinstance(effect, Save)
            desk.notifier.not_saved(effect, now=desk.now)
        cseq = notified([effect for effect in desk.wait(1) if isinstance(effect, SendNotify)]).cseq
        assert cseq > max(seen, default=0)
        seen.add(cseq)


def test_a_notify_held_with_a_refresh_that_failed_says_the_old_expiry() -> None:
    desk = Desk()
    first = desk.subscribe(expires=600)
    desk.answer(notified(first))
    desk.now += 100
    elsewhere = flow(port=40_000)
    effects = desk.refresh(answered(first).to_tag, way=elsewhere, expires=3600)
    desk.notifier.not_saved(saved(effects), now=desk.now)
    held = notified(effects)
    leaves = desk.notifier.corrected(held, now=desk.now)
    assert (leaves.cseq, leaves.version) == (held.cseq, held.version)
    assert leaves.subscription_state == "active;expires=500"
    assert leaves.hop.flow == flow()


def test_the_expiry_of_a_state_does_not_overtake_a_newer_word_that_is_under_way() -> None:
    """Two sets, the first delivered while the commit of the second hangs: nothing expires behind the second's back."""
    desk = Desk()
    desk.subscribed()
    first = set_manually(OFFICE, LAMP, state=DialogState.EARLY, at=desk.now, expires_at=desk.now + 5)
    second = set_manually(OFFICE, LAMP, state=DialogState.EARLY, at=desk.now)
    desk.notifier.change_decided(first)
    desk.notifier.change_decided(second)
    desk.answer(notified(desk.deliver(first)))
    assert desk.wait(6) == []
    assert desk.deliver(second) == []
    assert desk.wait(60) == []
    assert desk.notifier.state_of(LAMP).lamp.state is DialogState.EARLY


def test_a_newer_word_that_was_not_committed_lets_the_older_state_expire() -> None:
    desk = Desk()
    desk.subscribed()
    first = set_manually(OFFICE, LAMP, state=DialogState.EARLY, at=desk.now, expires_at=desk.now + 5)
    second = set_manually(OFFICE, LAMP, state=DialogState.CONFIRMED, at=desk.now)
    desk.notifier.change_decided(first)
    desk.notifier.change_decided(second)
    desk.answer(notified(desk.deliver(first)))
    desk.notifier.not_saved(SaveState(second), now=desk.now)
    (effect,) = desk.wait(6)
    assert isinstance(effect, SaveState)
    assert effect.change.dialogs == ()
