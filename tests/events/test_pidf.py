"""The presence documents: valid by their schemas, in the words that phones understand, stamped per subscriber."""

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from sipresence.events import pidf, xpidf
from sipresence.events.document import Document
from sipresence.events.pidf_reader import ACTIVITIES, MAX_NOTE, read_pidf
from sipresence.events.policy import LampPolicy
from sipresence.events.resource import DialogInfo, DialogState, ResourceState, Source, StateChange
from sipresence.events.state import Presence, set_do_not_disturb, set_manually, set_registered
from sipresence.events.xml_reader import one_line
from sipresence.names import ResourceId
from tests.events.desk import LAMP, NOW, OFFICE
from tests.events.test_dialog_info import OFFLINE, PRINTABLE, SCHEMAS

ENTITY = "sip:101@office.example.com"
PIDF = "{urn:ietf:params:xml:ns:pidf}"
DM = "{urn:ietf:params:xml:ns:pidf:data-model}"
RPID = "{urn:ietf:params:xml:ns:pidf:rpid}"
CALL = DialogInfo("1", DialogState.CONFIRMED, "recipient", ENTITY, "sip:0301234567@trunk.example.com", call_id="c")


def _schema() -> etree.XMLSchema:
    """PIDF with its extensions: its own schema lets anything pass there that it has no schema for."""
    imports = "".join(
        f'<xs:import namespace="{namespace.strip("{}")}" schemaLocation="{(SCHEMAS / file).as_uri()}"/>'
        for namespace, file in ((PIDF, "pidf.xsd"), (DM, "data-model.xsd"), (RPID, "rpid.xsd"))
    )
    return etree.XMLSchema(
        etree.fromstring(f'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">{imports}</xs:schema>', OFFLINE)
    )


SCHEMA = _schema()


def published(*dialogs: DialogInfo, presence: Presence | None = None, at: float = NOW) -> StateChange:
    return StateChange(
        OFFICE, LAMP, Source.PUBLISHED, dialogs, at, publication="p", publisher="x", entity_tag="p.1", presence=presence
    )


def state_of(*changes: StateChange, policy: LampPolicy | None = None) -> ResourceState:
    state = ResourceState(LAMP)
    for change in changes:
        state.merge(change, policy or LampPolicy())
    return state


def calling(*states: DialogState, presence: Presence | None = None, held: bool = False) -> ResourceState:
    """A resource with calls in these states, and what it publishes of its presence."""
    calls = [replace(CALL, id=f"{n}", call_id=f"c{n}", state=state, held=held) for n, state in enumerate(states)]
    changes = [published(*calls)]
    if presence is not None:
        changes.append(replace(published(presence=presence), publication="q"))
    return state_of(*changes)


def document(state: ResourceState, entity: str = ENTITY) -> etree._Element:
    """Render, parse and validate."""
    root = etree.fromstring(pidf.render(state).stamp(0, entity), OFFLINE)
    SCHEMA.assertValid(root)
    return root


def said(state: ResourceState) -> tuple[str | None, str, str | None]:
    """Its `basic`, its only activity, and its note, which is the same in both places."""
    root = document(state)
    note = root.findtext(f"{PIDF}tuple/{PIDF}note")
    assert note == root.findtext(f"{DM}person/{DM}note")
    activities = [element.tag.removeprefix(RPID) for element in root.iterfind(f"{DM}person/{RPID}activities/*")]
    assert len(activities) < 2
    return root.findtext(f"{PIDF}tuple/{PIDF}status/{PIDF}basic"), "".join(activities), note


def test_the_whole_document() -> None:
    assert pidf.render(calling(DialogState.CONFIRMED)).stamp(3, "sip:101@192.0.2.1").decode().split("\r\n") == [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" '
        'xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" entity="sip:101@192.0.2.1">',
        '<tuple id="calls">',
        "<status><basic>open</basic></status>",
        "<contact>sip:101@office.example.com</contact>",
        "<note>On the phone</note>",
        "</tuple>",
        '<dm:person id="person"><rpid:activities><rpid:on-the-phone/></rpid:activities>'
        "<dm:note>On the phone</dm:note></dm:person>",
        "</presence>",
        "",
    ]


