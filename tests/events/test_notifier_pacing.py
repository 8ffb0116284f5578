"""A phone with 60 keys that takes ten NOTIFYs a second: it is never told more, and ends on the last states."""

from collections.abc import Sequence

from sipresence.events.effects import Effect, Notify, SendNotify
from sipresence.events.resource import DialogState
from sipresence.names import ResourceId, resource_id
from tests.events.desk import Desk, notified, saved

KEYS = 60
RATE = WINDOW = 10


class SixtyKeys:
    """One phone, a desk that paces, and every NOTIFY that left with its time; each is answered 200 at once."""

    def __init__(self, *, answers: bool = True) -> None:
        self.desk = Desk(rate=RATE, window=WINDOW)
        self.names = [resource_id(f"{100 + key}", "office.example.com") for key in range(KEYS)]
        self.effects = [self.desk.subscribe(name, call_id=f"key-{name}") for name in self.names]
        self.answers = answers
        self.sent: list[tuple[float, Notify]] = []
        for effects in self.effects:
            self.take(effects)
        self.play(10)
        self.sent.clear()

    def take(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, SendNotify):
                self.sent.append((self.desk.now, effect.notify))
                if self.answers:
                    self.take(self.desk.answer(effect.notify))

    def play(self, seconds: float) -> None:
        """Let time pass in steps, as the server's timer would."""
        for _ in range(int(seconds * 20)):
            self.take(self.desk.wait(0.05))

    def shown(self) -> dict[ResourceId, DialogState]:
        """What each key shows after the last NOTIFY."""
        by_id = {saved(effects).record.id: name for effects, name in zip(self.effects, self.names, strict=True)}
        return {by_id[notify.id]: notify.document.state for _, notify in self.sent}

    def busiest_second(self) -> int:
        times = [at for at, _ in self.sent]
        return max(sum(1 for other in times if at <= other < at + 1.0 - 1e-6) for at in times)


def test_its_own_subscribes_are_answered_at_once() -> None:
    desk = Desk(rate=RATE, window=WINDOW)
    for key in range(KEYS):
        notified(desk.subscribe(resource_id(f"{100 + key}", "office.example.com"), call_id=f"key-{key}"))


def test_a_change_of_every_lamp() -> None:
    phone = SixtyKeys()
    for name in phone.names:
        phone.take(phone.desk.set(DialogState.EARLY, name))
    phone.play(7)
    assert phone.shown() == dict.fromkeys(phone.names, DialogState.EARLY)
    assert len(phone.sent) == KEYS
    assert phone.busiest_second() <= RATE


def test_a_storm_is_coalesced_and_ends_on_the_last_state() -> None:
    phone = SixtyKeys()
    for _ in range(20):
        for state in (DialogState.EARLY, DialogState.CONFIRMED, DialogState.TERMINATED, DialogState.CONFIRMED):
            for name in phone.names:
                phone.take(phone.desk.set(state, name))
        phone.play(0.1)
    phone.play(15)
    assert phone.shown() == dict.fromkeys(phone.names, DialogState.CONFIRMED)
    assert phone.busiest_second() <= RATE


def test_a_reset_of_everything() -> None:
    phone = SixtyKeys()
    for name in phone.names:
        phone.take(phone.desk.reset(name))
    phone.play(7)
    assert len(phone.sent) == KEYS
    assert phone.busiest_second() <= RATE


def test_a_restart() -> None:
    phone = SixtyKeys()
    phone.desk.restart(*(saved(effects) for effects in phone.effects))
    phone.play(8)
    assert phone.shown() == dict.fromkeys(phone.names, DialogState.TERMINATED)
    assert phone.busiest_second() <= RATE


def test_a_phone_that_falls_silent_has_ten_in_flight() -> None:
    phone = SixtyKeys()
    phone.answers = False
    for name in phone.names:
        phone.take(phone.desk.set(DialogState.EARLY, name))
    phone.play(5)
    assert len(phone.sent) == WINDOW
    silent = [notify for _, notify in phone.sent]
    phone.answers = True
    for notify in silent:
        phone.take(phone.desk.answer(notify))
    phone.play(10)
    assert phone.shown() == dict.fromkeys(phone.names, DialogState.EARLY)


def test_phones_behind_one_proxy_do_not_wait_for_each_other() -> None:
    desk = Desk(rate=RATE, window=WINDOW)
    for number in range(3 * RATE):
        desk.subscribed(
            call_id=f"phone-{number}",
            contact=f"<sip:phone-{number}@10.0.0.5:5060>",
            headers={"Record-Route": "<sip:192.0.2.250;lr>"},
        )
    assert len(desk.set(DialogState.EARLY)) == 3 * RATE
