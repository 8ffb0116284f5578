"""GET /healthz and /readyz, for whoever starts, watches and balances servers: 200 or 503, and why.

Both are open to whoever reaches the listener, and name nothing but the four things that can be wrong.
"""

from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from sipresence.insight import Insight


def add_routes(router: web.UrlDispatcher, insight: "Insight") -> None:
    """Add both."""

    async def healthz(request: web.Request) -> web.Response:
        """Whether the process lives; where it does not, start it anew."""
        responsive = insight.health().responsive
        return _answer(responsive, {"responsive": responsive})

    async def readyz(request: web.Request) -> web.Response:
        """Whether to send it phones. One whose store fails must live on: it still tells its subscribers."""
        health = insight.health()
        return _answer(health.ready, health._asdict())

    router.add_get("/healthz", healthz)
    router.add_get("/readyz", readyz)


def _answer(ok: bool, checks: dict[str, bool]) -> web.Response:
    return web.json_response({"status": "ok" if ok else "failing", **checks}, status=200 if ok else 503)
