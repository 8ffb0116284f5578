"""Changes that follow each other closely: the first goes out at once, the others together (the teller's window)."""

from sipresence.events.effects import Effect, SendNotify
from sipresence.events.resource import DialogState
from sipresence.events.state import Messages, set_manually, set_messages
from tests.events.desk import LAMP, NOW, OFFICE, OTHER_LAMP, Desk, notified, saved

EARLY, CONFIRMED, TERMINATED = DialogState.EARLY, DialogState.CONFIRMED, DialogState.TERMINATED
WINDOW = 0.05


def told(effects: list[Effect]) -> list[DialogState]:
    return [effect.notify.document.state for effect in effects if isinstance(effect, SendNotify)]


def test_the_first_change_of_a_quiet_resource_goes_out_at_once() -> None:
    desk = Desk(coalesce=WINDOW)
    desk.subscribed()
    assert told(desk.set(EARLY)) == [EARLY]


def test_what_follows_within_the_window_goes_out_together_at_its_end() -> None:
    desk = Desk(coalesce=WINDOW)
    desk.subscribed()
    desk.answer(notified(desk.set(EARLY)))
    desk.now += 0.01
    assert desk.set(CONFIRMED) == []
    desk.now += 0.01
    assert desk.set(TERMINATED) == []
    desk.now += 0.01
    assert desk.set(CONFIRMED) == []
    assert desk.notifier.next_deadline() == NOW + WINDOW
    desk.now = NOW + WINDOW
    assert told(desk.notifier.expire(now=desk.now)) == [CONFIRMED]


def test_the_end_of_a_window_begins_the_next() -> None:
    desk = Desk(coalesce=WINDOW)
    desk.subscribed()
    desk.answer(notified(desk.set(EARLY)))
    desk.set(CONFIRMED)
    desk.now = NOW + WINDOW
    desk.answer(notified(desk.notifier.expire(now=desk.now)))
    assert desk.set(EARLY) == []
    desk.now = NOW + 2 * WINDOW
    assert told(desk.notifier.expire(now=desk.now)) == [EARLY]


def test_a_flicker_that_ends_as_it_began_tells_nothing() -> None:
    desk = Desk(coalesce=WINDOW)
    desk.subscribed()
    desk.answer(notified(desk.set(EARLY)))
    desk.set(CONFIRMED)
    desk.set(EARLY)
    desk.now = NOW + WINDOW
    assert desk.notifier.expire(now=desk.now) == []


def test_each_resource_has_a_window_of_its_own() -> None:
    desk = Desk(coalesce=WINDOW)
    desk.subscribed()
    desk.subscribed(OTHER_LAMP, call_id="other")
    assert told(desk.set(EARLY)) == [EARLY]
    assert told(desk.set(CONFIRMED, OTHER_LAMP)) == [CONFIRMED]


def test_a_reset_does_not_wait_and_takes_along_what_does() -> None:
    desk = Desk(coalesce=WINDOW)
    desk.subscribed()
    desk.answer(notified(desk.set(EARLY)))
    desk.set(CONFIRMED)
    desk.answer(notified(desk.reset()))
    desk.now = NOW + WINDOW
    assert desk.notifier.expire(now=desk.now) == []


def test_who_asks_is_told_at_once_and_not_again_at_the_end() -> None:
    desk = Desk(coalesce=WINDOW)
    first = desk.subscribed()
    desk.answer(notified(desk.set(EARLY)))
    desk.set(CONFIRMED)
    tag = desk.notifier.record(first.id)
    assert tag is not None
    again = notified(desk.refresh(tag.local_tag))
    assert again.document.state is CONFIRMED
    desk.answer(again)
    desk.now = NOW + WINDOW
    assert desk.notifier.expire(now=desk.now) == []


def test_what_a_restart_finds_opens_no_window() -> None:
    """What the store remembers is no change: phones are told in their turn, not all at a window's end."""
    desk = Desk(coalesce=WINDOW)
    saves = [saved(desk.subscribe(call_id=call_id)) for call_id in ("one", "two")]
    states = [
        set_manually(OFFICE, LAMP, state=EARLY, at=NOW),
        set_messages(OFFICE, LAMP, Messages(new=1), at=NOW),
    ]
    desk.restart(*saves, states=states, spread=3.0)
    assert told(desk.wait(WINDOW)) == [EARLY]
    assert told(desk.wait(1.5)) == [EARLY]
