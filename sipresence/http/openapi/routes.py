"""GET /v2/openapi.json and /v2/docs: the description, for programs and for people, open to whoever asks.

It is made when it is first asked for, since then all routes are there.
"""

import json
from functools import cached_property

from aiohttp import web

from sipresence.http.authorization import Gate
from sipresence.http.openapi.description import describe
from sipresence.http.openapi.page import render

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"


def add_routes(router: web.UrlDispatcher, gate: Gate, application: web.Application) -> None:
    """Add both, below /v2; what they describe is the whole application."""
    description = _Description(application)
    router.add_get("/openapi.json{slash:/?}", gate.open_to_strangers(description.give))
    router.add_get("/docs{slash:/?}", gate.open_to_strangers(description.show))


class _Description:
    """The handlers."""

    def __init__(self, application: web.Application) -> None:
        self._application = application

    @cached_property
    def _document(self) -> str:
        return json.dumps(describe(self._application), indent=1)

    @cached_property
    def _page(self) -> str:
        return render(json.loads(self._document))

    async def give(self, request: web.Request) -> web.Response:
        """Give the document."""
        return web.Response(text=self._document, content_type="application/json")

    async def show(self, request: web.Request) -> web.Response:
        """Show the page."""
        headers = {"Content-Security-Policy": _POLICY}
        return web.Response(text=self._page, content_type="text/html", headers=headers)
