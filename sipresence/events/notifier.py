"""The notifier of RFC 6665: every subscription, and what each of them is told.

Verbs are plain calls that take `now` and return effects in order; nothing here sends, stores, logs or reads a clock.
The dictionaries are the truth at run time; the store is written through the effects and read once, at start.
"""

from collections.abc import Callable, Iterator, Sequence

from sipresence.deadlines import Deadlines
from sipresence.errors import SipError
from sipresence.events import dialog_info
from sipresence.events.dialog_info import Document
from sipresence.events.effects import Effect, Forget, Save, SaveState, SendNotify, Write
from sipresence.events.record import SubscriptionRecord
from sipresence.events.resource import ResourceState, StateChange
from sipresence.events.subscribe import (
    Asked,
    Limits,
    Watched,
    granted,
    new_record,
    read,
    read_package,
    renewed_record,
    same_dialog,
)
from sipresence.events.subscription import Action, Input, Reason, Subscription, SubscriptionView, stored_flow
from sipresence.names import ResourceId, SubscriptionId
from sipresence.sip.dialog import DialogKey
from sipresence.sip.headers import Event
from sipresence.sip.message import Request

STATE_RETRY = 5.0  # s until an expired state that could not be committed is tried again


class _Resource:
    """A resource, who subscribes to it, and its current document."""

    __slots__ = ("_document", "_revision", "state", "subscribers")

    def __init__(self, name: ResourceId) -> None:
        self.state = ResourceState(name)
        self.subscribers: dict[SubscriptionId, Subscription] = {}
        self._document: Document | None = None
        self._revision = -1

    @property
    def document(self) -> Document:
        """The document of the current revision, rendered once."""
        if self._document is None or self._revision != self.state.revision:
            self._document = dialog_info.render(self.state)
            self._revision = self.state.revision
        return self._document


