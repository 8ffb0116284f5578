"""Presence as phones publish it: what real ones write is understood, what would do harm is refused."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipresence.errors import MalformedMessage
from sipresence.events.pidf_reader import ACTIVITIES, MAX_ACTIVITIES, MAX_NOTE, read_pidf
from sipresence.events.state import NO_PRESENCE, Presence
from sipresence.events.xml_reader import MAX_BODY_BYTES, MAX_DEPTH, MAX_ELEMENTS

PIDF = "urn:ietf:params:xml:ns:pidf"
DRAFTS = ("rpid-status", "status:rpid", "status:rpid-status", "rpid:status:rpid-status", "rpid:rpid-person")
OPEN = '<tuple id="t"><status><basic>open</basic></status></tuple>'


def document(inside: str) -> bytes:
    return (
        f'<?xml version="1.0"?><presence xmlns="{PIDF}" xmlns:dm="{PIDF}:data-model" xmlns:rpid="{PIDF}:rpid" '
        f'xmlns:x="urn:x" entity="sip:101@b">{inside}</presence>'
    ).encode()


def read(inside: str) -> Presence:
    return read_pidf(document(inside))


def doing(activities: str) -> tuple[str, ...]:
    """What a person with these activities is read to do."""
    return read(f'<dm:person id="p"><rpid:activities>{activities}</rpid:activities></dm:person>').activities


# What real publishers write

BARESIP = f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<presence xmlns="{PIDF}"
    xmlns:dm="{PIDF}:data-model"
    xmlns:rpid="{PIDF}:rpid"
    entity="sip:201@office.example.com">
  <dm:person id="p77"><rpid:activities/></dm:person>
  <tuple id="t77">
    <status>
      <basic>unknown</basic>
    </status>
    <contact>sip:201@office.example.com</contact>
  </tuple>
</presence>
"""
LINPHONE = f"""<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns:dm="{PIDF}:data-model" xmlns:rpid="{PIDF}:rpid" xmlns:pidfonline="http://www.linphone.org/xsds/pidfonline.xsd" entity="sip:202@192.0.2.1:5060" xmlns="{PIDF}">
 <tuple id="a.b">
  <status>
   <basic>open</basic>
   <pidfonline:online/>
  </status>
  <contact priority="0.8">sip:202@192.0.2.1:5060</contact>
  <timestamp>2026-11-25T10:00:00Z</timestamp>
 </tuple>
</presence>"""  # noqa: E501
LINPHONE_CALL = document(
    '<tuple id="a1"><status><basic>open</basic></status></tuple><dm:person id="b2"><rpid:activities>'
    "<rpid:on-the-phone/></rpid:activities><timestamp>2026-11-25T10:00:00Z</timestamp></dm:person>"
).decode()
LINPHONE_QUIET = document(
    '<tuple id="a1"><status><basic>closed</basic></status></tuple><dm:person id="b2"><rpid:activities>'
    "<rpid:busy>Do not disturb</rpid:busy></rpid:activities></dm:person>"
).decode()
LINPHONE_PENDING = LINPHONE_QUIET.replace("rpid:busy>", "rpid:other>").replace("Do not disturb", "Waiting for a user")
EYEBEAM = f"""<?xml version='1.0' encoding='UTF-8'?><presence xmlns='{PIDF}' xmlns:dm='{PIDF}:data-model'
 xmlns:rpid='{PIDF}:rpid' xmlns:c='{PIDF}:cipid' entity='sip:203@office.example.com'>
 <tuple id='t1a2b'><status><basic>open</basic></status></tuple>
 <dm:person id='p3c4d'><rpid:activities><rpid:on-the-phone/></rpid:activities><dm:note>On the Phone</dm:note>
 </dm:person></presence>"""
