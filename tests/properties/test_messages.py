"""Messages, headers, URIs and streams under arbitrary input."""

import re
import string
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from sipresence.errors import MalformedMessage, SipError
from sipresence.sip import uas
from sipresence.sip.answer import response
from sipresence.sip.dialog import remote_target, route_set, targeting
from sipresence.sip.framing import StreamFramer
from sipresence.sip.headers import (
    NameAddr,
    accepts,
    parse_cseq,
    parse_event,
    parse_name_addr,
    parse_seconds,
    parse_via,
    split_list,
)
from sipresence.sip.message import Request, Response, parse
from sipresence.sip.transaction import TransactionLayer, Transmit
from sipresence.sip.uri import Uri, join_host_port, parse_uri
from tests.builders import flow, options, request, response_to, subscribe

quick = settings(deadline=None, max_examples=150)

TORTURE = [path.read_bytes() for path in sorted((Path(__file__).parent.parent / "data" / "torture").glob("*.dat"))]
NOTIFY = request("NOTIFY", via="SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bKt1.7")
SEEDS = [
    subscribe(headers={"Record-Route": '"P" <sip:p1;lr>, <sip:p2;lr>', "Require": "100rel, x", "User-Agent": "a (b)"}),
    subscribe(compact=True, via=["SIP/2.0/UDP h;rport;branch=z9hG4bK1, SIP/2.0/TCP [::1]:5061;x=\",\""], body=b"<x/>"),
    response_to(NOTIFY, 503, "Retry-After: 5 (later)\r\n"),
    *TORTURE,
]  # fmt: skip

TOKEN = st.text(string.ascii_letters + string.digits + "-.!%*_+`'~", min_size=1, max_size=12)
LINE = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=20)
LABEL = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=10)
HOST = st.one_of(
    st.lists(LABEL, min_size=1, max_size=3).map(".".join), st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str)
)
PORT = st.one_of(st.just(0), st.integers(1, 65535))
USER = st.text(string.ascii_letters + string.digits + "-_.!~*'()&=+$,;?/%:", max_size=12)
PARAMS = st.lists(st.one_of(LABEL, st.tuples(LABEL, LABEL).map("=".join)), max_size=3).map(
    lambda params: "".join(f";{param}" for param in params)
)
QUOTED = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=12).map(
    lambda text: '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'
)


def written(uri: Uri) -> str:
    at = f"{uri.user}@" if uri.user else ""
    return f"{uri.scheme}:{at}{join_host_port(uri.host, uri.port)}{uri.params}"


URI = st.builds(Uri, st.sampled_from(["sip", "sips"]), USER, HOST, PORT, PARAMS)


@quick
@given(URI)
def test_a_uri_and_back(uri: Uri) -> None:
    assert parse_uri(written(uri)) == uri


@quick
@given(st.one_of(QUOTED, st.lists(TOKEN, max_size=2).map(" ".join)), URI, PARAMS)
def test_a_name_addr_and_back(display: str, uri: Uri, params: str) -> None:
    text = f"{display} <{written(uri)}>{params}".strip()
    assert parse_name_addr(text) == NameAddr(written(uri), params)
    assert split_list(f"{text} , {text}") == [text, text]


@quick
@given(st.integers(0, 2**31 - 1), TOKEN, st.sampled_from([" ", "\t", "   "]))
def test_a_cseq_and_back(number: int, method: str, space: str) -> None:
    assert parse_cseq(f"{number}{space}{method}") == (number, method)


@quick
@given(HOST, PORT, TOKEN, st.booleans(), HOST, st.integers(1, 65535))
def test_a_via_is_stamped_once(sent_by: str, port: int, branch: str, rport: bool, host: str, source_port: int) -> None:
    value = f"SIP/2.0/UDP {join_host_port(sent_by, port)}{';rport' if rport else ''};branch={branch}"
    via = parse_via(value, host=host, port=source_port)
    assert (via.sent_by, via.branch, via.rport) == (join_host_port(sent_by, port), branch, rport)
    assert (f";rport={source_port}" in via.stamped) is rport
    assert via.stamped.endswith(f";received={host}") is (rport or sent_by != host)
    assert parse_via(via.stamped, host=host, port=source_port).stamped == via.stamped


EXTRA = st.lists(st.tuples(TOKEN.map(lambda name: f"X-{name}"), LINE.map(str.strip)), max_size=5)


@quick
@given(URI, URI, TOKEN, TOKEN, st.integers(0, 2**31 - 1), EXTRA, st.binary(max_size=40), st.booleans(), st.booleans())
def test_a_message_and_back(
    uri: Uri,
    to: Uri,
    call_id: str,
    tag: str,
    cseq: int,
    extra: list[tuple[str, str]],
    body: bytes,
    compact: bool,
    folded: bool,
) -> None:
    data = subscribe(
        uri=written(uri), to=f"<{written(to)}>", call_id=call_id, from_tag=tag, to_tag=tag, cseq=cseq, headers=extra,
        body=body, compact=compact,
    )  # fmt: skip
    if folded:
        head, end, _ = data.partition(b"\r\n\r\n")
        start, rest = head.split(b"\r\n", 1)
        data = start + b"\r\n" + rest.replace(b": ", b":\r\n ") + end + body
    message = parse(data, flow())
    assert isinstance(message, Request)
    assert message.defect is None
    assert (message.method, message.uri, message.call_id) == ("SUBSCRIBE", written(uri), call_id)
    assert (message.from_tag, message.to_tag, message.cseq) == (tag, tag, cseq)
    assert message.get("to") == f"<{written(to)}>;tag={tag}"
    assert message.body == body
    if not folded:
        for name, _ in extra:
            assert message.all(name.lower()) == [value for other, value in extra if other.lower() == name.lower()]


