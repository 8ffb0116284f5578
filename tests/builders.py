"""SIP messages in one line, with sane defaults: what a desk phone at 192.0.2.7 sends to the demo office.

Every field can be given another value; None leaves its header out. The branch follows Call-ID, CSeq and method, so that
a refresh (`subscribe(cseq=2, to_tag=tag)`) is a new transaction and the same call twice is a retransmission.
"""

import re
from collections.abc import Mapping, Sequence
from typing import TypedDict, Unpack

from sipresence.sip.flow import Flow
from sipresence.sip.message import COMPACT, Request, Response, parse

PHONE = "192.0.2.7"
SERVER = "192.0.2.1:5060"
LONG_TO_COMPACT = {name: letter for letter, name in COMPACT.items()}

Pairs = Mapping[str, str] | Sequence[tuple[str, str]]


class Fields(TypedDict, total=False):
    """What can be told of a request; see `request` for the defaults."""

    uri: str
    to: str | None
    from_: str | None
    call_id: str | None
    cseq: int | str | None
    branch: str | None
    via: str | Sequence[str] | None
    contact: str | None
    expires: int | str | None
    event: str | None
    accept: str | None
    max_forwards: int | str | None
    headers: Pairs
    body: bytes
    to_tag: str
    from_tag: str
    compact: bool


def flow(
    transport: str = "UDP",
    *,
    host: str = PHONE,
    port: int = 5060,
    local: str = SERVER,
    listener: str = "",
    connection: int | None = None,
) -> Flow:
    """The way from the phone; a stream has connection 1 unless told otherwise."""
    return Flow(
        transport,
        listener or f"{transport.lower()}://0.0.0.0:5060",
        host,
        port,
        local,
        (0 if transport == "UDP" else 1) if connection is None else connection,
    )


def request(
    method: str = "OPTIONS",
    *,
    uri: str = "sip:101@office.example.com",
    to: str | None = "<sip:101@office.example.com>",
    from_: str | None = "<sip:102@office.example.com>",
    call_id: str | None = "call-1@192.0.2.7",
    cseq: int | str | None = 1,
    branch: str | None = None,
    via: str | Sequence[str] | None = (),
    contact: str | None = f"<sip:102@{PHONE}:5060>",
    expires: int | str | None = None,
    event: str | None = None,
    accept: str | None = None,
    max_forwards: int | str | None = 70,
    headers: Pairs = (),
    body: bytes = b"",
    to_tag: str = "",
    from_tag: str = "phone-1",
    compact: bool = False,
) -> bytes:
    """Write a request. `via` replaces the one top Via; `cseq` may be a number or the whole value; tags "" are left out.

    `headers` follow the others as they are; Content-Length is always right unless `headers` has one.
    """
    if branch is None:
        branch = "z9hG4bK" + re.sub(r"[^\w.-]", "-", f"{method}-{call_id}-{cseq}")
    if via == ():
        via = f"SIP/2.0/UDP {PHONE}:5060;branch={branch}"
    vias = [via] if isinstance(via, str) else list(via or ())
    extra = list(headers.items() if isinstance(headers, Mapping) else headers)
    told: list[tuple[str, object]] = [
        *(("Via", value) for value in vias),
        ("Max-Forwards", max_forwards),
        ("From", f"{from_};tag={from_tag}" if from_ is not None and from_tag else from_),
        ("To", f"{to};tag={to_tag}" if to is not None and to_tag else to),
        ("Call-ID", call_id),
        ("CSeq", f"{cseq} {method}" if isinstance(cseq, int) else cseq),
        ("Contact", contact),
        ("Event", event),
        ("Accept", accept),
        ("Expires", expires),
        *extra,
    ]
    if not any(name.lower() in ("content-length", "l") for name, _ in extra):
        told.append(("Content-Length", len(body)))
    lines = [f"{_spelt(name, compact)}: {value}" for name, value in told if value is not None]
    return "\r\n".join([f"{method} {uri} SIP/2.0", *lines, "", ""]).encode(errors="surrogateescape") + body


def _spelt(name: str, compact: bool) -> str:
    return LONG_TO_COMPACT.get(name.lower(), name) if compact else name


def subscribe(**fields: Unpack[Fields]) -> bytes:
    """A SUBSCRIBE to the lamp of 101 for an hour: `Event: dialog`, the document type accepted."""
    told: Fields = {"event": "dialog", "accept": "application/dialog-info+xml", "expires": 3600}
    told.update(fields)
    return request("SUBSCRIBE", **told)


def options(**fields: Unpack[Fields]) -> bytes:
    """An OPTIONS, as phones send it to see whether the server lives."""
    return request("OPTIONS", **fields)


def response_to(sent: bytes, status: int = 200, headers: str = "", *, reason: str = "Whatever") -> bytes:
    """A phone's answer to a request that we sent; `headers` are complete lines, each ended by CRLF."""
    wanted = (b"via", b"from", b"to", b"call-id", b"cseq")
    lines = sent.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    kept = b"".join(line + b"\r\n" for line in lines if line.partition(b":")[0].strip().lower() in wanted)
    return f"SIP/2.0 {status} {reason}\r\n".encode() + kept + f"{headers}Content-Length: 0\r\n\r\n".encode()


def parsed(data: bytes, way: Flow | None = None) -> Request:
    """Parse bytes that are a request, as it came in over `way` (by default from the phone, over UDP)."""
    message = parse(data, way or flow())
    assert isinstance(message, Request)
    return message


def parsed_response(data: bytes, way: Flow | None = None) -> Response:
    """Parse bytes that are a response."""
    message = parse(data, way or flow())
    assert isinstance(message, Response)
    return message