def test_the_schemas_look_into_the_extensions() -> None:
    """Else validity would mean little."""
    good = pidf.render(calling(DialogState.CONFIRMED)).stamp(0, ENTITY)
    for word, wrong in ((b"rpid:on-the-phone", b"rpid:ringing"), (b'id="person"', b""), (b">open<", b">busy<")):
        assert not SCHEMA.validate(etree.fromstring(good.replace(word, wrong), OFFLINE))


RINGING = ("open", "busy", "Ringing")
TALKING = ("open", "on-the-phone", "On the phone")


@pytest.mark.parametrize(
    ("states", "shown"),
    [
        ([], ("open", "", "Ready")),
        ([DialogState.TRYING], RINGING),
        ([DialogState.PROCEEDING], RINGING),
        ([DialogState.EARLY], RINGING),
        ([DialogState.CONFIRMED], TALKING),
        ([DialogState.TERMINATED], ("open", "", "Ready")),
        ([DialogState.CONFIRMED, DialogState.TRYING], TALKING),
        ([DialogState.CONFIRMED, DialogState.EARLY], ("open", "on-the-phone", "Ringing")),
    ],
)
def test_calls(states: list[DialogState], shown: tuple[str, str, str]) -> None:
    assert said(calling(*states)) == shown


def test_hold() -> None:
    assert said(calling(DialogState.CONFIRMED, held=True)) == ("open", "on-the-phone", "On hold")


def test_who_calls_does_not_appear() -> None:
    body = pidf.render(calling(DialogState.CONFIRMED)).stamp(0, ENTITY)
    assert b"0301234567" not in body
    assert b"trunk" not in body


@pytest.mark.parametrize(
    ("presence", "shown"),
    [
        (Presence(), ("open", "", "Ready")),
        (Presence(open=True), ("open", "", "Ready")),
        (Presence(open=False), ("closed", "", "Unavailable")),
        (Presence(open=False, activities=("away",)), ("closed", "away", "Unavailable")),
        (Presence(activities=("in-transit", "meal")), ("open", "in-transit", "In transit")),
        (Presence(activities=("away", "busy", "on-the-phone")), TALKING),
        (Presence(activities=("away", "busy")), ("open", "busy", "Busy")),
        (Presence(do_not_disturb=True), ("open", "busy", "Do not disturb")),
        (Presence(activities=("away", "busy"), do_not_disturb=True), ("open", "busy", "Do not disturb")),
        (Presence(open=False, do_not_disturb=True), ("closed", "busy", "Do not disturb")),
        (Presence(note="At lunch", do_not_disturb=True), ("open", "busy", "At lunch")),
        (Presence(open=False, note="Back & <soon>"), ("closed", "", "Back & <soon>")),
    ],
)
def test_what_was_published(presence: Presence, shown: tuple[str, str, str]) -> None:
    assert said(calling(presence=presence)) == shown


def test_calls_come_before_what_was_published() -> None:
    away = Presence(open=False, activities=("away", "on-the-phone"), do_not_disturb=True)
    assert said(calling(DialogState.CONFIRMED, presence=away)) == TALKING
    assert said(calling(DialogState.EARLY, presence=away)) == RINGING


def test_a_published_note_is_shown_as_it_is_but_not_in_place_of_a_call() -> None:
    """MicroSIP and Browser-Phone know calls by the note alone."""
    presence = Presence(note="Home office")
    assert said(calling(presence=presence))[2] == "Home office"
    assert said(calling(DialogState.CONFIRMED, presence=presence))[2] == "On the phone"


