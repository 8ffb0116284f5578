"""The teller: who is told now, who in turn, and who once more.

A NOTIFY that a phone waits for, because it has just asked, goes at once. A change goes out at once where the resource
was quiet; what follows within a short window is told together at its end. One that comes of ourselves goes when its
target takes one more (pacing), and a failed one goes again by itself, each with the state of that moment. A NOTIFY does
not wait for the save that reserves further numbers, unless its own are not reserved yet.

Few subscribers have terms of their own (terms.py): what comes too soon for one of these waits until it may go, and what
it has already is not told.
"""

from collections.abc import Iterator, Mapping

from sipresence.deadlines import Deadlines
from sipresence.events.document import Document
from sipresence.events.effects import Effect, SendNotify
from sipresence.events.list_subscription import ListSubscription
from sipresence.events.pacing import Pacing
from sipresence.events.resources import Resource, Resources
from sipresence.events.subscription import Reason, Subscription
from sipresence.events.terms import Terms
from sipresence.events.transitions import Action, Input, SubscriptionState
from sipresence.names import ResourceId, SubscriptionId


class Teller:
    """Decides NOTIFYs. `resources` have the documents, `pacing` says how much a target takes, `window` (s) how long the
    changes that follow one are held together."""

    def __init__(self, resources: Resources, pacing: Pacing, *, window: float) -> None:
        self.window = window
        self._resources = resources
        self._pacing = pacing
        self._held: Deadlines[ResourceId] = Deadlines()
        self._held_lists: Deadlines[SubscriptionId] = Deadlines()
        self._retries: Deadlines[SubscriptionId] = Deadlines()
        self._rated: Deadlines[SubscriptionId] = Deadlines()  # when the rates of a subscriber allow or want a NOTIFY

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
        if subscription.terms is not None and ended is None:
            self._await_next(subscription, now)
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
            if flushed:
                if subscription.terms is not None:
                    subscription.lift()
            elif document is subscription.document or not document.changed_at:
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
        told = notifies + saves + unreserved
        return told + self._tell_lists(resource, event, now) if resource.lists else told

    def _tell_lists(self, resource: Resource, event: Input, now: float) -> list[Effect]:
        """Tell those who watch it as a member of a list."""
        effects: list[Effect] = []
        name, lists = resource.state.id, resource.lists or {}
        for subscription in lists.values():
            if subscription.mark(name, flushed=event is Input.FLUSHED):
                effects += self.tell_list(subscription, event, now)
        return effects

    def tell_list(self, subscription: ListSubscription, event: Input, now: float) -> list[Effect]:
        """Members of a list have changed: tell that at once where the list was quiet, else with what follows."""
        ident = subscription.record.id
        if now < subscription.held_until and event is Input.CHANGED:
            self._held_lists.set(ident, subscription.held_until)
            return []
        self._held_lists.discard(ident)
        if subscription.feed(event) is not Action.NOTIFY:
            return []
        subscription.held_until = now + self.window
        self._retries.discard(ident)
        return self.notify_in_turn(subscription, now)

    def tell_again(self, subscription: Subscription, now: float) -> list[Effect]:
        """Send the full state once more, whatever its subscriber is believed to have."""
        if subscription.terms is not None:
            subscription.lift()
        if isinstance(subscription, ListSubscription):
            subscription.start_over()
        if subscription.feed(Input.FLUSHED) is not Action.NOTIFY:
            return []
        self._retries.discard(subscription.record.id)
        return self.notify_in_turn(subscription, now)

    def due_cseq(self, subscription: Subscription) -> int:
        """The CSeq of the NOTIFY that tells the state of now, 0 where its phone has answered one that does."""
        record = subscription.record
        held = record.resource in self._held or record.id in self._held_lists
        return subscription.due_cseq or (subscription.cseq + 1 if held else 0)

    def release(self, subscription: Subscription) -> None:
        """Its NOTIFY is in flight no more: answered, abandoned, or never sent."""
        if subscription.paced is not None:
            self._pacing.done(subscription.paced)
            subscription.paced = None

    def retry(self, ident: SubscriptionId, when: float) -> None:
        """Tell a subscription again at that time."""
        self._retries.set(ident, when)

    def forgive(self, ident: SubscriptionId) -> None:
        """It need not be told by and by: no retry, and nothing that was held."""
        self._retries.discard(ident)
        self._held_lists.discard(ident)
        self._rated.discard(ident)

    def next_deadline(self) -> float | None:
        """When `expire` has to be called at the latest."""
        times = (
            self._retries.next(),
            self._pacing.next_turn(),
            self._held.next(),
            self._held_lists.next(),
            self._rated.next(),
        )
        return min((when for when in times if when is not None), default=None)

    def expire(self, subscriptions: Mapping[SubscriptionId, Subscription], *, now: float) -> list[Effect]:
        """Tell again what waited long enough, and whose turn it is."""
        effects: list[Effect] = []
        for name in list(self._held.due(now)):
            effects += self.tell_all(self._resources.get(name), flushed=False, now=now)
        for ident in list(self._held_lists.due(now)):
            held = subscriptions[ident]
            assert isinstance(held, ListSubscription)
            if held.pending:
                effects += self.tell_list(held, Input.CHANGED, now)
        for ident in list(self._retries.due(now)):
            subscription = subscriptions[ident]
            if subscription.feed(Input.RETRY) is Action.NOTIFY:
                effects += self.notify_in_turn(subscription, now)
        for ident in list(self._rated.due(now)):
            subscription = subscriptions[ident]
            if subscription.feed(Input.DUE) is Action.NOTIFY:
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
            if subscription.terms is not None:
                self._await_next(subscription, now)
            yield subscription

    def _may_go(self, subscription: Subscription, now: float) -> bool:
        if subscription.terms is not None and not self._suits(subscription, subscription.terms, now):
            return False
        target = subscription.target
        if self._pacing.go(target, now, pace=subscription.profile.pace):
            subscription.paced = target
            return True
        subscription.feed(Input.HELD)
        self._pacing.wait(target, subscription.record.id)
        return False

    def impose(self, subscription: Subscription, condition: str) -> bool:
        """Take the condition of a SUBSCRIBE, "" without; return whether it holds: there is nothing new (RFC 5839)."""
        if not condition:
            return False
        subscription.impose(condition)
        holds = self._has_current(subscription)
        if not holds:
            subscription.lift()
        return holds

    def _has_current(self, subscription: Subscription) -> bool:
        """Whether its subscriber has said that it has the current state, or wants none."""
        terms = subscription.terms
        return terms is not None and bool(terms.condition) and terms.suppress(self._document(subscription))

    def _suits(self, subscription: Subscription, terms: Terms, now: float) -> bool:
        """Whether a NOTIFY that comes of ourselves is what its subscriber wants, and now."""
        if terms.condition and self._has_current(subscription):
            # RFC 5839 section 6.3: "As long as the condition remains true [...] all subsequent NOTIFY requests MUST
            # also be suppressed."
            subscription.feed(Input.SPARED)
            return False
        if terms.condition:
            subscription.lift()  # it does not remain true
        if terms.rates is None:
            return True
        may_go_at = subscription.history.told_at + terms.rates.shortest
        if may_go_at > now:
            subscription.feed(Input.TOO_SOON)
            self._rated.set(subscription.record.id, may_go_at)
            return False
        self._await_next(subscription, now)
        return True

    def _await_next(self, subscription: Subscription, now: float) -> None:
        """A NOTIFY is decided: its subscriber may want another after some time, whatever happens."""
        rates = subscription.terms.rates if subscription.terms is not None else None
        if rates is not None and rates.longest:
            self._rated.set(subscription.record.id, now + rates.longest)

    def _notify_and_raise(self, subscription: Subscription, now: float) -> list[Effect]:
        """The save comes after the NOTIFY, which does not wait for it; only a number not yet reserved has to."""
        notify = SendNotify(subscription.notify(self._document(subscription), now))
        reserved, raised = subscription.reserved, subscription.raise_ceilings()
        if raised is None:
            return [notify]
        return [notify, raised] if reserved else [raised, notify]

    def _document(self, subscription: Subscription) -> Document:
        return self._resources.get(subscription.record.resource).document(subscription.form)
