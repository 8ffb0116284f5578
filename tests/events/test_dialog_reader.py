"""Bodies of publishers: what real ones write is understood, what makes no sense or would do harm is refused."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipresence.errors import MalformedMessage
from sipresence.events.dialog_reader import MAX_DIALOGS, PublishedBody, read_dialog_info
from sipresence.events.resource import DialogInfo, DialogState
from sipresence.events.xml_reader import MAX_BODY_BYTES, MAX_DEPTH, MAX_ELEMENTS
from tests.events.publishing import sent

NAMESPACE = "urn:ietf:params:xml:ns:dialog-info"
STATE = "<state>early</state>"


def document(dialogs: str, attributes: str = 'version="0" state="full" entity="sip:101@b"') -> bytes:
    return f'<?xml version="1.0"?><dialog-info xmlns="{NAMESPACE}" {attributes}>{dialogs}</dialog-info>'.encode()


def one(inside: str, attributes: str = 'id="d"') -> DialogInfo:
    """The one dialog of a document."""
    (dialog,) = read_dialog_info(document(f"<dialog {attributes}>{inside}</dialog>")).dialogs
    return dialog


# What real publishers write


@pytest.mark.parametrize(
    ("name", "body"),
    [
        (
            "kamailio-trying",
            PublishedBody(
                False,
                (
                    DialogInfo(
                        "padi-6b02b11b-6ee9-1", DialogState.TRYING, "initiator", "sip:1001@example.test",
                        "sip:1002@example.test", call_id="1-28424@127.0.0.1", local_target="sip:1001@example.test",
                        remote_target="sip:1002@example.test",
                    ),
                ),
            ),
        ),
        (
            "kamailio-early",
            PublishedBody(
                False,
                (
                    DialogInfo(
                        "padi-6b02b11b-6ee9-1", DialogState.EARLY, "recipient", "sip:1002@example.test",
                        "sip:1001@example.test", call_id="1-28424@127.0.0.1", local_tag="b1", remote_tag="a1",
                        local_target="sip:1002@127.0.0.1:5092;transport=udp",
                        remote_target="sip:1001@127.0.0.1:5091",
                    ),
                ),
            ),
        ),
        (
            "opensips-terminated",
            PublishedBody(
                True,
                (
                    DialogInfo(
                        "1-26379@127.0.0.1.0", DialogState.TERMINATED, "initiator", "sip:1001@example.test",
                        "sip:1002@example.test", call_id="1-26379@127.0.0.1", local_tag="a1", remote_tag="b1",
                        local_display="Alice A.", local_target="sip:1001@example.test",
                        remote_target="sip:1002@example.test",
                    ),
                ),
            ),
        ),
        ("asterisk-early", PublishedBody(False, (DialogInfo("1009", DialogState.EARLY, "recipient", "", ""),))),
    ],
)  # fmt: skip
def test_captured_bodies(name: str, body: PublishedBody) -> None:
    assert read_dialog_info(sent(name).body) == body


@pytest.mark.parametrize("written", ["Trying", "TRYING", " trying\r\n", "<![CDATA[trying]]>", "try<!-- x -->ing"])
def test_states_in_any_writing(written: str) -> None:
    assert one(f"<state>{written}</state>").state is DialogState.TRYING


@pytest.mark.parametrize("state", DialogState)
def test_every_state(state: DialogState) -> None:
    assert one(f'<state event="local-bye" code="200">{state}</state>').state is state


@pytest.mark.parametrize(
    ("attributes", "partial"),
    [
        ('state="full"', False),
        ('state="partial"', True),
        ('state=" Partial"', True),
        ('version="7"', False),
        ("", False),
    ],
)
def test_full_or_partial_whatever_the_version(attributes: str, partial: bool) -> None:
    assert read_dialog_info(document("", attributes)) == PublishedBody(partial, ())


def test_any_prefix() -> None:
    body = f'<x:dialog-info xmlns:x="{NAMESPACE}"><x:dialog id="d"><x:state>early</x:state></x:dialog></x:dialog-info>'
    assert read_dialog_info(body.encode()).dialogs[0].state is DialogState.EARLY


def test_no_namespace_at_all() -> None:
    assert len(read_dialog_info(f'<dialog-info><dialog id="d">{STATE}</dialog></dialog-info>'.encode()).dialogs) == 1


def test_a_missing_id_is_the_call_id_or_the_place() -> None:
    assert one(STATE, 'call-id="c"').id == "c"
    dialogs = read_dialog_info(document(f"<dialog>{STATE}</dialog>" * 2)).dialogs
    assert [dialog.id for dialog in dialogs] == ["#0", "#1"]


@pytest.mark.parametrize("value", ['pval="no"', 'pvalue="no"', 'pvalue="NO"'])
def test_hold_in_both_spellings(value: str) -> None:
    param = f'<param pname="x" {value}/><param pname="+sip.rendering" {value}/>'
    assert one(f'{STATE}<local><target uri="sip:a@b">{param}</target></local>').held
    assert not one(f'{STATE}<remote><target uri="sip:a@b">{param}</target></remote>').held


def test_no_hold() -> None:
    for param in ('pname="+sip.rendering" pvalue="yes"', 'pname="+sip.rendering"', 'pname="x" pval="no"', 'pval="no"'):
        assert not one(f'{STATE}<local><target uri="sip:a@b"><param {param}/></target></local>').held


def test_other_namespaces_and_elements_are_passed_over() -> None:
    other = '<y:state xmlns:y="urn:y">confirmed</y:state><duration>5</duration><z/>'
    dialog = one(f'{other}{STATE}{other}<local><y:identity xmlns:y="urn:y">sip:x@y</y:identity></local>')
    assert (dialog.state, dialog.local_identity) == (DialogState.EARLY, "")
    assert len(read_dialog_info(document('<y:dialog xmlns:y="urn:y" id="d"/>')).dialogs) == 0


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("sip:1001@example.test", "sip:1001@example.test"),
        ("\r\n  sip:1001@example.test;user=phone  \r\n", "sip:1001@example.test;user=phone"),
        ("tel:+49301234", "tel:+49301234"),
        ("&quot;Alice&quot; &lt;sip:a@b;x=y&gt;;tag=1", "sip:a@b;x=y"),
        ("sip:*78@b", "sip:*78@b"),
        ("sip:##1@b", "sip:%23%231@b"),
        ("sip:%23@b", "sip:%23@b"),
        ("sip:jürgen@b", "sip:j%C3%BCrgen@b"),
        ("sip:a b@c", "sip:a%20b@c"),
        ("sip:a@[2001:db8::1]:5060", "sip:a@[2001:db8::1]:5060"),
        ("sip:[@b", "sip:%5B@b"),
        ("sip:100%@b", ""),
        ("sip:%0@b", ""),
        ("sip:", ""),
        ("sip://a:bb", ""),
        ("7ip:a@b", ""),
        ("anonymous", ""),
        ("", ""),
        (f"sip:{'a' * 600}@b", ""),
    ],
)
def test_identities_and_targets_are_uris_or_nothing(written: str, read: str) -> None:
    inside = f'{STATE}<remote><identity>{written}</identity><target uri="{written}"/></remote>'
    dialog = one(inside)
    assert (dialog.remote_identity, dialog.remote_target) == (read, read)


def test_display_names_are_one_line_of_bounded_length() -> None:
    dialog = one(f'{STATE}<local><identity display=" Alice&#10;&#x9;A.\u202e "/></local>')
    assert dialog.local_display == "Alice A."
    assert len(one(f'{STATE}<local><identity display="{"x" * 999}"/></local>').local_display) == 128


def test_a_display_name_at_the_target() -> None:
    """Kamailio's attribute_display."""
    target = '<target uri="sip:a@b" display="Alice"/>'
    assert one(f"{STATE}<local><identity>sip:a@b</identity>{target}</local>").local_display == "Alice"
    assert one(f'{STATE}<local><identity display="A">sip:a@b</identity>{target}</local>').local_display == "A"


