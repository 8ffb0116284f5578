"""What edges may see of subscriptions: lists, counts, timelines. Nothing here changes anything."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from sipresence.events.record import SubscriptionRecord
from sipresence.events.resources import Resources
from sipresence.events.roll import Roll
from sipresence.events.subscription import Subscription, SubscriptionView
from sipresence.events.timeline import Timeline
from sipresence.events.trace import trace
from sipresence.names import AccountId, CallId, ResourceId, SubscriptionId


class Views:
    """Looks at a notifier's tables: subscriptions until their last NOTIFY is answered, those that live, resources."""

    def __init__(self, subscriptions: Mapping[SubscriptionId, Subscription], roll: Roll, resources: Resources) -> None:
        self._subscriptions = subscriptions
        self._roll = roll
        self._resources = resources

    def subscriptions(
        self, name: ResourceId, *, account: AccountId | None = None, event: str | None = None
    ) -> Iterator[SubscriptionView]:
        """The living subscriptions to a resource, of one account, in one event package, the newest first.

        Each is looked at in its turn: whoever takes his time does not see what has ended meanwhile.
        """
        for subscription in sorted(self._resources.get(name).subscribers.values(), key=_id, reverse=True):
            record = subscription.record
            wanted = account in (None, record.account) and event in (None, record.event)
            if wanted and self._roll.lists(subscription):
                yield subscription.view()

    def subscription_ids(self) -> Sequence[SubscriptionId]:
        """Every subscription, the oldest first; among them some that have ended. More may come at its end."""
        return self._roll.numbers.rising()

    def view(self, ident: SubscriptionId, *, account: AccountId) -> SubscriptionView | None:
        """One living subscription of an account."""
        subscription = self._subscriptions.get(ident)
        if subscription is None or subscription.record.account != account or not self._roll.lists(subscription):
            return None
        return subscription.view()

    def counts(self, name: ResourceId, *, account: AccountId) -> Counter[str]:
        """How many living subscriptions to a resource an account has, by event package."""
        subscribers = self._resources.get(name).subscribers.values()
        return Counter(one.record.event for one in subscribers if one.record.account == account)

    def namesakes(self, record: SubscriptionRecord) -> list[SubscriptionRecord]:
        """The living subscriptions to the same under the same Call-ID, this one too, the newest first."""
        subscribers = self._resources.get(record.resource).subscribers.values()
        same = [one.record for one in subscribers if one.record.call_id == record.call_id]
        alike = (one for one in same if one.account == record.account and one.event == record.event)
        return sorted(alike, key=lambda one: one.id, reverse=True)

    def subscribers(self, name: ResourceId) -> list[SubscriptionId]:
        """The living subscriptions that are told of a resource, those to lists too."""
        resource = self._resources.get(name)
        return [*resource.subscribers, *(resource.lists or ())]

    def timeline(self, name: ResourceId, *, account: AccountId, call_id: CallId | None = None) -> Timeline:
        """What happened to a resource, and to the subscriptions to it that this account has."""

        def wanted(record: SubscriptionRecord) -> bool:
            return record.account == account and record.resource == name and call_id in (None, record.call_id)

        return trace(self._resources.get(name), self._resources.chronicle, wanted)

    def watched_by(self, call_id: CallId, *, account: AccountId) -> Sequence[ResourceId]:
        """The resources that subscriptions with this Call-ID are, or were, about. It looks at every subscription."""

        def wanted(record: SubscriptionRecord) -> bool:
            return record.call_id == call_id and record.account == account

        living = [one.record.resource for one in self._roll if wanted(one.record)]
        ended = [gone.record.resource for gone, _ in self._resources.chronicle.endings(wanted)]
        return tuple(dict.fromkeys((*living, *ended)))


def _id(subscription: Subscription) -> SubscriptionId:
    return subscription.record.id