PJSIP = document(
    '<tuple id="pj1"><status><basic>open</basic></status><contact>sip:204@b</contact><note>Busy</note></tuple>'
    '<dm:person id="pj2"><rpid:activities><rpid:busy/></rpid:activities><dm:note>Busy</dm:note></dm:person>'
).decode()
PJSIP_IDLE = document(
    OPEN + '<dm:person id="pj2"><rpid:activities><rpid:unknown/></rpid:activities><dm:note>Idle</dm:note></dm:person>'
).decode()
ASTERISK = document(
    '<note>Ringing</note><tuple id="205"><status><basic>open</basic></status>'
    '<contact priority="1">&quot;Eve&quot; &lt;sip:205@b&gt;</contact></tuple>'
    "<dm:person><rpid:activities><rpid:on-the-phone/></rpid:activities></dm:person>"
).decode()
ASTERISK_OLD = f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<presence xmlns="{PIDF}" xmlns:pp="{PIDF}:person" xmlns:es="{PIDF}:rpid:status:rpid-status"
 xmlns:ep="{PIDF}:rpid:rpid-person" entity="sip:206@b">
<pp:person><status><ep:activities><ep:away/></ep:activities></status></pp:person>
<note>Unavailable</note>
<tuple id="206"><contact priority="1">sip:206@b</contact><status><basic>closed</basic></status></tuple>
</presence>"""
ASTERISK_TEXT = ASTERISK_OLD.replace("<ep:away/>", "ep:busy").replace("closed", "open").replace("Unavailable", "")
CISCO = f"""<?xml version="1.0" encoding="UTF-8" standalone="no" ?>
<presence xmlns="{PIDF}" xmlns:dm="{PIDF}:data-model" xmlns:e="{PIDF}:status:rpid"
 xmlns:ce="urn:cisco:params:xml:ns:pidf:rpid" xmlns:sc="{PIDF}:servcaps" entity="sip:207@b">
