"""Messages: what parse takes, what it marks as a defect, what it throws away, and what a response repeats."""

import pytest

from sipresence.errors import MalformedMessage
from sipresence.sip.answer import response
from sipresence.sip.message import MAX_HEAD_BYTES, MAX_HEADERS, Request, Response, parse
from tests.builders import Fields, flow, options, parsed, parsed_response, request, response_to, subscribe

VIA = "SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK1"


def lines(data: bytes) -> list[str]:
    return data.decode().split("\r\n")


def test_a_subscribe() -> None:
    message = parsed(subscribe(to_tag="server-1", cseq=7, body=b"<xml/>"))
    assert (message.method, message.uri) == ("SUBSCRIBE", "sip:101@office.example.com")
    assert (message.from_tag, message.to_tag, message.call_id) == ("phone-1", "server-1", "call-1@192.0.2.7")
    assert message.cseq == 7
    assert message.get("event") == "dialog"
    assert message.body == b"<xml/>"
    assert message.defect is None
    assert message.flow == flow()


def test_compact_forms_mean_the_same() -> None:
    """RFC 3261 section 7.3.3, and `o` and `u` of RFC 6665 section 8.2."""
    extra = {"Supported": "eventlist", "Allow-Events": "dialog", "Content-Type": "a/b", "Content-Encoding": "deflate"}
    names = ("via", "from", "to", "call-id", "contact", "event", "content-length", *map(str.lower, extra))
    compact, plain = (parsed(subscribe(compact=form, headers=extra)) for form in (True, False))
    assert [compact.all(name) for name in names] == [plain.all(name) for name in names]


@pytest.mark.parametrize(
    ("written", "name", "values"),
    [
        pytest.param("SUBJECT:x", "subject", ["x"], id="RFC 3261 7.3.1: names in any case, no space"),
        pytest.param("Subject \t :  x  ", "subject", ["x"], id="RFC 3261 7.3.1: HCOLON"),
        pytest.param("Subject: a\r\n  b\r\n\tc", "subject", ["a b c"], id="RFC 3261 7.3.1: folding"),
        pytest.param("Subject:\r\n a", "subject", ["a"], id="RFC 4475 3.1.1.1: folded before the value"),
        pytest.param("Subject: a\r\nSubject: b", "subject", ["a", "b"], id="RFC 3261 7.3.1: in order"),
        pytest.param("Subject: a\r\ns: b", "subject", ["a", "b"], id="long and compact mixed"),
        pytest.param("Subject:", "subject", [""], id="empty"),
        pytest.param("Subject: a:b", "subject", ["a:b"], id="a colon in the value"),
        pytest.param("Subject: \u00e9\u4e2d", "subject", ["\u00e9\u4e2d"], id="RFC 3261 25.1: UTF-8"),
        pytest.param("Message-Body: x", "message-body", ["x"], id="Grandstream REALLY uses it"),
        pytest.param("x-!.%*+_`'~: x", "x-!.%*+_`'~", ["x"], id="RFC 4475 3.1.1.2: any token"),
        pytest.param("C%6Fntact: x", "c%6fntact", ["x"], id="RFC 4475 3.1.1.5: no escapes in names"),
        pytest.param("no colon", "no colon", [], id="RFC 3261 8.2.2: ignore malformed header fields"),
        pytest.param("two words: x", "two words", [], id="nor is this a header"),
        pytest.param(": x", "", [], id="nor this"),
        pytest.param("Subject: \\\0", "subject", ["\\\0"], id="RFC 4475 3.1.1.2: a quoted pair may be NUL"),
    ],
)
def test_header_lines(written: str, name: str, values: list[str]) -> None:
    data = options().replace(b"\r\n\r\n", f"\r\n{written}\r\n\r\n".encode())
    message = parsed(data)
    assert message.defect is None
    assert message.all(name) == values
    assert message.get(name) == (values[0] if values else None)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        pytest.param({"to": None}, 400, id="RFC 3261 8.1.1: To"),
        pytest.param({"from_": None}, 400, id="RFC 3261 8.1.1: From"),
        pytest.param({"call_id": None}, 400, id="RFC 3261 8.1.1: Call-ID"),
        pytest.param({"call_id": ""}, 400, id="an empty Call-ID"),
        pytest.param({"cseq": None}, 400, id="RFC 3261 8.1.1: CSeq"),
        pytest.param({"cseq": "1 INVITE"}, 400, id="RFC 4475 3.1.2.17: CSeq of another method"),
        pytest.param({"cseq": "1"}, 400, id="CSeq without method"),
        pytest.param({"cseq": "2147483648 OPTIONS"}, 400, id="RFC 3261 8.1.1.5: CSeq below 2**31"),
        pytest.param({"to": '"Mr <sip:a@b>'}, 400, id="RFC 4475 3.1.2.6: unterminated quote"),
        pytest.param({"from_": "<sip:a@b"}, 400, id="unterminated address"),
        pytest.param({"uri": "sip:a@b; lr"}, 400, id="RFC 4475 3.1.2.8: LWS in the Request-URI"),
        pytest.param({"uri": " sip:a@b"}, 400, id="RFC 4475 3.1.2.9: several SP"),
        pytest.param({"uri": "sip:a@b\t"}, 400, id="a tab"),
        pytest.param({"uri": ""}, 400, id="no Request-URI"),
        pytest.param({"headers": {"Content-Length": "1"}}, 400, id="RFC 3261 18.3: the datagram ends too early"),
        pytest.param({"headers": {"Content-Length": "-1"}}, 400, id="RFC 4475 3.1.2.3: negative"),
        pytest.param({"headers": {"Content-Length": ""}}, 400, id="empty"),
        pytest.param({"headers": {"Content-Length": "0" * 5000}}, 400, id="python: int() refuses over 4300 digits"),
        pytest.param({"headers": {"Content-Length": "0000000000999"}}, 400, id="more than it first looks like"),
        pytest.param({"headers": [("l", "0"), ("Content-Length", "0")]}, 400, id="RFC 4475 3.3.9: two"),
        pytest.param({"headers": {"i": "another"}}, 400, id="RFC 4475 3.3.8: two Call-IDs"),
        pytest.param({"headers": {"To": "sip:c@d"}}, 400, id="RFC 4475 3.3.8: two To"),
        pytest.param({"headers": {"Max-Forwards": "5"}}, 400, id="RFC 4475 3.3.8: two Max-Forwards"),
        pytest.param({"via": f"{VIA};,;,,"}, 400, id="RFC 4475 3.1.2.1: separators without values"),
        pytest.param({"via": [VIA, "garbage"]}, 400, id="a second Via that is none"),
        pytest.param({"headers": [(f"X-{n}", "x") for n in range(MAX_HEADERS)]}, 400, id="too many headers"),
        pytest.param({"headers": {"Subject": "\udcff"}}, 400, id="RFC 3261 25.1: not UTF-8"),
    ],
)
def test_defects(fields: Fields, status: int) -> None:
    """What is wrong with these can be answered."""
    message = parsed(options(**fields))
    assert message.defect is not None
    assert message.defect.status == status
    assert parsed_response(response(message, status, to_tag="x")).status == status


