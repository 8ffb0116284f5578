"""What an admin may have done with single subscriptions: told again, ended."""

import pytest

from sipresence.events.effects import Effect, Forget, Save, SendNotify
from sipresence.events.resource import DialogState
from sipresence.events.subscription import UNREACHABLE, Reason
from sipresence.events.timeline import End, Ended
from sipresence.names import AccountId, ResourceId, SubscriptionId
from tests.builders import flow
from tests.events.desk import LAMP, NOW, OFFICE, Desk, notified
from tests.events.listed import LIST
from tests.events.test_lists import MEMBERS, a_desk, subscribed, told

EARLY, CONFIRMED = DialogState.EARLY, DialogState.CONFIRMED
SHOP = AccountId("fedcba9876543210fedcba9876543210")


def again(desk: Desk, ident: SubscriptionId) -> list[Effect]:
    return desk.notifier.notify_again(ident, now=desk.now)


# Told again


def test_the_full_state_goes_again_though_it_is_known() -> None:
    desk = Desk()
    first = desk.subscribed()
    notify = notified(again(desk, first.id))
    assert (notify.cseq, notify.version) == (2, 1)
    assert notify.document is first.document
    assert notify.changed_at == 0, "it is no news"


def test_it_goes_after_the_answer_to_the_one_in_flight() -> None:
    desk = Desk()
    first = notified(desk.subscribe())
    assert again(desk, first.id) == []
    assert notified(desk.answer(first)).cseq == 2


@pytest.mark.parametrize("status", [500, UNREACHABLE])
def test_a_phone_that_refused_or_was_not_reached_is_told_at_once(status: int) -> None:
    desk = Desk()
    first = notified(desk.subscribe())
    assert desk.answer(first, status) == []
    assert notified(again(desk, first.id)).cseq == 2


def test_a_phone_that_has_been_told_nothing_since_a_restart_is_told_at_once() -> None:
    desk = Desk()
    first = desk.subscribed()
    (view,) = desk.notifier.views.subscriptions(LAMP)
    desk.restart(Save(view.record, None), spread=60.0)
    assert notified(again(desk, first.id)).cseq > 1
    assert desk.wait(61) == [], "and not once more"


def test_one_after_the_other_as_its_target_takes_them() -> None:
    desk = Desk(rate=2)
    idents = [desk.subscribed(call_id=str(number)).id for number in range(4)]
    desk.wait(2.0)
    assert [len(again(desk, ident)) for ident in idents] == [1, 1, 0, 0]
    assert len(desk.wait(1.0)) == 2


def test_all_members_of_a_list_are_told_again() -> None:
    desk = a_desk()
    notify = subscribed(desk)
    document = told(again(desk, notify.id))
    assert document.full
    assert len(document.lamps) == len(MEMBERS)


def test_a_list_that_is_still_being_told_starts_over() -> None:
    desk = a_desk()
    first = subscribed(desk)
    (changed,) = desk.set(EARLY, MEMBERS[0][0])
    assert isinstance(changed, SendNotify)
    assert again(desk, first.id) == []
    assert told(desk.answer(changed.notify)).full


# Ended


@pytest.mark.parametrize("reason", Reason)
def test_the_last_notify_says_why(reason: Reason) -> None:
    desk = Desk()
    first = desk.subscribed()
    forget, last = desk.notifier.terminate(first.id, reason, now=desk.now)
    assert forget == Forget(first.id)
    assert isinstance(last, SendNotify)
    assert last.notify.subscription_state == f"terminated;reason={reason}"
    assert list(desk.notifier.views.subscriptions(LAMP)) == []
    assert desk.answer(last.notify) == []
    assert desk.notifier.record(first.id) is None


def test_it_waits_for_the_answer_to_the_one_in_flight() -> None:
    desk = Desk()
    first = notified(desk.subscribe())
    assert desk.notifier.terminate(first.id, Reason.REJECTED, now=desk.now) == [Forget(first.id)]
    assert notified(desk.answer(first)).subscription_state == "terminated;reason=rejected"


def test_a_refresh_finds_nothing_and_the_timeline_says_who() -> None:
    desk = Desk()
    first = desk.subscribed()
    desk.notifier.terminate(first.id, Reason.DEACTIVATED, now=desk.now)
    events = desk.notifier.views.timeline(LAMP, account=OFFICE).events
    assert Ended(NOW, End.TERMINATED) in [event.what for event in events]
    assert desk.notifier.figures().subscriptions_ended == {"terminated": 1}
    assert desk.wait(8000) == []


# What is asked before and after


def test_who_is_told_of_a_resource_by_itself_or_in_a_list() -> None:
    desk = a_desk()
    member = MEMBERS[0][0]
    alone = desk.subscribed(member, call_id="alone")
    listed = subscribed(desk, call_id="listed")
    assert desk.notifier.views.subscribers(member) == [alone.id, listed.id]
    assert desk.notifier.views.subscribers(LIST) == [listed.id]
    assert desk.notifier.views.subscribers(ResourceId("nobody@office.example.com")) == []


def test_the_notify_that_tells_what_is_true_now() -> None:
    desk = Desk(coalesce=0.05)
    first = notified(desk.subscribe())
    ident = first.id
    assert desk.notifier.due_cseq(ident) == 1, "the one in flight"
    desk.set(EARLY)
    assert desk.notifier.due_cseq(ident) == 2, "the one after it"
    second = notified(desk.answer(first))
    assert desk.notifier.due_cseq(ident) == 2
    desk.answer(second)
    assert desk.notifier.due_cseq(ident) == 0
    desk.set(CONFIRMED)
    assert desk.notifier.due_cseq(ident) == 3, "it is held for a moment"
    assert desk.notifier.cseq(ident) == 2
    (third,) = desk.wait(0.06)
    assert isinstance(third, SendNotify)
    assert desk.answer(third.notify, 481) == [Forget(ident)]
    assert desk.notifier.due_cseq(ident) is None
    assert desk.notifier.cseq(ident) == 0


# Lists of subscriptions


def test_counts_views_and_namesakes_are_of_one_account_and_living() -> None:
    desk = Desk()
    first = desk.subscribed()
    fork = desk.subscribed(from_tag="fork")
    other = desk.subscribed(call_id="other", way=flow(port=5062))
    assert desk.notifier.views.counts(LAMP, account=OFFICE) == {"dialog": 3}
    assert desk.notifier.views.counts(LAMP, account=SHOP) == {}
    view = desk.notifier.views.view(first.id, account=OFFICE)
    assert view is not None
    assert [one.id for one in desk.notifier.views.namesakes(view.record)] == [fork.id, first.id]
    assert desk.notifier.views.view(first.id, account=SHOP) is None
    desk.notifier.terminate(other.id, Reason.DEACTIVATED, now=desk.now)
    assert desk.notifier.views.view(other.id, account=OFFICE) is None
    assert list(desk.notifier.views.subscription_ids()) == [first.id, fork.id, other.id], "it leaves with others"
    assert view.replied_at == NOW
