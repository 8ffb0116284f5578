"""Fuzzes the bodies of publishers: the reader, and what is shown of what it has read.

The invariants: nothing but MalformedMessage is raised; what is read is bounded; a document of it is well-formed, and
read again it says the same.
"""

from sipresence.errors import MalformedMessage
from sipresence.events.dialog_info import SHOWN, render
from sipresence.events.dialog_reader import MAX_DIALOGS, MAX_DISPLAY, MAX_NAME, MAX_URI, read_dialog_info
from sipresence.events.resource import ResourceState, Source, StateChange
from sipresence.names import AccountId, ResourceId

LAMP = ResourceId("101@office.example.com")
OFFICE = AccountId("0123456789abcdef0123456789abcdef")


def one_input(data: bytes) -> None:
    """Read a body, merge it and read what a subscriber would be sent."""
    try:
        dialogs = read_dialog_info(data).dialogs
    except MalformedMessage:
        return
    assert len(dialogs) <= MAX_DIALOGS
    for dialog in dialogs:
        assert max(map(len, (dialog.id, dialog.call_id, dialog.local_tag, dialog.remote_tag))) <= MAX_NAME
        assert max(len(dialog.local_display), len(dialog.remote_display)) <= MAX_DISPLAY
        uris = (dialog.local_identity, dialog.remote_identity, dialog.local_target, dialog.remote_target)
        assert max(map(len, uris)) <= MAX_URI
    state = ResourceState(LAMP)
    state.merge(StateChange(OFFICE, LAMP, Source.PUBLISHED, dialogs, 1.0, publication="p", publisher="x"))
    document = render(state).stamp(0, f"sip:{LAMP}")
    shown = read_dialog_info(document).dialogs
    assert len({dialog.id for dialog in shown}) == len(shown)
    said = [(one.state, one.call_id, one.local_display, one.held) for one in state.dialogs[:SHOWN]]
    assert [(one.state, one.call_id, one.local_display, one.held) for one in shown] == said or not said
