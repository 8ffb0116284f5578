"""Message summaries (RFC 3842), and the lamps that watch a mailbox."""

import pytest

from sipresence.events.message_summary import render
from sipresence.events.resource import DialogState, ResourceState
from sipresence.events.state import Messages, StateChange, light_voicemail, reset, set_messages
from sipresence.names import ResourceId
from tests.events.desk import LAMP, NOW, OFFICE

VOICEMAIL = ResourceId(f"*98{LAMP}")


def summary(*changes: StateChange) -> str:
    state = ResourceState(LAMP)
    for change in changes:
        state.merge(change)
    return render(state).stamp(7, "sip:101@office.example.com").decode()


@pytest.mark.parametrize(
    ("messages", "waiting", "counts"),
    [
        (Messages(), "no", "0/0 (0/0)"),
        (Messages(new=2, saved=5), "yes", "2/5 (0/0)"),
        pytest.param(Messages(saved=5), "no", "0/5 (0/0)", id="old ones do not wait"),
        (Messages(2, 8, 1, 3), "yes", "2/8 (1/3)"),
    ],
)
def test_a_summary_says_how_many_wait(messages: Messages, waiting: str, counts: str) -> None:
    assert summary(set_messages(OFFICE, LAMP, messages, at=NOW)) == (
        f"Messages-Waiting: {waiting}\r\nMessage-Account: sip:101@office.example.com\r\nVoice-Message: {counts}\r\n"
    )


def test_a_mailbox_of_which_nothing_is_known_is_empty() -> None:
    assert summary().startswith("Messages-Waiting: no\r\n")


def test_a_reset_empties_it() -> None:
    changes = set_messages(OFFICE, LAMP, Messages(new=1), at=NOW), reset(OFFICE, LAMP, at=NOW + 1)
    assert summary(*changes).startswith("Messages-Waiting: no\r\n")


def test_the_lamp_of_a_mailbox_is_lit_while_new_messages_wait() -> None:
    state = ResourceState(VOICEMAIL)
    assert state.merge(light_voicemail(OFFICE, VOICEMAIL, Messages(new=1), at=NOW))
    assert state.lamp.state is DialogState.CONFIRMED
    assert not state.merge(light_voicemail(OFFICE, VOICEMAIL, Messages(new=9, saved=1), at=NOW + 1))
    assert state.merge(light_voicemail(OFFICE, VOICEMAIL, Messages(saved=10), at=NOW + 2))
    assert not state.dialogs
