"""Header values (RFC 3261 section 20 and 25), parsed only when somebody asks for one.

Each function takes the text of one header field value and raises MalformedMessage where the grammar is broken in a way
that matters. Fast paths come first: most values have neither quotes nor commas.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from sys import intern
from typing import Final, NamedTuple

from sipresence.errors import MalformedMessage

MAGIC: Final = "z9hG4bK"
"""What the branch of every RFC 3261 transaction starts with; alone it is no branch (RFC 4475 section 3.2.1)."""
MAX_CSEQ: Final = 2**31 - 1
_PROTOCOLS: Final = {f"SIP/2.0/{transport}": transport for transport in ("UDP", "TCP", "TLS", "WS", "WSS")}
_CACHED_LENGTH: Final = 64
_VIA_PARAMS: Final = frozenset(("branch", "rport", "received"))
_SENT = re.compile(r"SIP\s*/\s*[^\s/]+\s*/\s*([^\s/]+)\s+(\S.*)", re.IGNORECASE)


def split_list(value: str) -> list[str]:
    """Split at the commas that are outside quoted strings and angle brackets (section 7.3.1); nothing is no item."""
    parts = _split(value, ",") if "," in value else [value]
    return [part for part in map(str.strip, parts) if part]


def _split(value: str, separator: str) -> list[str]:
    parts: list[str] = []
    start = depth = 0
    quoted = escaped = False
    for index, char in enumerate(value):
        if escaped:
            escaped = False
        elif quoted:
            escaped = char == "\\"
            quoted = char != '"'
        elif char == '"':
            quoted = True
        elif char == "<":
            depth += 1
        elif char == ">":
            depth -= 1
        elif char == separator and depth <= 0:
            parts.append(value[start:index])
            start = index + 1
    parts.append(value[start:])
    return parts


# Hot: three of these and a Via per request, hence slots without frozen, and an __init__ that can be compiled.


@dataclass(slots=True, init=False)
class NameAddr:
    """`[display-name] <uri>;params`. `params` starts with `;` or is empty."""

    uri: str
    params: str

    def __init__(self, uri: str, params: str) -> None:
        self.uri = uri
        self.params = params

    @property
    def tag(self) -> str:
        tag = self.params[5:]
        if self.params.startswith(";tag=") and ";" not in tag:  # as nearly everybody writes it
            return tag.strip()
        return parameter(self.params, "tag") or ""


def parse_name_addr(value: str) -> NameAddr:
    """Split a From, To, Contact, Route or Record-Route value."""
    rest = _after_quoted_string(value) if value.startswith('"') else value
    _, opening, bracketed = rest.partition("<")
    if not opening:
        # addr-spec form: "If the URI is not enclosed in angle brackets, any semicolon-delimited parameters are
        # header-parameters, not URI parameters" (section 20).
        uri, semicolon, params = rest.partition(";")
        return NameAddr(_uri(uri), semicolon + params)
    uri, closing, params = bracketed.partition(">")
    if not closing:
        raise MalformedMessage("an address without its closing bracket")
    params = params.strip()
    if params and not params.startswith(";"):
        raise MalformedMessage("text after an address")
    return NameAddr(_uri(uri), params)


def _uri(text: str) -> str:
    text = text.strip()
    if not text:
        raise MalformedMessage("an empty address")
    return text


def _after_quoted_string(value: str) -> str:
    if "\\" not in value and (end := value.find('"', 1)) > 0:
        return value[end + 1 :]
    index = 1
    while index < len(value):
        if value[index] == "\\":
            index += 2
            continue
        if value[index] == '"':
            return value[index + 1 :]
        index += 1
    raise MalformedMessage("a quoted string without its end")


def parameter(params: str, name: str) -> str | None:
    """Return the value of a `;name=value` parameter (`""` for a flag), or None. `name` in lower case."""
    if not params:
        return None
    if ";" not in params[1:]:  # the only one, as a tag mostly is
        key, _, value = params[params[0] == ";" :].partition("=")
        return value.strip() if key.strip().lower() == name else None
    for part in _split_params(params):
        key, _, value = part.partition("=")
        if key.strip().lower() == name:
            return value.strip()
    return None


def _split_params(params: str) -> list[str]:
    return _split(params, ";") if '"' in params else params.split(";")


@dataclass(slots=True, init=False)
class Via:
    """The top Via: what a transaction is matched by, and where its response goes."""

    transport: str
    sent_by: str
    branch: str
    rport: bool
    stamped: str  # the value with received and rport filled in

    def __init__(self, transport: str, sent_by: str, branch: str, rport: bool, stamped: str) -> None:
        self.transport = transport
        self.sent_by = sent_by
        self.branch = branch
        self.rport = rport
        self.stamped = stamped


def parse_via(value: str, *, host: str, port: int) -> Via:
    """Parse the topmost Via value, and stamp it with the source address it came from.

    RFC 3581 section 4: with an `rport` the server sets its value to the source port, and adds `received` always;
    RFC 3261 section 18.2.1: without, `received` is added when the sent-by host differs from the source.
    """
    sent, *params = _split_params(value)
    transport, sent_by = _read_sent(sent)
    branch, rport, stamped = "", False, sent
    for param in params:
        key, _, text = param.partition("=")
        if key not in _VIA_PARAMS:
            key = key.strip().lower()
        if key == "branch":
            branch = text.strip()
        elif key == "rport":
            rport = True
            continue
        elif key == "received":
            continue  # ours to say, not the sender's
        stamped = f"{stamped};{param}"
    if rport:
        stamped = f"{stamped};rport={port};received={host}"
    elif _host_of(sent_by) != host:
        stamped = f"{stamped};received={host}"
    return Via(transport, sent_by, branch, rport, stamped)


def _read_sent(sent: str) -> tuple[str, str]:
    """Return transport and sent-by of what comes before the parameters."""
    protocol, _, sent_by = sent.partition(" ")
    transport = _PROTOCOLS.get(protocol)
    if transport is not None and sent_by and " " not in sent_by and "\t" not in sent_by:
        return transport, intern(sent_by)  # as everybody writes it; a phone's transactions share it
    match = _SENT.fullmatch(sent.strip())
    if match is None:
        raise MalformedMessage("a malformed Via")
    transport, sent_by = match.groups()
    # "host : port" (section 25.1: COLON is SWS ":" SWS)
    return transport.upper(), "".join(sent_by.split())


def _host_of(sent_by: str) -> str:
    if sent_by.startswith("["):
        return sent_by[1:].partition("]")[0]
    return sent_by.partition(":")[0]


def parse_cseq(value: str) -> tuple[int, str]:
    """Return number and method of a CSeq.

    "MUST be expressible as a 32-bit unsigned integer and MUST be less than 2**31" (RFC 3261 section 8.1.1.5).
    """
    number, _, method = value.partition(" ")
    if len(number) < 10 and number.isdigit() and number.isascii():
        return int(number), method.strip()
    number, _, method = value.replace("\t", " ").partition(" ")
    return parse_number(number, limit=MAX_CSEQ), method.strip()


def parse_number(value: str, *, limit: int) -> int:
    """Parse 1*DIGIT up to `limit`."""
    value = value.strip()
    if not (value.isascii() and value.isdigit()) or len(value) > 20:
        raise MalformedMessage("a number that is none")
    number = int(value)
    if number > limit:
        raise MalformedMessage("a number too large")
    return number


def parse_seconds(value: str) -> int:
    """Parse delta-seconds; RFC 3261 section 20.19 has them below 2**32, larger ones count as that."""
    value = value.strip()
    if not (value.isascii() and value.isdigit()):
        raise MalformedMessage("Expires is no number")
    return int(value) if len(value) <= 10 else 2**32 - 1


class Event(NamedTuple):
    """An Event header: the package, and the id that tells subscriptions apart (RFC 6665 section 8.2.1)."""

    package: str
    id: str


def parse_event(value: str) -> Event:
    """Parse an Event value; further parameters (`dialog;sla`) are tolerated (phones.md 32)."""
    return _event_cached(value) if len(value) <= _CACHED_LENGTH else _event(value)


def _event(value: str) -> Event:
    package, semicolon, params = value.partition(";")
    return Event(intern(package.strip()), (parameter(params, "id") or "") if semicolon else "")


_event_cached = lru_cache(maxsize=256)(_event)  # nearly every phone writes the same


def accepts(values: list[str], content_type: str) -> bool:
    """Whether Accept admits `content_type` (section 20.1). No header means the default, an empty one nothing."""
    if not values or values == [content_type]:
        return True
    main = content_type.partition("/")[0]
    best, wanted = 0, False
    for item in (part for value in values for part in split_list(value)):
        media, _, params = item.partition(";")
        precision = {content_type: 3, f"{main}/*": 2, "*/*": 1}.get(media.strip().lower(), 0)
        if precision > best:
            best, wanted = precision, _quality(params) > 0
    return wanted


def _quality(params: str) -> float:
    try:
        return float(parameter(params, "q") or 1)
    except ValueError:
        return 1.0
