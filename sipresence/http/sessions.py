"""Kazoo's log-ins: tokens for API keys and passwords, what a token opens, and logging out.

    PUT     api_auth            {"api_key": "…64 characters…"}
    PUT     user_auth           {"credentials": MD5 or SHA-1 of "username:password", "account_name" (or _realm): …}
    GET     user_auth/{TOKEN}   what a token opens
    GET     token_auth          what the caller's own token opens
    DELETE  token_auth          end the caller's own token

The token is `auth_token` of the envelope, and opens all that is asked of the API for as long as `expires_in` says. With
a single account there is no need to name it.
"""

from typing import TYPE_CHECKING

from aiohttp import web

from sipresence.accounts import Account
from sipresence.errors import LoginRefused, NoSession
from sipresence.http.authorization import CHALLENGE, LOGIN_COST, Gate, client_network
from sipresence.http.body import read_data
from sipresence.http.envelope import CALLER, Caller, Envelopes, Refusal, invalid
from sipresence.objects import Json

if TYPE_CHECKING:
    from sipresence.directory import Directory
    from sipresence.session_service import Session, SessionService

API_KEY_LENGTH = 64


def add_routes(
    router: web.UrlDispatcher, gate: Gate, *, directory: "Directory", sessions: "SessionService", envelopes: Envelopes
) -> None:
    """Add the routes below /v2."""
    handlers = _Sessions(directory, sessions, envelopes)
    router.add_put("/api_auth{slash:/?}", gate.open_to_strangers(handlers.log_in_by_key, cost=LOGIN_COST))
    router.add_put("/user_auth{slash:/?}", gate.open_to_strangers(handlers.log_in, cost=LOGIN_COST))
    router.add_get("/user_auth/{token}{slash:/?}", handlers.describe_other)
    router.add_get("/token_auth{slash:/?}", handlers.describe_own)
    router.add_delete("/token_auth{slash:/?}", gate.open_to_readers(handlers.log_out))


class _Sessions:
    """The handlers."""

    def __init__(self, directory: "Directory", sessions: "SessionService", envelopes: Envelopes) -> None:
        self._directory = directory
        self._sessions = sessions
        self._envelopes = envelopes

    async def log_in_by_key(self, request: web.Request) -> web.Response:
        """Give a token for an API key."""
        api_key = _text(await read_data(request), "api_key", length=API_KEY_LENGTH)
        try:
            token, session = self._sessions.log_in_by_key(api_key, source=client_network(request))
        except LoginRefused:
            raise Refusal(404, "bad identifier", [api_key]) from None
        return self._welcome(request, token, session)

    async def log_in(self, request: web.Request) -> web.Response:
        """Give a token for a user's password."""
        data = await read_data(request)
        credentials = _text(data, "credentials")
        account = self._account(data)
        try:
            token, session = self._sessions.log_in(account.id, credentials, source=client_network(request))
        except LoginRefused:
            raise Refusal(401, "invalid_credentials", {"message": "invalid credentials"}, CHALLENGE) from None
        return self._welcome(request, token, session)

    async def describe_own(self, request: web.Request) -> web.Response:
        """Say what the caller's token opens."""
        return self._envelopes.success(request, self._describe(request[CALLER].session))

    async def describe_other(self, request: web.Request) -> web.Response:
        """Say what a token opens, to whom it would open no more than his own does."""
        unknown = Refusal(404, "bad_identifier", {"message": "bad identifier"})
        try:
            session = self._sessions.session(request.match_info["token"])
        except NoSession:
            raise unknown from None
        if not self._directory.may_act_for(request[CALLER].account, session.account):
            raise unknown
        return self._envelopes.success(request, self._describe(session))

    async def log_out(self, request: web.Request) -> web.Response:
        """End the caller's token."""
        session = request[CALLER].session
        if not session.id:
            message = "the token is one of the configuration file: take it out there"
            raise Refusal(409, "conflict", {"message": message})
        await self._sessions.log_out(session)
        return self._envelopes.success(request, {})

    def _welcome(self, request: web.Request, token: str, session: "Session") -> web.Response:
        request[CALLER] = Caller(session, token)
        return self._envelopes.success(request, self._describe(session), status=201)

    def _account(self, data: dict[str, Json]) -> Account:
        """Find the account that a log-in names. Raises Refusal 400."""
        for field, find in (
            ("account_realm", self._directory.account_by_host),
            ("account_name", self._directory.account_by_name),
        ):
            if field not in data:
                continue
            name = _text(data, field)
            account = find(name)
            if account is None:
                message = "The provided account could not be found"
                raise invalid(field, "not_found", {"message": message, "cause": name})
            return account
        if self._directory.sole_account is None:
            raise invalid("account_name", "required", _REQUIRED)
        return self._directory.sole_account

    def _describe(self, session: "Session") -> dict[str, Json]:
        """What Kazoo's clients want to know of their session."""
        account = self._directory.account(session.account)
        is_reseller = bool(self._directory.children(account.id))
        described: dict[str, Json] = {
            "account_id": account.id,
            "account_name": account.name,
            "apps": [],
            "is_master_account": is_reseller and account.parent_id is None,
            "is_reseller": is_reseller,
            "language": "en-us",
            "reseller_id": account.parent_id or account.id,
            "role": session.role.value,
        }
        if session.user is not None:
            described["owner_id"] = session.user
        if session.id:
            described["expires_in"] = self._sessions.remaining(session)
        return described


_REQUIRED: dict[str, Json] = {"message": "Field is required but missing", "target": "required"}


def _text(data: dict[str, Json], field: str, *, length: int | None = None) -> str:
    """Take a field that has to be text, of this length. Raises Refusal 400, which does not repeat what is a secret."""
    value = data.get(field)
    if value is None:
        raise invalid(field, "required", _REQUIRED)
    if not isinstance(value, str):
        raise invalid(field, "type", {"message": "Value did not match type(s): string", "target": "string"})
    if length is not None and len(value) < length:
        raise invalid(field, "minLength", {"message": f"String must be at least {length} characters", "target": length})
    if length is not None and len(value) > length:
        message = f"String must not be more than {length} characters"
        raise invalid(field, "maxLength", {"message": message, "target": length})
    return value
