"""SessionService: who may do what over the admin API, from logging in to logging out.

A token is one of the configuration's, which never ends, or a session's: made at a log-in, with an API key or with what
a user knows. A session's token is a JSON Web Token (RFC 7519, HS256) under a key that the store keeps, so that it
outlives a restart and every server on that store knows it, and so that nothing is kept of it. It says who has logged
in, until when, and by which secret (a MAC of it): what a session may do is looked up each time, and with a changed
password or key, a deleted or disabled user, a closed account it is over. Logging out is what is kept, until the token
would have ended by itself.

Failed log-ins are counted by where they come from and by account. Who has failed too often is told when to come back,
whatever it is that he tries: nobody waits here, so that nothing piles up. The tables are bounded.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from hmac import compare_digest
from math import ceil
from typing import Any

import jwt
import structlog

from sipresence.accounts import Role
from sipresence.commit import commit
from sipresence.directory import Directory
from sipresence.errors import LoginRefused, NoSession, SessionOver, TooManyLogins
from sipresence.events.effects import ForgetObject, SaveObject, Write
from sipresence.names import AccountId
from sipresence.objects import Kind, ObjectKey, ObjectRecord
from sipresence.outbox import Outbox
from sipresence.ports import Clock
from sipresence.sip.admission import Buckets

SOURCE_RATE, SOURCE_BURST = 0.1, 10  # failed log-ins a second from one address, and at once
ACCOUNT_RATE, ACCOUNT_BURST = 1.0, 100  # to one account: a guesser with many addresses; its owner is in the same boat

_ALGORITHM = "HS256"
_ISSUER = "sipresence"
_HEADER = jwt.encode({}, bytes(32), algorithm=_ALGORITHM).partition(".")[0] + "."
"""How each of our tokens begins. Nothing of any other is parsed."""

log = structlog.get_logger()


@dataclass(slots=True, frozen=True)
class Session:
    """Who asks. `user` is an id; `id` is empty, and `expires_at` 0, for a static token."""

    account: AccountId
    role: Role
    user: str | None = None
    id: str = ""
    expires_at: float = 0.0


class SessionService:
    """The verbs. `key` signs tokens, `ident` makes their ids; a session lasts for `lifetime` seconds."""

    def __init__(
        self, directory: Directory, *, key: bytes, ident: Callable[[], str], lifetime: float, clock: Clock
    ) -> None:
        self._directory = directory
        self._key = key
        self._ident = ident
        self._lifetime = lifetime
        self._clock = clock
        self._revoked: dict[ObjectKey, float] = {}  # and until when that has to be known
        self._failures_by_source: Buckets[str] = Buckets(SOURCE_RATE, SOURCE_BURST)
        self._failures_by_account: Buckets[str] = Buckets(ACCOUNT_RATE, ACCOUNT_BURST)

    def attach(self, outbox: Outbox) -> None:
        """Connect what carries out effects."""
        self._outbox = outbox

    def restore(self, records: Iterable[ObjectRecord]) -> None:
        """Take over which tokens were revoked."""
        for record in records:
            if record.kind is Kind.REVOCATION:
                self._revoked[record.key] = json.loads(record.body)["expires_at"]

    def log_in_by_key(self, api_key: str, *, source: str) -> tuple[str, Session]:
        """Give a token for an API key. Raises LoginRefused, TooManyLogins."""
        self._check_patience(source)
        account = self._directory.account_by_api_key(api_key)
        if account is None:
            raise self._failed(source)
        return self._open(Session(account, Role.ADMIN), api_key)

    def log_in(self, account: AccountId, digest: str, *, source: str) -> tuple[str, Session]:
        """Give a token for what a user knows (see `login_digests`). Raises LoginRefused, TooManyLogins."""
        self._check_patience(source, account)
        user = self._directory.user_by_login(account, digest)
        if user is None:
            raise self._failed(source, account)
        return self._open(Session(account, user.role, user.id), user.logins[0])

    def session(self, token: str) -> Session:
        """Say whose a token is, and what he may do now. Raises NoSession, SessionOver."""
        access = self._directory.access(token) if token else None
        if access is not None:
            return Session(access.account, access.role)
        if not token.isascii() or not token.startswith(_HEADER):
            raise NoSession
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[_ALGORITHM],
                issuer=_ISSUER,
                options={"verify_exp": False, "verify_iat": False},  # which it would by another clock than ours
            )
        except jwt.PyJWTError:
            raise NoSession from None
        session = self._as_it_is(claims)
        if session.expires_at <= self._clock.now() or _revocation(session) in self._revoked:
            raise SessionOver
        return session

    def remaining(self, session: Session) -> int:
        """How many seconds a session lasts yet."""
        return max(0, int(session.expires_at - self._clock.now()))

    async def log_out(self, session: Session) -> None:
        """Let a token open nothing any more; a static one goes on. Raises StoreError."""
        if not session.id:
            return
        now, key = self._clock.now(), _revocation(session)
        over = [known for known, until in self._revoked.items() if until <= now]
        self._revoked[key] = session.expires_at
        record = ObjectRecord(*key, json.dumps({"expires_at": session.expires_at}), now)
        writes: list[Write] = [*map(ForgetObject, over), SaveObject(record)]

        def finish(committed: bool) -> None:
            for known in over if committed else (key,):
                self._revoked.pop(known, None)

        await commit(self._outbox, writes, then=finish)
        log.info("logged out", account=session.account, user=session.user)

    def _open(self, session: Session, secret: str) -> tuple[str, Session]:
        now = self._clock.now()
        session = replace(session, id=self._ident(), expires_at=float(int(now + self._lifetime)))
        claims: dict[str, str | int] = {
            "iss": _ISSUER,
            "jti": session.id,
            "iat": int(now),
            "exp": int(session.expires_at),
            "account_id": session.account,
            "sig": self._fingerprint(secret),
        }
        if session.user is not None:
            claims["owner_id"] = session.user
        log.info("logged in", account=session.account, user=session.user)
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM), session

    def _as_it_is(self, claims: Mapping[str, Any]) -> Session:
        """What a token of ours opens now. Raises SessionOver."""
        account_id, user_id = AccountId(claims["account_id"]), claims.get("owner_id")
        role, secrets = Role.ADMIN, tuple[str, ...]()
        if user_id is None:
            account = self._directory.find(account_id)
            secrets = (account.api_key,) if account is not None and account.api_key is not None else ()
        else:
            user = self._directory.user(account_id, user_id)
            if user is not None and user.enabled:
                role, secrets = user.role, user.logins
        if not secrets or not compare_digest(self._fingerprint(secrets[0]), claims["sig"]):
            raise SessionOver
        return Session(account_id, role, user_id, claims["jti"], claims["exp"])

    def _fingerprint(self, secret: str) -> str:
        return blake2b(secret.encode(), key=self._key, digest_size=8).hexdigest()

    def _check_patience(self, source: str, account: str = "") -> None:
        now = self._clock.now()
        if self._failures_by_source.overdrawn(source, now):
            raise TooManyLogins(ceil(1 / SOURCE_RATE))
        if account and self._failures_by_account.overdrawn(account, now):
            raise TooManyLogins(ceil(1 / ACCOUNT_RATE))

    def _failed(self, source: str, account: str = "") -> LoginRefused:
        now = self._clock.now()
        self._failures_by_source.charge(source, now)
        if account:
            self._failures_by_account.charge(account, now)
        log.warning("log-in refused", account=account or None, source=source)
        return LoginRefused()


def _revocation(session: Session) -> ObjectKey:
    return ObjectKey(session.account, Kind.REVOCATION, session.id)
