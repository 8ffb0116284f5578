"""Kazoo's presence API: lists, resets and sets lamps, on the verbs of `PresenceService` and its `Commands`.

Routes, below /v2/accounts/{ACCOUNT}, or /v2/account for that of the token, with or without a trailing slash:

    GET   presence                  every subscription of the account
    POST  presence                  set or reset several extensions, all or none; without any 404, as Kazoo has it
    GET   presence/EXT              the subscriptions to one extension, and its lamp now
    POST  presence/EXT              set or reset it, notify its subscribers again, terminate one
    GET   presence/EXT/timeline     what happened to the lamp, or with ?call_id= to one subscription
    GET   timeline?call_id=         the same of whatever the subscriptions with this Call-ID are about
    GET   devices/ID/presence       every subscription of the account, as Kazoo has it; users/ID/presence likewise
    POST  devices/ID/presence       a command for the lamp of the device; users/ID/presence for those of the user
    GET   devices/ID/presence/EXT   as presence/EXT, if there is that device; POST gets 404, as Kazoo has it since 5.0
    GET   audit                     who asked for what (audit.py)

Kazoo's user interface writes `device` for `devices`. A list has one of three shapes (listing.py), by `format` or as
configured. It may be of one event package (`event`), have the states of all lamps (`include=state`), come by pages
(`page_size`, `start_key`), or be of what a device or user has to do with: `filter=lamps`, the subscriptions to its
lamps; `filter=subscriber`, those that it has made. Of one extension `include=sources` says what its state comes from.
A command may wait for the phones (`wait`, seconds); then its answer says how they took it.

What is wrong is looked for in this order: the caller and his account (see authorization.py), the form of the body
(400), the target (404) and the command (400).
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from aiohttp import web

from sipresence.commands import MAX_WAIT, Command
from sipresence.events.resource import Lamp, ResourceState
from sipresence.events.state import NO_MESSAGES
from sipresence.http.audit import asker_of, list_audit
from sipresence.http.authorization import Handler
from sipresence.http.body import read_data
from sipresence.http.command import parse_bulk, parse_command
from sipresence.http.dialect import Dialect, ListFormat
from sipresence.http.envelope import Envelopes, Refusal, invalid
from sipresence.http.listing import Listing, Wanted, lamps
from sipresence.http.pieces import Members, object_of, value
from sipresence.http.query import call_id_of, choice_of, event_of, number_of, wants
from sipresence.http.sources import describe_messages, describe_sources
from sipresence.http.target import Targets, account_of
from sipresence.http.timeline import describe
from sipresence.names import AccountId, ResourceId, extension_of
from sipresence.objects import Json, JsonObject

if TYPE_CHECKING:
    from sipresence.insight import Insight
    from sipresence.service import PresenceService

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000

Find: TypeAlias = Callable[[web.Request], tuple[ResourceId, ...]]


class Filter(StrEnum):
    """Which subscriptions a device or user has to do with."""

    LAMPS = "lamps"
    SUBSCRIBER = "subscriber"


class Noun(NamedTuple):
    """Devices or users: how its lamps are found, and the SIP user names of its phones, which tell that it exists."""

    path: str
    lamps: Find
    names: Callable[[web.Request], frozenset[str]]


def add_routes(
    router: web.UrlDispatcher,
    service: "PresenceService",
    insight: "Insight",
    envelopes: Envelopes,
    dialect: Dialect,
) -> None:
    """Add the routes below /v2."""
    targets = Targets(service, plus_is_space=dialect.exact)
    handlers = _Presence(service, insight, envelopes, dialect, targets)
    one = "/presence/{extension:[^/]+}"
    for account in ("/accounts/{account}", "/account"):
        routes: list[tuple[str, Handler, Handler | None]] = [  # looked through in this order
            (one, handlers.get_extension, handlers.command(targets.extension)),
            ("/presence", handlers.list_all, handlers.command_several),
            (f"{one}/timeline", handlers.get_timeline, None),
            ("/timeline", handlers.find_timelines, None),
            ("/audit", handlers.list_audit, None),
        ]
        for noun in (
            Noun("/devices/{id}", targets.device, targets.device_names),
            Noun("/device/{id}", targets.device, targets.device_names),
            Noun("/users/{id}", targets.user, targets.user_names),
        ):
            routes += [
                (noun.path + one, handlers.extension_beside(noun), handlers.refuse),
                (f"{noun.path}/presence", handlers.list_for(noun), handlers.command(noun.lamps)),
            ]
        for path, get, post in routes:
            router.add_get(f"{account}{path}{{slash:/?}}", get)
            if post is not None:
                router.add_post(f"{account}{path}{{slash:/?}}", post)


class _Presence:
    """The handlers. Each may trust that the gate let the caller into the account of the path."""

    def __init__(
        self,
        service: "PresenceService",
        insight: "Insight",
        envelopes: Envelopes,
        dialect: Dialect,
        targets: Targets,
    ) -> None:
        self._service = service
        self._insight = insight
        self._envelopes = envelopes
        self._dialect = dialect
        self._targets = targets
        self._listing = Listing(service, dialect)

    # Lists

    async def list_all(self, request: web.Request) -> web.StreamResponse:
        """Every subscription of the account."""
        return await self._list(request, Wanted(account_of(request), event=event_of(request)))

    def list_for(self, noun: Noun) -> Handler:
        """Make the handler that lists for a device or user: Kazoo asks no more of it than to exist."""

        async def list_(request: web.Request) -> web.StreamResponse:
            names = noun.names(request)
            chosen = choice_of(request, "filter", Filter)
            wanted = Wanted(
                account_of(request),
                resources=noun.lamps(request) if chosen is Filter.LAMPS else None,
                event=event_of(request),
                subscribers=names if chosen is Filter.SUBSCRIBER else None,
            )
            return await self._list(request, wanted)

        return list_

    async def _list(self, request: web.Request, wanted: Wanted) -> web.StreamResponse:
        shape = choice_of(request, "format", ListFormat) or self._dialect.list_format
        start = number_of(request, "start_key")
        size = number_of(request, "page_size", least=1, most=MAX_PAGE_SIZE)
        paging: JsonObject = {}
        if shape is ListFormat.RECORDS and (start, size) != (None, None):
            page = await self._listing.page(wanted, start=start or 0, size=size or DEFAULT_PAGE_SIZE)
            members = self._listing.page_members(page)
            following = None if page.next_start is None else str(page.next_start)
            keys = {"start_key": None if start is None else str(start), "next_start_key": following}
            paging = {"page_size": len(page.views), **{name: key for name, key in keys.items() if key is not None}}
        else:
            members = self._listing.members(wanted, shape)
        if wants(request, "state"):
            members = chain(members, [("states", object_of(self._states(wanted.account)))])
        return await self._envelopes.stream(request, object_of(members), more=paging)

    def _states(self, account: AccountId) -> Members:
        for name in lamps(self._service, account):
            lamp = None if name is None else self._service.lamp(name)
            yield None if name is None or lamp is None else (extension_of(name), value(_describe_lamp(lamp)))

    # One extension

    async def get_extension(self, request: web.Request) -> web.StreamResponse:
        """The subscriptions to one extension, and its lamp now; that in the newer shapes only if it is asked for."""
        account, resources = account_of(request), self._targets.extension(request)
        newer = self._dialect.list_format is not ListFormat.RECORDS
        shape = choice_of(request, "format", ListFormat) or (ListFormat.DETAIL if newer else ListFormat.RECORDS)
        members = self._listing.members(Wanted(account, resources=resources, event=event_of(request)), shape)
        (resource,) = resources
        state, more = self._service.state(resource), JsonObject()
        if shape is ListFormat.RECORDS or wants(request, "state"):
            more |= _describe_state(state)
        if wants(request, "sources"):
            last_set = self._service.commands.trail.last(account, resource, "set")
            more["sources"] = describe_sources(state, last_set)
        further = [(name, value(told)) for name, told in more.items()]
        return await self._envelopes.stream(request, object_of(chain(members, further)))

    def extension_beside(self, noun: Noun) -> Handler:
        """Make the handler of an extension that is asked for below a device or user, which need only exist."""

        async def get(request: web.Request) -> web.StreamResponse:
            noun.names(request)
            return await self.get_extension(request)

        return get

    async def get_timeline(self, request: web.Request) -> web.Response:
        """What happened to one extension; of one Call-ID, if that is asked."""
        (resource,) = self._targets.extension(request)
        timeline = self._insight.timeline(account_of(request), resource, call_id=call_id_of(request))
        return self._envelopes.success(request, describe(timeline, bodies=wants(request, "body")))

    async def find_timelines(self, request: web.Request) -> web.Response:
        """What happened to the subscriptions with a Call-ID, one timeline for each extension."""
        call_id = call_id_of(request)
        if call_id is None:
            raise invalid("call_id", "required", {"message": "Field is required but missing", "target": "required"})
        bodies = wants(request, "body")
        found = [describe(one, bodies=bodies) for one in self._insight.timelines(account_of(request), call_id)]
        return self._envelopes.success(request, found)

    async def list_audit(self, request: web.Request) -> web.Response:
        """Who asked for what."""
        return list_audit(request, account_of(request), service=self._service, envelopes=self._envelopes)

    # Commands

    def command(self, find: Find) -> Handler:
        """Make the handler of a command on these lamps."""

        async def command(request: web.Request) -> web.Response:
            data = await read_data(request)
            resources = find(request)
            return await self._carry_out(request, [parse_command(data).on(resources)])

        return command

    async def command_several(self, request: web.Request) -> web.Response:
        """Set or reset several extensions, all or none."""
        account, told = account_of(request), parse_bulk(await read_data(request))
        commands = [
            command.on(tuple(dict.fromkeys(self._service.resource(account, text) for text in extensions)))
            for extensions, command in told
        ]
        return await self._carry_out(request, commands)

    async def refuse(self, request: web.Request) -> web.Response:
        """What Kazoo knows no command for."""
        raise Refusal(404, "faulty request", {})

    async def _carry_out(self, request: web.Request, commands: Sequence[Command]) -> web.Response:
        patience = min(number_of(request, "wait") or 0, MAX_WAIT)
        receipt = await self._service.commands.carry_out(
            account_of(request), commands, by=asker_of(request), patience=patience
        )
        told: Json = {"result": "command sent", **receipt._asdict()} if patience else None
        return self._envelopes.accepted(request, status=self._dialect.accepted_status, receipt=told)


def _describe_state(state: ResourceState) -> JsonObject:
    """The lamp, and of the rest what is known."""
    described: JsonObject = {**_describe_lamp(state.lamp)}
    if state.messages != NO_MESSAGES:
        described["mwi"] = describe_messages(state.messages)
    if state.presence.do_not_disturb:
        described["dnd"] = True
    return described


def _describe_lamp(lamp: Lamp) -> dict[str, Json]:
    return {"state": lamp.state.value, "since": int(lamp.since)}
