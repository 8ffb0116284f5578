"""The HTTP server: one aiohttp application that mounts the dialects and turns what they raise into answers.

A dialect raises what is wrong (a `Refusal`, or an error of the house) and this module answers it, in one place. What
nobody foresaw is answered 500 with no word about it, and logged. No log line holds a token: tokens travel in headers
and query strings, so only method and path are logged.
"""

import asyncio
import os
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from sipresence.errors import InvalidExtension, ListenError, NotFound, StoreError
from sipresence.http import health, kazoo, metrics
from sipresence.http.command import MAX_BODY_BYTES
from sipresence.http.envelope import Envelopes, Refusal

if TYPE_CHECKING:
    from sipresence.insight import Insight
    from sipresence.service import PresenceService

_BANNER = "sipresence, a SIP presence server. Its API lives under /v2.\n"
_SERVER = "sipresence"
_RETRY_AFTER_S = 5
_SHUTDOWN_TIMEOUT_S = 5.0

_CORS = {
    "Access-Control-Allow-Origin": "*",
    # Kazoo's list, and `authorization`, without which no browser could use the Bearer form.
    "Access-Control-Allow-Headers": (
        "authorization, content-type, depth, user-agent, x-http-method-override, x-file-size, x-requested-with, "
        "if-modified-since, x-file-name, cache-control, x-auth-token, x-kazoo-cluster-id, if-match"
    ),
    "Access-Control-Expose-Headers": "content-type, x-auth-token, x-request-id, x-kazoo-cluster-id, location, etag",
    "Access-Control-Max-Age": "86400",
}

_log = structlog.get_logger()


def make_application(service: "PresenceService", insight: "Insight", *, version: str) -> web.Application:
    """Make the application. `version` is the product's, shown to callers with a token, and to whoever may scrape."""
    surface = _Surface(Envelopes(service, version=version))
    application = web.Application(middlewares=[surface.answer], client_max_size=MAX_BODY_BYTES)
    application.on_response_prepare.append(_finish)
    application.router.add_get("/", _banner)
    application.router.add_route("*", "/v1{rest:(/.*)?}", _gone)
    application.router.add_get("/metrics", metrics.make_page(insight, version=version))
    health.add_routes(application.router, insight)
    application.add_subapp("/v2", kazoo.make_dialect(service, insight, surface.envelopes))
    return application


class _Surface:
    """The outermost layer: whatever comes out of the dialects, an answer leaves."""

    def __init__(self, envelopes: Envelopes) -> None:
        self.envelopes = envelopes

    @web.middleware
    async def answer(self, request: web.Request, handler: kazoo.Handler) -> web.StreamResponse:
        if request.method == "OPTIONS":
            return web.Response(headers={**_CORS, **_allowed(request)})
        try:
            return await handler(request)
        except Exception as error:
            refusal = _refusal(request, error)
        _log.info("refused", method=request.method, path=request.rel_url.raw_path, status=refusal.status)
        return self.envelopes.refusal(request, refusal)


def _refusal(request: web.Request, error: Exception) -> Refusal:
    """Say in the dialect's words what is wrong."""
    match error:
        case Refusal():
            return error
        case NotFound() | InvalidExtension():
            return Refusal(404, "bad_identifier", {"message": "bad identifier", "cause": str(error)})
        case web.HTTPNotFound():
            return Refusal(404, "not_found", {"message": "not found"})
        case web.HTTPMethodNotAllowed():
            # RFC 9110 section 15.5.6: "The origin server MUST generate an Allow header field in a 405 response".
            return Refusal(405, "invalid_method", {"message": "method not allowed"}, _allowed(request))
        case StoreError():
            _log.error("store failed", method=request.method, path=request.rel_url.raw_path, error=str(error))
            retry_after = {"Retry-After": str(_RETRY_AFTER_S)}
            return Refusal(500, "datastore_fault", {"message": "datastore fault"}, retry_after)
        case _:
            _log.error("request failed", method=request.method, path=request.rel_url.raw_path, exc_info=error)
            return Refusal(500, "unspecified_fault", {"message": "unspecified fault"})


def _allowed(request: web.Request) -> dict[str, str]:
    """The methods that the path of the request knows, as Allow and for a browser's preflight."""
    error = request.match_info.http_exception
    resource = request.match_info.route.resource
    methods = {"OPTIONS"}
    if isinstance(error, web.HTTPMethodNotAllowed):
        methods |= error.allowed_methods
    elif resource is not None:
        methods |= {route.method for route in resource}
    listed = ", ".join(sorted(methods))
    return {"Allow": listed, "Access-Control-Allow-Methods": listed}


async def _finish(request: web.Request, response: web.StreamResponse) -> None:
    """Add what every answer carries; errors carry the CORS headers always, so that a browser shows them."""
    response.headers["Server"] = _SERVER
    if response.status >= 400 or "Origin" in request.headers:
        response.headers.update(_CORS)


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
