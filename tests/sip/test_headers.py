"""Header values, one table per kind; each row names the clause or the phone that caused it."""

import pytest

from sipresence.errors import MalformedMessage
from sipresence.sip.headers import (
    Event,
    NameAddr,
    accepts,
    parameter,
    parse_cseq,
    parse_event,
    parse_name_addr,
    parse_number,
    parse_seconds,
    parse_via,
    split_list,
)

DIALOG_INFO = "application/dialog-info+xml"


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        pytest.param("", [], id="an empty value has no items"),
        pytest.param(" , ,", [], id="RFC 4475 3.1.2.1: separators without values"),
        pytest.param("a", ["a"], id="one"),
        pytest.param("a,b , c", ["a", "b", "c"], id="RFC 3261 7.3.1"),
        pytest.param("<sip:a,b@c>,<sip:d@e>", ["<sip:a,b@c>", "<sip:d@e>"], id="RFC 3261 20.10: a comma in <>"),
        pytest.param('"Bell, A" <sip:a@b>, c', ['"Bell, A" <sip:a@b>', "c"], id="RFC 4475 3.1.2.15: a quoted comma"),
        pytest.param(r'"\",\\", c', [r'"\",\\"', "c"], id="RFC 4475 3.1.1.1: escaped quote and backslash"),
        pytest.param('"open, b', ['"open, b'], id="a quote without its end swallows the rest"),
        pytest.param("a>,b", ["a>", "b"], id="a stray closing bracket hides no comma"),
    ],
)
def test_split_list(value: str, parts: list[str]) -> None:
    assert split_list(value) == parts


@pytest.mark.parametrize(
    ("value", "address", "tag"),
    [
        pytest.param("<sip:a@b>", "sip:a@b", "", id="RFC 3261 25.1: name-addr"),
        pytest.param("<sip:a@b;x=1>;tag=7", "sip:a@b;x=1", "7", id="URI and header parameters"),
        pytest.param("sip:a@b;tag=7", "sip:a@b", "7", id="RFC 3261 20: without <> the parameters are the header's"),
        pytest.param("Alice <sip:a@b>;TAG=7", "sip:a@b", "7", id="RFC 3261 7.3.1: names in any case"),
        pytest.param("caller<sip:a@b>;tag=7", "sip:a@b", "7", id="RFC 4475 3.1.1.6: no LWS before <"),
        pytest.param('"A <x> \\" B"  <sip:a@b> ; tag = 7', "sip:a@b", "7", id="RFC 4475 3.1.1.1: LWS and quoted pairs"),
        pytest.param('"W" < sip:a@b >', "sip:a@b", "", id="RFC 4475 3.1.2.14: spaces inside <>, tolerated"),
        pytest.param("Bell, Alexander <sip:a@b>;tag=4", "sip:a@b", "4", id="RFC 4475 3.1.2.15: unquoted, tolerated"),
        pytest.param('<sip:a@b>;x="1;tag=2";tag=7', "sip:a@b", "7", id="RFC 3261 25.1: a quoted ; ends no parameter"),
        pytest.param('<sip:a@b>;x="a\\";tag=2";tag=7', "sip:a@b", "7", id="nor does one behind an escaped quote"),
        pytest.param("<tel:1>;tag=7", "tel:1", "7", id="RFC 4475 3.3.4: any scheme in To and From"),
    ],
)
def test_name_addr(value: str, address: str, tag: str) -> None:
    parsed = parse_name_addr(value)
    assert (parsed.uri, parsed.tag) == (address, tag)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("", id="nothing"),
        pytest.param("<>", id="nothing in brackets"),
        pytest.param(";tag=1", id="no address"),
        pytest.param("<sip:a@b", id="no closing bracket"),
        pytest.param('"Mr. J. User <sip:a@b>', id="RFC 4475 3.1.2.6: unterminated quote"),
        pytest.param('"ends in backslash\\', id="a quoted pair without its second half"),
        pytest.param("<sip:a@b> Bob", id="text after the address"),
    ],
)
def test_malformed_name_addr(value: str) -> None:
    with pytest.raises(MalformedMessage):
        parse_name_addr(value)


def test_a_name_addr_keeps_its_parameters() -> None:
    assert parse_name_addr("<sip:a@b> ;q=1;tag=x") == NameAddr("sip:a@b", ";q=1;tag=x")


@pytest.mark.parametrize(
    ("params", "value"),
    [("", None), (";id", ""), (";id=a", "a"), (";ID = a ", "a"), (";xid=b", None), (';x=";id=b"', None)],
)
def test_parameter(params: str, value: str | None) -> None:
    assert parameter(params, "id") == value


