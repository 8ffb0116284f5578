"""SIP messages (RFC 3261 section 7), read: bytes to headers.

A message is split once, its headers are parsed only when asked for. Text is UTF-8; it is decoded here and encoded
where we write. A request that is wrong but can be answered carries a `defect`; bytes that cannot even be answered raise
MalformedMessage.
"""

from typing import Final, NamedTuple

from sipresence.errors import MalformedMessage
from sipresence.sip.flow import Flow
from sipresence.sip.headers import (
    MAGIC,
    NameAddr,
    Via,
    parameter,
    parse_cseq,
    parse_name_addr,
    parse_via,
    split_list,
)

MAX_HEADERS: Final = 128
MAX_HEAD_BYTES: Final = 16_384

COMPACT: Final = {
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
_SINGLE: Final = frozenset(
    ("call-id", "content-length", "content-type", "cseq", "event", "expires", "from", "max-forwards", "to")
)
_NEEDED: Final = ("from", "to", "call-id", "cseq")
_METHODS: Final = {method: method for method in ("SUBSCRIBE", "PUBLISH", "REGISTER", "OPTIONS")}
"""What need not be looked at character by character, nor be kept with every transaction."""
_NO_ADDRESS: Final = NameAddr("", "")
_KNOWN: Final = {
    # The usual spellings, looked up instead of lowered and checked: half the cost of a header line.
    name: name.lower()
    for name in (
        "Accept", "Allow", "Allow-Events", "Authorization", "Call-ID", "CSeq", "Contact", "Content-Length",
        "Content-Type", "Event", "Expires", "From", "Max-Forwards", "Record-Route", "Require", "Retry-After", "Route",
        "Supported", "To", "User-Agent", "Via",
    )
} | COMPACT  # fmt: skip


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
    """A request as it came in. `flow` is where from; `via` its top Via, stamped with that source.

    What every request is asked for several times is parsed once: `cseq` is 0, `from_` and `to` are blank where the
    header is missing or malformed, which then is the request's `defect`.
    """

    __slots__ = (
        "body",
        "call_id",
        "cseq",
        "defect",
        "flow",
        "from_",
        "from_tag",
        "method",
        "to",
        "to_tag",
        "transaction_key",
        "uri",
        "via",
    )

    def __init__(  # by position: a call by keyword costs three times as much
        self,
        method: str,
        uri: str,
        first: dict[str, str],
        further: dict[str, list[str]],
        body: bytes,
        flow: Flow,
        via: Via,
        defect: Defect | None,
    ) -> None:
        self._first = first
        self._further = further
        self.method = method
        self.uri = uri
        self.body = body
        self.flow = flow
        self.via = via
        self.defect = defect
        self.call_id = first.get("call-id", "")
        self.cseq = 0
        self.from_ = self.to = _NO_ADDRESS
        self._read()
        self.from_tag = self.from_.tag
        self.to_tag = self.to.tag
        self.transaction_key = self._transaction_key()

    def _read(self) -> None:
        """Parse what is needed of every request; the first thing that is wrong is its defect, if it has none yet."""
        try:
            self.cseq, method = parse_cseq(self._first.get("cseq", ""))
            if method != self.method:
                self._blame(Defect(400, "CSeq names another method"))
        except MalformedMessage as error:
            self._blame(Defect(400, f"Malformed: {error}"))
        try:
            self.to = parse_name_addr(self._first.get("to", ""))
        except MalformedMessage as error:
            self._blame(Defect(400, f"Malformed: {error}"))
        try:
            self.from_ = parse_name_addr(self._first.get("from", ""))
        except MalformedMessage as error:
            self._blame(Defect(400, f"Malformed: {error}"))

    def _blame(self, defect: Defect) -> None:
        self.defect = self.defect or defect

    def _transaction_key(self) -> tuple[str, ...]:
        """What its retransmissions share (RFC 3261 section 17.2.3)."""
        via = self.via
        if via.branch.startswith(MAGIC) and len(via.branch) > len(MAGIC):
            return (via.branch, via.sent_by, self.method)
        first = self._first  # an RFC 2543 peer
        return (self.uri, first.get("to", ""), first.get("from", ""), self.call_id, first.get("cseq", ""), via.stamped)


class Response(_Headers):
    """A response as it came in."""

    __slots__ = ("status",)

    def __init__(self, status: int, first: dict[str, str], further: dict[str, list[str]]) -> None:
        self._first = first
        self._further = further
        self.status = status

    @property
    def branch(self) -> str:
        """The branch of its Via; "" without, and for one that is not for us.

        "If more than one Via header field value is present in a response, the UAC SHOULD discard the message"
        (section 8.1.3.3).
        """
        via = self._first.get("via", "")
        if "," in via or "via" in self._further:
            return ""
        _, found, rest = via.partition(";branch=")
        if found and '"' not in via:  # as we write it ourselves
            return rest.partition(";")[0].strip()
        return parameter(via, "branch") or ""

    @property
    def cseq(self) -> tuple[int, str]:
        """Number and method. Raises MalformedMessage."""
        return parse_cseq(self._first.get("cseq", ""))

    @property
    def retry_after(self) -> int | None:
        """Seconds of Retry-After, or None; a comment or parameters after the number are ignored (section 20.33)."""
        value = self._first.get("retry-after")
        if value is None:
            return None
        digits = value.partition(";")[0].partition("(")[0].strip()
        return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 9 else None


def parse(data: bytes, flow: Flow) -> Request | Response:
    """Parse one datagram, or one message cut out of a stream. Hot: once per message.

    Raises MalformedMessage for what can be neither used nor answered.
    """
    head, body = _split(data)
    try:
        text, defect = head.decode(), None
    except UnicodeDecodeError:
        text, defect = head.decode(errors="surrogateescape"), Defect(400, "Not UTF-8")
    lines = text.split("\r\n")
    # A stray CR or LF inside a value would become a line of its own in what we send on.
    content = "".join(lines)
    if "\n" in content or "\r" in content or ("\0" in content and _has_bare_nul(text)):
        raise MalformedMessage("a control character in a header")
    headers = _headers(lines)
    if headers is None:
        lines = _unfold(lines)
        headers = _headers(lines) or ({}, {})
    start = lines[0]
    first, further = headers
    if start[:8].upper() == "SIP/2.0 ":
        return _response(start, first, further, body=body)
    if defect is None:
        defect = _fault(lines, further)
    return _request(start, first, further, body=body, flow=flow, defect=defect)


def _split(data: bytes) -> tuple[bytes, bytes]:
    if data[:1] in (b"\r", b"\n"):
        data = data.lstrip(b"\r\n")
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        raise MalformedMessage("headers without their end")
    if len(head) > MAX_HEAD_BYTES:
        raise MalformedMessage("headers too long")
    return head, body


def _unfold(lines: list[str]) -> list[str]:
    """Join continuation lines (section 7.3.1)."""
    unfolded = lines[:1]
    for line in lines[1:]:
        if line[:1] in (" ", "\t"):
            unfolded[-1] = f"{unfolded[-1].rstrip()} {line.strip()}"
        else:
            unfolded.append(line)
    return unfolded


def _has_bare_nul(text: str) -> bool:
    """A quoted pair may hold one: `quoted-pair = "\\" (%x00-09 / …)` (section 25.1)."""
    return "\0" in text.replace("\\\0", "")


def _headers(lines: list[str]) -> tuple[dict[str, str], dict[str, list[str]]] | None:
    """Split the lines after the first; None where one continues the one before."""
    first: dict[str, str] = {}
    further: dict[str, list[str]] = {}
    known = _KNOWN
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        key = known.get(name)
        if key is None:
            if line[:1] in (" ", "\t"):
                return None
            key = _canonical(name)
        if not colon or not key:
            # "A UAS SHOULD ignore any malformed header fields that are not necessary for processing requests" (8.2.2).
            continue
        if key in first:
            further.setdefault(key, []).append(value.strip())
        else:
            first[key] = value.strip()
    return first, further


def _canonical(name: str) -> str:
    name = name.strip().lower()
    return COMPACT.get(name, name) if _TOKEN.issuperset(name) else ""


def _fault(lines: list[str], further: dict[str, list[str]]) -> Defect | None:
    if len(lines) > 1 + MAX_HEADERS:
        return Defect(400, "Too many headers")
    if further and not _SINGLE.isdisjoint(further):
        return Defect(400, "Repeated header")
    return None


def _request(
    start: str,
    first: dict[str, str],
    further: dict[str, list[str]],
    *,
    body: bytes,
    flow: Flow,
    defect: Defect | None,
) -> Request:
    method, _, rest = start.partition(" ")
    uri, _, version = rest.rstrip(" ").rpartition(" ")
    method = _METHODS.get(method) or _token(method)
    if not method or version[:4].upper() != "SIP/":
        raise MalformedMessage("no request line")
    top = first.get("via")
    if top is None:
        raise MalformedMessage("a request without Via")
    if "," in top:
        top, *later = split_list(top) or [""]
        further["via"] = [*later, *further.get("via", ())]
    via = parse_via(top, host=flow.host, port=flow.port)
    first["via"] = via.stamped
    defect = defect or _defect(uri, version, first, further)
    request = Request(method, uri, first, further, body, flow, via, defect)
    length = first.get("content-length")
    if request.defect is not None:
        return request
    if start.endswith(" "):
        request.defect = Defect(400, "Malformed request line")
    elif not _fits(length, body):
        request.defect = Defect(400, "Content-Length does not fit")
    elif body and length is not None:
        # "if present, the bytes after it MUST be discarded" (section 18.3).
        request.body = body[: int(length)]
    return request


def _token(method: str) -> str:
    """The method, "" for what cannot be one."""
    return method if _TOKEN.issuperset(method.lower()) else ""


def _defect(uri: str, version: str, first: dict[str, str], further: dict[str, list[str]]) -> Defect | None:
    if version != "SIP/2.0" and version.upper() != "SIP/2.0":
        return Defect(505, "")
    for via in further.get("via", ()):
        if via[:3].upper() != "SIP":
            return Defect(400, "Malformed Via")
    if not uri or " " in uri or "\t" in uri:
        return Defect(400, "Malformed Request-URI")
    for name in _NEEDED:
        if not first.get(name):
            return Defect(400, f"Missing {name}")
    return None


def _fits(length: str | None, body: bytes) -> bool:
    """Whether all of the body is there."""
    if length is None or length == "0":
        return True
    return length.isascii() and length.isdigit() and len(length) <= 10 and int(length) <= len(body)


def _response(start: str, first: dict[str, str], further: dict[str, list[str]], *, body: bytes) -> Response:
    status = start[8:11]
    if not (status.isascii() and status.isdigit() and 100 <= int(status) <= 699 and start[11:12] in ("", " ")):
        raise MalformedMessage("no status line")
    if not _fits(first.get("content-length"), body):
        # "If the transport packet ends before the end of the message body, … If the message is a response, it MUST be
        # discarded" (section 18.3).
        raise MalformedMessage("a response without all of its body")
    return Response(int(status), first, further)
