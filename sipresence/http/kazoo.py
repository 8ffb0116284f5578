"""Kazoo's presence API: lists, resets and sets lamps, on the verbs of `PresenceService`.

Routes, below /v2/accounts/{ACCOUNT}, with or without a trailing slash:

    GET   presence              every subscription of the account
    GET   presence/EXT          the subscriptions to one extension, and its lamp now (the lamp: ours, not Kazoo's)
    POST  presence/EXT          set or reset the extension
    GET   presence/EXT/timeline what happened to the lamp, or with ?call_id= to one subscription; ours, as is the next
    GET   timeline?call_id=     the same of whatever the subscriptions with this Call-ID are about
    GET   devices/ID/presence   every subscription of the account, as Kazoo has it; users/ID/presence likewise
    POST  devices/ID/presence   set or reset the lamp of the device
    POST  users/ID/presence     set or reset the lamps of the user

The list has the documented shape, a record per event and Call-ID. The caller is checked first (401), then the route
(404, 405), the account (404, 403), the form of the body (400), the target (404) and the command (400): a stranger
learns nothing, and who may not see an account learns no more than that it exists.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import astuple
from typing import TYPE_CHECKING
from urllib.parse import unquote

import structlog
from aiohttp import web

from sipresence.errors import InvalidExtension
from sipresence.events.record import SubscriptionRecord
from sipresence.events.resource import DialogState, Lamp, ResourceState
from sipresence.events.state import NO_MESSAGES
from sipresence.http.command import SetCommand, SetLampCommand, parse_command, read_data
from sipresence.http.envelope import CALLER, Caller, Envelopes, Json, Refusal, invalid
from sipresence.http.subscriber import subscriber
from sipresence.http.timeline import describe
from sipresence.names import AccountId, CallId, ResourceId, extension_of

if TYPE_CHECKING:
    from sipresence.events.subscription import SubscriptionView
    from sipresence.insight import Insight
    from sipresence.service import PresenceService

GREGORIAN_OFFSET_S = 62_167_219_200
"""Seconds from the year 0, where Kazoo's clock starts, to the Unix epoch."""

_ACCOUNT_ID_LENGTH = 32
_EXTENSION_SEGMENT = 5  # of /v2/accounts/{account}/presence/{extension}, counted from the empty one before the slash

_log = structlog.get_logger()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Resources = tuple[ResourceId, ...]


def make_dialect(service: "PresenceService", insight: "Insight", envelopes: Envelopes) -> web.Application:
    """Make the application to be mounted under /v2."""
    dialect = _Presence(service, insight, envelopes)
    application = web.Application(middlewares=[dialect.authorise])
    presence = "/accounts/{account}/presence"
    for path, get, post in (  # looked through in this order
        (presence + "/{extension:[^/]+}", dialect.get_extension, dialect.command_extension),
        (presence, dialect.list_all, dialect.refuse_collection),
        ("/accounts/{account}/devices/{id}/presence", dialect.list_for_device, dialect.command_device),
        ("/accounts/{account}/users/{id}/presence", dialect.list_for_user, dialect.command_user),
    ):
        application.router.add_get(path + "{slash:/?}", get)
        application.router.add_post(path + "{slash:/?}", post)
    application.router.add_get(presence + "/{extension:[^/]+}/timeline{slash:/?}", dialect.get_timeline)
    application.router.add_get("/accounts/{account}/timeline{slash:/?}", dialect.find_timelines)
    return application


