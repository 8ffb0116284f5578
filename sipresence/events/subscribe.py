"""What a SUBSCRIBE asks for (RFC 6665 section 4.2.1), and what it is told when it is granted.

Reading refuses in a fixed order: 489 (or 481 inside a dialog), 400, 406, 423. Writing makes the row of a new
subscription, or the next row of a refreshed one.
"""

from dataclasses import dataclass
from functools import lru_cache
from sys import intern

from sipresence.errors import MalformedMessage, SipError
from sipresence.events.effects import Respond
from sipresence.events.package import ALLOW_EVENTS, choose
from sipresence.events.record import SubscriptionRecord
from sipresence.events.resource_lists import Listing
from sipresence.events.subscription import BLOCK, Subscription
from sipresence.names import AccountId, CallId, ResourceId, SubscriptionId
from sipresence.sip.dialog import is_direct, is_secure, remote_target, route_set
from sipresence.sip.headers import Event, parse_event, parse_seconds
from sipresence.sip.message import Request
from sipresence.sip.uri import join_host_port, parse_uri

CACHED_LENGTH = 256  # characters: what is longer is not kept, so that the cache is bounded in bytes, too


@dataclass(slots=True, frozen=True)
class Limits:
    """Seconds that a subscription may last: at least, when it does not say, at most. How many there may be."""

    min_expires: int = 60
    default_expires: int = 3600
    max_expires: int = 7200
    max_subscriptions: int = 2_000_000
    subscriptions_per_subscriber: int = 1000


# Both are made for each SUBSCRIBE: not frozen, and with an __init__ that is written out, as effects.py says.


@dataclass(slots=True, init=False)
class Watched:
    """What an initial SUBSCRIBE asks to watch, as the directory understood it, and who asks ("": a trusted source)."""

    account: AccountId
    resource: ResourceId
    entity: str
    user: str

    def __init__(self, account: AccountId, resource: ResourceId, entity: str, user: str = "") -> None:
        self.account = account
        self.resource = resource
        self.entity = entity
        self.user = user


@dataclass(slots=True, init=False)
class Asked:
    """What is asked for, once nothing in it is wrong. `contact` is "" where a refresh has none; `listing` is None where
    a single resource is asked for (see Lists). `condition` is the entity tag of what its subscriber has, "" without."""

    contact: str
    routes: str
    expires: int
    listing: Listing | None
    condition: str

    def __init__(
        self, contact: str, routes: str, expires: int, listing: Listing | None = None, condition: str = ""
    ) -> None:
        self.contact = contact
        self.routes = routes
        self.expires = expires
        self.listing = listing
        self.condition = condition


def read(request: Request, limits: Limits, package: str, *, min_expires: int | None = None) -> Asked:
    """Read what the request asks for. `min_expires` is that of its profile. Raises SipError 400, 406 and 423."""
    try:
        contact, routes = remote_target(request), route_set(request)
        expires = request.get("expires")
        asked = limits.default_expires if expires is None else parse_seconds(expires)
    except MalformedMessage as error:
        raise SipError(400, reason=f"Malformed: {error}") from None
    choose(package, None if request.get("accept") is None else _accept(request))
    least = limits.min_expires if min_expires is None else min_expires
    if 0 < asked < least:
        # RFC 6665 section 4.2.1.1: a 423 says in Min-Expires what would be long enough.
        raise SipError(423, f"Min-Expires: {least}\r\n")
    condition = request.get("suppress-if-match") or ""
    return Asked(contact, routes, min(asked, limits.max_expires), condition=condition)


def same_dialog(record: SubscriptionRecord, request: Request) -> bool:
    """Whether a request is in the dialog of this subscription, and about it.

    A dialog carries one subscription: another package or Event id in it is unknown (481).
    """
    event = parse_event(request.get("event") or "")
    return (
        record.call_id == request.call_id
        and record.remote_tag == request.from_tag
        and record.event == event.package
        and record.event_id == event.id
    )