# Streams

STREAMS = st.lists(
    st.sampled_from([b"\r\n\r\n", b"\r\n", subscribe(), options(body=b"\r\n\r\nOPTIONS sip:a@b SIP/2.0\r\n"), SEEDS[1],
                     response_to(NOTIFY), b"OPTIONS sip:a@b SIP/2.0\r\nl: x\r\n\r\n", b"\r"]),
    max_size=5,
).map(b"".join)  # fmt: skip


def cut(portions: list[bytes]) -> tuple[list[bytes], bool, int]:
    """The messages of a stream, whether it could be followed to its end, and the pings in it."""
    framer = StreamFramer()
    messages: list[bytes] = []
    try:
        for portion in portions:
            messages.extend(framer.feed(portion))
    except MalformedMessage:
        return messages, False, framer.pings
    return messages, True, framer.pings


@settings(deadline=None, max_examples=300)
@given(st.one_of(STREAMS, st.binary(max_size=200)), st.data())
def test_any_cutting_gives_the_same_messages(stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    portions = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    whole = cut([stream])
    # The list that was being filled when the fault came keeps what came before it: `extend` takes one by one.
    assert cut(portions) == whole
    assert cut([bytes([byte]) for byte in stream]) == whole


# Whatever comes in


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid message with some bytes replaced, removed, doubled or moved."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 12))
        filling = draw(
            st.one_of(
                st.just(b""),
                st.sampled_from(
                    [b"\r\n", b"\r\n ", b"\0", b'"', b"<", b">", b",", b";", b":", b"\\", b"\xff", b"@", b"%"]
                ),
                st.just(bytes(data[start : start + length]) * 2),
                st.binary(max_size=4),
                st.integers(0, 5000).map(lambda count: b"9" * count),
            )
        )
        data[start : start + length] = filling
    return bytes(data)


@settings(deadline=None, max_examples=500)
@given(st.one_of(mutated(), st.binary(max_size=300)))
@example(options(headers={"Content-Length": "0" * 5000}))
@example(subscribe(contact=","))
@example(subscribe(headers={"Record-Route": ","}))
def test_nothing_but_the_documented_errors(data: bytes) -> None:
    try:
        message = parse(data, flow())
    except MalformedMessage:
        return
    if isinstance(message, Response):
        see_response(message)
    else:
        see_request(message)


def see_response(message: Response) -> None:
    layer = TransactionLayer(t1=0.5, token=lambda: "t1")
    branch = layer.branch(7)
    layer.send(7, branch=branch, call_id="call-1@192.0.2.7", cseq=12, transmit=Transmit(b"", flow(), ("h", 1)), now=0.0)
    effects = layer.receive_response(message)
    assert len(effects) == (message.status >= 200 and not layer.stray_responses)


def see_request(message: Request) -> None:
    """Read all that is ever read of a request; answer it."""
    asked = (message.call_id, message.cseq, message.from_tag, message.to_tag, message.transaction_key)
    assert asked == (message.call_id, message.cseq, message.from_tag, message.to_tag, message.transaction_key)
    for read in (read_values, aim):
        try:
            read(message)
        except (MalformedMessage, SipError):
            continue
    assert_answer(message)


def read_values(message: Request) -> None:
    uas.refuse_method(message, ("SUBSCRIBE", "OPTIONS", message.method))
    uas.refuse_hops(message)
    uas.refuse_extensions(message)
    uas.refuse_scheme(message)
    assert parse_uri(message.uri).unescaped_user is not None
    parse_event(message.get("event") or "")
    accepts(message.all("accept"), "application/dialog-info+xml")
    parse_seconds(message.get("expires") or "")


def aim(message: Request) -> None:
    routes = route_set(message)
    aimed = targeting(contact=remote_target(message), routes=routes, flow=message.flow, direct=not routes)
    for text in (aimed.request_uri, aimed.route):
        assert "\r" not in text
        assert "\n" not in text


def assert_answer(message: Request) -> None:
    """An answer can be read, has one To tag, and the same Via, From, Call-ID and CSeq as the request."""
    answer = parse(response(message, 400, to_tag="ours"), flow())
    assert isinstance(answer, Response)
    assert answer.status == 400
    assert answer.all("via") == message.all("via")
    for name in ("from", "call-id", "cseq"):
        assert answer.get(name) == message.get(name)
        assert len(answer.all(name)) == (message.get(name) is not None)
    to = message.get("to")
    if to is not None:
        assert answer.get("to") == (to if message.to_tag else f"{to};tag=ours")
