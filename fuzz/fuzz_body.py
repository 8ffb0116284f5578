"""Fuzzes the bodies of publishers: the readers, and what is shown of what they have read.

The invariants: nothing but MalformedMessage is raised; what is read is bounded; a document of it is well-formed, and
read again it says the same.
"""

from contextlib import suppress
from dataclasses import replace
from xml.parsers import expat

from sipresence.errors import MalformedMessage
from sipresence.events import dialog_info, pidf, xpidf
from sipresence.events.dialog_reader import MAX_DIALOGS, MAX_DISPLAY, MAX_NAME, MAX_URI, read_dialog_info
from sipresence.events.pidf_reader import ACTIVITIES, MAX_ACTIVITIES, MAX_NOTE, read_pidf
from sipresence.events.resource import DialogInfo, ResourceState, Source, StateChange
from sipresence.events.state import Presence
from sipresence.names import AccountId, ResourceId

LAMP = ResourceId("101@office.example.com")
ENTITY = f"sip:{LAMP}"
OFFICE = AccountId("0123456789abcdef0123456789abcdef")


def one_input(data: bytes) -> None:
    """Read a body, merge it and read what a subscriber would be sent."""
    dialogs: tuple[DialogInfo, ...] = ()
    presence = None
    with suppress(MalformedMessage):
        dialogs = read_dialog_info(data).dialogs
    with suppress(MalformedMessage):
        presence = read_pidf(data)
    state = ResourceState(LAMP)
    said = StateChange(OFFICE, LAMP, Source.PUBLISHED, dialogs, 1.0, publication="p", publisher="x", entity_tag="p.1")
    state.merge(replace(said, presence=presence))
    _see_dialogs(dialogs, state)
    _see_presence(presence, state)


def _see_dialogs(dialogs: tuple[DialogInfo, ...], state: ResourceState) -> None:
    assert len(dialogs) <= MAX_DIALOGS
    for dialog in dialogs:
        assert max(map(len, (dialog.id, dialog.call_id, dialog.local_tag, dialog.remote_tag))) <= MAX_NAME
        assert max(len(dialog.local_display), len(dialog.remote_display)) <= MAX_DISPLAY
        uris = (dialog.local_identity, dialog.remote_identity, dialog.local_target, dialog.remote_target)
        assert max(map(len, uris)) <= MAX_URI
    shown = read_dialog_info(dialog_info.render(state).stamp(0, ENTITY)).dialogs
    assert len({dialog.id for dialog in shown}) == len(shown)
    said = [(one.state, one.call_id, one.local_display, one.held) for one in state.dialogs[: dialog_info.SHOWN]]
    assert [(one.state, one.call_id, one.local_display, one.held) for one in shown] == said or not said


def _see_presence(presence: Presence | None, state: ResourceState) -> None:
    if presence is not None:
        assert len(presence.activities) <= MAX_ACTIVITIES
        assert ACTIVITIES.issuperset(presence.activities)
        assert len(presence.note) <= MAX_NOTE
        assert presence == state.presence
    shown = read_pidf(pidf.render(state).stamp(0, ENTITY))
    assert shown.open is pidf.is_open(state)
    assert "".join(shown.activities) == pidf.activity(state)
    assert state.calls or not state.presence.note or shown.note == state.presence.note
    expat.ParserCreate().Parse(xpidf.render(state).stamp(0, ENTITY), True)
