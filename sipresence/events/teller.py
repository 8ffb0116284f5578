"""The teller: who is told now, who in turn, and who once more.

A NOTIFY that a phone waits for, because it has just asked, goes at once. A change goes out at once where the resource
was quiet; what follows within a short window is told together at its end. One that comes of ourselves goes when its
target takes one more (pacing), and a failed one goes again by itself, each with the state of that moment. A NOTIFY does
not wait for the save that reserves further numbers, unless its own are not reserved yet.
"""

from collections.abc import Iterator, Mapping

from sipresence.deadlines import Deadlines
from sipresence.events.document import Document
from sipresence.events.effects import Effect, SendNotify
from sipresence.events.pacing import Pacing
from sipresence.events.resources import Resource, Resources
from sipresence.events.subscription import Action, Input, Reason, Subscription, SubscriptionState
from sipresence.names import ResourceId, SubscriptionId


class Teller:
    """Decides NOTIFYs. `resources` have the documents, `pacing` says how much a target takes, `window` (s) how long the
    changes that follow one are held together."""

    def __init__(self, resources: Resources, pacing: Pacing, *, window: float) -> None:
        self.window = window
        self._resources = resources
        self._pacing = pacing
        self._held: Deadlines[ResourceId] = Deadlines()
        self._retries: Deadlines[SubscriptionId] = Deadlines()

    @property
    def waiting(self) -> int:
        """How many NOTIFYs wait for their turn at their target."""
        return self._pacing.waiting

    @property
    def rate(self) -> int:
        """How many NOTIFYs a second one target takes; 0: any number."""
        return self._pacing.rate

    def notify(self, subscription: Subscription, now: float, *, ended: Reason | None = None) -> SendNotify:
        """Decide a NOTIFY that the phone waits for: it goes at once, whatever the pace; an older one is abandoned."""
        self.release(subscription)
        subscription.paced = target = subscription.target
        self._pacing.go(target, now, pace=subscription.profile.pace, forced=True)
        document = self._document(subscription)
        return SendNotify(subscription.notify(document, now, ended=ended))

    def notify_in_turn(self, subscription: Subscription, now: float) -> list[Effect]:
        """Decide a NOTIFY that comes of ourselves: it goes if its target takes one more now, else in its turn."""
        if not self._may_go(subscription, now):
            return []
        return self._notify_and_raise(subscription, now)

    def tell_all(self, resource: Resource, *, flushed: bool, now: float) -> list[Effect]:
        """Tell every subscriber that the resource has changed, or was reset (`flushed`). Hot: a fan-out.

        Who was told so already, or sees nothing of it in his form, is not told.
        """
        if now < resource.held_until and not flushed:
            self._held.set(resource.state.id, resource.held_until)
            return []
        self._held.discard(resource.state.id)
        resource.held_until = now + self.window
        event = Input.FLUSHED if flushed else Input.CHANGED
        form, document = None, None
        notifies: list[Effect] = []
        saves: list[Effect] = []
        unreserved: list[Effect] = []  # right after a restart: these wait for their saves
        for subscription in resource.subscribers.values():
            if document is None or subscription.form is not form:
                form = subscription.form
                document = resource.document(form)
            if not flushed and (document is subscription.document or not document.changed_at):
                continue
            if subscription.feed(event) is Action.NOTIFY:
                self._retries.discard(subscription.record.id)
                if not self._may_go(subscription, now):
                    continue
                notify = SendNotify(subscription.notify(document, now))
                (notifies if subscription.reserved else unreserved).append(notify)
                raised = subscription.raise_ceilings()
                if raised is not None:
                    saves.append(raised)
        return notifies + saves + unreserved

    def release(self, subscription: Subscription) -> None:
        """Its NOTIFY is in flight no more: answered, abandoned, or never sent."""
        if subscription.paced is not None:
            self._pacing.done(subscription.paced)
            subscription.paced = None

    def retry(self, ident: SubscriptionId, when: float) -> None:
        """Tell a subscription again at that time."""
        self._retries.set(ident, when)

    def forgive(self, ident: SubscriptionId) -> None:
        """No retry is needed any more."""
        self._retries.discard(ident)

    def next_deadline(self) -> float | None:
        """When `expire` has to be called at the latest."""
        times = (self._retries.next(), self._pacing.next_turn(), self._held.next())
        return min((when for when in times if when is not None), default=None)

    def expire(self, subscriptions: Mapping[SubscriptionId, Subscription], *, now: float) -> list[Effect]:
        """Tell again what waited long enough, and whose turn it is."""
        effects: list[Effect] = []
        for name in list(self._held.due(now)):
            effects += self.tell_all(self._resources.get(name), flushed=False, now=now)
        for ident in list(self._retries.due(now)):
            subscription = subscriptions[ident]
            if subscription.feed(Input.RETRY) is Action.NOTIFY:
                effects += self.notify_in_turn(subscription, now)
        for subscription in self._turns(subscriptions, now):
            effects += self._notify_and_raise(subscription, now)
        return effects

    def _turns(self, subscriptions: Mapping[SubscriptionId, Subscription], now: float) -> Iterator[Subscription]:
        """Yield who waited for its turn at its target, and has it now."""
        for target, ident in self._pacing.turns(now):
            subscription = subscriptions.get(ident)
            if (
                subscription is None
                or subscription.state is not SubscriptionState.QUEUED
                or subscription.target != target
            ):
                self._pacing.done(target)  # it ended, moved, or was told meanwhile because its phone asked
                continue
            subscription.paced = target
            subscription.feed(Input.TURN)
            yield subscription

    def _may_go(self, subscription: Subscription, now: float) -> bool:
        target = subscription.target
        if self._pacing.go(target, now, pace=subscription.profile.pace):
            subscription.paced = target
            return True
        subscription.feed(Input.HELD)
        self._pacing.wait(target, subscription.record.id)
        return False

    def _notify_and_raise(self, subscription: Subscription, now: float) -> list[Effect]:
        """The save comes after the NOTIFY, which does not wait for it; only a number not yet reserved has to."""
        notify = SendNotify(subscription.notify(self._document(subscription), now))
        reserved, raised = subscription.reserved, subscription.raise_ceilings()
        if raised is None:
            return [notify]
        return [notify, raised] if reserved else [raised, notify]

    def _document(self, subscription: Subscription) -> Document:
        return self._resources.get(subscription.record.resource).document(subscription.form)
