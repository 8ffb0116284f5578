"""RFC 5839: a subscriber says which version of the state it has, and is not told that once more."""

from collections.abc import Sequence
from typing import Unpack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipresence.events.effects import Effect, Forget, Notify, Respond, Save, SendNotify
from sipresence.events.resource import DialogState
from sipresence.sip.flow import Flow
from tests.builders import Fields, flow
from tests.events.desk import LAMP, Desk, answered, notified, numbers, saved
from tests.events.listed import LIST, LIST_URI, UNDERSTOOD

EARLY, CONFIRMED, TERMINATED = DialogState.EARLY, DialogState.CONFIRMED, DialogState.TERMINATED
ELSEWHERE = flow(port=5999)


def etag(notify: Notify) -> str:
    """What SIP-ETag says, "" without."""
    lines = notify.head.decode().split("\r\n")
    return next((line.removeprefix("SIP-ETag: ") for line in lines if line.startswith("SIP-ETag: ")), "")


def body(notify: Notify) -> bytes:
    return notify.document.stamp(notify.version, notify.entity)


def is_bare(notify: Notify) -> bool:
    """Whether it has neither a body nor what speaks of one."""
    return not body(notify) and b"Content-Type" not in notify.head


class Dialog:
    """A phone that knows entity tags, and its subscription, whose first NOTIFY is answered."""

    def __init__(self, desk: Desk | None = None, **fields: Unpack[Fields]) -> None:
        self.desk = Desk(entity_tags=True) if desk is None else desk
        effects = self.desk.subscribe(**fields)
        self.save, self.first = saved(effects), notified(effects)
        self.desk.answer(self.first)
        self.tag = self.save.record.local_tag
        self.cseq = 1

    def refresh(self, condition: str | None, way: Flow | None = None, *, expires: int = 3600) -> list[Effect]:
        self.cseq += 1
        headers = {} if condition is None else {"Suppress-If-Match": condition}
        return self.desk.refresh(self.tag, way, headers=headers, cseq=self.cseq, expires=expires)

    def told(self, state: DialogState) -> Notify:
        """The lamp is set, which is told and answered."""
        notify = notified(self.desk.set(state))
        self.desk.answer(notify)
        return notify


# Tags


def test_every_notify_says_which_version_of_the_state_it_tells() -> None:
    dialog = Dialog()
    idle, ringing = etag(dialog.first), etag(dialog.told(EARLY))
    again = etag(dialog.told(TERMINATED))
    assert len({idle, ringing}) == 2
    assert len(idle) == 12
    assert again  # which tells how the call ended, as the first one did not


def test_it_costs_less_than_30_bytes() -> None:
    plain, tagged = Dialog(Desk()).first, Dialog().first
    assert 0 < len(tagged.head) - len(plain.head) < 30


def test_who_does_not_ask_is_not_bothered_with_them() -> None:
    dialog = Dialog(Desk())
    assert not etag(dialog.first)
    assert not etag(dialog.told(EARLY))


@pytest.mark.parametrize("condition", ["whatever", "*"])
def test_who_asks_once_is_told_them(condition: str) -> None:
    notify = notified(Desk().subscribe(headers={"Suppress-If-Match": condition}))
    assert etag(notify)
    assert is_bare(notify) == (condition == "*")


def test_who_wants_rates_is_told_them_too() -> None:
    assert etag(notified(Desk().subscribe(event="dialog;min-rate=0.1")))


def test_the_same_state_has_the_same_tag_after_a_restart_and_for_everybody() -> None:
    dialog = Dialog()
    other = Dialog(dialog.desk, call_id="another")
    assert etag(other.first) == etag(dialog.first)
    dialog.desk.restart(dialog.save, spread=0.0)
    assert etag(notified(dialog.desk.wait(0))) == etag(dialog.first)


def test_each_form_has_its_own() -> None:
    desk = Desk(entity_tags=True)
    dialog = Dialog(desk)
    presence = Dialog(desk, event="presence", accept="application/pidf+xml", call_id="presence")
    xpidf = Dialog(desk, event="presence", accept="application/xpidf+xml", call_id="xpidf")
    assert len({etag(one.first) for one in (dialog, presence, xpidf)}) == 3


