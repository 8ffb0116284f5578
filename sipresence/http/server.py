"""The HTTP server: one aiohttp application that mounts the dialects and turns what they raise into answers.

A dialect raises what is wrong (a `Refusal`, or an error of the house) and this module answers it, in one place. What
nobody foresaw is answered 500 with no word about it, and logged. No log line holds a token: tokens travel in headers,
query strings and one kind of path, so only the method and all other paths are logged.
"""

import asyncio
import os
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from sipresence.errors import (
    ConfiguredObject,
    InvalidExtension,
    InvalidObject,
    ListenError,
    NotFound,
    StoreError,
    TooManyLogins,
    TooManyWaiting,
)
from sipresence.http import cors, directory, health, kazoo, metrics, sessions
from sipresence.http.authorization import Gate, Handler, RequestLimits
from sipresence.http.blackhole import Blackhole, make_listing
from sipresence.http.body import MAX_BODY_BYTES
from sipresence.http.dialect import DEFAULT, Dialect
from sipresence.http.envelope import Envelopes, Refusal
from sipresence.http.openapi import routes as openapi

if TYPE_CHECKING:
    from sipresence.directory_service import DirectoryService
    from sipresence.insight import Insight
    from sipresence.service import PresenceService
    from sipresence.session_service import SessionService

_BANNER = "sipresence, a SIP presence server. Its API lives under /v2.\n"
_SERVER = "sipresence"
_RETRY_AFTER_S = 5
_SHUTDOWN_TIMEOUT_S = 5.0

_log = structlog.get_logger()


@dataclass(slots=True, frozen=True)
class Services:
    """What the dialects ask."""

    presence: "PresenceService"
    directory: "DirectoryService"
    sessions: "SessionService"
    insight: "Insight"


def make_application(
    services: Services, blackhole: Blackhole, *, version: str, limits: RequestLimits, dialect: Dialect = DEFAULT
) -> web.Application:
    """Make the application. `version` is the product's, shown to callers with a token, and to whoever may scrape."""
    insight, surface = services.insight, _Surface(Envelopes(services.presence, version=version))
    application = web.Application(middlewares=[surface.answer], client_max_size=MAX_BODY_BYTES)
    application.on_response_prepare.append(_finish)
    application.router.add_get("/", _banner)
    application.router.add_route("*", "/v1{rest:(/.*)?}", _gone)
    application.router.add_get("/metrics", metrics.make_page(insight, version=version))
    health.add_routes(application.router, insight)
    application.on_shutdown.append(blackhole.close)
    gate = Gate(services.directory.directory, services.sessions, limits, now=services.presence.now)
    api = web.Application(middlewares=[gate.admit])
    _add_api(api.router, gate, services, surface.envelopes, dialect)
    api.router.add_get("/websocket{slash:/?}", gate.open_to_strangers(blackhole.connect))
    api.router.add_get("/websockets{slash:/?}", gate.open_to_strangers(make_listing(surface.envelopes)))
    openapi.add_routes(api.router, gate, application)
    application.add_subapp("/v2", api)
    return application


def _add_api(router: web.UrlDispatcher, gate: Gate, services: Services, envelopes: Envelopes, dialect: Dialect) -> None:
    """Add the routes of every dialect: all have to pass the gate."""
    users = services.directory.directory
    sessions.add_routes(router, gate, directory=users, sessions=services.sessions, envelopes=envelopes)
    directory.add_routes(router, services.directory, envelopes)
    kazoo.add_routes(router, services.presence, services.insight, envelopes, dialect)


def make_websocket_application(service: "PresenceService", blackhole: Blackhole, *, version: str) -> web.Application:
    """Make what is served where there are websockets alone, as on Kazoo's port 5555."""
    application = web.Application(middlewares=[_Surface(Envelopes(service, version=version)).answer])
    application.on_response_prepare.append(_finish)
    application.router.add_get("/", blackhole.connect)
    application.on_shutdown.append(blackhole.close)
    return application


class _Surface:
    """The outermost layer: whatever comes out of the dialects, an answer leaves."""

    def __init__(self, envelopes: Envelopes) -> None:
        self.envelopes = envelopes

    @web.middleware
    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method == "OPTIONS":
            return cors.preflight(request)
        try:
            return await handler(request)
        except Exception as error:
            if request.writer.output_size:  # half an answer has left: nothing can be said any more
                if not isinstance(error, ConnectionError):
                    _log.error("answer broken off", method=request.method, path=_path(request), exc_info=error)
                raise
            refusal = _refusal(request, error)
        _log.info("refused", method=request.method, path=_path(request), status=refusal.status)
        return self.envelopes.refusal(request, refusal)