def test_an_extension_without_a_phone_is_closed_though_not_while_it_has_a_call() -> None:
    unregistered = set_registered(OFFICE, LAMP, registered=False, at=NOW)
    assert said(state_of(unregistered)) == ("closed", "", "Unavailable")
    assert said(state_of(unregistered, published(CALL, at=NOW + 1))) == TALKING
    assert said(state_of(unregistered, set_registered(OFFICE, LAMP, registered=True, at=NOW + 1)))[0] == "open"


@pytest.mark.parametrize("state", [DialogState.EARLY, DialogState.CONFIRMED])
def test_what_only_lights_the_lamp_is_no_call(state: DialogState) -> None:
    policy = LampPolicy(do_not_disturb=state, unregistered=state)
    unregistered = state_of(set_registered(OFFICE, LAMP, registered=False, at=NOW), policy=policy)
    assert unregistered.lamp.state is state
    assert said(unregistered) == ("closed", "", "Unavailable")
    disturbed = state_of(set_do_not_disturb(OFFICE, LAMP, on=True, at=NOW), policy=policy)
    assert disturbed.lamp.state is state
    assert said(disturbed) == ("open", "busy", "Do not disturb")


@pytest.mark.parametrize("word", DialogState)
def test_what_was_set_is_shown_as_a_call(word: DialogState) -> None:
    state = state_of(set_manually(OFFICE, LAMP, state=word, at=NOW))
    assert said(state)[2] == {"confirmed": "On the phone", "terminated": "Ready"}.get(word, "Ringing")


@pytest.mark.parametrize("render", [pidf.render, xpidf.render])
def test_a_document_knows_its_state_revision_and_age(render: Callable[[ResourceState], Document]) -> None:
    state = calling(DialogState.EARLY)
    shown = render(state)
    assert (shown.state, shown.revision, shown.changed_at) == (DialogState.EARLY, state.revision, NOW)
    state.merge(replace(published(presence=Presence(open=False), at=NOW + 5), publication="q"))
    later = render(state)
    assert (later.revision, later.changed_at) == (state.revision, NOW + 5)
    assert not later.says_the_same_as(render(calling()))
    assert render(ResourceState(LAMP)).changed_at == 0.0


@pytest.mark.parametrize("entity", ['sip:"a"@b', "sip:a&amp;b@c", "sip:<x/>@b", "sip:jürgen@b"])
def test_the_entity_is_escaped(entity: str) -> None:
    for module in (pidf, xpidf):
        root = etree.fromstring(module.render(ResourceState(LAMP)).stamp(0, entity), OFFLINE)
        assert entity in (root.get("entity"), root[0].get("uri", "").removesuffix(";method=SUBSCRIBE"))


# What phones make of it


@pytest.mark.parametrize(
    ("state", "baresip", "linphone"),
    [
        (calling(), "Online", "Online"),
        (calling(DialogState.EARLY), "Busy", "Busy"),
        (calling(DialogState.CONFIRMED), "Busy", "On the phone"),
        (calling(DialogState.CONFIRMED, presence=Presence(activities=("away",))), "Busy", "On the phone"),
        (calling(presence=Presence(do_not_disturb=True)), "Busy", "Busy"),
        (calling(presence=Presence(activities=("away",))), "Offline", "Away"),
        (calling(presence=Presence(open=False)), "Offline", "Offline"),
    ],
)
def test_soft_phones(state: ResourceState, baresip: str, linphone: str) -> None:
    """baresip reads no XML, but looks for these texts; Linphone takes the last activity of the person."""
    body = pidf.render(state).stamp(0, ENTITY)
    shown = "Online" if re.search(rb"<basic[ \t]*>open</basic[ \t]*>", body) else "Offline"
    for text, means in (
        (rb"<rpid:on-the-phone[ \t]*/>", "Busy"),
        (rb"<rpid:busy[ \t]*/>", "Busy"),
        (rb"<rpid:away[ \t]*/>", "Offline"),
    ):
        shown = means if re.search(text, body) else shown
    assert shown == baresip
    basic, activity, _ = said(state)
    assert linphone == (activity.replace("-", " ").capitalize() or {"open": "Online"}.get(basic or "", "Offline"))