@pytest.mark.parametrize("condition", ["f00", "*"])
def test_lists_have_none_and_no_condition_is_true_of_them(condition: str) -> None:
    desk = Desk(lists={LIST: [(LAMP, "Alice")]}, entity_tags=True)
    headers = (*UNDERSTOOD, ("Suppress-If-Match", condition))
    effects = desk.subscribe(LIST, uri=LIST_URI, to=f"<{LIST_URI}>", headers=headers)
    first = notified(effects)
    assert not etag(first)
    assert body(first)
    desk.answer(first)
    tag = saved(effects).record.local_tag
    refreshed = desk.refresh(tag, uri=LIST_URI, to=f"<{LIST_URI}>", headers=headers)
    assert answered(refreshed).status == 200
    desk.answer(notified(refreshed))
    assert body(notified(desk.set(EARLY)))


# A refresh


def test_who_has_the_current_state_is_answered_204_and_told_nothing() -> None:
    dialog = Dialog()
    dialog.desk.now += 600
    save, answer = dialog.refresh(etag(dialog.first), expires=1800)
    assert isinstance(save, Save)
    assert save.record.expires_at == dialog.desk.now + 1800
    assert isinstance(answer, Respond)
    assert answer.status == 204
    assert "Expires: 1800\r\n" in answer.headers
    assert notified(dialog.desk.set(EARLY)).cseq == 2  # the numbers go on


@pytest.mark.parametrize("condition", ["f00", "", None, '"{}"', "{}x", "x, {}"])
def test_who_has_another_one_is_told(condition: str | None) -> None:
    dialog = Dialog()
    effects = dialog.refresh(None if condition is None else condition.format(etag(dialog.first)))
    assert answered(effects).status == 200
    notify = notified(effects)
    assert etag(notify) == etag(dialog.first)
    assert body(notify)


def test_a_later_change_is_told_and_the_way_back_too() -> None:
    dialog = Dialog()
    dialog.told(EARLY)
    dialog.desk.wait(1)
    dialog.told(TERMINATED)
    ended = dialog.told(CONFIRMED)
    assert answered(dialog.refresh(etag(ended))).status == 204
    assert etag(dialog.told(EARLY)) != etag(ended)
    assert body(dialog.told(CONFIRMED))


def test_a_tag_that_was_not_current_counts_for_nothing_later() -> None:
    dialog = Dialog()
    ringing = dialog.told(EARLY)
    talking = dialog.told(CONFIRMED)
    dialog.desk.answer(notified(dialog.refresh(etag(ringing))))
    assert etag(talking) != etag(ringing)
    assert body(dialog.told(EARLY))


def test_the_tag_of_a_state_that_it_was_never_told_here() -> None:
    """It knows it from another subscription of its own, and is told once it is no more so."""
    dialog = Dialog()
    dialog.told(EARLY)
    failed = notified(dialog.desk.set(CONFIRMED))
    dialog.desk.answer(failed, 500)
    assert answered(dialog.refresh(etag(failed))).status == 204
    assert dialog.desk.wait(30) == []
    assert notified(dialog.desk.set(EARLY)).document.state is EARLY


def test_it_is_no_answer_to_the_notify_in_flight() -> None:
    dialog = Dialog()
    ringing = notified(dialog.desk.set(EARLY))
    assert [type(effect) for effect in dialog.refresh(etag(ringing))] == [Save, Respond]
    assert dialog.desk.set(CONFIRMED) == []
    assert notified(dialog.desk.answer(ringing)).document.state is CONFIRMED


def test_what_waits_for_the_answer_is_not_told_if_it_is_known() -> None:
    dialog = Dialog()
    ringing = notified(dialog.desk.set(EARLY))
    assert dialog.desk.set(CONFIRMED) == []
    talking = etag(Dialog(dialog.desk, call_id="another").first)
    assert [type(effect) for effect in dialog.refresh(talking)] == [Save, Respond]
    assert dialog.desk.answer(ringing) == []
    assert dialog.desk.wait(60) == []


def test_a_phone_that_has_moved_is_told_where_it_is_now_if_the_last_notify_is_unanswered() -> None:
    dialog = Dialog()
    ringing = notified(dialog.desk.set(EARLY))
    effects = dialog.refresh(etag(ringing), ELSEWHERE)
    assert answered(effects).status == 200
    notify = notified(effects)
    assert is_bare(notify)
    assert etag(notify) == etag(ringing)
    assert notify.subscription_state == "active;expires=3600"


