"""What an account wants its lamps to show: the caller's own lamp, hold, do-not-disturb, no phone registered."""

from dataclasses import replace

import pytest

from sipresence.events import dialog_info, pidf
from sipresence.events.policy import LampPolicy
from sipresence.events.resource import DialogInfo, DialogState, ResourceState, Source, StateChange, set_manually
from sipresence.events.state import Presence, reset, set_do_not_disturb, set_registered
from tests.events.desk import LAMP, NOW, OFFICE

TRYING, PROCEEDING, EARLY, CONFIRMED, TERMINATED = DialogState
CALLING = DialogInfo("c", EARLY, "initiator", "sip:101@b", "sip:102@b", call_id="c")
CALLED = replace(CALLING, direction="recipient")
HELD = replace(CALLED, state=CONFIRMED, held=True)


class Extension:
    """One extension under a policy; each word comes a second after the one before."""

    def __init__(self, policy: LampPolicy) -> None:
        self.state = ResourceState(LAMP)
        self.now = NOW
        self._policy = policy

    def hear(self, change: StateChange) -> bool:
        self.now += 1
        return self.state.merge(replace(change, at=self.now), self._policy)

    def publish(self, *dialogs: DialogInfo, presence: Presence | None = None) -> bool:
        return self.hear(
            StateChange(
                OFFICE, LAMP, Source.PUBLISHED, dialogs, NOW, publication="p", entity_tag="p.1", presence=presence
            )
        )

    def disturb(self, on: bool) -> bool:
        return self.hear(set_do_not_disturb(OFFICE, LAMP, on=on, at=NOW))

    def register(self, registered: bool) -> bool:
        return self.hear(set_registered(OFFICE, LAMP, registered=registered, at=NOW))

    @property
    def shown(self) -> list[DialogState]:
        return [dialog.state for dialog in self.state.dialogs]


def test_by_default_lamps_show_calls_as_they_are_published() -> None:
    extension = Extension(LampPolicy())
    extension.publish(CALLING)
    assert extension.shown == [EARLY]
    extension.publish(HELD)
    assert extension.state.dialogs[0].held
    assert extension.shown == [CONFIRMED]
    extension.publish()
    assert not extension.disturb(True) or extension.shown == []
    extension.register(False)
    assert extension.shown == []


@pytest.mark.parametrize("shown", [CONFIRMED, TRYING])
def test_the_callers_own_lamp_need_not_blink(shown: DialogState) -> None:
    """Linksys SPA962 blinks for who calls (phones.md 7)."""
    extension = Extension(LampPolicy(caller_early=shown))
    extension.publish(CALLING)
    assert extension.shown == [shown]
    extension.publish(CALLED)
    assert extension.shown == [EARLY], "who is called blinks"


def test_hold_may_blink() -> None:
    extension = Extension(LampPolicy(held=EARLY))
    extension.publish(HELD)
    assert extension.shown == [EARLY]
    assert extension.state.dialogs[0].held
    extension.publish(replace(HELD, held=False))
    assert extension.shown == [CONFIRMED]


def test_do_not_disturb_lights_the_lamp_while_there_is_no_call() -> None:
    extension = Extension(LampPolicy(do_not_disturb=CONFIRMED))
    assert extension.disturb(True)
    assert extension.shown == [CONFIRMED]
    extension.publish(CALLED)
    assert extension.shown == [EARLY]
    extension.publish()
    assert extension.shown == [CONFIRMED]
    extension.disturb(False)
    assert extension.shown == []
    assert [dialog.state for dialog in extension.state.ended] == [TERMINATED]


def test_a_phone_may_publish_that_it_wants_no_calls() -> None:
    extension = Extension(LampPolicy(do_not_disturb=EARLY))
    extension.publish(presence=Presence(do_not_disturb=True))
    assert extension.shown == [EARLY]
    extension.publish(presence=Presence(open=True))
    assert extension.shown == []


def test_an_extension_without_a_phone_has_a_lamp_of_its_own() -> None:
    extension = Extension(LampPolicy(unregistered=EARLY))
    assert extension.shown == [], "until a registrar tells, nothing is known"
    extension.register(False)
    assert extension.shown == [EARLY]
    extension.register(True)
    assert extension.shown == []


def test_do_not_disturb_comes_before_no_phone() -> None:
    extension = Extension(LampPolicy(do_not_disturb=CONFIRMED, unregistered=EARLY))
    extension.register(False)
    extension.disturb(True)
    assert extension.shown == [CONFIRMED]


def test_set_comes_before_both() -> None:
    extension = Extension(LampPolicy(do_not_disturb=CONFIRMED))
    extension.disturb(True)
    extension.hear(set_manually(OFFICE, LAMP, state=EARLY, at=NOW))
    assert extension.shown == [EARLY]


def test_each_has_an_id_of_its_own() -> None:
    extension = Extension(LampPolicy(do_not_disturb=CONFIRMED, unregistered=CONFIRMED))
    ids = set()
    extension.hear(set_manually(OFFICE, LAMP, state=EARLY, at=NOW))
    ids.add(extension.state.dialogs[0].id)
    extension.hear(set_manually(OFFICE, LAMP, state=TERMINATED, at=NOW))
    extension.disturb(True)
    ids.add(extension.state.dialogs[0].id)
    extension.disturb(False)
    extension.register(False)
    ids.add(extension.state.dialogs[0].id)
    assert len(ids) == 3


def test_a_reset_forgets_do_not_disturb_but_not_that_no_phone_is_there() -> None:
    extension = Extension(LampPolicy(do_not_disturb=CONFIRMED, unregistered=EARLY))
    extension.disturb(True)
    extension.register(False)
    extension.hear(reset(OFFICE, LAMP, at=NOW))
    assert extension.shown == [EARLY]
    assert extension.state.presence == Presence(open=False)


def test_a_resource_of_which_nothing_is_left_is_blank() -> None:
    extension = Extension(LampPolicy())
    extension.disturb(True)
    extension.register(False)
    assert not extension.state.blank
    extension.disturb(False)
    extension.register(True)
    assert extension.state.blank


# Presence tells of calls as they are


@pytest.mark.parametrize(
    ("policy", "call", "note"),
    [
        (LampPolicy(held=EARLY), HELD, "On hold"),
        (LampPolicy(caller_early=CONFIRMED), CALLING, "Ringing"),
        (LampPolicy(do_not_disturb=CONFIRMED), None, "Do not disturb"),
        (LampPolicy(unregistered=CONFIRMED), None, "Unavailable"),
    ],
)
def test_presence_has_words_for_what_lamps_can_only_light(
    policy: LampPolicy, call: DialogInfo | None, note: str
) -> None:
    extension = Extension(policy)
    if call is not None:
        extension.publish(call)
    elif policy.do_not_disturb is CONFIRMED:
        extension.disturb(True)
    else:
        extension.register(False)
    assert f"<note>{note}</note>" in pidf.render(extension.state).tail.decode()


def test_what_lamps_do_not_show_is_a_change_all_the_same() -> None:
    """The caller's lamp is `confirmed` from the first ringing on; who watches presence sees the answer."""
    extension = Extension(LampPolicy(caller_early=CONFIRMED))
    extension.publish(CALLING)
    before = dialog_info.render(extension.state)
    assert extension.publish(replace(CALLING, state=CONFIRMED))
    assert dialog_info.render(extension.state).says_the_same_as(before)
    assert "<note>On the phone</note>" in pidf.render(extension.state).tail.decode()
