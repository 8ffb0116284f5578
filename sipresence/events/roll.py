"""The roll: the living subscriptions, by the tag that names them, and what follows from who is on it.

That is when each of them expires, how many there may be (quotas) and are (census), their order (numbers), and which
flows must not break (lifelines). Nobody else touches these, so that all of them agree.
"""

from collections.abc import Iterator

from sipresence.deadlines import Deadlines
from sipresence.events.census import Census
from sipresence.events.lifelines import Lifelines
from sipresence.events.numbers import Numbers
from sipresence.events.quotas import Quotas
from sipresence.events.record import SubscriptionRecord
from sipresence.events.resources import Resources
from sipresence.events.subscription import Subscription
from sipresence.names import SubscriptionId
from sipresence.sip.flow import Flow


class Roll:
    """`resources` hear of their subscribers."""

    def __init__(self, quotas: Quotas, resources: Resources) -> None:
        self.expiries: Deadlines[SubscriptionId] = Deadlines()
        self.lifelines = Lifelines()
        self.census = Census()
        self.numbers = Numbers()
        self._quotas = quotas
        self._resources = resources
        self._by_tag: dict[str, Subscription] = {}

    def __len__(self) -> int:
        return len(self._by_tag)

    def __iter__(self) -> Iterator[Subscription]:
        return iter(self._by_tag.values())

    def __contains__(self, tag: str) -> bool:
        return tag in self._by_tag

    def get(self, tag: str) -> Subscription | None:
        """The living subscription with this local tag."""
        return self._by_tag.get(tag)

    def lists(self, subscription: Subscription) -> bool:
        """Whether this very subscription lives."""
        return self._by_tag.get(subscription.record.local_tag) is subscription

    def refuse(self, record: SubscriptionRecord) -> None:
        """Refuse a new subscription beyond the quotas. Raises SipError 500 or 403."""
        self._quotas.refuse(record)

    def add(self, subscription: Subscription) -> None:
        record = subscription.record
        self._by_tag[record.local_tag] = subscription
        self.numbers.add(record.id)
        self._resources.subscribe(subscription)
        self.expiries.set(record.id, record.expires_at)
        self.lifelines.move(None, subscription.lifeline)
        self._quotas.add(record)
        self.census.move(None, record)

    def replace(self, subscription: Subscription, record: SubscriptionRecord, flow: Flow, *, now: float) -> bool:
        """Let a subscription go on with a new row; return whether its NOTIFYs go elsewhere now."""
        lifeline = subscription.lifeline
        self.census.move(subscription.record, record)
        self.expiries.set(record.id, record.expires_at)
        moved = subscription.replace(record, flow, now=now)
        if moved:
            self.lifelines.move(lifeline, subscription.lifeline)
        return moved

    def remove(self, subscription: Subscription) -> None:
        record = subscription.record
        del self._by_tag[record.local_tag]
        self.numbers.remove(record.id)
        self.lifelines.move(subscription.lifeline, None)
        self._quotas.remove(record)
        self.census.move(record, None)
        self.expiries.discard(record.id)
        self._resources.unsubscribe(subscription)