def test_a_direction_that_is_none_is_left_out() -> None:
    assert one(STATE, 'id="d" direction="Recipient"').direction == "recipient"
    assert one(STATE, 'id="d" direction="up"').direction == ""


def test_white_space_nul_and_marks_around_a_document() -> None:
    inner = document(f'<dialog id="d">{STATE}</dialog>')
    for body in (b"\r\n" + inner, inner + b"\r\n\0", b"\xef\xbb\xbf" + inner):
        assert len(read_dialog_info(body).dialogs) == 1


def test_latin_1_that_says_it_is_utf_8() -> None:
    body = document(f'<dialog id="d">{STATE}<local><identity display="Jürgen"/></local></dialog>')
    (dialog,) = read_dialog_info(body.decode().encode("latin-1")).dialogs
    assert dialog.local_display == "Jürgen"


# What is refused


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"early",
        b"<dialog-info",
        document("<dialog id='d'><state>early</state>"),
        b"<presence xmlns='urn:ietf:params:xml:ns:pidf'/>",
        b"<dialog-info xmlns='urn:x'/>",
        document("", 'state="some"'),
        document('<dialog id="d"/>'),
        document('<dialog id="d"><state/></dialog>'),
        document('<dialog id="d"><state>busy</state></dialog>'),
        document(f'<dialog id="{"x" * 257}">{STATE}</dialog>'),
        document(f'<dialog id="d" call-id="{"x" * 257}">{STATE}</dialog>'),
        document(f'<dialog id="d" call-id="a&#x85;b">{STATE}</dialog>'),
        document(f'<dialog id="d" local-tag="a&#10;b">{STATE}</dialog>'),
        document(f'<dialog id="&#1;">{STATE}</dialog>'),
        document(f'<dialog id="&unknown;">{STATE}</dialog>'),
        document(f'<dialog id="d">{STATE}</dialog>').decode().encode("utf-16"),
    ],
)
def test_what_is_no_such_document_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedMessage):
        read_dialog_info(body)