<tuple id="1"> <status> <basic>open</basic> <e:activities><e:on-the-phone/></e:activities></status>
<sc:servcaps><sc:audio>true</sc:audio></sc:servcaps></tuple>
<dm:person><status><basic>closed</basic></status><e:activities><ce:available/></e:activities></dm:person>
</presence>"""
EXOSIP = f"""<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns="{PIDF}" xmlns:es="{PIDF}:status:rpid-status" entity="sip:208@b">
<tuple id="t8"><status><basic>open</basic><es:activities><es:activity>busy</es:activity></es:activities></status>
<contact priority="0.8">sip:208@b</contact><note>busy</note></tuple></presence>"""
DOUBANGO = document(
    '<dm:person id="p"><x:overriding-willingness><x:basic>open</x:basic></x:overriding-willingness><rpid:activities>'
    '<rpid:meeting /></rpid:activities><dm:note>In a meeting</dm:note></dm:person><dm:device id="d"><status><basic>'
    "closed</basic></status></dm:device>"
).decode()


@pytest.mark.parametrize(
    ("body", "presence"),
    [
        pytest.param(BARESIP, NO_PRESENCE, id="baresip at its start"),
        pytest.param(BARESIP.replace("unknown", "closed"), Presence(open=False), id="baresip"),
        pytest.param(LINPHONE, Presence(open=True), id="Linphone"),
        pytest.param(LINPHONE_CALL, Presence(True, ("on-the-phone",)), id="Linphone, on the phone"),
        pytest.param(LINPHONE_QUIET, Presence(False, ("busy",), "", True), id="Linphone, do not disturb"),
        pytest.param(LINPHONE_PENDING, Presence(open=False), id="Linphone, pending"),
        pytest.param(EYEBEAM, Presence(True, ("on-the-phone",), "On the Phone"), id="eyeBeam, X-Lite, Bria"),
        pytest.param(PJSIP, Presence(True, ("busy",), "Busy"), id="PJSIP, MicroSIP"),
        pytest.param(PJSIP_IDLE, Presence(True, (), "Idle"), id="PJSIP, idle"),
        pytest.param(ASTERISK, Presence(True, ("on-the-phone",), "Ringing"), id="Asterisk"),
        pytest.param(ASTERISK_OLD, Presence(False, ("away",), "Unavailable"), id="Asterisk's chan_sip"),
        pytest.param(ASTERISK_TEXT, Presence(True, ("busy",)), id="Asterisk with a word for an element"),
        pytest.param(CISCO, Presence(True, ("on-the-phone",)), id="Cisco"),
        pytest.param(
            CISCO.replace("ce:available", "ce:dnd"), Presence(True, ("on-the-phone",), "", True), id="Cisco dnd"
        ),
        pytest.param(EXOSIP, Presence(True, ("busy",), "busy"), id="eXosip, Pidgin"),
        pytest.param(DOUBANGO, Presence(False, ("meeting",), "In a meeting"), id="Doubango"),
    ],
)
def test_real_bodies(body: str, presence: Presence) -> None:
    assert read_pidf(body.encode()) == presence


# Can calls reach it


@pytest.mark.parametrize(
    ("basics", "reachable"),
    [
        ((), None),
        (("open",), True),
        (("closed",), False),
        (("closed", "open", "closed"), True),
        ((" Open\r\n",), True),
        (("CLOSED", "unknown"), False),
        (("unknown", ""), None),
    ],
)
def test_it_is_open_if_one_of_its_tuples_is(basics: tuple[str, ...], reachable: bool | None) -> None:
    tuples = "".join(f"<tuple id='t'><status><basic>{basic}</basic></status></tuple>" for basic in basics)
    assert read(tuples).open is reachable


def test_a_basic_elsewhere_is_none() -> None:
    basic = "<basic>open</basic>"
    for inside in (basic, f"<status>{basic}</status>", f"<dm:person><status>{basic}</status></dm:person>"):
        assert read(inside).open is None
    assert read(OPEN.replace("basic", "x:basic")).open is None


# What is its owner doing


@pytest.mark.parametrize("activity", sorted(ACTIVITIES))
def test_every_activity(activity: str) -> None:
    assert doing(f"<rpid:{activity}/>") == (activity,)


@pytest.mark.parametrize(
    ("activities", "known"),
    [
        ("", ()),
        ("<rpid:unknown/>", ()),
        ("<rpid:other>Gardening</rpid:other>", ()),
        ("<rpid:ringing/><x:busy/>", ()),
        ("<rpid:lunch/>", ("meal",)),
        ("<rpid:Busy/><rpid:AWAY> </rpid:AWAY>", ("busy", "away")),
        ("<rpid:away/>back at two<rpid:away/>", ("away",)),
        ("<rpid:note>Far</rpid:note><rpid:away><rpid:note/></rpid:away><rpid:meal/>", ("away", "meal")),
        ("<rpid:activity> In-Transit </rpid:activity>", ("in-transit",)),
        ("busy", ("busy",)),
        ("busy or away", ()),
    ],
)
def test_activities(activities: str, known: tuple[str, ...]) -> None:
    assert doing(activities) == known


def test_activities_of_a_person_a_tuple_and_a_device_in_the_order_of_the_document() -> None:
    activities = "<rpid:activities><rpid:{}/></rpid:activities>".format
    inside = f"<tuple><status>{activities('busy')}</status>{activities('away')}</tuple>"
    inside += f"<dm:device>{activities('meal')}</dm:device><dm:person>{activities('tv')}</dm:person>"
    assert read(inside).activities == ("busy", "away", "meal", "tv")
    assert read("<dm:person><rpid:mood><rpid:busy/></rpid:mood></dm:person>").activities == ()


@pytest.mark.parametrize("draft", [*DRAFTS, "rpid"])
def test_the_namespaces_of_drafts_with_any_prefix(draft: str) -> None:
    activities = f'<y:activities xmlns:y="{PIDF}:{draft}"><y:busy/></y:activities>'
    assert read(f"<tuple><status>{activities}</status></tuple>").activities == ("busy",)
    assert read(f"<tuple><status>{activities.replace(draft, 'other')}</status></tuple>").activities == ()


def test_no_more_activities_than_so_many() -> None:
    names = sorted(ACTIVITIES)
    assert doing("".join(f"<rpid:{name}/>" for name in names)) == tuple(names[:MAX_ACTIVITIES])


# Notes

AT_PERSON = "<dm:person><dm:note>person</dm:note></dm:person>"
AT_TUPLE = "<tuple><status/><note>tuple</note></tuple>"
AT_PRESENCE = "<note>presence</note>"


@pytest.mark.parametrize(
    ("inside", "note"),
    [
        ("", ""),
        (AT_PRESENCE + AT_TUPLE + AT_PERSON, "person"),
        (AT_PRESENCE + AT_TUPLE, "tuple"),
        (AT_PRESENCE, "presence"),
        ("<tuple><note/></tuple><tuple><note>2</note><note>3</note></tuple>", "2"),
        ("<dm:person><rpid:activities><rpid:note>a</rpid:note></rpid:activities></dm:person>", "a"),
        ("<dm:person><rpid:mood><rpid:note>sad</rpid:note></rpid:mood></dm:person>", ""),
        ("<dm:person><note>unqualified</note></dm:person>", "unqualified"),
        ("<tuple><status><note>s</note></status></tuple>", "s"),
        ("<dm:device><dm:note>device</dm:note></dm:device>" + AT_PRESENCE, "device"),
        ("<x:person><note>n</note></x:person><x:note>n</x:note>", ""),
        ("<note> two\r\n\tlines&#x202e; &lt;b&gt;</note>", "two lines <b>"),
        (f"<note>{'x' * 999}</note>", "x" * MAX_NOTE),
    ],
)
def test_notes(inside: str, note: str) -> None:
    assert read(inside).note == note


# Do not disturb


@pytest.mark.parametrize(
    "inside",
    [
        "<dm:person><rpid:activities><x:dnd/></rpid:activities></dm:person>",
        "<dm:person><rpid:activities><rpid:do-not-disturb/></rpid:activities></dm:person>",
        "<dm:person><rpid:activities><rpid:other>DND</rpid:other></rpid:activities></dm:person>",
        "<dm:person><rpid:activities><rpid:activity>dnd</rpid:activity></rpid:activities></dm:person>",
        "<dm:person><rpid:activities><rpid:note>dnd</rpid:note></rpid:activities></dm:person>",
        "<dm:person><dm:note>Do Not Disturb</dm:note></dm:person>",
        "<tuple><status><x:DoNotDisturb>true</x:DoNotDisturb></status></tuple>",
        "<note>Hello</note><note> do not\r\ndisturb </note>",
    ],
)
def test_do_not_disturb(inside: str) -> None:
    assert read(inside).do_not_disturb


@pytest.mark.parametrize(
    "inside",
    [
        "<x:dnd>false</x:dnd>",
        "<x:do-not-disturb> Off </x:do-not-disturb>",
        "<note>no dnd any more</note>",
        "<tuple><contact>dnd</contact></tuple>",
        "<dm:person><rpid:activities><rpid:busy/></rpid:activities></dm:person>",
    ],
)
def test_no_do_not_disturb(inside: str) -> None:
    assert not read(inside).do_not_disturb


# What is refused


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"open",
        b"<presence",
        document("<tuple>"),
        document("<y:tuple/>"),
        document("&unknown;"),
        document("<note>&#1;</note>"),
        document("").decode().encode("utf-16"),
        b"<presence xmlns='urn:x'/>",
        b"<dialog-info xmlns='urn:ietf:params:xml:ns:dialog-info'/>",
        f"<pidf-diff xmlns='{PIDF}-diff'/>".encode(),
        f"<pidf-full xmlns='{PIDF}-diff'/>".encode(),
        f"<tuple xmlns='{PIDF}'/>".encode(),
        f"<!DOCTYPE presence><presence xmlns='{PIDF}'/>".encode(),
        b"<!DOCTYPE p [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><presence><note>&e;</note></presence>",
    ],
)
def test_what_is_no_such_document_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedMessage):
        read_pidf(body)


def test_no_namespace_white_space_and_latin_1() -> None:
    body = "\r\n<presence><tuple><status><basic>open</basic></status><note>Büro</note></tuple></presence>\r\n\0"
    assert read_pidf(body.encode("latin-1")) == read_pidf(body.encode()) == Presence(open=True, note="Büro")


@pytest.mark.parametrize(
    ("most", "one_more"),
    [
        ("<a>" * (MAX_DEPTH - 1) + "</a>" * (MAX_DEPTH - 1), "<a>" * MAX_DEPTH + "</a>" * MAX_DEPTH),
        ("<a/>" * (MAX_ELEMENTS - 1), "<a/>" * MAX_ELEMENTS),
        ("x" * (MAX_BODY_BYTES - len(document(""))), "x" * (MAX_BODY_BYTES - len(document("")) + 1)),
    ],
    ids=["depth", "elements", "bytes"],
)
def test_bounds(most: str, one_more: str) -> None:
    assert read(most) == NO_PRESENCE
    with pytest.raises(MalformedMessage):
        read(one_more)


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(document))
def test_nothing_else_is_ever_raised(body: bytes) -> None:
    with suppress(MalformedMessage):
        read_pidf(body)