class Notifier:
    """All subscriptions of one node.

    `local_tag` names a dialog, the same one after every restart; `failures_allowed` NOTIFYs in a row may fail before a
    subscription ends.
    """

    def __init__(self, limits: Limits, *, failures_allowed: int, local_tag: Callable[[DialogKey], str]) -> None:
        self._limits = limits
        self._failures_allowed = failures_allowed
        self._local_tag = local_tag
        self._subscriptions: dict[SubscriptionId, Subscription] = {}  # until the last NOTIFY is answered
        self._by_tag: dict[str, Subscription] = {}  # the living ones
        self._resources: dict[ResourceId, _Resource] = {}
        self._expiries: Deadlines[SubscriptionId] = Deadlines()
        self._retries: Deadlines[SubscriptionId] = Deadlines()
        self._state_expiries: Deadlines[ResourceId] = Deadlines()
        self._last_id = 0

    def __len__(self) -> int:
        return len(self._by_tag)

    # What edges may see

    def subscriptions(self, name: ResourceId) -> Iterator[SubscriptionView]:
        """The living subscriptions to a resource, the oldest first."""
        resource = self._resources.get(name)
        return (subscription.view() for subscription in resource.subscribers.values()) if resource else iter(())

    def resources(self) -> Sequence[ResourceId]:
        """Every resource that is subscribed to or of which something is known."""
        return tuple(self._resources)

    def state_of(self, name: ResourceId) -> ResourceState:
        """What is known of a resource, blank for one nobody spoke of."""
        resource = self._resources.get(name)
        return resource.state if resource else ResourceState(name)

    # SUBSCRIBE

    def subscribe(self, request: Request, watched: Watched, *, now: float) -> list[Effect]:
        """Accept an initial SUBSCRIBE, or fetch where it says Expires 0 (RFC 6665 section 4.2.1). Raises SipError.

        One that repeats a living subscription (Call-ID, From tag, Event) renews it under the same name.
        """
        event = read_package(request)
        asked = read(request, self._limits)
        if not asked.contact:
            raise SipError(400, reason="Missing Contact")
        key = DialogKey(watched.account, watched.resource, request.call_id, request.from_tag, event.package, event.id)
        known = self._by_tag.get(self._local_tag(key))
        if known is not None:
            return self._renew(known, request, asked, initial=True, now=now)
        if not asked.expires:
            return self._fetch(request, watched, asked, event=event, key=key, now=now)
        return self._accept(request, watched, asked, event=event, tag=self._local_tag(key), now=now)

    def refresh(self, request: Request, *, now: float) -> list[Effect]:
        """Take a SUBSCRIBE inside a dialog: refresh it, or end it where it says Expires 0. Raises SipError."""
        subscription = self._by_tag.get(request.to_tag)
        if subscription is None or not same_dialog(subscription.record, request):
            raise SipError(481)
        if request.cseq < subscription.remote_cseq:
            # RFC 3261 section 12.2.2: out of order, "MUST be rejected with a 500". An equal one was sent again because
            # our answer was lost, and is answered as before.
            raise SipError(500, reason="CSeq out of order")
        subscription.remote_cseq = request.cseq
        return self._renew(subscription, request, read(request, self._limits), initial=False, now=now)

    def _accept(
        self, request: Request, watched: Watched, asked: Asked, *, event: Event, tag: str, now: float
    ) -> list[Effect]:
        record = new_record(self._next_id(), request, watched, asked, event=event, tag=tag, now=now)
        subscription = Subscription(record, flow=request.flow)
        self._list(subscription)
        subscription.feed(Input.REFRESHED)
        answer = granted(request, tag=tag, expires=asked.expires)
        return [Save(record, None), answer, self._notify(subscription, now)]

    def _fetch(
        self, request: Request, watched: Watched, asked: Asked, *, event: Event, key: DialogKey, now: float
    ) -> list[Effect]:
        """One NOTIFY, and nothing is kept (RFC 6665 section 4.4.3).

        A phone that fetches again under the same Call-ID gets another dialog: its NOTIFY's CSeq begins at 1 again.
        """
        tag = self._local_tag(key._replace(event_id=f"{event.id};cseq={request.cseq}"))
        record = new_record(self._next_id(), request, watched, asked, event=event, tag=tag, now=now)
        subscription = self._subscriptions[record.id] = Subscription(record, flow=request.flow)
        subscription.feed(Input.ENDED)
        return [granted(request, tag=tag, expires=0), self._notify(subscription, now, ended=Reason.TIMEOUT)]

    def _renew(
        self, subscription: Subscription, request: Request, asked: Asked, *, initial: bool, now: float
    ) -> list[Effect]:
        previous = subscription.record
        record = renewed_record(subscription, request, asked, initial=initial, now=now)
        moved = subscription.replace(record, request.flow)
        subscription.remote_cseq = request.cseq
        answer = granted(request, tag=record.local_tag, expires=asked.expires)
        if not asked.expires:
            return [Forget(record.id), answer, *self._end(subscription, now=now)]
        self._expiries.set(record.id, record.expires_at)
        self._retries.discard(record.id)
        subscription.failures = 0
        effects: list[Effect] = [Save(record, previous), answer]
        # A refresh always causes a NOTIFY (RFC 6665 section 4.2.1.2).
        if subscription.feed(Input.MOVED if moved else Input.REFRESHED) is Action.NOTIFY:
            effects.append(self._notify(subscription, now))
        return effects

    def _end(self, subscription: Subscription, *, now: float) -> list[Effect]:
        """End a subscription: it leaves every list at once, and its phone gets one last NOTIFY."""
        self._unlist(subscription)
        if subscription.feed(Input.ENDED) is not Action.NOTIFY_FINAL:
            return []  # that follows the answer to the NOTIFY in flight
        return [self._notify(subscription, now, ended=Reason.TIMEOUT)]

    # NOTIFY

    def notify_answered(
        self, ident: SubscriptionId, *, status: int, retry_after: int | None, now: float
    ) -> list[Effect]:
        """The NOTIFY in flight got its final answer (408: it never will; UNREACHABLE: it could not be sent)."""
        subscription = self._subscriptions.get(ident)
        if subscription is None:
            return []
        action, delay = subscription.answered(status, retry_after, failures_allowed=self._failures_allowed)
        if action is Action.NOTIFY:
            return self._notify_and_raise(subscription, now)
        if action is Action.NOTIFY_FINAL:
            return [self._notify(subscription, now, ended=Reason.TIMEOUT)]
        if action is Action.DROP:
            return self._drop(subscription)
        if action is Action.WAIT and delay is not None:
            self._retries.set(ident, now + delay)
        return []

    def _drop(self, subscription: Subscription) -> list[Effect]:
        """The subscription is gone; nothing more is sent."""
        record = subscription.record
        del self._subscriptions[record.id]
        if self._by_tag.get(record.local_tag) is not subscription:
            return []  # it was ended, and forgotten, before
        self._unlist(subscription)
        return [Forget(record.id)]

    def _notify(self, subscription: Subscription, now: float, *, ended: Reason | None = None) -> SendNotify:
        name = subscription.record.resource
        document = (self._resources.get(name) or _Resource(name)).document
        return SendNotify(subscription.notify(document, now, ended=ended))

    def _notify_and_raise(self, subscription: Subscription, now: float) -> list[Effect]:
        """The save comes after the NOTIFY, which does not wait for it; only a number not yet reserved has to."""
        notify = self._notify(subscription, now)
        reserved, raised = subscription.reserved, subscription.raise_ceilings()
        if raised is None:
            return [notify]
        return [notify, raised] if reserved else [raised, notify]

    # State

    def change_decided(self, change: StateChange) -> None:
        """A change is on its way to the store: until it is delivered, or fails, nothing of its resource expires.

        Else the end of an old state could be committed behind a newer word, and wipe that out.
        """
        self._state_expiries.discard(change.resource)

    def resource_changed(self, change: StateChange, *, now: float) -> list[Effect]:
        """Take in a committed change of state; tell the subscribers if it alters anything visible, or is a reset."""
        resource = self._resource(change.resource)
        told = resource.state.merge(change)
        self._watch_expiry(resource.state)
        effects = self._tell(resource, forced=change.is_reset, now=now) if told else []
        self._drop_if_idle(resource)
        return effects

    def _tell(self, resource: _Resource, *, forced: bool, now: float) -> list[Effect]:
        """`forced`: a reset goes at once to a phone that refused the last NOTIFY, too, as after a refresh."""
        event = Input.REFRESHED if forced else Input.CHANGED
        document = resource.document
        notifies: list[Effect] = []
        saves: list[Effect] = []
        unreserved: list[Effect] = []  # right after a restart: these wait for their saves
        for subscription in resource.subscribers.values():
            if subscription.feed(event) is Action.NOTIFY:
                self._retries.discard(subscription.record.id)
                notify = SendNotify(subscription.notify(document, now))
                (notifies if subscription.reserved else unreserved).append(notify)
                raised = subscription.raise_ceilings()
                if raised is not None:
                    saves.append(raised)
        return notifies + saves + unreserved

    def _watch_expiry(self, state: ResourceState) -> None:
        if state.expires_at is None:
            self._state_expiries.discard(state.id)
        else:
            self._state_expiries.set(state.id, state.expires_at)

    # Time

    def next_deadline(self) -> float | None:
        """When `expire` has to be called at the latest."""
        times = (self._expiries.next(), self._retries.next(), self._state_expiries.next())
        return min((when for when in times if when is not None), default=None)

    def expire(self, *, now: float) -> list[Effect]:
        """End what has expired, send again what waited long enough."""
        effects: list[Effect] = []
        for ident in list(self._expiries.due(now)):
            effects += [Forget(ident), *self._end(self._subscriptions[ident], now=now)]
        for ident in list(self._retries.due(now)):
            subscription = self._subscriptions[ident]
            if subscription.feed(Input.RETRY) is Action.NOTIFY:
                effects += self._notify_and_raise(subscription, now)
        for name in list(self._state_expiries.due(now)):
            effects += [SaveState(change) for change in self._resources[name].state.expired(now)]
        return effects

    # The store

    def restore(
        self, subscriptions: Sequence[SubscriptionRecord], states: Sequence[StateChange], *, now: float, spread: float
    ) -> None:
        """Take over what the store remembers, once, at start; each phone gets its NOTIFY within `spread` seconds."""
        for change in states:
            self.resource_changed(change, now=now)
        gap = spread / max(len(subscriptions), 1)
        for index, stored in enumerate(subscriptions):
            # A clock that was wrong when the row was written must not make it last for ever.
            expires_at = min(stored.expires_at, now + self._limits.max_expires)
            self._list(Subscription.restored(stored._replace(expires_at=expires_at)))
            self._retries.set(stored.id, now + index * gap)
            self._last_id = max(self._last_id, stored.id)

    def exact_numbers(self) -> list[Save]:
        """What to write at a clean stop, so that the next start goes on at exactly +1."""
        return [save for subscription in self._by_tag.values() if (save := subscription.exact_numbers())]

    def not_saved(self, write: Write, *, now: float) -> bool:
        """A write was not committed: a new subscription never existed, an existing one keeps what it had.

        Return whether it was a new one, whose NOTIFY must not leave.
        """
        if isinstance(write, Save):
            return self._unsave(write)
        if isinstance(write, SaveState):
            resource = self._resources.get(write.change.resource)
            if resource is not None and resource.state.expires_at is not None:
                # Had this been its expiry, the lamp would stay lit.
                self._state_expiries.set(resource.state.id, max(resource.state.expires_at, now + STATE_RETRY))
        return False

    def _unsave(self, save: Save) -> bool:
        record, previous = save.record, save.previous
        subscription = self._by_tag.get(record.local_tag)
        if subscription is None or subscription.record is not record:
            return False  # it has ended, or a later SUBSCRIBE was accepted since, whose own commit decides
        if previous is None:
            self._unlist(subscription)
            del self._subscriptions[record.id]
            return True
        same_source = stored_flow(record) == stored_flow(previous)
        subscription.replace(previous, subscription.flow if same_source else stored_flow(previous))
        self._expiries.set(record.id, previous.expires_at)
        if record.subscribe_cseq != previous.subscribe_cseq:  # a SUBSCRIBE, not a raised ceiling
            subscription.remote_cseq = previous.subscribe_cseq
        return False

    # The tables

    def _next_id(self) -> SubscriptionId:
        self._last_id += 1
        return SubscriptionId(self._last_id)

    def _list(self, subscription: Subscription) -> None:
        record = subscription.record
        self._subscriptions[record.id] = subscription
        self._by_tag[record.local_tag] = subscription
        self._resource(record.resource).subscribers[record.id] = subscription
        self._expiries.set(record.id, record.expires_at)

    def _unlist(self, subscription: Subscription) -> None:
        record = subscription.record
        del self._by_tag[record.local_tag]
        self._expiries.discard(record.id)
        self._retries.discard(record.id)
        resource = self._resources[record.resource]
        del resource.subscribers[record.id]
        self._drop_if_idle(resource)

    def _resource(self, name: ResourceId) -> _Resource:
        resource = self._resources.get(name)
        if resource is None:
            resource = self._resources[name] = _Resource(name)
        return resource

    def _drop_if_idle(self, resource: _Resource) -> None:
        if resource.state.blank and not resource.subscribers:
            self._resources.pop(resource.state.id, None)
