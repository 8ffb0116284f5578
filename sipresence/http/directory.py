"""Kazoo's directory: accounts, and their users and devices, on the verbs of `DirectoryService`.

Routes, below /v2/accounts/{ACCOUNT}, with or without a trailing slash; for users as for devices:

    GET                            the account
    GET     api_key                its API key, for admins
    GET     children               the accounts below it
    GET     devices                all of them in short, by pages: page_size (50), start_key; paginate=false for all
    PUT     devices                make a new one
    GET     devices/ID
    POST    devices/ID             put another in its place
    PATCH   devices/ID             change what is told, within `sip` too; null takes a field away
    DELETE  devices/ID

Fields that mean nothing here are kept and given back. What the configuration file says is marked, by
`"_read_only": {"source": "configuration"}`, and cannot be changed (409). SIP passwords are for admins only.
"""

from typing import TYPE_CHECKING

from aiohttp import web

from sipresence.accounts import Account, Role
from sipresence.http.authorization import forbidden
from sipresence.http.body import read_data
from sipresence.http.envelope import CALLER, Envelopes, invalid
from sipresence.names import AccountId
from sipresence.objects import Json, JsonObject, Kind, ObjectKey

if TYPE_CHECKING:
    from sipresence.directory_service import DirectoryObject, DirectoryService

DEFAULT_PAGE_SIZE = 50  # Kazoo's

_IN_SHORT = {
    Kind.DEVICE: ("name", "owner_id", "presence_id", "enabled", "device_type", "mac_address"),
    Kind.USER: ("first_name", "last_name", "username", "email", "presence_id", "priv_level", "enabled", "timezone"),
}


def add_routes(router: web.UrlDispatcher, service: "DirectoryService", envelopes: Envelopes) -> None:
    """Add the routes below /v2."""
    accounts = _Accounts(service, envelopes)
    router.add_get("/accounts/{account}{slash:/?}", accounts.get)
    router.add_get("/accounts/{account}/api_key{slash:/?}", accounts.get_api_key)
    router.add_get("/accounts/{account}/children{slash:/?}", accounts.list_children)
    for noun, kind in (("devices", Kind.DEVICE), ("users", Kind.USER)):
        objects = _Objects(service, envelopes, kind)
        collection = f"/accounts/{{account}}/{noun}"
        router.add_get(collection + "{slash:/?}", objects.list_page)
        router.add_put(collection + "{slash:/?}", objects.create)
        single = collection + "/{id}{slash:/?}"
        router.add_get(single, objects.get)
        router.add_post(single, objects.replace)
        router.add_patch(single, objects.amend)
        router.add_delete(single, objects.delete)


class _Accounts:
    """The handlers of accounts. Each may trust that the gate let the caller into the account of the path."""

    def __init__(self, service: "DirectoryService", envelopes: Envelopes) -> None:
        self._directory = service.directory
        self._envelopes = envelopes

    async def get(self, request: web.Request) -> web.Response:
        """The account."""
        account = self._directory.account(_account(request))
        more: dict[str, Json] = {"aliases": account.aliases, "enabled": True, **_mark(configured=True)}
        return self._envelopes.success(request, {**_in_short(account), **more})

    async def get_api_key(self, request: web.Request) -> web.Response:
        """Its API key: who has it may do everything, so that it is not for everybody."""
        if request[CALLER].session.role is not Role.ADMIN:
            raise forbidden()
        api_key = self._directory.account(_account(request)).api_key
        return self._envelopes.success(request, {} if api_key is None else {"api_key": api_key})

    async def list_children(self, request: web.Request) -> web.Response:
        """The accounts just below it."""
        return self._envelopes.success(request, list(map(_in_short, self._directory.children(_account(request)))))


class _Objects:
    """The handlers of users or devices, likewise."""

    def __init__(self, service: "DirectoryService", envelopes: Envelopes, kind: Kind) -> None:
        self._service = service
        self._envelopes = envelopes
        self._kind = kind

    async def list_page(self, request: web.Request) -> web.Response:
        """A page of them, each in short."""
        start_key = request.query.get("start_key", "")
        page = self._service.page(_account(request), self._kind, start_key=start_key, size=_page_size(request))
        paging: dict[str, Json] = {"page_size": len(page.objects)}
        if start_key:
            paging["start_key"] = start_key
        if page.next_start_key is not None:
            paging["next_start_key"] = page.next_start_key
        return self._envelopes.success(request, list(map(self._in_short, page.objects)), more=paging)

    async def get(self, request: web.Request) -> web.Response:
        """One of them."""
        return self._answer(request, self._service.find(self._key(request)))

    async def create(self, request: web.Request) -> web.Response:
        """Make a new one."""
        told = await read_data(request)
        made = await self._service.create(_account(request), self._kind, told, by=request[CALLER].account)
        return self._answer(request, made, status=201)

    async def replace(self, request: web.Request) -> web.Response:
        """Put another in its place."""
        told = await read_data(request)
        return self._answer(request, await self._service.replace(self._key(request), told, by=request[CALLER].account))

    async def amend(self, request: web.Request) -> web.Response:
        """Change some of what is told."""
        told = await read_data(request)
        return self._answer(request, await self._service.amend(self._key(request), told, by=request[CALLER].account))

    async def delete(self, request: web.Request) -> web.Response:
        """Delete it; the answer is what it was."""
        was = await self._service.delete(self._key(request), by=request[CALLER].account)
        return self._envelopes.success(request, {"id": was.id, **was.body, "_read_only": {"deleted": True}})

    def _answer(self, request: web.Request, found: "DirectoryObject", *, status: int = 200) -> web.Response:
        body = dict(found.body)
        sip = body.get("sip")
        if isinstance(sip, dict) and request[CALLER].session.role is not Role.ADMIN:
            body["sip"] = {name: value for name, value in sip.items() if name != "password"}
        shown = {"id": found.id, **body, **_mark(configured=found.configured)}
        return self._envelopes.success(request, shown, status=status)

    def _in_short(self, found: "DirectoryObject") -> Json:
        body = found.body
        shown: JsonObject = {"id": found.id, **{name: body[name] for name in _IN_SHORT[self._kind] if name in body}}
        sip = body.get("sip")
        if self._kind is Kind.DEVICE and isinstance(sip, dict):
            shown["username"] = sip["username"]
        return {**shown, **_mark(configured=found.configured)}

    def _key(self, request: web.Request) -> ObjectKey:
        return ObjectKey(_account(request), self._kind, request.match_info["id"])


def _account(request: web.Request) -> AccountId:
    return AccountId(request.match_info["account"])


def _in_short(account: Account) -> dict[str, Json]:
    shown: dict[str, Json] = {"id": account.id, "name": account.name, "realm": account.realm}
    return shown if account.parent_id is None else {**shown, "parent_id": account.parent_id}


def _mark(*, configured: bool) -> dict[str, Json]:
    return {"_read_only": {"source": "configuration"}} if configured else {}


def _page_size(request: web.Request) -> int | None:
    """How many are asked for, None for all. Raises Refusal 400."""
    if request.query.get("paginate") == "false":
        return None
    text = request.query.get("page_size", str(DEFAULT_PAGE_SIZE))
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        message = "Value did not match type(s): integer"
        raise invalid("page_size", "type", {"message": message, "target": "integer", "value": text})
    if not int(text):
        raise invalid("page_size", "minimum", {"message": "Value must be at least 1", "target": 1, "value": 0})
    return int(text)