@pytest.mark.parametrize(
    ("start", "status"),
    [
        pytest.param(b"OPTIONS sip:a@b SIP/7.0", 505, id="RFC 4475 3.1.2.16"),
        pytest.param(b"OPTIONS sip:a@b sip/3.0", 505, id="RFC 3261 7.1: SIP-Version in any case"),
        pytest.param(b"OPTIONS sip:a@b SIP/2.0  ", 400, id="RFC 4475 3.1.2.10: SP at the end"),
    ],
)
def test_defects_of_the_start_line(start: bytes, status: int) -> None:
    message = parsed(start + options()[options().index(b"\r\n") :])
    assert message.defect is not None
    assert message.defect.status == status


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\r\n\r\n", id="a keep-alive"),
        pytest.param(b"\0\0\0\0", id="a NAT keep-alive of Cisco SPA"),
        pytest.param(b"\r\n\r\n\r\n\r\n", id="many line ends"),
        pytest.param(b"OPTIONS sip:a@b SIP/2.0\r\nVia: " + VIA.encode(), id="cut off"),
        pytest.param(options().replace(b"\r\n", b"\n"), id="RFC 3261 7: lines end in CRLF"),
        pytest.param(options(via=None), id="no Via: nowhere to answer to"),
        pytest.param(options(via="garbage"), id="a Via that is none"),
        pytest.param(options(via=","), id="a Via of separators"),
        pytest.param(options().replace(b" SIP/2.0\r\n", b"\r\n", 1), id="no version"),
        pytest.param(options().replace(b"SIP/2.0", b"HTTP/1.1", 1), id="another protocol"),
        pytest.param(options().replace(b"OPTIONS", b"OPT(IONS", 1), id="a method that is no token"),
        pytest.param(options(headers={"Subject": "a\rb"}), id="a stray CR"),
        pytest.param(options(headers={"Subject": "a\nVia: b"}), id="a stray LF would become a header of our answer"),
        pytest.param(options(headers={"Subject": "a\0b"}), id="NUL outside a quoted pair"),
        pytest.param(options(headers={"Subject": "x" * MAX_HEAD_BYTES}), id="headers too long"),
        pytest.param(b"SIP/2.0 4294967301 better not\r\n\r\n", id="RFC 4475 3.1.2.19: status code too large"),
        pytest.param(b"SIP/2.0 2000 OK\r\n\r\n", id="four digits"),
        pytest.param(b"SIP/2.0 099 OK\r\n\r\n", id="below 100"),
        pytest.param(b"SIP/2.0 700 OK\r\n\r\n", id="RFC 3261 7.2: above 699"),
        pytest.param(b"SIP/2.0 OK\r\n\r\n", id="no status"),
        pytest.param(b"SIP/2.0 200 OK\r\nl: 5\r\n\r\nbody", id="RFC 3261 18.3: a response cut short is discarded"),
    ],
)
def test_neither_used_nor_answered(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        parse(data, flow())


@pytest.mark.parametrize(
    ("length", "body"),
    [
        pytest.param("2", b"ab", id="RFC 3261 18.3: what is after it is discarded"),
        pytest.param("0", b"", id="RFC 4475 3.1.1.8: extra octets in a datagram"),
        pytest.param("002", b"ab", id="leading zeros"),
        pytest.param(None, b"abcd", id="RFC 3261 18.3: without it, to the end of the datagram"),
    ],
)
def test_body(length: str | None, body: bytes) -> None:
    data = options(body=b"abcd", headers={"Content-Length": length or ""})
    if length is None:
        data = data.replace(b"Content-Length: \r\n", b"")
    assert parsed(data).body == body


def test_line_ends_before_the_start_line() -> None:
    """RFC 3261 section 7.5: "implementations … SHOULD ignore any CRLF appearing before the start-line"."""
    assert parsed(b"\r\n\r\n" + options()).method == "OPTIONS"


def test_several_vias_in_one_header() -> None:
    """RFC 3261 section 7.3.1: the first is the top one, wherever the commas are."""
    message = parsed(options(via=[f'{VIA};x="a,b", SIP/2.0/TCP p1;branch=z9', "SIP/2.0/UDP p2"]))
    assert message.via.branch == "z9hG4bK1"
    assert message.all("via") == [f'{VIA};x="a,b"', "SIP/2.0/TCP p1;branch=z9", "SIP/2.0/UDP p2"]


# Transactions


def key(method: str = "OPTIONS", *, sent_by: str = "h", branch: str = "z9hG4bK1") -> tuple[str, ...]:
    return parsed(request(method, via=f"SIP/2.0/UDP {sent_by};branch={branch}")).transaction_key


def test_transaction_key() -> None:
    """RFC 3261 section 17.2.3: branch, sent-by and method."""
    assert key() == key()
    assert len({key(), key(branch="z9hG4bK2"), key(sent_by="h:5061"), key("SUBSCRIBE")}) == 4


@pytest.mark.parametrize("branch", ["", "1", "z9hG4bK"], ids=["RFC 2543", "RFC 2543: any", "RFC 4475 3.2.1: empty"])
@pytest.mark.parametrize(
    "other",
    [{"call_id": "2"}, {"cseq": 2}, {"from_tag": "2"}, {"to_tag": "2"}, {"uri": "sip:b"}, {"via": "SIP/2.0/UDP i"}],
)
def test_transaction_key_without_a_branch(branch: str, other: Fields) -> None:
    """RFC 3261 section 17.2.3: Request-URI, tags, Call-ID, CSeq and Via, where the branch says nothing."""
    fields: Fields = {"via": f"SIP/2.0/UDP h;branch={branch}"}
    first, again = parsed(options(**fields)), parsed(options(**fields))
    assert first.transaction_key == again.transaction_key
    fields.update(other)
    assert parsed(options(**fields)).transaction_key != first.transaction_key


# Responses


def test_a_response_repeats_what_names_the_transaction() -> None:
    """RFC 3261 section 8.2.6.2."""
    asked = parsed(subscribe(via=[f"{VIA};rport", "SIP/2.0/UDP p;branch=z9"], headers={"Record-Route": "<sip:p;lr>"}))
    assert lines(response(asked, 200, to_tag="server-1", headers="Expires: 60\r\n")) == [
        "SIP/2.0 200 OK",
        f"Via: {VIA};rport=5060;received=192.0.2.7",
        "Via: SIP/2.0/UDP p;branch=z9",
        "From: <sip:102@office.example.com>;tag=phone-1",
        "To: <sip:101@office.example.com>;tag=server-1",
        "Call-ID: call-1@192.0.2.7",
        "CSeq: 1 SUBSCRIBE",
        "Expires: 60",
        "Content-Length: 0",
        "",
        "",
    ]


def test_a_to_tag_is_kept() -> None:
    """RFC 3261 section 8.2.6.2: "If a request contained a To tag in the request, the To … MUST equal that"."""
    asked = parsed(subscribe(to_tag="mine"))
    assert "To: <sip:101@office.example.com>;tag=mine" in lines(response(asked, 481, to_tag="other"))


def test_a_response_to_a_request_that_lacks_all() -> None:
    """RFC 4475 section 3.3.1: what was not there is not invented."""
    asked = parsed(request(to=None, from_=None, call_id=None, cseq=None, via=VIA))
    assert lines(response(asked, 400, to_tag="x")) == [
        "SIP/2.0 400 Bad Request", f"Via: {VIA}", "Content-Length: 0", "", ""
    ]  # fmt: skip


def test_a_response_gives_back_bytes_that_are_no_text() -> None:
    data = options(from_='"\udcff\udcfe" <sip:a@b>')
    assert b'From: "\xff\xfe" <sip:a@b>;tag=phone-1\r\n' in response(parsed(data), 400, to_tag="x")


@pytest.mark.parametrize(
    ("status", "reason", "line"),
    [(423, "", "SIP/2.0 423 Interval Too Brief"), (400, "Because", "SIP/2.0 400 Because"), (299, "", "SIP/2.0 299 ")],
    ids=["RFC 3261 21", "ours", "RFC 4475 3.1.1.13: it may be empty"],
)
def test_reason_phrase(status: int, reason: str, line: str) -> None:
    assert lines(response(parsed(options()), status, to_tag="x", reason=reason))[0] == line


SENT = request("NOTIFY", via="SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bKabc.7", cseq=12)


def test_a_response_that_came_in() -> None:
    answer = parsed_response(response_to(SENT, 500, "Retry-After: 18\r\n"))
    assert (answer.status, answer.branch, answer.cseq, answer.retry_after) == (500, "z9hG4bKabc.7", (12, "NOTIFY"), 18)


@pytest.mark.parametrize(
    "via",
    [
        pytest.param(None, id="no Via"),
        pytest.param("", id="an empty one"),
        pytest.param("SIP/2.0/UDP h", id="no branch"),
        pytest.param([f"{VIA}", f"{VIA}"], id="RFC 3261 8.1.3.3: more than one SHOULD be discarded"),
        pytest.param(f"{VIA}, {VIA}", id="RFC 3261 8.1.3.3: in one header too"),
    ],
)
def test_a_response_without_a_branch_of_ours(via: str | list[str] | None) -> None:
    assert parsed_response(response_to(request("NOTIFY", via=via))).branch == ""


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        pytest.param("18", 18, id="RFC 3261 20.33"),
        pytest.param("120 (I'm in a meeting)", 120, id="RFC 3261 20.33: comment"),
        pytest.param("18000;duration=3600", 18000, id="RFC 3261 20.33: parameter"),
        pytest.param("949302838503028349304023988", None, id="RFC 4475 3.1.2.5: overlarge"),
        pytest.param("soon", None, id="no number"),
        pytest.param("", None, id="empty"),
    ],
)
def test_retry_after(value: str, seconds: int | None) -> None:
    assert parsed_response(response_to(SENT, 503, f"Retry-After: {value}\r\n")).retry_after == seconds


@pytest.mark.parametrize("line", [b"SIP/2.0 200 OK", b"sip/2.0 200 ", b"SIP/2.0 200"])
def test_status_lines(line: bytes) -> None:
    """RFC 3261 section 7.2: the version in any case; a reason may be empty, and its space is forgiven."""
    assert isinstance(parse(line + b"\r\n\r\n", flow()), Response)


def test_what_a_defect_hides_reads_as_nothing() -> None:
    message = parsed(options(cseq="x", from_="<sip:a"))
    assert isinstance(message, Request)
    assert (message.cseq, message.from_tag) == (0, "")
