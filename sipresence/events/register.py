"""What a REGISTER asks for (RFC 3261 section 10.3, RFC 3327), and what it is told when it is granted.

Reading refuses in a fixed order: 420, 400, 423. Nothing is decided here about the bindings that there are: that is the
registrar's business.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import NamedTuple

from sipresence.errors import MalformedMessage, SipError
from sipresence.events.binding import BindingRecord
from sipresence.events.effects import Respond
from sipresence.names import AccountId, ResourceId
from sipresence.sip.headers import parameter, parse_name_addr, parse_seconds, split_list
from sipresence.sip.message import Request
from sipresence.sip.uri import parse_uri

EXTENSIONS = frozenset(("path",))
"""Option tags that a REGISTER may Require."""

HOUR = 3600
_Q = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?", re.ASCII)
_INSTANCE = re.compile('"<[^"<>]*>"')


@dataclass(slots=True, frozen=True)
class RegistrarLimits:
    """Seconds that a binding may last: at least, when it does not say, at most. How many contacts a device may have,
    and all devices together."""

    min_expires: int = 60
    default_expires: int = 3600
    max_expires: int = 7200
    contacts_per_device: int = 10
    max_contacts: int = 1_000_000


class Registrant(NamedTuple):
    """The device that a REGISTER is about: `user` is its SIP user name, `resource` its lamp."""

    account: AccountId
    user: str
    resource: ResourceId


class Wanted(NamedTuple):
    """One contact that is to be bound for `expires` seconds, or 0: no longer."""

    contact: str
    expires: int
    q: str
    instance: str


class Asked(NamedTuple):
    """What the headers ask for, once nothing in them is wrong; without contacts: only what there is.

    `nothing_stays`: `Contact: *`, the end of every binding.
    """

    contacts: tuple[Wanted, ...]
    nothing_stays: bool
    path: str


def read(request: Request, limits: RegistrarLimits) -> Asked:
    """Read what the request asks for. Raises SipError 400, 420 and 423."""
    path = request.all("path")
    if path and not _supports_path(request):
        # RFC 3327 section 5.3: "The recommended policy is for the registrar to reject the request with a 420 (Bad
        # Extension) response": so a phone learns that a proxy on the way does what it does not know of.
        raise SipError(420, "Unsupported: path\r\n")
    try:
        routes = [route for value in path for route in split_list(value)]
        for route in routes:
            _uri_checked(route)
        values = [contact for value in request.all("contact") for contact in split_list(value)]
        if request.get("contact") is not None and not values:
            raise MalformedMessage("an empty Contact")
        if "*" in values:
            return _everything(request, values)
        otherwise = _seconds(request.get("expires"), limits.default_expires)
        wanted = tuple(_wanted(value, otherwise) for value in values)
    except MalformedMessage as error:
        raise SipError(400, reason=f"Malformed: {error}") from None
    return Asked(tuple(_long_enough(one, limits) for one in wanted), False, ", ".join(routes))


def _supports_path(request: Request) -> bool:
    said = request.all("supported") + request.all("require")
    return any(tag.lower() == "path" for value in said for tag in split_list(value))


def _everything(request: Request, values: Sequence[str]) -> Asked:
    """RFC 3261 section 10.3 step 6: with "additional Contact fields or an expiration time other than zero", 400."""
    if len(values) > 1 or (request.get("expires") or "").strip() != "0":
        raise SipError(400, reason="Contact: * with more than Expires: 0")
    return Asked((), True, "")


def _wanted(value: str, otherwise: int) -> Wanted:
    """Read one contact; what is said of it alone goes before what the request says of all."""
    uri = _uri_checked(value)
    if "?" in uri and "<" not in value:
        # "If the URI contains a comma, question mark or semicolon, the URI MUST be enclosed in angle brackets" (20).
        raise MalformedMessage("a URI with headers outside of angle brackets")
    params = parse_name_addr(value).params
    q, instance = parameter(params, "q") or "", parameter(params, "+sip.instance") or ""
    return Wanted(
        uri,
        _seconds(parameter(params, "expires"), otherwise),
        q if _Q.fullmatch(q) else "",
        instance if _INSTANCE.fullmatch(instance) else "",
    )


def _uri_checked(value: str) -> str:
    """The URI of an address; one that is not SIP may be anything (section 10.2.1)."""
    uri = parse_name_addr(value).uri
    try:
        parse_uri(uri)
    except SipError:
        if not uri.isprintable() or " " in uri:
            raise MalformedMessage("a URI holds a character that it must escape") from None
    return uri


def _seconds(value: str | None, otherwise: int) -> int:
    """Section 10.2: "Malformed values SHOULD be treated as equivalent to 3600." """
    if value is None:
        return otherwise
    try:
        return parse_seconds(value)
    except MalformedMessage:
        return HOUR


def _long_enough(wanted: Wanted, limits: RegistrarLimits) -> Wanted:
    """Section 10.3 step 7: too brief is what is "greater than zero AND smaller than one hour AND less than a
    registrar-configured minimum". Whatever is too long is shortened. Raises SipError 423."""
    if 0 < wanted.expires < min(limits.min_expires, HOUR):
        raise SipError(423, f"Min-Expires: {limits.min_expires}\r\n")
    return wanted._replace(expires=min(wanted.expires, limits.max_expires))


def granted(request: Request, bindings: Sequence[BindingRecord], *, to_tag: str, now: float) -> Respond:
    """The 200: "Contact header field values that enumerate all current bindings", each with what is left of it.

    Path is copied (RFC 3327 section 5.3); the Date sets the clock of a phone that has none.
    """
    date = format_datetime(datetime.fromtimestamp(now, UTC), usegmt=True)
    lines = [*(f"Contact: {contact}" for contact in _contacts(bindings, now))]
    lines += [f"Path: {value}" for value in request.all("path")]
    return Respond(request, 200, to_tag, "".join(f"{line}\r\n" for line in (*lines, f"Date: {date}")))


def _contacts(bindings: Sequence[BindingRecord], now: float) -> Iterator[str]:
    for binding in bindings:
        q = f";q={binding.q}" if binding.q else ""
        instance = f";+sip.instance={binding.instance}" if binding.instance else ""
        left = max(1, round(binding.expires_at - now))
        yield f"<{binding.contact}>{q}{instance};expires={left}"