VIA = "SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK1"
STAMPED = [
    ("RFC 3261 18.2.1: sent-by is the source", VIA, VIA),
    ("RFC 3261 18.2.1: the port is not compared", VIA.replace(":5060", ":9"), VIA.replace(":5060", ":9")),
    (
        "RFC 3261 18.2.1: sent-by is another host",
        "SIP/2.0/UDP 10.0.0.9;branch=z9hG4bK1",
        "SIP/2.0/UDP 10.0.0.9;branch=z9hG4bK1;received=192.0.2.7",
    ),
    (
        "RFC 3261 18.2.1: sent-by is a name",
        "SIP/2.0/UDP phone.example;branch=z9hG4bK1",
        "SIP/2.0/UDP phone.example;branch=z9hG4bK1;received=192.0.2.7",
    ),
    ("RFC 3581 4: rport is filled in, received added", VIA + ";rport", VIA + ";rport=5062;received=192.0.2.7"),
    (
        "RFC 3581 4: in any place and case",
        "SIP/2.0/UDP 192.0.2.7;RPORT;branch=z9hG4bK1",
        "SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1;rport=5062;received=192.0.2.7",
    ),
    (
        "the sender's word on received and rport counts for nothing",
        VIA + ";received=203.0.113.1;rport=1",
        VIA + ";rport=5062;received=192.0.2.7",
    ),
]


@pytest.mark.parametrize(("value", "stamped"), [row[1:] for row in STAMPED], ids=[row[0] for row in STAMPED])
def test_via_is_stamped(value: str, stamped: str) -> None:
    via = parse_via(value, host="192.0.2.7", port=5062)
    assert via.stamped == stamped
    assert via.branch == "z9hG4bK1"
    assert parse_via(stamped, host="192.0.2.7", port=5062).stamped == stamped


@pytest.mark.parametrize(
    ("value", "transport", "sent_by", "branch"),
    [
        pytest.param(
            "SIP  /   2.0 /UDP 192.0.2.2;branch=390skdjuw", "UDP", "192.0.2.2", "390skdjuw", id="RFC 4475 3.1.1.1"
        ),
        pytest.param("SIP  / 2.0  / TCP     spindle ;  branch  =   z9 ", "TCP", "spindle", "z9", id="RFC 4475 3.1.1.1"),
        pytest.param("sip/2.0/udp h", "UDP", "h", "", id="RFC 3261 7.3.1: any case; RFC 2543: no branch"),
        pytest.param("SIP/2.0/UDP\th;branch=x", "UDP", "h", "x", id="RFC 3261 25.1: LWS may be a tab"),
        pytest.param("SIP/2.0/UDP h : 5060;branch=x", "UDP", "h:5060", "x", id="RFC 3261 25.1: COLON is SWS ':' SWS"),
        pytest.param("SIP/2.0/TLS [2001:db8::1]:5061;branch=x", "TLS", "[2001:db8::1]:5061", "x", id="RFC 5118 4.1"),
        pytest.param("SIP/7.0/UDP h;branch=x", "UDP", "h", "x", id="RFC 4475 3.1.2.16: the request gets 505"),
        pytest.param('SIP/2.0/UDP h;a=";branch=y";branch=x', "UDP", "h", "x", id="RFC 3261 25.1: a quoted ;"),
        pytest.param("SIP/2.0/UDP h;;;branch=x;", "UDP", "h", "x", id="RFC 4475 3.1.2.1: parameters without names"),
    ],
)
def test_via(value: str, transport: str, sent_by: str, branch: str) -> None:
    via = parse_via(value, host="192.0.2.7", port=5060)
    assert (via.transport, via.sent_by, via.branch) == (transport, sent_by, branch)


def test_received_is_an_address_without_brackets() -> None:
    """RFC 5118 section 4.5: an IPv6 address in `received` has none; our own sent-by there has them."""
    via = parse_via("SIP/2.0/UDP [2001:db8::9]:5060;branch=x", host="2001:db8::9", port=5060)
    assert "received" not in via.stamped
    via = parse_via("SIP/2.0/UDP [fe80::1];branch=x", host="2001:db8::9", port=5060)
    assert via.stamped.endswith(";received=2001:db8::9")


@pytest.mark.parametrize("value", ["", ";", "SIP/2.0/UDP", "SIP/2.0 h", "HTTP/1.1/TCP h", "SIP/2.0/UDP ;branch=x"])
def test_malformed_via(value: str) -> None:
    with pytest.raises(MalformedMessage):
        parse_via(value, host="192.0.2.7", port=5060)