class _Presence:
    """The handlers. Each may trust that `authorise` let the caller into the account of the path."""

    def __init__(self, service: "PresenceService", insight: "Insight", envelopes: Envelopes) -> None:
        self._service = service
        self._insight = insight
        self._envelopes = envelopes

    @web.middleware
    async def authorise(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let the caller in, or say 401, 404 or 403, before anything else is looked at."""
        request[CALLER] = self._caller(request)
        if "account" in request.match_info:  # else the path is unknown, which the handler says
            self._admit(request[CALLER].account, _account(request))
        return await handler(request)

    def _caller(self, request: web.Request) -> Caller:
        """Find who asks. The token is in nobody's local variables later, where a logged traceback might show it."""
        token = _token(request)
        account = self._service.directory.account_by_token(token) if token else None
        if account is None:
            challenge = {"WWW-Authenticate": "Bearer"}  # RFC 9110 section 15.5.2: a 401 MUST carry a challenge
            raise Refusal(401, "invalid_credentials", {"message": "invalid credentials"}, challenge)
        return Caller(account, token)

    def _admit(self, own: AccountId, account: AccountId) -> None:
        if len(account) != _ACCOUNT_ID_LENGTH:
            raise Refusal(404, "bad identifier", {"message": f"invalid account_id '{account}'"})
        self._service.directory.account(account)
        if account != own:
            raise Refusal(403, "forbidden", {"message": "forbidden"})

    async def list_all(self, request: web.Request) -> web.Response:
        """Every subscription of the account; with `include=state` every lamp as well."""
        account = _account(request)
        views = self._service.subscriptions(account, event=_event(request))
        data: dict[str, Json] = {"subscriptions": self._listing(views)}
        if _wants(request, "state"):
            lamps = self._service.lamps(account).items()
            data["states"] = {extension_of(resource): _describe_lamp(lamp) for resource, lamp in lamps}
        return self._envelopes.success(request, data)

    async def list_for_device(self, request: web.Request) -> web.Response:
        """Every subscription of the account; Kazoo asks no more of the device than to exist."""
        self._device(request)
        return await self.list_all(request)

    async def list_for_user(self, request: web.Request) -> web.Response:
        """Every subscription of the account, likewise."""
        self._user(request)
        return await self.list_all(request)

    async def get_extension(self, request: web.Request) -> web.Response:
        """The subscriptions to one extension, and its lamp now."""
        (resource,) = self._extension(request)
        views = self._service.subscriptions(_account(request), resource=resource, event=_event(request))
        data: dict[str, Json] = {"subscriptions": self._listing(views)}
        return self._envelopes.success(request, {**data, **_describe_state(self._service.state(resource))})

    async def get_timeline(self, request: web.Request) -> web.Response:
        """What happened to one extension; of one Call-ID, if that is asked."""
        (resource,) = self._extension(request)
        timeline = self._insight.timeline(_account(request), resource, call_id=_call_id(request))
        return self._envelopes.success(request, describe(timeline, bodies=_wants(request, "body")))

    async def find_timelines(self, request: web.Request) -> web.Response:
        """What happened to the subscriptions with a Call-ID, one timeline for each extension."""
        call_id = _call_id(request)
        if call_id is None:
            raise invalid("call_id", "required", {"message": "Field is required but missing", "target": "required"})
        bodies = _wants(request, "body")
        found = [describe(one, bodies=bodies) for one in self._insight.timelines(_account(request), call_id)]
        return self._envelopes.success(request, found)

    async def refuse_collection(self, request: web.Request) -> web.Response:
        """A command for no extension in particular."""
        raise Refusal(404, "faulty request", {})

    async def command_extension(self, request: web.Request) -> web.Response:
        """Set or reset one extension."""
        return await self._command(request, self._extension)

    async def command_device(self, request: web.Request) -> web.Response:
        """Set or reset the lamp of a device."""
        return await self._command(request, self._device)

    async def command_user(self, request: web.Request) -> web.Response:
        """Set or reset the lamps of a user."""
        return await self._command(request, self._user)

    async def _command(self, request: web.Request, targets: Callable[[web.Request], Resources]) -> web.Response:
        data = await read_data(request)
        resources = targets(request)
        command = parse_command(data)
        account, caller = _account(request), request[CALLER].account
        if isinstance(command, SetCommand):
            lamp = command if isinstance(command, SetLampCommand) else None
            await self._service.set_state(
                account,
                resources,
                DialogState(lamp.state) if lamp else None,
                expires=lamp.expires if lamp else None,
                messages=command.messages,
                do_not_disturb=command.dnd,
                by=caller,
            )
        else:
            await self._service.reset(account, resources, by=caller)
        return self._envelopes.accepted(request)

    def _listing(self, views: Iterable["SubscriptionView"]) -> Json:
        """Arrange subscriptions by extension, event and key."""
        now, stalker = self._service.now(), f"BLF-{self._service.node}"
        listing: dict[str, dict[str, dict[str, Json]]] = {}
        for view in sorted(views, key=lambda view: view.record.id, reverse=True):  # the newest takes the bare Call-ID
            record = view.record
            records = listing.setdefault(extension_of(record.resource), {}).setdefault(record.event, {})
            records[_key(record, records)] = _describe(view, now=now, stalker=stalker)
        return listing

    def _extension(self, request: web.Request) -> Resources:
        return (self._service.resource(_account(request), _unescaped_extension(request)),)

    def _device(self, request: web.Request) -> Resources:
        return (self._service.directory.device_lamp(_account(request), request.match_info["id"]),)

    def _user(self, request: web.Request) -> Resources:
        return self._service.directory.user_lamps(_account(request), request.match_info["id"])


def _account(request: web.Request) -> AccountId:
    return AccountId(request.match_info["account"])


def _token(request: web.Request) -> str:
    """Take the token from where Kazoo looks for it, in its order; "" for none, or for text that no token can be."""
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    token = (
        request.headers.get("X-Auth-Token")
        or request.query.get("auth_token")
        or (bearer.strip() if scheme.lower() == "bearer" else "")
    )
    return token if token.isascii() else ""


def _event(request: web.Request) -> str | None:
    return request.query.get("event") or None


def _call_id(request: web.Request) -> CallId | None:
    return CallId(request.query["call_id"]) if request.query.get("call_id") else None


def _wants(request: web.Request, what: str) -> bool:
    """Whether `include` asks for more than an answer has by itself."""
    return request.query.get("include") == what


def _unescaped_extension(request: web.Request) -> str:
    """Unescape the extension of the path as it was sent, where %2F is part of it and `+` no space."""
    segment = request.rel_url.raw_path.split("/")[_EXTENSION_SEGMENT]
    try:
        extension = unquote(segment, errors="strict")
        extension.encode()  # bytes that are no UTF-8 arrive as lone surrogates where they were sent unescaped
    except UnicodeError:
        raise InvalidExtension(segment) from None
    return extension


def _key(record: SubscriptionRecord, taken: Mapping[str, Json]) -> str:
    """The Call-ID, and as much more as tells the dialogs apart that share it (RFC 3261 section 12: tags do)."""
    key: str = record.call_id
    for name, tag in (("from-tag", record.remote_tag), ("to-tag", record.local_tag)):
        if key not in taken:
            break
        key = f"{key};{name}={tag}"
    return key


def _describe(view: "SubscriptionView", *, now: float, stalker: str) -> Json:
    """The record of one subscription: Kazoo's fields first, then ours."""
    record = view.record
    described: dict[str, Json] = {
        "expires": record.expires,
        "from": subscriber(record),
        "notify": {
            # Kazoo writes Erlang's `undefined` as this very text, and clients compare with it.
            "body": "undefined" if view.body is None else view.body,
            "reply": view.reply,
            "sequence": view.sequence,
        },
        "stalker": stalker,
        "timestamp": int(record.subscribed_at) + GREGORIAN_OFFSET_S,
        "version": view.version,
        "cseq": record.subscribe_cseq,
        "contact": record.contact,
        "remaining": max(0, int(record.expires_at - now)),
    }
    if record.user_agent:
        described["user_agent"] = record.user_agent
    if view.profile:
        described["profile"] = view.profile
    return described


def _describe_state(state: ResourceState) -> dict[str, Json]:
    """The lamp, and of the rest what is known."""
    described = _describe_lamp(state.lamp)
    if state.messages != NO_MESSAGES:
        new, saved, urgent, urgent_saved = astuple(state.messages)
        described["mwi"] = {"new": new, "saved": saved, "urgent": urgent, "urgent_saved": urgent_saved}
    if state.presence.do_not_disturb:
        described["dnd"] = True
    return described


def _describe_lamp(lamp: Lamp) -> dict[str, Json]:
    return {"state": lamp.state.value, "since": int(lamp.since)}
