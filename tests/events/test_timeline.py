"""What happened to a lamp, as a timeline tells it, by verbs and in virtual time."""

from sipresence.events.history import Asked, Moved, Notified, Subscribed
from sipresence.events.resource import DialogState, Source, set_manually
from sipresence.events.subscription import UNREACHABLE
from sipresence.events.timeline import CHANGES, ENDED, Belief, Changed, Chronicle, End, Ended, Timeline
from sipresence.names import AccountId, CallId
from tests.builders import flow
from tests.events.desk import LAMP, NOW, OFFICE, OTHER_LAMP, Desk, notified, saved

EARLY, CONFIRMED, IDLE = DialogState.EARLY, DialogState.CONFIRMED, DialogState.TERMINATED


def timeline(desk: Desk, call_id: str | None = None) -> Timeline:
    return desk.notifier.views.timeline(LAMP, account=OFFICE, call_id=None if call_id is None else CallId(call_id))


def kinds(found: Timeline) -> list[str]:
    """Each event in a word, in order."""
    return [
        event.what.asked.name.lower() if isinstance(event.what, Subscribed) else type(event.what).__name__.lower()
        for event in found.events
    ]


def beliefs(found: Timeline) -> list[tuple[DialogState | None, DialogState | None]]:
    return [(belief.told, belief.believes) for belief in found.phones]


def told(found: Timeline) -> list[tuple[int, int, DialogState, int]]:
    """CSeq, version, state and answer of each NOTIFY."""
    notifies = [event.what for event in found.events if isinstance(event.what, Notified)]
    return [(one.cseq, one.version, one.state, one.status) for one in notifies]


def test_a_lamp_that_is_set() -> None:
    desk = Desk()
    desk.subscribed()
    desk.now += 10
    effects = desk.deliver(set_manually(OFFICE, LAMP, state=EARLY, at=desk.now - 0.5, by="boss"))
    desk.now += 1
    desk.answer(notified(effects), took=0.75)

    found = timeline(desk)
    assert kinds(found) == ["subscribed", "notified", "changed", "notified"]
    change, notify = found.events[2], found.events[3]
    assert change.what == Changed(NOW + 9.5, Source.MANUAL, EARLY, EARLY, "boss")
    assert notify.what == Notified(NOW + 10.25, 2, 1, EARLY, 1, news=True, final=False, status=200, rtt=0.75)
    assert notify.record is not None
    assert notify.record.resource == LAMP
    assert beliefs(found) == [(EARLY, EARLY)]
    assert found.lamp.state is EARLY


def test_a_phone_that_has_not_answered_believes_what_it_did_before() -> None:
    desk = Desk()
    desk.subscribed()
    notify = notified(desk.set(EARLY))
    assert beliefs(timeline(desk)) == [(EARLY, IDLE)]
    desk.now += 32
    desk.answer(notify, 408, took=32.0)
    assert beliefs(timeline(desk)) == [(EARLY, IDLE)]
    assert told(timeline(desk))[-1] == (2, 1, EARLY, 408)
    desk.answer(notified(desk.wait(5)))
    assert beliefs(timeline(desk)) == [(EARLY, EARLY)]


def test_one_that_cannot_be_reached() -> None:
    desk = Desk()
    notify = notified(desk.subscribe())
    desk.answer(notify, UNREACHABLE)
    assert told(timeline(desk)) == [(1, 0, IDLE, 0)]
    assert beliefs(timeline(desk)) == [(IDLE, None)]


def test_a_reset_and_who_asked_for_it() -> None:
    desk = Desk()
    desk.subscribed()
    desk.answer(notified(desk.set(CONFIRMED)))
    desk.now += 1
    desk.answer(notified(desk.reset()))
    change = next(event.what for event in reversed(timeline(desk).events) if isinstance(event.what, Changed))
    assert change == Changed(NOW + 1, None, IDLE, IDLE, "")