@pytest.mark.parametrize(
    ("value", "cseq"),
    [
        pytest.param("1 NOTIFY", (1, "NOTIFY"), id="RFC 3261 20.16"),
        pytest.param("0009   INVITE", (9, "INVITE"), id="RFC 4475 3.1.1.1: leading zeros, much LWS"),
        pytest.param("1\tNOTIFY", (1, "NOTIFY"), id="RFC 3261 25.1: LWS may be a tab"),
        pytest.param("0 INVITE", (0, "INVITE"), id="RFC 4475 3.1.2.3: zero is a number"),
        pytest.param("2147483647 A", (2**31 - 1, "A"), id="RFC 3261 8.1.1.5: the largest"),
    ],
)
def test_cseq(value: str, cseq: tuple[int, str]) -> None:
    assert parse_cseq(value) == cseq


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("", id="nothing"),
        pytest.param("INVITE", id="no number"),
        pytest.param("-1 INVITE", id="negative"),
        pytest.param("2147483648 INVITE", id="RFC 3261 8.1.1.5: MUST be less than 2**31"),
        pytest.param("2554554301 NOTIFY", id="freeswitch 929 sent this"),
        pytest.param("36893488147419103232 REGISTER", id="RFC 4475 3.1.2.4"),
        pytest.param("9" * 5000 + " A", id="python: int() refuses more than 4300 digits"),
        pytest.param("²1 A", id="python: str.isdigit takes superscripts"),
    ],
)
def test_malformed_cseq(value: str) -> None:
    with pytest.raises(MalformedMessage):
        parse_cseq(value)


def test_number_up_to_its_limit() -> None:
    assert parse_number(" 255 ", limit=255) == 255
    with pytest.raises(MalformedMessage):
        parse_number("256", limit=255)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0), (" 3600 ", 3600), ("007", 7), ("4294967295", 2**32 - 1), ("1" + "0" * 100, 2**32 - 1)],
    ids=["RFC 6665 4.4.3: fetch", "LWS", "leading zeros", "RFC 3261 20.19: the largest", "RFC 4475 3.1.2.4: capped"],
)
def test_seconds(value: str, seconds: int) -> None:
    assert parse_seconds(value) == seconds


@pytest.mark.parametrize("value", ["", "never", "-1", "1.5", "3600;x=y", "٣"])
def test_malformed_seconds(value: str) -> None:
    with pytest.raises(MalformedMessage):
        parse_seconds(value)


@pytest.mark.parametrize(
    ("value", "event"),
    [
        pytest.param("dialog", Event("dialog", ""), id="RFC 4235 3.1"),
        pytest.param("dialog;id=7", Event("dialog", "7"), id="RFC 6665 8.2.1: id"),
        pytest.param("dialog ; ID = 7", Event("dialog", "7"), id="LWS, any case"),
        pytest.param("dialog;sla", Event("dialog", ""), id="Cisco SPA: shared line"),
        pytest.param("dialog;call-id=a;from-tag=b;include-session-description", Event("dialog", ""), id="RFC 4235 3.2"),
        pytest.param("dialog.winfo", Event("dialog.winfo", ""), id="RFC 3857: another package"),
        pytest.param("Dialog", Event("Dialog", ""), id="RFC 6665 8.2.1: compared byte by byte"),
        pytest.param("", Event("", ""), id="nothing"),
    ],
)
def test_event(value: str, event: Event) -> None:
    assert parse_event(value) == event


@pytest.mark.parametrize(
    ("values", "accepted"),
    [
        pytest.param([], True, id="RFC 6665 4.2.1.3: none means the package's default"),
        pytest.param([""], False, id="RFC 3261 20.1: an empty one means nothing is acceptable"),
        pytest.param([DIALOG_INFO], True, id="the type itself"),
        pytest.param(["Application/Dialog-Info+XML"], True, id="RFC 2045 5.1: any case"),
        pytest.param([f"{DIALOG_INFO};version=1.0"], True, id="parameters are ignored"),
        pytest.param(["application/pidf+xml, " + DIALOG_INFO], True, id="one of several"),
        pytest.param(
            ["multipart/related", "application/rlmi+xml", DIALOG_INFO], True, id="Linphone: three Accept lines"
        ),
        pytest.param(["application/*"], True, id="RFC 3261 20.1: a range"),
        pytest.param(["*/*"], True, id="RFC 3261 20.1: all"),
        pytest.param(["application/pidf+xml"], False, id="RFC 6665 4.2.1.3: something else only: 406"),
        pytest.param(["text/*"], False, id="another range"),
        pytest.param([f"{DIALOG_INFO};q=0"], False, id="RFC 2616 14.1: q=0 is not acceptable"),
        pytest.param([f"*/*, {DIALOG_INFO};q=0.0"], False, id="RFC 2616 14.1: the most specific counts"),
        pytest.param([f"*/*;q=0, {DIALOG_INFO}"], True, id="RFC 2616 14.1: in either order"),
        pytest.param([f"{DIALOG_INFO};q=high"], True, id="a broken q"),
    ],
)
def test_accepts(values: list[str], accepted: bool) -> None:
    assert accepts(values, DIALOG_INFO) is accepted
