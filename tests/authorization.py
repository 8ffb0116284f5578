"""A phone that answers digest challenges, written from RFC 7616 section 3.4 and not from our own code."""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

HASHES: dict[str, Callable[[bytes], "hashlib._Hash"]] = {"SHA-256": hashlib.sha256, "MD5": hashlib.md5}


@dataclass(slots=True, frozen=True)
class Challenge:
    """One WWW-Authenticate header."""

    realm: str
    nonce: str
    algorithm: str
    stale: bool


def challenges(headers: str) -> list[Challenge]:
    """The challenges in the header lines of a 401, in order."""
    return list(_challenges(headers))


def _challenges(headers: str) -> Iterator[Challenge]:
    for line in headers.split("\r\n"):
        name, _, value = line.partition(": ")
        if name == "WWW-Authenticate":
            assert value.startswith("Digest ")
            told = {key: quoted or bare for key, quoted, bare in re.findall(r'(\w+)=(?:"([^"]*)"|([\w-]+))', value)}
            assert told["qop"] == "auth"
            yield Challenge(told["realm"], told["nonce"], told["algorithm"], told.get("stale") == "true")


@dataclass(slots=True)
class Phone:
    """The credentials of a phone, and how often it used each nonce."""

    username: str = "alice-desk"
    password: str = "secret"
    counts: dict[str, int] = field(default_factory=dict)

    def authorization(
        self,
        challenge: Challenge,
        uri: str = "sip:101@office.example.com",
        *,
        method: str = "SUBSCRIBE",
        count: int | None = None,
        cnonce: str = "0a4f113b",
        realm: str | None = None,
    ) -> str:
        """The Authorization value that answers the challenge."""
        nc = count or self.counts.get(challenge.nonce, 0) + 1
        self.counts[challenge.nonce] = nc
        realm = challenge.realm if realm is None else realm
        ha1 = _hash(challenge.algorithm, self.username, realm, self.password)
        ha2 = _hash(challenge.algorithm, method, uri)
        response = _hash(challenge.algorithm, ha1, challenge.nonce, f"{nc:08x}", cnonce, "auth", ha2)
        return (
            f'Digest username="{self.username}", realm="{realm}", nonce="{challenge.nonce}", uri="{uri}", '
            f'response="{response}", algorithm={challenge.algorithm}, cnonce="{cnonce}", qop=auth, nc={nc:08x}'
        )


def _hash(algorithm: str, *parts: str) -> str:
    return HASHES[algorithm](":".join(parts).encode()).hexdigest()
