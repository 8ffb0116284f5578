"""SIP messages (RFC 3261 section 7): bytes to headers and back.

A message is split once, its headers are parsed only when asked for. Text is UTF-8; it is decoded here and encoded in
`response` and nowhere else. A request that is wrong but can be answered carries a `defect`; bytes that cannot even be
answered raise MalformedMessage.
"""

from typing import NamedTuple

from sipresence.errors import MalformedMessage
from sipresence.sip.flow import Flow
from sipresence.sip.headers import MAGIC, CSeq, Via, parameter, parse_cseq, parse_name_addr, parse_via, split_list

MAX_HEADERS = 128
MAX_HEAD_BYTES = 16_384

COMPACT = {
    "a": "accept-contact",
    "b": "referred-by",
    "c": "content-type",
    "d": "request-disposition",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "j": "reject-contact",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
    "x": "session-expires",
}
_TOKEN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-.!%*_+`'~")
_SINGLE = frozenset(
    ("call-id", "content-length", "content-type", "cseq", "event", "expires", "from", "max-forwards", "to")
)
_NEEDED = ("from", "to", "call-id", "cseq")
_KNOWN = {
    # The usual spellings, looked up instead of lowered and checked: half the cost of a header line.
    name: name.lower()
    for name in (
        "Accept", "Allow", "Allow-Events", "Authorization", "Call-ID", "CSeq", "Contact", "Content-Length",
        "Content-Type", "Event", "Expires", "From", "Max-Forwards", "Record-Route", "Require", "Retry-After", "Route",
        "Supported", "To", "User-Agent", "Via",
    )
} | COMPACT  # fmt: skip

REASONS = {
    100: "Trying", 200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 406: "Not Acceptable", 415: "Unsupported Media Type", 416: "Unsupported URI Scheme",
    420: "Bad Extension", 421: "Extension Required", 423: "Interval Too Brief", 481: "Call/Transaction Does Not Exist",
    482: "Loop Detected", 483: "Too Many Hops", 489: "Bad Event", 500: "Server Internal Error",
    501: "Not Implemented", 503: "Service Unavailable", 505: "Version Not Supported", 513: "Message Too Large",
}  # fmt: skip


class HeaderNames(NamedTuple):
    """How the headers of our own requests are spelled: in full, or compact (section 7.3.3) to stay below the MTU."""

    via: str = "Via"
    from_: str = "From"
    to: str = "To"
    call_id: str = "Call-ID"
    contact: str = "Contact"
    event: str = "Event"
    content_type: str = "Content-Type"
    content_length: str = "Content-Length"


LONG_NAMES = HeaderNames()
COMPACT_NAMES = HeaderNames("v", "f", "t", "i", "m", "o", "c", "l")


class Defect(NamedTuple):
    """Why a request that can be answered is refused before anybody looks at it."""

    status: int
    reason: str


class _Headers:
    """Header fields by lower-case name: the first value of each, and the further ones of those that repeat."""

    __slots__ = ("_first", "_further")

    def __init__(self, first: dict[str, str], further: dict[str, list[str]]) -> None:
        self._first = first
        self._further = further

    def get(self, name: str) -> str | None:
        """The first value, or None; the name in lower case."""
        return self._first.get(name)

    def all(self, name: str) -> list[str]:
        """Every value, in order of appearance."""
        first = self._first.get(name)
        if first is None:
            return []
        return [first, *self._further[name]] if name in self._further else [first]


class Request(_Headers):
    """A request as it came in. `flow` is where from; `via` its top Via, stamped with that source."""

    __slots__ = ("_cseq", "_from_tag", "_to_tag", "body", "defect", "flow", "method", "uri", "via")

    def __init__(
        self, method: str, uri: str, *, headers: _Headers, body: bytes, flow: Flow, via: Via, defect: Defect | None
    ) -> None:
        super().__init__(headers._first, headers._further)
        self.method = method
        self.uri = uri
        self.body = body
        self.flow = flow
        self.via = via
        self.defect = defect
        self._cseq: int | None = None  # each of these is asked for several times
        self._from_tag: str | None = None
        self._to_tag: str | None = None

    @property
    def call_id(self) -> str:
        return self._first.get("call-id", "")

    @property
    def cseq(self) -> int:
        """The CSeq number; 0 where it is missing or malformed, which then is the request's defect."""
        if self._cseq is None:
            try:
                self._cseq = parse_cseq(self._first.get("cseq", "")).number
            except MalformedMessage:
                self._cseq = 0
        return self._cseq

    @property
    def from_tag(self) -> str:
        if self._from_tag is None:
            self._from_tag = _tag(self._first.get("from", ""))
        return self._from_tag

    @property
    def to_tag(self) -> str:
        if self._to_tag is None:
            self._to_tag = _tag(self._first.get("to", ""))
        return self._to_tag

    @property
    def transaction_key(self) -> tuple[str, ...]:
        """What its retransmissions share (RFC 3261 section 17.2.3)."""
        via = self.via
        if via.branch.startswith(MAGIC) and len(via.branch) > len(MAGIC):
            return (via.branch, via.sent_by, self.method)
        first = self._first  # an RFC 2543 peer
        return (self.uri, first.get("to", ""), first.get("from", ""), self.call_id, first.get("cseq", ""), via.stamped)


class Response(_Headers):
    """A response as it came in."""

    __slots__ = ("status",)

    def __init__(self, status: int, headers: _Headers) -> None:
        super().__init__(headers._first, headers._further)
        self.status = status

    @property
    def branch(self) -> str:
        """The branch of its Via; "" without, and for one that is not for us.

        "If more than one Via header field value is present in a response, the UAC SHOULD discard the message"
        (section 8.1.3.3).
        """
        via = self._first.get("via", "")
        return "" if "," in via or "via" in self._further else parameter(via, "branch") or ""

    @property
    def cseq(self) -> CSeq:
        return parse_cseq(self._first.get("cseq", ""))

    @property
    def retry_after(self) -> int | None:
        """Seconds of Retry-After, or None; a comment or parameters after the number are ignored (section 20.33)."""
        digits = (self._first.get("retry-after") or "").partition(";")[0].partition("(")[0].strip()
        return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 9 else None


def _tag(value: str) -> str:
    try:
        return parse_name_addr(value).tag
    except MalformedMessage:
        return ""


def parse(data: bytes, flow: Flow) -> Request | Response:
    """Parse one datagram, or one message cut out of a stream.

    Raises MalformedMessage for what can be neither used nor answered.
    """
    head, body = _split(data)
    try:
        text, defect = head.decode(), None
    except UnicodeDecodeError:
        text, defect = head.decode(errors="surrogateescape"), Defect(400, "Not UTF-8")
    if "\r\n " in text or "\r\n\t" in text:
        text = _unfold(text)
    start, *lines = text.split("\r\n")
    # A stray CR or LF inside a value would become a line of its own in what we send on.
    if text.count("\n") != len(lines) or text.count("\r") != len(lines) or ("\0" in text and _has_bare_nul(text)):
        raise MalformedMessage("a control character in a header")
    headers, fault = _headers(lines)
    if start[:8].upper() == "SIP/2.0 ":
        return _response(start, headers, body)
    return _request(start, headers, body, flow=flow, defect=defect or fault)


def _split(data: bytes) -> tuple[bytes, bytes]:
    data = data.lstrip(b"\r\n") if data[:1] in (b"\r", b"\n") else data
    end = data.find(b"\r\n\r\n")
    if end < 0:
        raise MalformedMessage("headers without their end")
    if end > MAX_HEAD_BYTES:
        raise MalformedMessage("headers too long")
    return data[:end], data[end + 4 :]


def _unfold(text: str) -> str:
    """Join continuation lines (section 7.3.1)."""
    lines: list[str] = []
    for line in text.split("\r\n"):
        if line[:1] in (" ", "\t") and lines:
            lines[-1] = f"{lines[-1].rstrip()} {line.strip()}"
        else:
            lines.append(line)
    return "\r\n".join(lines)


def _has_bare_nul(text: str) -> bool:
    """A quoted pair may hold one: `quoted-pair = "\\" (%x00-09 / …)` (section 25.1)."""
    return "\0" in text.replace("\\\0", "")


def _headers(lines: list[str]) -> tuple[_Headers, Defect | None]:
    first: dict[str, str] = {}
    further: dict[str, list[str]] = {}
    defect = None
    for line in lines:
        name, colon, value = line.partition(":")
        key = _KNOWN.get(name) or _canonical(name)
        if not colon or not key:
            # "A UAS SHOULD ignore any malformed header fields that are not necessary for processing requests" (8.2.2).
            continue
        if key in first:
            further.setdefault(key, []).append(value.strip())
        else:
            first[key] = value.strip()
    if len(lines) > MAX_HEADERS:
        defect = Defect(400, "Too many headers")
    elif further and not _SINGLE.isdisjoint(further):
        defect = Defect(400, "Repeated header")
    return _Headers(first, further), defect


def _canonical(name: str) -> str:
    name = name.strip().lower()
    return COMPACT.get(name, name) if _TOKEN.issuperset(name) else ""


def _request(start: str, headers: _Headers, body: bytes, *, flow: Flow, defect: Defect | None) -> Request:
    method, _, rest = start.partition(" ")
    uri, _, version = rest.rstrip(" ").rpartition(" ")
    if not method or not _TOKEN.issuperset(method.lower()) or version[:4].upper() != "SIP/":
        raise MalformedMessage("no request line")
    top = headers.get("via")
    if top is None:
        raise MalformedMessage("a request without Via")
    if "," in top:
        top, *later = split_list(top) or [""]
        headers._further["via"] = [*later, *headers._further.get("via", ())]
    via = parse_via(top, host=flow.host, port=flow.port)
    headers._first["via"] = via.stamped
    if defect is None:
        defect = _defect(method, uri, version, headers=headers, body=body)
        if start[-1:] == " ":
            defect = Defect(400, "Malformed request line")
    return Request(method, uri, headers=headers, body=_body(headers, body, defect), flow=flow, via=via, defect=defect)


def _defect(method: str, uri: str, version: str, *, headers: _Headers, body: bytes) -> Defect | None:
    if version.upper() != "SIP/2.0":
        return Defect(505, "")
    for via in headers._further.get("via", ()):
        if via[:3].upper() != "SIP":
            return Defect(400, "Malformed Via")
    if not uri or " " in uri or "\t" in uri:
        return Defect(400, "Malformed Request-URI")
    for name in _NEEDED:
        if not headers.get(name):
            return Defect(400, f"Missing {name}")
    try:
        cseq = parse_cseq(headers.get("cseq") or "")
        parse_name_addr(headers.get("to") or "")
        parse_name_addr(headers.get("from") or "")
    except MalformedMessage as error:
        return Defect(400, f"Malformed: {error}")
    if cseq.method != method:
        return Defect(400, "CSeq names another method")
    return None if _fits(headers, body) else Defect(400, "Content-Length does not fit")


def _fits(headers: _Headers, body: bytes) -> bool:
    """Whether all of the body is there."""
    length = headers.get("content-length")
    return length in (None, "0") or (
        length.isascii() and length.isdigit() and len(length) <= 10 and int(length) <= len(body)
    )


def _body(headers: _Headers, body: bytes, defect: Defect | None) -> bytes:
    """The body that Content-Length tells: "if present, the bytes after it MUST be discarded" (section 18.3)."""
    length = headers.get("content-length")
    return body[: int(length)] if length is not None and defect is None else body


def _response(start: str, headers: _Headers, body: bytes) -> Response:
    status = start[8:11]
    if not (status.isascii() and status.isdigit() and 100 <= int(status) <= 699 and start[11:12] in ("", " ")):
        raise MalformedMessage("no status line")
    if not _fits(headers, body):
        # "If the transport packet ends before the end of the message body, … If the message is a response, it MUST be
        # discarded" (section 18.3).
        raise MalformedMessage("a response without all of its body")
    return Response(int(status), headers)


def response(request: Request, status: int, *, to_tag: str, headers: str = "", reason: str = "") -> bytes:
    """Write a response without a body (RFC 3261 section 8.2.6). `headers` are complete lines, each ended by CRLF."""
    lines = [f"SIP/2.0 {status} {reason or REASONS.get(status, '')}"]
    lines += [f"Via: {via}" for via in request.all("via")]
    origin, to = request.get("from"), request.get("to")
    if origin is not None:
        lines.append(f"From: {origin}")
    if to is not None:
        lines.append(f"To: {to}" if request.to_tag else f"To: {to};tag={to_tag}")
    call_id, cseq = request.get("call-id"), request.get("cseq")
    if call_id is not None:
        lines.append(f"Call-ID: {call_id}")
    if cseq is not None:
        lines.append(f"CSeq: {cseq}")
    lines.append(f"{headers}Content-Length: 0\r\n\r\n")
    return "\r\n".join(lines).encode(errors="surrogateescape")