def test_refreshes_moves_and_a_second_initial_request() -> None:
    desk = Desk()
    record = saved(desk.subscribe()).record
    desk.now += 1
    desk.refresh(record.local_tag)
    desk.now += 1
    desk.refresh(record.local_tag, flow(port=5999), cseq=3)
    desk.now += 1
    desk.subscribe(cseq=4, way=flow(port=5999))
    events = [event.what for event in timeline(desk).events if not isinstance(event.what, Notified)]
    assert events == [
        Subscribed(NOW + 1, Asked.REFRESHED, 3600),
        Subscribed(NOW + 2, Asked.REFRESHED, 3600),
        Moved(NOW + 2, "UDP 192.0.2.7:5060"),
        Subscribed(NOW + 3, Asked.RESUBSCRIBED, 3600),
    ]


def test_a_refresh_moves_abandons_and_tells_again() -> None:
    desk = Desk()
    record = saved(desk.subscribe()).record
    notify = notified(desk.refresh(record.local_tag, flow(port=5999)))
    desk.answer(notify)
    assert told(timeline(desk)) == [(1, 0, IDLE, 0), (2, 1, IDLE, 200)]


def test_an_end_is_told_with_its_last_notify() -> None:
    desk = Desk()
    desk.subscribed()
    record = desk.notifier.views.watched_by(CallId("none"), account=OFFICE)
    assert record == ()
    desk.set(IDLE)  # else nothing would be known of the lamp, once nobody watches it
    desk.now += 1
    (view,) = desk.notifier.views.subscriptions(LAMP)
    final = notified(desk.refresh(view.record.local_tag, expires=0))
    desk.now += 1
    desk.answer(final, took=0.5)
    found = timeline(desk)
    assert kinds(found)[-3:] == ["unsubscribed", "ended", "notified"]
    assert found.events[-2].what == Ended(NOW + 1, End.UNSUBSCRIBED)
    assert found.events[-1].what == Notified(NOW + 1.5, 2, 1, IDLE, 0, news=False, final=True, status=200, rtt=0.5)
    assert found.phones == []


def test_why_it_ended() -> None:
    desk = Desk(failures_allowed=1)
    ends = []
    for call_id, status in (("expired", 0), ("refused", 481), ("failed", 408)):
        notify = desk.subscribed(call_id=call_id)
        if status:
            desk.answer(notified(desk.set(EARLY if status == 481 else CONFIRMED)), status)
        else:
            desk.wait(3600)
        ends += [event.what.end for event in timeline(desk, call_id).events if isinstance(event.what, Ended)]
        assert desk.notifier.views.watched_by(notify.call_id, account=OFFICE) == (LAMP,)
    assert ends == [End.EXPIRED, End.REFUSED, End.FAILED]
    assert desk.notifier.figures().subscriptions_ended == {"expired": 1, "refused": 1, "failed": 1}


def test_a_restart_begins_anew() -> None:
    desk = Desk()
    save = saved(desk.subscribe())
    change = set_manually(OFFICE, LAMP, state=EARLY, at=NOW - 100)
    desk.now += 50
    desk.restart(save, states=[change])
    found = timeline(desk)
    assert [event.what for event in found.events] == [
        Changed(NOW - 100, Source.MANUAL, EARLY, EARLY, ""),
        Subscribed(NOW + 50, Asked.RESTORED, 3600),
    ]
    assert found.phones == [Belief(save.record, None, None)]


def test_a_refresh_that_the_store_could_not_keep() -> None:
    desk = Desk()
    desk.subscribed()
    (view,) = desk.notifier.views.subscriptions(LAMP)
    save = saved(desk.refresh(view.record.local_tag))
    desk.notifier.not_saved(save, now=desk.now)
    assert kinds(timeline(desk))[:3] == ["subscribed", "refreshed", "undone"]


def test_the_last_changes_stay() -> None:
    desk = Desk()
    for number in range(CHANGES + 10):
        desk.now += 1
        desk.deliver(set_manually(OFFICE, LAMP, state=(EARLY, CONFIRMED)[number % 2], at=desk.now, by=f"by {number}"))
    by = [event.what.by for event in timeline(desk).events if isinstance(event.what, Changed)]
    assert by == [f"by {number}" for number in range(10, CHANGES + 10)]


def test_documents_are_known_for_a_while() -> None:
    desk = Desk()
    desk.subscribed()
    for state in (EARLY, CONFIRMED, IDLE, EARLY, CONFIRMED):
        desk.now += 1
        desk.answer(notified(desk.set(state)))
    documents = [event.document for event in timeline(desk).events if isinstance(event.what, Notified)]
    assert [one.state if one else None for one in documents] == [None, None, CONFIRMED, IDLE, EARLY, CONFIRMED]


