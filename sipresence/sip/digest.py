"""Digest authentication, the server's side (RFC 3261 section 22, RFC 7616, RFC 8760): plain functions and one table.

    request without credentials ──> challenges ──> request with Authorization ──> credentials ──> matches ──> Nonces.use

A nonce is stateless: the time at which it was made, and a keyed MAC of that and the realm. Whoever has the key, after a
restart too, knows how old it is and that it is ours. What has to be remembered is which nonce counts of it were used,
so that a captured request cannot be played again; what may have been forgotten is as good as expired, and leads to a
fresh challenge, never to a refusal.

Only `qop=auth` is taken. RFC 7616 section 3.4 has "This parameter MUST be used if … the server includes it in the
challenge", and without it there is no nonce count to tell a replay by: what RFC 2069 computes is not read here.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from enum import IntEnum, StrEnum
from hmac import compare_digest
from typing import NamedTuple

MAX_HEADERS = 8  # Authorization headers of one request that are looked at
MAX_LENGTH = 2048  # characters of one
NONCE_LIFETIME = 300.0  # s
NC_WINDOW = 64  # nonce counts below the highest that may still arrive: UDP reorders
MAX_NONCES = 131_072  # nonces in use that one generation remembers

_MICROSECONDS = 1_000_000
_NUMBER_DIGITS = 14
_WINDOW_BITS = (1 << NC_WINDOW) - 1
_PARAMETER = re.compile(r'[\s,]*([!%\'*+.\w`~-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))\s*(?=,|$)', re.ASCII)
_QUOTED_PAIR = re.compile(r"\\(.)")
_NONCE_COUNT = re.compile(r"(?!0{8})[0-9a-fA-F]{8}")


class Algorithm(StrEnum):
    """The hash algorithms of SIP that we compute, as the `algorithm` parameter names them."""

    SHA_256 = "SHA-256"
    MD5 = "MD5"

    def digest(self, text: str) -> str:
        """H(text), in lower-case hex digits (RFC 8760 section 2.2)."""
        data = text.encode(errors="surrogateescape")
        if self is Algorithm.SHA_256:
            return hashlib.sha256(data).hexdigest()
        # A Python without weak hashes would refuse it otherwise; who must not use MD5 leaves it out of the challenge.
        return hashlib.md5(data, usedforsecurity=False).hexdigest()

    def ha1(self, username: str, realm: str, password: str) -> str:
        """What a server may keep in place of the password (RFC 7616 section 3.4.2)."""
        return self.digest(f"{username}:{realm}:{password}")


class Credentials(NamedTuple):
    """What a client says in one Authorization header, all of it unproven; quoted strings without quotes and escapes."""

    username: str
    realm: str
    nonce: str
    uri: str
    response: str
    algorithm: Algorithm
    cnonce: str
    nc: str

    @property
    def nonce_count(self) -> int:
        """Which request with this nonce it is, from 1."""
        return int(self.nc, 16)

    def matches(self, ha1: str, method: str) -> bool:
        """Whether the response is that of one who knows HA1, for this method and the URI that he names.

        RFC 7616 section 3.4.1: KD(H(A1), unq(nonce) ":" nc ":" unq(cnonce) ":" unq(qop) ":" H(A2)). The comparison
        takes as long wherever the difference is.
        """
        digest = self.algorithm.digest
        ha2 = digest(f"{method}:{self.uri}")
        expected = digest(f"{ha1}:{self.nonce}:{self.nc}:{self.cnonce}:auth:{ha2}")
        return compare_digest(expected.encode(), self.response.lower().encode(errors="surrogateescape"))


def credentials(values: Iterable[str]) -> Iterator[Credentials]:
    """Read the Authorization headers of a request; one that is malformed or of another kind is as good as absent."""
    for value in list(values)[:MAX_HEADERS]:
        found = _credentials(value)
        if found is not None:
            yield found


def _credentials(value: str) -> Credentials | None:
    scheme, _, rest = value.partition(" ")
    if len(value) > MAX_LENGTH or scheme.lower() != "digest":
        return None
    given = _parameters(rest)
    try:
        algorithm = Algorithm(given.get("algorithm", "MD5").upper())  # "If this parameter is not present, … MD5"
        if given["qop"].lower() != "auth" or not _NONCE_COUNT.fullmatch(given["nc"]):
            return None
        return Credentials(
            given["username"], given["realm"], given["nonce"], given["uri"], given["response"], algorithm,
            given["cnonce"], given["nc"],
        )  # fmt: skip
    except (KeyError, ValueError):
        return None


def _parameters(text: str) -> dict[str, str]:
    """Split `name=value, name="value"`; empty where the grammar is broken, or a name comes twice."""
    given: dict[str, str] = {}
    position, text = 0, text.rstrip(" \t,")
    while position < len(text):
        match = _PARAMETER.match(text, position)
        if match is None or match[1].lower() in given:
            return {}
        given[match[1].lower()] = match[3] or _QUOTED_PAIR.sub(r"\1", match[2] or "")
        position = match.end()
    return given


def challenges(realm: str, nonce: str, algorithms: Iterable[Algorithm], *, stale: bool) -> str:
    """Write the headers of a 401, one per algorithm in order of preference (RFC 8760 section 2.3).

    `stale` tells the client that its password was right: it need not ask its user for another.
    """
    end = ", stale=true" if stale else ""
    return "".join(
        f'WWW-Authenticate: Digest realm="{realm}", nonce="{nonce}", algorithm={algorithm}, qop="auth"{end}\r\n'
        for algorithm in algorithms
    )


class NonceState(IntEnum):
    """What there is to say of a nonce that comes back."""

    FRESH = 0
    EXPIRED = 1
    UNKNOWN = 2


class Nonces:
    """Makes nonces, knows them again, and remembers which of their counts were used.

    `key` has 32 bytes; `since` is the time from which on counts are remembered: the start of this process.

    Of each nonce in use it keeps the highest count, and which of the `NC_WINDOW` up to that were used, in two
    generations. The older one is dropped as a whole when the younger is `NONCE_LIFETIME` old, or full. Whatever was in
    it was made before the younger one began, and every nonce of that time counts as expired from then on: the tables
    are bounded, and yet no count is taken twice.
    """

    __slots__ = ("_forgotten", "_key", "_last", "_old", "_turned_at", "_young", "_young_from")

    def __init__(self, key: bytes, *, since: float) -> None:
        self._key = key
        self._last = int(since * _MICROSECONDS)  # nonces are numbered by the microsecond in which they are made
        self._forgotten = self._last  # counts of nonces up to this one may have been used, and nobody knows
        self._young_from = self._last
        self._turned_at = since
        self._young: dict[int, int] = {}  # number -> highest << NC_WINDOW | bits, the lowest bit for the highest count
        self._old: dict[int, int] = {}

    def make(self, realm: str, now: float) -> str:
        """A nonce that nobody else has been given."""
        self._last = max(self._last + 1, int(now * _MICROSECONDS))
        number = f"{self._last:0{_NUMBER_DIGITS}x}"
        return number + self._mac(number, realm)

    def check(self, nonce: str, realm: str, now: float) -> NonceState:
        """Whether it is ours, for this realm, and may still be used."""
        self._turn(now)
        number, mac = nonce[:_NUMBER_DIGITS], nonce[_NUMBER_DIGITS:]
        if not compare_digest(self._mac(number, realm).encode(), mac.encode(errors="surrogateescape")):
            return NonceState.UNKNOWN
        made = int(number, 16)
        # One from the future was made before the clock went back at a restart: it would live too long.
        if made > self._forgotten and abs(now - made / _MICROSECONDS) < NONCE_LIFETIME:
            return NonceState.FRESH
        return NonceState.EXPIRED

    def use(self, nonce: str, count: int) -> bool:
        """Take a count of a nonce just found fresh; return False where it was taken already, or lies too far back.

        The caller has checked the response before, so that nobody can use up the counts of another.
        """
        number = int(nonce[:_NUMBER_DIGITS], 16)
        known = self._young.get(number) or self._old.get(number, 0)
        highest, bits = known >> NC_WINDOW, known & _WINDOW_BITS
        if count > highest:
            bits = bits << min(count - highest, NC_WINDOW) & _WINDOW_BITS | 1
            highest = count
        else:
            behind = highest - count
            if behind >= NC_WINDOW or bits >> behind & 1:
                return False
            bits |= 1 << behind
        self._young[number] = highest << NC_WINDOW | bits
        return True

    def _turn(self, now: float) -> None:
        if now - self._turned_at < NONCE_LIFETIME and len(self._young) < MAX_NONCES:
            return
        if self._old:
            self._forgotten = self._young_from
        self._old, self._young = self._young, {}
        self._young_from = max(self._last, int(now * _MICROSECONDS))
        self._turned_at = now

    def _mac(self, number: str, realm: str) -> str:
        data = f"{number}\0{realm}".encode(errors="surrogateescape")
        return hashlib.blake2b(data, key=self._key, digest_size=16).hexdigest()
