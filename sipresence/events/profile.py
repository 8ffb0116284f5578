"""Quirk profiles: what a kind of phone needs to be told otherwise (phones.md). Matched on User-Agent, the first wins.

A profile is data. The known ones, each with the phone and the reason, are in config/profiles.toml; an operator adds
and overrides them in the configuration.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

MAX_USER_AGENT = 256  # characters: what is longer is matched each time, so that the cache is bounded in bytes, too


@dataclass(slots=True, frozen=True)
class Shape:
    """How dialog-info documents are written.

    `private`: who calls whom is withheld. `single_dialog`: only the most important one. `caller_confirmed`: to who
    watches the caller `early` is shown as `confirmed`. `participants`: with `<local>` and `<remote>`. `pvalue`: hold is
    spelled as Asterisk spells it, not as the schema of RFC 4235 does.
    """

    private: bool = False
    single_dialog: bool = False
    caller_confirmed: bool = False
    participants: bool = True
    pvalue: bool = False


PLAIN = Shape()


@dataclass(slots=True, frozen=True)
class Pace:
    """How many NOTIFYs a target takes: in a second, and unanswered at a time; None: as all others, 0: any number."""

    rate: int | None = None
    in_flight: int | None = None


UNSAID = Pace()


@dataclass(slots=True, frozen=True)
class Profile:
    """What one kind of phone needs. None: as everybody.

    `final_notify`: who unsubscribes gets the NOTIFY that says so. `digest_algorithms` are those it can choose from, by
    their names. `lists_unasked`: it takes resource lists, though it does not say so.
    """

    name: str
    user_agent: re.Pattern[str] = field(default=re.compile(""), repr=False)
    shape: Shape = PLAIN
    pace: Pace = UNSAID
    final_notify: bool = True
    compact_headers: bool | None = None
    min_expires: int | None = None
    digest_algorithms: tuple[str, ...] = ()
    lists_unasked: bool = False


DEFAULT = Profile("")


class Profiles:
    """All profiles, in the order in which they are tried."""

    def __init__(self, profiles: Sequence[Profile] = ()) -> None:
        self.replace(profiles)

    def replace(self, profiles: Sequence[Profile]) -> None:
        """Have these, and no others."""
        self._profiles = tuple(profiles)
        self._cached = lru_cache(maxsize=4096)(self._find)

    def of(self, user_agent: str) -> Profile:
        """The profile of a phone that calls itself so; the default one where nobody knows it. Hot: once a SUBSCRIBE."""
        if not self._profiles:
            return DEFAULT
        return self._cached(user_agent) if len(user_agent) <= MAX_USER_AGENT else self._find(user_agent)

    def _find(self, user_agent: str) -> Profile:
        return next((profile for profile in self._profiles if profile.user_agent.match(user_agent)), DEFAULT)