def test_a_phone_that_has_moved_is_told_nothing_if_it_was_answered() -> None:
    dialog = Dialog()
    assert answered(dialog.refresh(etag(dialog.first), ELSEWHERE)).status == 204
    assert notified(dialog.desk.set(EARLY)).hop.flow.port == 5999


@pytest.mark.parametrize("status", [500, 0])
def test_a_notify_that_did_not_arrive_is_not_sent_again(status: int) -> None:
    dialog = Dialog()
    failed = notified(dialog.desk.set(EARLY))
    dialog.desk.answer(failed, status)
    assert answered(dialog.refresh(etag(failed))).status == 204
    assert dialog.desk.wait(60) == []
    assert body(notified(dialog.desk.set(CONFIRMED)))


def test_what_waits_for_its_turn_is_not_told() -> None:
    dialog = Dialog(Desk(rate=1, entity_tags=True))
    assert dialog.desk.set(EARLY) == []
    ringing = etag(notified(dialog.desk.subscribe(call_id="another")))
    assert answered(dialog.refresh(ringing)).status == 204
    assert dialog.desk.wait(3) == []


def test_after_a_restart() -> None:
    dialog = Dialog()
    dialog.desk.restart(dialog.save)
    assert answered(dialog.refresh(etag(dialog.first))).status == 204
    assert dialog.desk.wait(10) == []
    assert numbers(notified(dialog.desk.set(EARLY)))[1] == dialog.save.record.cseq_ceiling + 1


def test_a_reset_is_told_all_the_same() -> None:
    dialog = Dialog()
    dialog.refresh(etag(dialog.first))
    notify = notified(dialog.desk.reset())
    assert body(notify)
    assert etag(notify) == etag(dialog.first)


# Other SUBSCRIBEs


def test_a_new_subscription_for_a_known_state_gets_a_notify_without_it() -> None:
    dialog = Dialog()
    effects = dialog.desk.subscribe(call_id="resumed", headers={"Suppress-If-Match": etag(dialog.first)})
    assert answered(effects).status == 200
    notify = notified(effects)
    assert is_bare(notify)
    assert etag(notify) == etag(dialog.first)
    assert notify.subscription_state == "active;expires=3600"
    dialog.desk.answer(notify)
    changed = [one.notify for one in dialog.desk.set(EARLY) if isinstance(one, SendNotify)]
    assert [bool(body(one)) for one in changed] == [True, True]


def test_one_that_repeats_an_initial_subscribe_is_no_refresh() -> None:
    dialog = Dialog()
    effects = dialog.desk.subscribe(cseq=2, headers={"Suppress-If-Match": etag(dialog.first)})
    assert answered(effects).status == 200
    assert is_bare(notified(effects))


def test_a_fetch_of_a_known_state() -> None:
    dialog = Dialog()
    condition = {"Suppress-If-Match": etag(dialog.first)}
    assert body(notified(dialog.desk.subscribe(call_id="poll", expires=0)))
    effects = dialog.desk.subscribe(call_id="poll", expires=0, cseq=2, headers=condition)
    assert answered(effects).status == 200
    notify = notified(effects)
    assert is_bare(notify)
    assert notify.subscription_state == "terminated;reason=timeout"
    dialog.told(EARLY)
    assert body(notified(dialog.desk.subscribe(call_id="poll", expires=0, cseq=3, headers=condition)))


def test_the_end_is_not_told_to_who_has_the_current_state() -> None:
    dialog = Dialog()
    effects = dialog.refresh(etag(dialog.first), expires=0)
    assert [type(effect) for effect in effects] == [Forget, Respond]
    assert answered(effects).status == 204
    assert len(dialog.desk.notifier) == dialog.desk.notifier.unanswered == 0


def test_the_end_is_told_to_who_has_not() -> None:
    dialog = Dialog()
    dialog.told(EARLY)
    effects = dialog.refresh(etag(dialog.first), expires=0)
    assert answered(effects).status == 200
    assert body(notified(effects))


def test_one_that_expires_ends_without_a_document_that_is_known() -> None:
    dialog = Dialog()
    dialog.refresh(etag(dialog.first), expires=60)
    last = notified(dialog.desk.wait(60))
    assert last.subscription_state == "terminated;reason=timeout"
    assert is_bare(last)


# The wildcard


def test_a_dormant_subscription_is_told_nothing_until_it_awakes() -> None:
    dialog = Dialog()
    assert answered(dialog.refresh("*")).status == 204
    assert dialog.desk.set(EARLY) == []
    assert dialog.desk.reset() == []
    assert dialog.desk.set(CONFIRMED) == []
    effects = dialog.refresh(etag(dialog.first))
    assert answered(effects).status == 200
    assert notified(effects).document.state is CONFIRMED