def _refusal(request: web.Request, error: Exception) -> Refusal:
    """Say in the dialect's words what is wrong."""
    match error:
        case Refusal():
            return error
        case NotFound() | InvalidExtension():
            return Refusal(404, "bad_identifier", {"message": "bad identifier", "cause": str(error)})
        case InvalidObject():
            return Refusal(400, "validation error", error.findings)
        case ConfiguredObject():
            message = "the object is of the configuration file: change it there"
            return Refusal(409, "conflict", {"message": message, "cause": str(error)})
        case TooManyLogins():
            retry_after = {"Retry-After": str(error.retry_after)}
            return Refusal(429, "too_many_requests", {"message": "too many requests"}, retry_after)
        case TooManyWaiting():
            retry_after = {"Retry-After": str(_RETRY_AFTER_S)}
            return Refusal(503, "too_many_waiting", {"message": "too many wait for phones"}, retry_after)
        case web.HTTPNotFound():
            return Refusal(404, "not_found", {"message": "not found"})
        case web.HTTPMethodNotAllowed():
            # RFC 9110 section 15.5.6: "The origin server MUST generate an Allow header field in a 405 response".
            return Refusal(405, "invalid_method", {"message": "method not allowed"}, {"Allow": cors.allowed(request)})
        case StoreError():
            _log.error("store failed", method=request.method, path=_path(request), error=str(error))
            retry_after = {"Retry-After": str(_RETRY_AFTER_S)}
            return Refusal(500, "datastore_fault", {"message": "datastore fault"}, retry_after)
        case _:
            _log.error("request failed", method=request.method, path=_path(request), exc_info=error)
            return Refusal(500, "unspecified_fault", {"message": "unspecified fault"})


def _path(request: web.Request) -> str:
    """The path to be logged: without the token, where it has one."""
    path = request.rel_url.raw_path
    before, mark, _ = path.partition("/user_auth/")
    return f"{before}{mark}…" if mark else path


async def _finish(request: web.Request, response: web.StreamResponse) -> None:
    """Add what every answer carries."""
    response.headers["Server"] = _SERVER
    cors.add_headers(request, response)


async def _banner(request: web.Request) -> web.Response:
    return web.Response(text=_BANNER)


async def _gone(request: web.Request) -> web.Response:
    raise Refusal(410, "gone", {"message": "API version 1 is not supported, use /v2"})


class _Connection(web.RequestHandler):
    """aiohttp's connection, which answers what is no HTTP in its own way: it names versions and logs the bytes."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        _log.debug("malformed HTTP", status=status, error=type(exc).__name__)
        if request.writer.output_size > 0:
            raise ConnectionError("half an answer has left already")
        response = web.Response(status=status, text=HTTPStatus(status).phrase, headers={"Server": _SERVER})
        response.force_close()
        return response


@dataclass(slots=True, frozen=True)
class Listening:
    """A running HTTP server."""

    port: int
    _server: asyncio.Server
    _runner: web.AppRunner

    async def close(self) -> None:
        """Accept no more, let the requests at work finish, and close every connection."""
        self._server.close()
        await self._runner.cleanup()


async def serve(application: web.Application, host: str, port: int) -> Listening:
    """Serve `application`; port 0 takes a free one. Raises ListenError."""
    runner = web.AppRunner(application, shutdown_timeout=_SHUTDOWN_TIMEOUT_S)
    await runner.setup()
    loop = asyncio.get_running_loop()

    def connection() -> _Connection:
        assert runner.server is not None
        return _Connection(runner.server, loop=loop, access_log=None)  # type: ignore[arg-type]  # None: no access log

    try:
        server = await loop.create_server(connection, host, port, reuse_address=True)
    except OSError as error:
        await runner.cleanup()
        # asyncio words the same failure differently with each loop; the system's own words are the shortest.
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        written = f"[{host}]" if ":" in host else host
        raise ListenError(f"cannot listen on http://{written}:{port}: {reason}") from None
    return Listening(server.sockets[0].getsockname()[1], server, runner)
