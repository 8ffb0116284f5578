"""Lists that come with a SUBSCRIBE: read as RFC 5367 and RFC 4826 have them, and bounded."""

import zlib

import pytest

from sipresence.errors import SipError
from sipresence.events.resource_lists import MAX_MEMBERS, Entry, brings_list, read_list
from sipresence.events.xml_reader import MAX_BODY_BYTES
from tests.builders import parsed, subscribe
from tests.events.listed import LISTED_TYPE, list_body

DEFLATED = {"Content-Type": LISTED_TYPE, "Content-Encoding": "deflate"}


def read(body: bytes, **headers: str) -> tuple[Entry, ...]:
    told = {"Content-Type": LISTED_TYPE} | {name.replace("_", "-"): value for name, value in headers.items()}
    return read_list(parsed(subscribe(body=body, headers=told)))


def refusal(body: bytes, **headers: str) -> SipError:
    with pytest.raises(SipError) as refused:
        read(body, **headers)
    return refused.value


def test_entries_come_in_their_order_with_their_names() -> None:
    assert read(list_body("sip:102@x", "sip:101@x", names={"sip:101@x": "Alice  &\n Co"})) == (
        Entry("sip:102@x", ""),
        Entry("sip:101@x", "Alice & Co"),
    )


def test_lists_inside_lists_count_and_what_is_elsewhere_does_not() -> None:
    inner = '<list><display-name>Sales</display-name><entry uri="sip:102@x"/></list>'
    further = '<entry-ref ref="x"/><external anchor="http://x"/>'
    body = list_body("sip:101@x").replace(b"</list>", f"{inner}{further}</list>".encode())
    assert [entry.uri for entry in read(body)] == ["sip:101@x", "sip:102@x"]


def test_a_list_may_be_empty() -> None:
    assert read(list_body()) == ()


def test_linphone_deflates_it() -> None:
    assert read(zlib.compress(list_body("sip:101@x")), Content_Encoding="deflate") == (Entry("sip:101@x", ""),)


def test_a_body_is_inflated_no_further_than_one_may_be_long() -> None:
    assert refusal(zlib.compress(b" " * (MAX_BODY_BYTES + 1)), Content_Encoding="deflate").status == 413


@pytest.mark.parametrize("body", [b"", b"not deflated", zlib.compress(list_body("sip:101@x"))[:-5]])
def test_what_is_not_deflated_is_malformed(body: bytes) -> None:
    assert refusal(body, Content_Encoding="deflate").status == 400


def test_other_encodings_are_refused() -> None:
    error = refusal(list_body(), Content_Encoding="gzip")
    assert (error.status, error.headers) == (415, "Accept-Encoding: deflate\r\n")


def test_other_types_are_refused() -> None:
    error = refusal(b"v=0", Content_Type="application/sdp")
    assert (error.status, error.headers) == (415, "Accept: application/resource-lists+xml\r\n")


def test_the_type_may_have_parameters_and_any_case() -> None:
    assert read(list_body(), Content_Type="Application/Resource-Lists+XML;charset=UTF-8") == ()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<resource-lists",
        b"<presence xmlns='urn:ietf:params:xml:ns:pidf'/>",
        b"<!DOCTYPE x><resource-lists/>",
        list_body("sip:101@x").replace(b'uri="sip:101@x"', b""),
        list_body(f"sip:{'1' * 300}@x"),
    ],
)
def test_what_is_no_list_is_malformed(body: bytes) -> None:
    assert refusal(body).status == 400


def test_a_list_has_so_many_members_at_most() -> None:
    uris = [f"sip:{number}@x" for number in range(MAX_MEMBERS + 1)]
    assert len(read(list_body(*uris[:-1]))) == MAX_MEMBERS
    assert refusal(list_body(*uris)).status == 413


@pytest.mark.parametrize(
    ("value", "brought"),
    [("recipient-list-subscribe", True), ("eventlist, Recipient-List-Subscribe", True), ("eventlist", False)],
)
def test_an_option_tag_says_that_there_is_one(value: str, brought: bool) -> None:
    assert brings_list(parsed(subscribe(headers={"Require": value}))) is brought
    assert not brings_list(parsed(subscribe()))
