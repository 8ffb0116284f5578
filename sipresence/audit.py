"""The audit trail: who asked over the admin API for what, when, and from where.

An entry is one command on one extension, kept together with what it did: both are committed, or neither. The trail is
bounded, per account and in all: the oldest entries go, a few at a time. The store keeps what the trail holds.
"""

import json
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple, NewType

from sipresence.names import AccountId, ResourceId
from sipresence.objects import JsonObject

AuditId = NewType("AuditId", int)
"""Counted up by the trail; the primary key of the stored row."""

PER_ACCOUNT = 10_000  # entries
IN_ALL = 200_000
SLACK = 256  # by which a bound may be passed, so that not every command has something to delete


class Asker(NamedTuple):
    """Who asks: the account of the token, the user who has logged in, his address, his name for the request."""

    account: str = ""
    user: str = ""
    address: str = ""
    request_id: str = ""


NOBODY = Asker()


class AuditEntry(NamedTuple):
    """The row of one command on one extension; `asked` is a JSON object of what else it said. `at` is Unix seconds."""

    id: AuditId
    account: AccountId
    at: float
    action: str
    resource: ResourceId
    asked: str
    by: str
    user: str
    address: str
    request_id: str

    @property
    def details(self) -> JsonObject:
        """What else it said."""
        details: JsonObject = json.loads(self.asked)
        return details


class AuditTrail:
    """The entries of all accounts, the oldest first."""

    def __init__(self, *, per_account: int = PER_ACCOUNT, in_all: int = IN_ALL, slack: int = SLACK) -> None:
        self._per_account = per_account
        self._in_all = in_all
        self._slack = slack
        self._by_account: dict[AccountId, deque[AuditEntry]] = {}
        self._count = 0
        self._last_id = 0

    def restore(self, entries: Iterable[AuditEntry]) -> list[AuditId]:
        """Take over what the store remembers, by id; return what it need not any more."""
        kept = list(entries)
        self._last_id = max((entry.id for entry in kept), default=0)
        return self.add(kept)

    def next_id(self) -> AuditId:
        """Name an entry that is about to be decided."""
        self._last_id += 1
        return AuditId(self._last_id)

    def add(self, entries: Iterable[AuditEntry]) -> list[AuditId]:
        """Take in what is committed; return the ids of those that went for it."""
        gone: list[AuditId] = []
        for entry in entries:
            of_account = self._by_account.setdefault(entry.account, deque())
            of_account.append(entry)
            self._count += 1
            if len(of_account) > self._per_account + self._slack:
                gone += self._drop(of_account, len(of_account) - self._per_account)
            if self._count > self._in_all + self._slack:
                longest = max(self._by_account.values(), key=len)
                gone += self._drop(longest, min(len(longest), self._count - self._in_all))
        return gone

    def _drop(self, entries: deque[AuditEntry], count: int) -> list[AuditId]:
        self._count -= count
        return [entries.popleft().id for _ in range(count)]

    def newest(self, account: AccountId, *, before: AuditId | None = None) -> Iterator[AuditEntry]:
        """The entries of an account, the newest first, or those before one. Nothing may be added meanwhile."""
        entries = reversed(self._by_account.get(account, ()))
        return (entry for entry in entries if before is None or entry.id <= before)

    def page(
        self, account: AccountId, *, size: int, start: AuditId | None = None, resource: ResourceId | None = None
    ) -> tuple[list[AuditEntry], AuditId | None]:
        """A page of them from `start` on, the newest first, and where the next one starts."""
        wanted = (one for one in self.newest(account, before=start) if resource in (None, one.resource))
        found = list(islice(wanted, size + 1))
        return found[:size], found[size].id if len(found) > size else None

    def last(self, account: AccountId, resource: ResourceId, action: str) -> AuditEntry | None:
        """The last time that this was asked for an extension."""
        of_it = (one for one in self.newest(account) if one.resource == resource and one.action == action)
        return next(of_it, None)
