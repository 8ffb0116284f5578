"""The dialog-info document: valid by its schema, never empty, everything escaped, stamped per subscriber."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from sipresence.events.dialog_info import render
from sipresence.events.resource import DialogInfo, DialogState, ResourceState, Source, StateChange, set_manually
from sipresence.names import ResourceId
from tests.events.desk import LAMP, NOW, OFFICE

SCHEMAS = Path(__file__).parents[1] / "data" / "schemas"
OFFLINE = etree.XMLParser(no_network=True, resolve_entities=False)
SCHEMA = etree.XMLSchema(etree.parse(SCHEMAS / "dialog-info.xsd", OFFLINE))
NAMESPACE = "{urn:ietf:params:xml:ns:dialog-info}"


def state_of(*dialogs: DialogInfo) -> ResourceState:
    state = ResourceState(LAMP)
    state.merge(StateChange(OFFICE, LAMP, Source.MANUAL, dialogs, NOW))
    return state


def document(state: ResourceState, *, version: int = 0, entity: str = "sip:101@office.example.com") -> etree._Element:
    """Render, parse and validate."""
    root = etree.fromstring(render(state).stamp(version, entity), OFFLINE)
    SCHEMA.assertValid(root)
    return root


def test_the_whole_document() -> None:
    state = ResourceState(LAMP)
    state.merge(set_manually(OFFICE, LAMP, state=DialogState.EARLY, at=NOW))
    assert render(state).stamp(3, "sip:101@office.example.com").decode().split("\r\n") == [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="3" state="full" '
        'entity="sip:101@office.example.com">',
        '<dialog id="10af63dbe1028edd09984815d6ff772e" direction="recipient">',
        "<state>early</state>",
        '<local><identity>sip:101@office.example.com</identity><target uri="sip:101@office.example.com"/></local>',
        '<remote><identity>sip:101@office.example.com</identity><target uri="sip:101@office.example.com"/></remote>',
        "</dialog>",
        "</dialog-info>",
        "",
    ]


@pytest.mark.parametrize("word", DialogState)
def test_every_state_is_valid(word: DialogState) -> None:
    state = ResourceState(LAMP)
    state.merge(set_manually(OFFICE, LAMP, state=word, at=NOW))
    (dialog,) = document(state)
    assert dialog.findtext(f"{NAMESPACE}state") == word
    assert render(state).state is word


def test_an_idle_document_has_a_dialog_with_an_id_and_both_ends() -> None:
    """An empty document leaves lamps lit on Bria, Aastra, Yealink; Grandstream rejects a dialog without id."""
    (dialog,) = document(ResourceState(LAMP))
    assert dialog.get("id") == "10af63dbe1028edd09984815d6ff772e"
    assert [child.tag for child in dialog] == [f"{NAMESPACE}{name}" for name in ("state", "local", "remote")]
    assert dialog.findtext(f"{NAMESPACE}state") == "terminated"


def test_dialogs_come_in_the_order_of_the_state_and_the_first_is_the_lamp() -> None:
    calls = [
        DialogInfo(str(n), word, "initiator", "sip:a@b", "sip:c@d")
        for n, word in enumerate((DialogState.CONFIRMED, DialogState.EARLY))
    ]
    state = state_of(*calls)
    assert [dialog.get("id") for dialog in document(state)] == ["1", "0"]
    assert render(state).state is DialogState.EARLY


def test_one_rendering_serves_every_subscriber() -> None:
    shared = render(ResourceState(LAMP))
    one = etree.fromstring(shared.stamp(0, "sip:101@office.example.com"))
    two = etree.fromstring(shared.stamp(2**31 - 1, "sips:101@192.0.2.1"))
    assert (one.get("version"), one.get("entity")) == ("0", "sip:101@office.example.com")
    assert (two.get("version"), two.get("entity")) == ("2147483647", "sips:101@192.0.2.1")
    assert one.get("state") == two.get("state") == "full"


@pytest.mark.parametrize(
    "text",
    ['sip:"a"@b', "sip:'a'@b", "sip:\"'@b", "sip:<x/>@b", "sip:a&amp;b@c", "sip:a&b@c", "sip:]]>@b", "sip:jürgen☎@b"],
)
def test_everything_is_escaped(text: str) -> None:
    root = etree.fromstring(
        render(state_of(DialogInfo(text, DialogState.EARLY, "initiator", text, text))).stamp(1, text), OFFLINE
    )
    (dialog,) = root
    assert root.get("entity") == dialog.get("id") == text
    for end in ("local", "remote"):
        assert dialog.findtext(f"{NAMESPACE}{end}/{NAMESPACE}identity") == text
        target = dialog.find(f"{NAMESPACE}{end}/{NAMESPACE}target")
        assert target is not None
        assert target.get("uri") == text


PRINTABLE = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20)


@settings(deadline=None, max_examples=200)
@given(PRINTABLE, st.sampled_from(DialogState))
def test_a_document_of_any_extension_is_valid(user: str, word: DialogState) -> None:
    resource = ResourceId(f"{user}@office.example.com")
    state = ResourceState(resource)
    state.merge(set_manually(OFFICE, resource, state=word, at=NOW))
    document(state)
