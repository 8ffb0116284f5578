"""The document of a resource list: valid, every part referred to once, safe whatever is in it."""

from hypothesis import given, settings
from hypothesis import strategies as st

from sipresence.events import dialog_info, pidf, rlmi
from sipresence.events.resource import DialogInfo, DialogState, ResourceState, resource_identity
from sipresence.events.rlmi import LISTED, Line, RlmiDocument
from sipresence.names import ResourceId
from tests import rlmi as strict
from tests.events.test_dialog_info import PRINTABLE, state_of

TAG = "0123abcd"
LIST = "sip:reception@office.example.com"
CALL = DialogInfo("c", DialogState.EARLY, "recipient", "sip:101@x", "sip:0301234567@x", call_id="call")


def line(user: str = "101", *calls: DialogInfo, number: int = 1, version: int = 0, label: str = "Alice") -> Line:
    document = dialog_info.render(state_of(*calls))
    return Line(f"sip:{user}@x", label, document, dialog_info.CONTENT_TYPE, number, version)


def document(*lines: Line, full: bool = True) -> RlmiDocument:
    return RlmiDocument(lines, full=full, tag=TAG, number=0, changed_at=0.0)


def test_the_whole_body() -> None:
    told = Line("sip:101@x", "A & B", dialog_info.render(ResourceState(ResourceId("101@x"))), "text/x", 1, 7)
    named, refused = Line("sip:102@x", ""), Line("sip:103@y", "C", reason="rejected")
    inner = dialog_info.render(ResourceState(ResourceId("101@x"))).stamp(7, "sip:101@x").decode()
    root = (
        '<?xml version="1.0" encoding="UTF-8"?>\r\n'
        '<list xmlns="urn:ietf:params:xml:ns:rlmi" uri="sip:reception@office.example.com" version="3" fullState="true">'
        '\r\n<resource uri="sip:101@x"><name>A &amp; B</name>'
        '<instance id="1" state="active" cid="1.7@0123abcd"/></resource>\r\n'
        '<resource uri="sip:102@x"></resource>\r\n'
        '<resource uri="sip:103@y"><name>C</name><instance id="1" state="terminated" reason="rejected"/></resource>\r\n'
        "</list>\r\n"
    )
    assert document(told, named, refused).stamp(3, LIST).decode() == (
        "--list-0123abcd\r\nContent-Transfer-Encoding: binary\r\nContent-ID: <list@0123abcd>\r\n"
        f'Content-Type: application/rlmi+xml;charset="UTF-8"\r\n\r\n{root}\r\n'
        "--list-0123abcd\r\nContent-Transfer-Encoding: binary\r\nContent-ID: <1.7@0123abcd>\r\n"
        f"Content-Type: text/x\r\n\r\n{inner}\r\n"
        "--list-0123abcd--\r\n"
    )


def test_the_content_type_is_written_as_the_rfc_writes_it() -> None:
    assert rlmi.content_type(TAG) == (
        'multipart/related;type="application/rlmi+xml";start="<list@0123abcd>";boundary=list-0123abcd'
    )


def test_a_list_without_members_is_a_document_all_the_same() -> None:
    read = strict.read(rlmi.content_type(TAG), document().stamp(0, LIST))
    assert (read.members, read.full) == ({}, True)


def test_the_most_important_lamp_is_that_of_the_document() -> None:
    assert document(line(), line("102", CALL)).state is DialogState.EARLY
    assert document(line()).state is DialogState.TERMINATED
    assert document(Line("sip:101@x", "Alice")).state is DialogState.TERMINATED


def test_members_may_be_shown_in_any_form() -> None:
    presence = pidf.render(state_of(CALL))
    told = Line("sip:101@x", "Alice", presence, pidf.CONTENT_TYPE, 1, 0)
    read = strict.read(rlmi.content_type(TAG), document(told).stamp(0, LIST))
    element = read.members["sip:101@x"].document
    assert element is not None
    assert element.tag == "{urn:ietf:params:xml:ns:pidf}presence"


def test_nothing_can_be_seen_of_a_lists_own_name() -> None:
    """What is set for it as if it were an extension is told to nobody."""
    first, second = LISTED.render(state_of(CALL)), LISTED.render(state_of())
    assert first.says_the_same_as(second)
    assert first.changed_at == 0
    assert first.stamp(0, LIST) == b""


@given(texts=st.lists(PRINTABLE, min_size=3, max_size=3, unique=True), full=st.booleans(), version=st.integers(0, 9))
@settings(max_examples=200, deadline=None)
def test_whatever_the_texts_are_the_parts_stay_apart(texts: list[str], full: bool, version: int) -> None:
    user, label, name = texts
    uri = resource_identity(ResourceId(f"{user}@x"))
    evil = DialogInfo(f"--list-{TAG}", DialogState.EARLY, "recipient", uri, uri, remote_display=f"{name}\r\n--list-")
    told = line("101", evil, number=1, version=version, label=label)._replace(uri=uri)
    read = strict.read(rlmi.content_type(TAG), document(told, line("z" * 99, number=2), full=full).stamp(version, LIST))
    assert (read.version, read.full, len(read.members)) == (version, full, 2)
    assert read.members[uri].version == version
    assert read.members[uri].name == label
