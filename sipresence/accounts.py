"""What the directory consists of: accounts with their users, devices and lists, as values.

Secrets do not appear in a `repr`.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from sipresence.names import AccountId, ResourceId
from sipresence.sip.digest import Algorithm


class Role(StrEnum):
    """What somebody may do over the admin API: only look, or everything."""

    READ = "read"
    ADMIN = "admin"


@dataclass(slots=True, frozen=True)
class Device:
    """A phone. `owner_id` is the id of a user of the same account.

    Its SIP password is there as plain text, or only as HA1 (RFC 7616 section 3.4.2) for some algorithms. One that is
    not enabled cannot authenticate.
    """

    id: str
    name: str
    owner_id: str | None
    presence_id: str | None
    sip_username: str
    sip_password: str | None = field(repr=False)
    sip_ha1: Mapping[Algorithm, str] = field(default_factory=dict, repr=False)
    enabled: bool = True


@dataclass(slots=True, frozen=True)
class User:
    """A person. With `username` and password she can log in to the admin API, if she is enabled.

    The password is there as plain text, or only as the `digests` that `login_digests` makes of it.
    """

    id: str
    username: str | None
    password: str | None = field(repr=False)
    presence_id: str | None
    digests: tuple[str, ...] = field(default=(), repr=False)
    role: Role = Role.READ
    enabled: bool = True
    first_name: str = ""
    last_name: str = ""

    @property
    def logins(self) -> tuple[str, ...]:
        """What a log-in of hers may send in place of a password; nothing without one."""
        if self.username and self.password is not None:
            return login_digests(self.username, self.password)
        return self.digests


@dataclass(slots=True, frozen=True)
class ListMember:
    """One lamp of a list, and the text beside it; or another list, whose members stand in its place."""

    resource: str
    label: str


@dataclass(slots=True, frozen=True)
class ResourceList:
    """A resource list (RFC 4662): many lamps under one address."""

    name: str
    members: tuple[ListMember, ...]


Members: TypeAlias = tuple[tuple[ResourceId, str], ...]
"""The lamps of a list, with their labels."""


@dataclass(slots=True, frozen=True)
class WatchRule:
    """Whether a subscriber (SIP user name) may watch a resource (extension), or know who calls it, where both patterns
    match in whole."""

    subscriber: re.Pattern[str]
    resource: re.Pattern[str]
    allow: bool


@dataclass(slots=True, frozen=True)
class Account:
    """A tenant. `realm` is its SIP domain, in lower case; `aliases` are further host parts that mean it.

    Of `watch_rules` the first that matches counts. `publishers` are the SIP user names of those that may publish for
    all its extensions. `strict_publications`: PUBLISH is answered as RFC 3903 has it. `withhold_callers`: who watches
    an extension is not told who calls it, unless the first of `caller_rules` that matches allows it; the other way
    round without. `digest_algorithms` are those its phones may use, the best first. `tokens` are those of admins,
    `read_tokens` those of who may only look. Whoever may act for the account `parent_id` may act for this one.
    """

    id: AccountId
    name: str
    realm: str
    aliases: tuple[str, ...]
    api_key: str | None = field(repr=False)
    tokens: tuple[str, ...] = field(repr=False)
    users: tuple[User, ...]
    devices: tuple[Device, ...]
    lists: tuple[ResourceList, ...]
    digest_algorithms: tuple[Algorithm, ...] = tuple(Algorithm)
    watch_rules: tuple[WatchRule, ...] = ()
    publishers: frozenset[str] = frozenset()
    strict_publications: bool = False
    withhold_callers: bool = False
    caller_rules: tuple[WatchRule, ...] = ()
    read_tokens: tuple[str, ...] = field(default=(), repr=False)
    parent_id: AccountId | None = None


def login_digests(username: str, password: str) -> tuple[str, str]:
    """What a log-in sends in place of a password: MD5 and SHA-1 of both, in hex, the name in lower case (Kazoo)."""
    text = f"{username.lower()}:{password}".encode()
    return hashlib.md5(text, usedforsecurity=False).hexdigest(), hashlib.sha1(text, usedforsecurity=False).hexdigest()