def new_record(
    ident: SubscriptionId, request: Request, watched: Watched, asked: Asked, *, event: Event, tag: str, now: float
) -> SubscriptionRecord:
    """The row of a new subscription. First ceilings differ, so that a fan-out does not raise them all at once.

    What many rows have in common is kept once (`intern`): 400 bytes of each.
    """
    flow = request.flow
    ceiling = BLOCK + ident % BLOCK
    return SubscriptionRecord(  # by position, as the columns come: 29 names would cost three times as much
        ident, watched.account, watched.resource, event.package, event.id,
        CallId(request.call_id), tag, request.from_tag,
        intern(request.get("to") or ""), request.get("from") or "", watched.entity,
        intern(asked.contact), intern(asked.routes), flow.transport, flow.listener,
        flow.host, flow.port, flow.local, int(is_direct(request)),
        _accept(request), intern(request.get("user-agent") or ""), watched.user,
        request.cseq, intern(request.get("event") or ""), asked.expires,
        now, now + asked.expires, ceiling, ceiling,
    )  # fmt: skip


def renewed_record(
    subscription: Subscription, request: Request, asked: Asked, *, initial: bool, now: float
) -> SubscriptionRecord:
    """The next row of a subscription. A refresh may move its target, only an initial request its route set."""
    old, flow = subscription.record, request.flow
    ceiling = BLOCK + old.id % BLOCK
    return SubscriptionRecord(  # by position, as the columns come: `_replace` would cost twice as much
        old.id, old.account, old.resource, old.event, old.event_id,
        old.call_id, old.local_tag, old.remote_tag,
        old.local_address, old.remote_address, old.entity,
        intern(asked.contact) or old.contact, intern(asked.routes) if initial else old.route_set,
        flow.transport, flow.listener, flow.host, flow.port, flow.local, int(is_direct(request)),
        _accept(request), intern(request.get("user-agent") or ""), old.authenticated_user,
        request.cseq, intern(request.get("event") or ""), asked.expires,
        now, now + asked.expires,
        max(old.cseq_ceiling, subscription.cseq + ceiling), max(old.version_ceiling, subscription.version + ceiling),
    )  # fmt: skip


def _accept(request: Request) -> str:
    values = request.all("accept")
    return intern(values[0] if len(values) == 1 else ", ".join(values))


def granted(request: Request, asked: Asked, *, tag: str, required: str = "", status: int = 200) -> Respond:
    """The 200 of a SUBSCRIBE (never 202: RFC 6665 section 8.3.1). Record-Route is copied (RFC 3261 section 12.1.1).

    `required` is a complete Require line, or nothing. `status` is 204 where no NOTIFY follows (RFC 5839 section 6.3).
    """
    contact = request.flow.contact(secure=is_secure(request.uri) or is_secure(asked.contact))
    headers = f"Contact: <{contact}>\r\nExpires: {asked.expires}\r\n{required}{ALLOW_EVENTS}"
    if request.get("record-route") is not None:
        routes = "".join(f"Record-Route: {route}\r\n" for route in request.all("record-route"))
        headers = f"{routes}{headers}"
    return Respond(request, status, tag, headers)


def entity_of(request: Request) -> str:
    """The watched address as the subscriber wrote it, `sip:user@host`: no port, no parameters (phones.md 36).

    That is the To where it names the same user as the Request-URI, whose host a proxy may have rewritten on the way.
    """
    asked, to = request.uri, request.to.uri
    return _entity_cached(asked, to) if len(asked) + len(to) <= CACHED_LENGTH else _entity(asked, to)


def _entity(request_uri: str, to: str) -> str:
    asked = parse_uri(request_uri)
    try:
        written = parse_uri(to)
    except (MalformedMessage, SipError):
        written = asked  # a tel: URI, say
    if written.bare_user.lower() != asked.bare_user.lower():
        written = asked
    return f"sip:{written.bare_user}@{join_host_port(written.host, 0)}"


_entity_cached = lru_cache(maxsize=8192)(_entity)  # all that watch one extension write it in one or two ways
