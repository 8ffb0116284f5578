"""Authorisation: who asks, for which account, what he may do, and how often; before any dialect looks at a request.

The token is looked for in `X-Auth-Token`, `auth_token` of the query, `Authorization: Bearer`, and at last in
`auth_token` of the body. The caller comes first (401), then how much he asks (429), then the route (404, 405), the
account (404, 403) and his role (403): a stranger learns nothing, and who may not see an account learns no more than
that it exists. A token opens its own account and all below it. Who may only look may GET, and nothing else.

Requests are paid for with tokens of another kind, from a bucket per client and account: Kazoo's measure against floods.
A static token of the configuration pays nothing, unless that is configured; a stranger pays from the bucket of his
address, also for a token that opens nothing. While that is empty, of what comes from there only tokens are looked at
that have opened something before: a guess is not answered, right or wrong, and nobody else there is held up.
"""

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from math import ceil

from aiohttp import web

from sipresence.accounts import Role
from sipresence.directory import Directory
from sipresence.errors import NoSession, SessionOver
from sipresence.http.body import read_token
from sipresence.http.envelope import CALLER, TOKENS, Caller, Refusal
from sipresence.names import AccountId
from sipresence.session_service import SessionService
from sipresence.sip.admission import KNOWN_GOOD_FOR, MAX_KNOWN_GOOD, Buckets, Generations

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

LOGIN_COST = 35  # tokens, as Kazoo has it

_ACCOUNT_ID_LENGTH = 32
CHALLENGE = {"WWW-Authenticate": "Bearer"}  # RFC 9110 section 15.5.2: a 401 MUST carry a challenge


@dataclass(slots=True, frozen=True)
class RequestLimits:
    """Requests a second of one client in one account, and how many at once."""

    rate: float = 10.0
    burst: int = 100
    static_tokens_too: bool = False


class Gate:
    """What every request below /v2 has to pass. `now` is in Unix seconds."""

    def __init__(
        self, directory: Directory, sessions: SessionService, limits: RequestLimits, *, now: Callable[[], float]
    ) -> None:
        self._directory = directory
        self._sessions = sessions
        self._limits = limits
        self._now = now
        self._buckets: Buckets[tuple[str, str]] = Buckets(limits.rate, limits.burst)
        self._known_good: Generations[tuple[str, str], bool] = Generations(period=KNOWN_GOOD_FOR, most=MAX_KNOWN_GOOD)
        self._costs: dict[Handler, int] = {}  # of handlers that strangers may call
        self._for_readers: set[Handler] = set()

    def open_to_strangers(self, handler: Handler, *, cost: int = 0) -> Handler:
        """Let everybody call this handler."""
        self._costs[handler] = cost
        return handler

    def open_to_readers(self, handler: Handler) -> Handler:
        """Let who may only look call this handler with any method."""
        self._for_readers.add(handler)
        return handler

    @web.middleware
    async def admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let the caller in, or say 401, 429, 404 or 403, before anything else is looked at."""
        called = request.match_info.handler
        if called in self._costs:
            if self._costs[called]:
                self._charge(request, "", self._costs[called])
            return await handler(request)
        try:
            caller = await self._caller(request)
        except NoSession as error:
            self._charge(request, "", 1)
            raise _unauthorised(error) from None
        request[CALLER] = caller
        if caller.session.id or self._limits.static_tokens_too:
            self._charge(request, caller.account, 1)
        if request.match_info.http_exception is None:  # else the path is unknown, which the handler says
            self._admit(request, caller)
        return await handler(request)

    async def _caller(self, request: web.Request) -> Caller:
        """Find who asks. Raises NoSession.

        The token is in nobody's local variables later, where a logged traceback might show it.
        """
        token = token_of(request) or await read_token(request)
        client, now = client_network(request), self._now()
        if self._known_good.get((client, token)) is None and self._buckets.left((client, ""), now) < 1:
            raise NoSession  # perhaps a right guess, which nobody is to know
        caller = Caller(self._sessions.session(token), token)
        self._known_good.set((client, token), True, now)
        return caller

    def _charge(self, request: web.Request, account: str, cost: int) -> None:
        """Take what a request costs from the bucket of the client in this account, "" for a stranger."""
        now, payer = self._now(), (client_network(request), account)
        left = self._buckets.left(payer, now)
        if left < cost:
            request[TOKENS] = {"consumed": 0, "remaining": int(left)}
            retry_after = {"Retry-After": str(ceil((cost - left) / self._limits.rate))}
            raise Refusal(429, "too_many_requests", {"message": "too many requests"}, retry_after)
        self._buckets.charge(payer, now, cost)
        request[TOKENS] = {"consumed": cost, "remaining": int(left - cost)}

    def _admit(self, request: web.Request, caller: Caller) -> None:
        if "account" in request.match_info:
            account = AccountId(request.match_info["account"])
            if len(account) != _ACCOUNT_ID_LENGTH:
                raise Refusal(404, "bad identifier", {"message": f"invalid account_id '{account}'"})
            self._directory.account(account)
            if not self._directory.may_act_for(caller.account, account):
                raise forbidden()
        looks = request.method in ("GET", "HEAD") or request.match_info.handler in self._for_readers
        if caller.session.role is not Role.ADMIN and not looks:
            raise forbidden()


def _unauthorised(error: NoSession) -> Refusal:
    if isinstance(error, SessionOver):  # Kazoo's words for one that has expired, which clients tell from the others
        return Refusal(401, "invalid credentials", {}, CHALLENGE)
    return Refusal(401, "invalid_credentials", {"message": "invalid credentials"}, CHALLENGE)


def forbidden() -> Refusal:
    """The refusal of what the caller may not do."""
    return Refusal(403, "forbidden", {"message": "forbidden"})


def token_of(request: web.Request) -> str:
    """Take the token from where Kazoo looks for it, in its order; "" for none, or for text that no token can be."""
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    token = (
        request.headers.get("X-Auth-Token")
        or request.query.get("auth_token")
        or (bearer.strip() if scheme.lower() == "bearer" else "")
    )
    return token if token.isascii() else ""


def client_address(request: web.Request) -> str:
    """Where a client is: behind a reverse proxy on this machine, where that says."""
    address = request.remote or ""
    forwarded = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
    with contextlib.suppress(ValueError):
        if forwarded and ip_address(address).is_loopback:
            return str(ip_address(forwarded))
    return address


def client_network(request: web.Request) -> str:
    """Who counts as one client: an address, in IPv6 the /64, in which a sender chooses addresses freely."""
    address = client_address(request)
    with contextlib.suppress(ValueError):
        parsed = ip_address(address.partition("%")[0])
        if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
            return parsed.exploded[:19]
    return address
