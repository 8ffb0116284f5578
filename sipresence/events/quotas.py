"""Quotas: how many subscriptions there may be, in all and per subscriber.

Only those who authenticated have a quota of their own; whoever comes from a trusted network is nobody in particular.
A subscription that exists is never refused anything here: only new ones are.
"""

from collections import Counter
from typing import TypeAlias

from sipresence.errors import SipError
from sipresence.events.record import SubscriptionRecord
from sipresence.names import AccountId
from sipresence.refusals import FULL, SUBSCRIBER_FULL

RETRY_AFTER = 60  # s: until some of them have expired

_Subscriber: TypeAlias = tuple[AccountId, str]


class Quotas:
    """Counts of the living subscriptions, kept as they come and go."""

    def __init__(self, *, in_all: int, per_subscriber: int) -> None:
        self.limit(in_all=in_all, per_subscriber=per_subscriber)
        self._count = 0
        self._counts: Counter[_Subscriber] = Counter()

    def limit(self, *, in_all: int, per_subscriber: int) -> None:
        """From here on let there be so many; those that exist stay."""
        self._in_all = in_all
        self._per_subscriber = per_subscriber

    def refuse(self, record: SubscriptionRecord) -> None:
        """Refuse a new subscription beyond the quotas. Raises SipError 500 or 403."""
        if self._count >= self._in_all:
            raise SipError(500, f"Retry-After: {RETRY_AFTER}\r\n", name=FULL)
        if record.authenticated_user and self._counts[_subscriber(record)] >= self._per_subscriber:
            raise SipError(403, name=SUBSCRIBER_FULL)

    def add(self, record: SubscriptionRecord) -> None:
        self._count += 1
        if record.authenticated_user:
            self._counts[_subscriber(record)] += 1

    def remove(self, record: SubscriptionRecord) -> None:
        self._count -= 1
        if record.authenticated_user:
            subscriber = _subscriber(record)
            self._counts[subscriber] -= 1
            if not self._counts[subscriber]:
                del self._counts[subscriber]


def _subscriber(record: SubscriptionRecord) -> _Subscriber:
    return (record.account, record.authenticated_user)