def test_a_resource_that_was_forgotten_gives_no_wrong_document() -> None:
    desk = Desk()
    notify = desk.subscribed()
    desk.answer(notified(desk.set(EARLY)))
    desk.answer(notified(desk.reset()))
    (view,) = desk.notifier.views.subscriptions(LAMP)
    desk.answer(notified(desk.refresh(view.record.local_tag, expires=0)))
    assert desk.notifier.resources() == ()
    desk.now += 1
    desk.subscribed(call_id="another")
    desk.answer(notified(desk.set(CONFIRMED)))
    ended = [event for event in timeline(desk, notify.call_id).events if isinstance(event.what, Notified)]
    assert [event.what.state for event in ended if isinstance(event.what, Notified)] == [IDLE, EARLY, IDLE, IDLE]
    documents = [event.document for event in ended]
    assert [one.state if one else None for one in documents] == [IDLE, None, None, IDLE], "idle always looks the same"


def test_one_call_and_one_account() -> None:
    desk = Desk()
    desk.subscribed(call_id="mine")
    desk.subscribed(call_id="yours")
    desk.subscribed(OTHER_LAMP, call_id="mine")
    assert len(timeline(desk).phones) == 2
    assert [belief.record.call_id for belief in timeline(desk, "mine").phones] == ["mine"]
    assert desk.notifier.views.watched_by(CallId("mine"), account=OFFICE) == (LAMP, OTHER_LAMP)
    stranger = AccountId("f" * 32)
    assert desk.notifier.views.watched_by(CallId("mine"), account=stranger) == ()
    assert desk.notifier.views.timeline(LAMP, account=stranger).phones == []


def test_nothing_is_known_of_what_nobody_spoke_of() -> None:
    found = timeline(Desk())
    assert (found.resource, found.lamp.state, found.phones, found.events) == (LAMP, IDLE, [], [])


def test_the_last_that_ended_stay() -> None:
    desk = Desk()
    for number in range(ENDED + 5):
        desk.subscribed(call_id=f"call-{number}")
        (view,) = desk.notifier.views.subscriptions(LAMP)
        desk.answer(notified(desk.refresh(view.record.local_tag, call_id=f"call-{number}", expires=0)))
    ended = [event.record.call_id for event in timeline(desk).events if isinstance(event.what, Ended) and event.record]
    assert ended == [f"call-{number}" for number in range(5, ENDED + 5)]


def test_names_are_bounded() -> None:
    chronicle = Chronicle()
    chronicle._names += [""] * 65_535
    log = chronicle.noted(b"", set_manually(OFFICE, LAMP, state=EARLY, at=NOW, by="one too many"), EARLY)
    assert [change.by for change in chronicle.changes_in(log)] == [""]


def test_latency_is_measured_from_the_change_and_for_news_only() -> None:
    desk = Desk()
    assert notified(desk.subscribe()).changed_at == 0.0, "a SUBSCRIBE is no change"
    (view,) = desk.notifier.views.subscriptions(LAMP)
    desk.notifier.notify_answered(view.record.id, status=200, retry_after=None, now=desk.now, sent_at=desk.now)
    notify = notified(desk.deliver(set_manually(OFFICE, LAMP, state=EARLY, at=NOW - 2)))
    assert notify.changed_at == NOW - 2
    desk.answer(notify)
    desk.answer(notified(desk.refresh(view.record.local_tag)))
    seen = desk.notifier.figures().change_to_answered
    assert (seen.count, seen.sum) == (1, 2.0)


def test_a_phone_believes_what_its_form_can_show() -> None:
    """Of xpidf early and confirmed look the same: the phone was told nothing of the second, and is not wrong."""
    desk = Desk()
    desk.subscribed(event="presence", accept="application/xpidf+xml")
    told = notified(desk.set(EARLY))
    assert desk.answer(told) == []
    assert desk.set(CONFIRMED) == []
    (belief,) = timeline(desk).phones
    assert (belief.told, belief.believes) == (CONFIRMED, CONFIRMED)