def test_a_subscription_that_begins_dormant() -> None:
    desk = Desk()
    first = notified(desk.subscribe(headers={"Suppress-If-Match": "*"}))
    assert is_bare(first)
    assert etag(first)
    desk.answer(first)
    assert desk.set(EARLY) == []


# Together with rates (RFC 6446 section 6.2)


def test_min_rate_repeats_nothing_that_is_known() -> None:
    desk = Desk(entity_tags=True)
    dialog = Dialog(desk, event="dialog;min-rate=0.1")
    headers = {"Suppress-If-Match": etag(dialog.first)}
    desk.refresh(dialog.tag, event="dialog;min-rate=0.1", headers=headers)
    assert desk.wait(60) == []
    dialog.told(EARLY)
    assert body(notified(desk.wait(10)))


def test_what_waits_for_max_rate_is_not_told_once_it_is_known() -> None:
    dialog = Dialog(event="dialog;max-rate=0.1")
    assert dialog.desk.set(EARLY) == []
    ringing = etag(notified(dialog.desk.subscribe(call_id="another")))
    headers = {"Suppress-If-Match": ringing}
    effects = dialog.desk.refresh(dialog.tag, event="dialog;max-rate=0.1", headers=headers)
    assert answered(effects).status == 204
    assert dialog.desk.wait(30) == []


# Over a long and busy time


@given(
    st.booleans(),
    st.lists(
        st.one_of(
            st.sampled_from([EARLY, CONFIRMED, TERMINATED]),
            st.sampled_from(["refresh", "move", "reset", "answer", "fail", "unreachable", "wait"]),
        ),
        max_size=40,
    ),
)
def test_it_always_ends_up_with_the_last_state(rated: bool, events: Sequence[DialogState | str]) -> None:
    desk = Desk(entity_tags=True)
    event = "dialog;max-rate=0.2;min-rate=0.1" if rated else "dialog"
    effects = desk.subscribe(event=event)
    local_tag, cseq, known, state = saved(effects).record.local_tag, 1, "", TERMINATED
    in_flight: list[Notify] = []

    def take(effects: Sequence[Effect]) -> None:
        nonlocal known
        for effect in effects:
            if isinstance(effect, SendNotify):
                notify = effect.notify
                assert body(notify) or etag(notify) == known
                in_flight[:] = [notify]

    def answer(status: int = 200) -> None:
        nonlocal known
        while in_flight:
            notify = in_flight.pop()
            if status == 200:
                known = etag(notify)
            take(desk.answer(notify, status))
            if status != 200:
                return

    take(effects)
    for what in [*events, "answer", "wait", "refresh", "answer"]:
        if isinstance(what, DialogState):
            state = what
            take(desk.set(state))
        elif what in ("refresh", "move"):
            cseq += 1
            way = flow(port=5060 + cseq) if what == "move" else None
            headers = {"Suppress-If-Match": known} if known else {}
            take(desk.refresh(local_tag, way, event=event, cseq=cseq, headers=headers))
        elif what == "reset":
            state = TERMINATED
            take(desk.reset())
        elif what == "wait":
            take(desk.wait(31))
        else:
            answer({"answer": 200, "fail": 500, "unreachable": 0}[what])
    current = notified(desk.subscribe(call_id="who sees it as it is"))
    assert current.document.state is state
    assert known == etag(current)


# The store


def test_a_refresh_that_is_not_kept_leaves_no_condition() -> None:
    dialog = Dialog()
    save, _ = dialog.refresh("*")
    assert isinstance(save, Save)
    dialog.desk.notifier.not_saved(save, now=dialog.desk.now)
    assert body(notified(dialog.desk.set(EARLY)))


def test_a_notify_whose_subscribe_is_not_kept_has_its_document() -> None:
    dialog = Dialog()
    effects = dialog.desk.subscribe(cseq=2, headers={"Suppress-If-Match": etag(dialog.first)})
    notify = notified(effects)
    dialog.desk.notifier.not_saved(saved(effects), now=dialog.desk.now)
    corrected = dialog.desk.notifier.corrected(notify, now=dialog.desk.now)
    assert body(corrected)
    assert etag(corrected) == etag(dialog.first)