LAUGHS = "".join(f"<!ENTITY l{n} '{f'&l{n - 1};' * 10}'>" for n in range(1, 10))


@pytest.mark.parametrize(
    "declared",
    [
        "<!DOCTYPE dialog-info>",
        "<!DOCTYPE dialog-info SYSTEM 'http://127.0.0.1:1/x.dtd'>",
        "<!DOCTYPE dialog-info [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>",
        f"<!DOCTYPE dialog-info [<!ENTITY l0 'x'>{LAUGHS}]>",
        "<!DOCTYPE dialog-info [<!ATTLIST dialog id CDATA 'd'>]>",
    ],
)
def test_a_document_type_is_refused_where_it_begins(declared: str) -> None:
    body = f"{declared}<dialog-info><dialog id='&e;'><state>&l9;</state></dialog></dialog-info>"
    with pytest.raises(MalformedMessage, match="a document type"):
        read_dialog_info(body.encode())


@pytest.mark.parametrize(
    ("most", "one_more"),
    [
        (f'<dialog id="d">{STATE}</dialog>' * MAX_DIALOGS, f'<dialog id="d">{STATE}</dialog>' * (MAX_DIALOGS + 1)),
        ("<a>" * (MAX_DEPTH - 1) + "</a>" * (MAX_DEPTH - 1), "<a>" * MAX_DEPTH + "</a>" * MAX_DEPTH),
        ("<a/>" * (MAX_ELEMENTS - 1), "<a/>" * MAX_ELEMENTS),
        ("x" * (MAX_BODY_BYTES - len(document(""))), "x" * (MAX_BODY_BYTES - len(document("")) + 1)),
    ],
    ids=["dialogs", "depth", "elements", "bytes"],
)
def test_bounds(most: str, one_more: str) -> None:
    read_dialog_info(document(most))
    with pytest.raises(MalformedMessage):
        read_dialog_info(document(one_more))


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(document))
def test_nothing_else_is_ever_raised(body: bytes) -> None:
    with suppress(MalformedMessage):
        read_dialog_info(body)
