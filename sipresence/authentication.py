"""Authentication: which device of which account a request comes from, by digest (RFC 3261 section 22.4).

The account of a subscriber is that of the realm of its credentials, whatever it asks for. There is one outcome for all
that is not right: a challenge in the realm of the account that is asked. An unknown user and a wrong password differ in
nothing, the work done for them included. What is right but was used before, or is too old, differs from that by
`stale=true` only, upon which a phone answers the new challenge by itself: whoever lost the answer to a request, in a
crash of ours too, gets through with the next one.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from sipresence.accounts import Account
from sipresence.directory import Directory
from sipresence.errors import MalformedMessage, SipError
from sipresence.names import AccountId, ResourceId
from sipresence.sip import digest
from sipresence.sip.digest import Algorithm, Credentials, Nonces, NonceState
from sipresence.sip.message import Request
from sipresence.sip.uri import Uri, parse_uri

_NOBODYS_HA1 = {algorithm: algorithm.ha1("", "", "") for algorithm in Algorithm}


class Subscriber(NamedTuple):
    """Who has proven to be a device: `user` is its SIP user name."""

    account: AccountId
    user: str


class Authenticator:
    """Checks credentials against the directory.

    `understood_by` names the algorithms that may be offered to a phone, by its User-Agent; none: all of its account.
    """

    def __init__(
        self, directory: Directory, nonces: Nonces, *, understood_by: Callable[[str], Sequence[str]] = lambda _: ()
    ) -> None:
        self._directory = directory
        self._nonces = nonces
        self._understood_by = understood_by

    def authenticate(
        self, request: Request, account: Account, *, means_us: Callable[[Uri], bool], now: float
    ) -> Subscriber:
        """Return who sent a request that is the business of `account`. Raises SipError 401 with challenges.

        `means_us` says of the URI that the credentials were made for whether it is ours. It need not be the
        Request-URI, which a proxy may have rewritten.
        """
        stale = False
        found = self._credentials(request, account)
        if found is not None:
            owner, credentials = found
            if self._right(credentials, owner, request.method, means_us):
                if self._unused(credentials, now):
                    return Subscriber(owner.id, credentials.username)
                stale = owner is account
        nonce = self._nonces.make(account.realm, now)
        raise SipError(401, digest.challenges(account.realm, nonce, self._offered(request, account), stale=stale))

    def authorise(
        self, subscriber: Subscriber | None, resource: ResourceId, account: AccountId, *, caller: str
    ) -> None:
        """Refuse a subscriber of another account, and one whom a rule forbids to watch. Raises SipError 403.

        Whoever needs no authentication (None) is of the account that he asks, and is whom he says he is: `caller`.
        """
        if subscriber is not None and subscriber.account != account:
            raise SipError(403, reason="Of another account")
        if not self._directory.may_watch(caller if subscriber is None else subscriber.user, resource):
            raise SipError(403, reason="By a rule of the account")

    def _offered(self, request: Request, account: Account) -> Sequence[Algorithm]:
        """The algorithms of the account, but for those that phones of this kind stumble over (phones.md 39)."""
        understood = self._understood_by(request.get("user-agent") or "")
        return [one for one in account.digest_algorithms if one in understood] or account.digest_algorithms

    def _credentials(self, request: Request, account: Account) -> tuple[Account, Credentials] | None:
        """Pick the credentials of the account that is asked, else of any other. One a request: there is no guessing."""
        known = [
            (owner, credentials)
            for credentials in digest.credentials(request.all("authorization"))
            if (owner := self._directory.account_by_realm(credentials.realm)) is not None
        ]
        return next((found for found in known if found[0] is account), known[0] if known else None)

    def _right(self, credentials: Credentials, owner: Account, method: str, means_us: Callable[[Uri], bool]) -> bool:
        known = self._directory.ha1(owner.id, credentials.username, credentials.algorithm)
        ha1 = _NOBODYS_HA1[credentials.algorithm] if known is None else known
        return credentials.matches(ha1, method) and known is not None and _is_ours(credentials.uri, means_us)

    def _unused(self, credentials: Credentials, now: float) -> bool:
        state = self._nonces.check(credentials.nonce, credentials.realm, now)
        return state is NonceState.FRESH and self._nonces.use(credentials.nonce, credentials.nonce_count)


def _is_ours(text: str, means_us: Callable[[Uri], bool]) -> bool:
    try:
        return means_us(parse_uri(text))
    except (MalformedMessage, SipError):
        return False
