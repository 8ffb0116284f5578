"""What a user agent server says to any request before anybody looks at what it is about (RFC 3261 section 8.2).

Methods we do not do are answered without state (section 8.2.7), with the same To tag for every retransmission.
"""

from collections.abc import Sequence

from sipresence.errors import MalformedMessage, SipError
from sipresence.sip.headers import parse_number, split_list
from sipresence.sip.message import Request
from sipresence.sip.uri import parse_uri

SUPPORTED: frozenset[str] = frozenset()
"""Option tags that a request may Require."""

NO_CALLS = 'Warning: 399 sipresence "This server shows who is on the phone, and routes no calls"\r\n'
"""For whoever has dialled. 399 is for "arbitrary information to be presented to a human user" (section 20.43)."""

_UNSUPPORTED_METHODS = frozenset(
    ("BYE", "INFO", "INVITE", "MESSAGE", "NOTIFY", "PRACK", "PUBLISH", "REFER", "REGISTER", "UPDATE")
)


def refuse_method(request: Request, allowed: Sequence[str]) -> None:
    """Refuse what is malformed or a method not in `allowed`. Raises SipError."""
    if request.defect is not None:
        raise SipError(request.defect.status, reason=request.defect.reason)
    method = request.method
    if method in allowed:
        return
    if method == "CANCEL":
        raise SipError(481)  # section 9.2: no transaction matches, since we have none that can be cancelled
    if method in _UNSUPPORTED_METHODS:
        why = NO_CALLS if method == "INVITE" else ""
        raise SipError(405, f"Allow: {', '.join(allowed)}\r\n{why}")
    raise SipError(501)


def refuse_hops(request: Request) -> None:
    """Refuse a request that has no hops left. Raises SipError 400 or 483."""
    value = request.get("max-forwards")
    if value is None or value == "70":
        return
    try:
        hops = parse_number(value, limit=255)
    except MalformedMessage:
        raise SipError(400, reason="Malformed Max-Forwards") from None
    if hops == 0:
        raise SipError(483)


def refuse_extensions(request: Request, known: frozenset[str] = SUPPORTED) -> None:
    """Refuse an option tag that is not `known`: 420 with Unsupported (section 8.2.2.3). Proxy-Require is not ours."""
    if request.get("require") is None:
        return
    tags = [tag for value in request.all("require") for tag in split_list(value)]
    unknown = [tag for tag in tags if tag.lower() not in known]
    if unknown:
        raise SipError(420, f"Unsupported: {', '.join(unknown)}\r\n")


def refuse_scheme(request: Request) -> None:
    """Refuse a Request-URI of an unknown scheme (416) or one that is none (400). Raises SipError.

    Over UDP, `sips:` is such a scheme: it "signifies that each hop over which the request is forwarded … must be
    secured with TLS" (RFC 3261 section 26.2.2), which UDP cannot be. Over TCP and WS a proxy next to us may have
    ended TLS.
    """
    try:
        uri = parse_uri(request.uri)
    except MalformedMessage:
        raise SipError(400, reason="Malformed Request-URI") from None
    if uri.scheme == "sips" and request.flow.transport == "UDP":
        raise SipError(416, reason="SIPS over UDP")
