"""The dialog that carries a subscription, seen from the notifier (RFC 3261 section 12, RFC 6665 section 4.4).

Route set, remote target and where a request in the dialog goes. The order, and why: the route set, if the SUBSCRIBE was
record-routed; the dialog's live connection; the source address, for a phone behind a NAT that wrote its private address
into Contact; the Contact.
"""

from dataclasses import dataclass
from typing import NamedTuple

from sipresence.errors import MalformedMessage, SipError
from sipresence.sip.flow import DEFAULT_PORTS, Flow, Hop
from sipresence.sip.headers import parse_name_addr, split_list
from sipresence.sip.message import Request
from sipresence.sip.uri import Uri, is_address, is_private, parse_uri


class DialogKey(NamedTuple):
    """What names a dialog before it has a local tag: the same SUBSCRIBE gives the same tag, after a restart too."""

    account: str
    resource: str
    call_id: str
    from_tag: str
    event: str
    event_id: str
    user: str = ""  # who authenticated: nobody renews what another has subscribed to


@dataclass(slots=True, init=False)  # one per SUBSCRIBE, as the hop is
class Targeting:
    """Request-URI, Route value ("" without) and next hop of a request in the dialog."""

    request_uri: str
    route: str
    hop: Hop

    def __init__(self, request_uri: str, route: str, hop: Hop) -> None:
        self.request_uri = request_uri
        self.route = route
        self.hop = hop


def remote_target(request: Request) -> str:
    """The Contact URI of a dialog-forming or target-refresh request, "" without. Raises MalformedMessage."""
    value = request.get("contact")
    if value is None:
        return ""
    if "," in value:
        value = next(iter(split_list(value)), "")
    if not value:
        raise MalformedMessage("an empty Contact")
    return _reachable(value)


def route_set(request: Request) -> str:
    """The route set of the server side: the Record-Route URIs "taken in order" (section 12.1.1).

    Raises MalformedMessage.
    """
    if request.get("record-route") is None:
        return ""
    routes = [route for value in request.all("record-route") for route in split_list(value)]
    for route in routes:
        _reachable(route)
    return ", ".join(routes)


def _reachable(address: str) -> str:
    """The URI of an address that our requests are to go to. 416 would blame the Request-URI (section 21.4.17)."""
    uri = parse_name_addr(address).uri
    try:
        parse_uri(uri)
    except SipError:
        raise MalformedMessage("an address of a scheme that is not SIP") from None
    return uri


def is_secure(uri: str) -> bool:
    """Whether this Request-URI or Contact makes our Contact in the dialog a SIPS URI (section 12.1.1)."""
    return uri[:5].lower() == "sips:"


def is_direct(request: Request) -> bool:
    """Whether the request came without a proxy between."""
    return request.get("record-route") is None and len(request.all("via")) == 1


def targeting(*, contact: str, routes: str, flow: Flow, direct: bool) -> Targeting:
    """Say how a request in the dialog is addressed and where it goes (RFC 3261 section 12.2.1.1 and 8.1.2)."""
    if routes:
        return _along(split_list(routes), contact=contact, flow=flow)
    uri = parse_uri(contact)
    if flow.reliable:
        # A Contact that names no transport, or another one, does not take the NOTIFY off the connection (phones.md 34).
        hop = _towards(uri, uri.host, flow.transport, flow=flow, prefer_flow=True)
        return Targeting(contact, "", hop)
    if direct and uri.host != flow.host and is_private(uri.host):
        # phones.md 27: Yealink and others behind a NAT, without STUN.
        return Targeting(contact, "", Hop(flow, flow.transport))
    if uri.host == flow.host and uri.port == flow.port and uri.scheme == "sip" and not uri.params:
        return Targeting(contact, "", Hop(flow, "UDP", flow.host, flow.port, True))  # there is none shorter
    return Targeting(contact, "", _to(contact, flow=flow, fallback=direct))


def _along(routes: list[str], *, contact: str, flow: Flow) -> Targeting:
    first = parse_name_addr(routes[0]).uri
    if parse_uri(first).param("lr") is not None:
        return Targeting(contact, ", ".join(routes), _to(first, flow=flow, fallback=False))
    # A strict router: "MUST place the first URI from the route set into the Request-URI … then place the remote target
    # URI into the Route header field as the last value".
    return Targeting(first, ", ".join([*routes[1:], f"<{contact}>"]), _to(first, flow=flow, fallback=False))


def _to(text: str, *, flow: Flow, fallback: bool) -> Hop:
    uri = parse_uri(text)
    return _towards(uri, uri.param("maddr") or uri.host, uri.transport, flow=flow, fallback=fallback)


def _towards(
    uri: Uri, host: str, transport: str, *, flow: Flow, prefer_flow: bool = False, fallback: bool = False
) -> Hop:
    """Say for an address what the URI leaves open; for a name that is found out by RFC 3263, once it is needed."""
    port, secure = uri.port, uri.scheme == "sips"
    if secure and transport == "TCP":
        transport = "TLS"  # that is what transport=tcp means in a SIPS URI (section 26.2.2)
    if is_address(host):
        transport = transport or ("TLS" if secure else "UDP")
        port = port or DEFAULT_PORTS.get(transport, 5060)
    return Hop(flow, transport, host, port, prefer_flow, fallback, secure)