def test_pjsip_and_browser_phone() -> None:
    """Of the notes PJSIP takes that of the person, Browser-Phone all that have no prefix, one behind the other."""
    body = pidf.render(calling(DialogState.EARLY)).stamp(0, ENTITY)
    assert re.findall(b"<note>(.*?)</note>", body) == re.findall(b"<dm:note>(.*?)</dm:note>", body) == [b"Ringing"]


# Everything is valid

NOTES = st.text(max_size=200).map(lambda text: one_line(text, at_most=MAX_NOTE))
PRESENCES = st.builds(
    Presence,
    st.sampled_from([None, True, False]),
    st.lists(st.sampled_from(sorted(ACTIVITIES)), unique=True).map(tuple),
    NOTES,
    st.booleans(),
)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.sampled_from(DialogState), max_size=4), PRESENCES, st.booleans())
def test_every_document_is_valid_and_can_be_read_again(
    states: list[DialogState], presence: Presence, held: bool
) -> None:
    state = calling(*states, presence=presence, held=held)
    basic, activity, note = said(state)
    again = read_pidf(pidf.render(state).stamp(0, ENTITY))
    assert again.open is (basic == "open")
    assert "".join(again.activities) == activity
    assert again.note == note
    etree.fromstring(xpidf.render(state).stamp(0, ENTITY), OFFLINE)


@settings(deadline=None, max_examples=200)
@given(PRINTABLE)
def test_a_document_of_any_extension_is_valid(user: str) -> None:
    state = ResourceState(ResourceId(f"{user}@office.example.com"))
    document(state)
    etree.fromstring(xpidf.render(state).stamp(0, ENTITY), OFFLINE)


# xpidf


def test_the_whole_xpidf_document() -> None:
    assert xpidf.render(calling(DialogState.CONFIRMED)).stamp(3, "sip:101@192.0.2.1").decode().split("\r\n") == [
        '<?xml version="1.0" encoding="UTF-8"?>',
        "<presence>",
        '<presentity uri="sip:101@192.0.2.1;method=SUBSCRIBE"/>',
        '<atom id="101">',
        '<address uri="sip:101@office.example.com;user=ip" priority="0.800000">',
        '<status status="inuse"/>',
        '<msnsubstatus substatus="onthephone"/>',
        "</address>",
        "</atom>",
        "</presence>",
        "",
    ]


@pytest.mark.parametrize(
    ("states", "presence", "shown"),
    [
        ([], Presence(), ("open", "online")),
        ([DialogState.TERMINATED], Presence(), ("open", "online")),
        ([DialogState.TRYING], Presence(), ("inuse", "onthephone")),
        ([DialogState.EARLY], Presence(), ("inuse", "onthephone")),
        ([DialogState.CONFIRMED], Presence(open=False), ("inuse", "onthephone")),
        ([], Presence(activities=("on-the-phone",)), ("inuse", "onthephone")),
        ([], Presence(do_not_disturb=True), ("inuse", "busy")),
        ([], Presence(activities=("away",)), ("open", "away")),
        ([], Presence(activities=("meal",)), ("open", "online")),
        ([], Presence(open=False, do_not_disturb=True), ("closed", "offline")),
    ],
)
def test_the_statuses_of_xpidf(states: list[DialogState], presence: Presence, shown: tuple[str, str]) -> None:
    root = etree.fromstring(xpidf.render(calling(*states, presence=presence)).stamp(0, ENTITY), OFFLINE)
    (status,), (substatus,) = root.iter("status"), root.iter("msnsubstatus")
    assert (status.get("status"), substatus.get("substatus")) == shown
