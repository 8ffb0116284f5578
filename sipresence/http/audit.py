"""The audit trail over Kazoo's API: who asked for what, when, and from where. Kazoo has none.

    GET /v2/accounts/{ACCOUNT}/audit    the newest first, by pages: page_size (50), start_key; extension=101 for one

An entry is one command on one extension: `action` (set, reset, notify, terminate), `asked` (what else it said), `at`
(Unix seconds), `by` (the account of the token), `user` (who has logged in), `address`, `request_id` (of the answer).
"""

from typing import TYPE_CHECKING

from aiohttp import web

from sipresence.audit import Asker, AuditEntry, AuditId
from sipresence.http.authorization import client_address
from sipresence.http.envelope import CALLER, Envelopes, request_id_of
from sipresence.http.query import number_of
from sipresence.names import AccountId, extension_of
from sipresence.objects import Json, JsonObject

if TYPE_CHECKING:
    from sipresence.service import PresenceService

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000


def asker_of(request: web.Request) -> Asker:
    """Who asks, as it is kept."""
    session = request[CALLER].session
    return Asker(session.account, session.user or "", client_address(request), request_id_of(request))


def list_audit(
    request: web.Request, account: AccountId, *, service: "PresenceService", envelopes: Envelopes
) -> web.Response:
    """Answer with a page of the trail. Raises Refusal 400, InvalidExtension."""
    size = number_of(request, "page_size", least=1, most=MAX_PAGE_SIZE) or DEFAULT_PAGE_SIZE
    start = number_of(request, "start_key")
    extension = request.query.get("extension")
    entries, following = service.commands.trail.page(
        account,
        size=size,
        start=None if start is None else AuditId(start),
        resource=None if extension is None else service.resource(account, extension),
    )
    paging: dict[str, Json] = {"page_size": len(entries)}
    if start is not None:
        paging["start_key"] = str(start)
    if following is not None:
        paging["next_start_key"] = str(following)
    return envelopes.success(request, list(map(_describe, entries)), more=paging)


def _describe(entry: AuditEntry) -> Json:
    described: JsonObject = {
        "id": str(entry.id),
        "at": round(entry.at, 3),
        "action": entry.action,
        "extension": extension_of(entry.resource),
        "asked": entry.details,
        "by": entry.by,
        "user": entry.user,
        "address": entry.address,
        "request_id": entry.request_id,
    }
    return {name: value for name, value in described.items() if value != ""}
