"""CORS: what lets web pages from elsewhere use the API, as Kazoo has it.

A preflight (OPTIONS) needs no token and is answered for every path. Other answers carry the headers where a browser
asks across origins, and errors carry them always, so that it shows them.
"""

from aiohttp import web

_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    # Kazoo's list, and `authorization`, without which no browser could use the Bearer form.
    "Access-Control-Allow-Headers": (
        "authorization, content-type, depth, user-agent, x-http-method-override, x-file-size, x-requested-with, "
        "if-modified-since, x-file-name, cache-control, x-auth-token, x-kazoo-cluster-id, if-match"
    ),
    "Access-Control-Expose-Headers": "content-type, x-auth-token, x-request-id, x-kazoo-cluster-id, location, etag",
    "Access-Control-Max-Age": "86400",
}
_ASKING = ("Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers")


def preflight(request: web.Request) -> web.Response:
    """Answer OPTIONS."""
    return web.Response(headers={"Allow": allowed(request), **_headers(request)})


def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add the headers to an answer that has to carry them."""
    if response.status >= 400 or any(name in request.headers for name in _ASKING):
        response.headers.update(_headers(request))


def allowed(request: web.Request) -> str:
    """The methods that the path of the request knows, as Allow lists them."""
    error = request.match_info.http_exception
    resource = request.match_info.route.resource
    methods = {"OPTIONS"}
    if isinstance(error, web.HTTPMethodNotAllowed):
        methods |= error.allowed_methods
    elif resource is not None:
        methods |= {route.method for route in resource}
    return ", ".join(sorted(methods))


def _headers(request: web.Request) -> dict[str, str]:
    return {**_HEADERS, "Access-Control-Allow-Methods": allowed(request)}
