"""The notifier of RFC 6665: every subscription, and what each of them is told.

Verbs are plain calls that take `now` and return effects in order; nothing here sends, stores, logs or reads a clock.
The dictionaries are the truth at run time; the store is written through the effects and read once, at start.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from sipresence.deadlines import Deadlines
from sipresence.errors import SipError
from sipresence.events.effects import Effect, Forget, Notify, Save, SaveList, SaveState, Write
from sipresence.events.farewell import farewell_times
from sipresence.events.history import Asked as Ask
from sipresence.events.lists import Lists
from sipresence.events.pacing import Pacing
from sipresence.events.package import read_package
from sipresence.events.policy import DEFAULT, LampPolicy
from sipresence.events.presentation import Presenter
from sipresence.events.quotas import Quotas
from sipresence.events.record import SubscriptionRecord
from sipresence.events.resource import ResourceState, StateChange
from sipresence.events.resource_lists import Listing
from sipresence.events.resources import Resources
from sipresence.events.roll import Roll
from sipresence.events.subscribe import Asked, Limits, Watched, granted, new_record, read, renewed_record, same_dialog
from sipresence.events.subscription import UNREACHABLE, Reason, Subscription, stored_flow
from sipresence.events.teller import Teller
from sipresence.events.timeline import Chronicle, End
from sipresence.events.transitions import Action, Input
from sipresence.events.views import Views
from sipresence.figures import Histogram, NotifierFigures
from sipresence.names import AccountId, ResourceId, SubscriptionId
from sipresence.sip.dialog import DialogKey
from sipresence.sip.flow import Flow
from sipresence.sip.headers import Event
from sipresence.sip.message import Request

NO_LISTINGS: Mapping[SubscriptionId, Listing] = MappingProxyType({})


class Notifier:
    """All subscriptions of one node.

    `local_tag` names a dialog, the same one after every restart; `failures_allowed` NOTIFYs in a row may fail before a
    subscription ends; without `pacing` a target is told all at once; changes that follow another within `window` s are
    told together. `presenter` says how each subscriber is told, `lists` who subscribes to a list. `resources` are
    shared with what else speaks of them.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        failures_allowed: int,
        local_tag: Callable[[DialogKey], str],
        pacing: Pacing | None = None,
        resources: Resources | None = None,
        window: float = 0.0,
        presenter: Presenter | None = None,
        lists: Lists | None = None,
    ) -> None:
        self._presenter = Presenter() if presenter is None else presenter
        self._local_tag = local_tag
        self._subscriptions: dict[SubscriptionId, Subscription] = {}  # until the last NOTIFY is answered
        self._resources = Resources(Chronicle()) if resources is None else resources
        self._lists = Lists(self._resources, self._presenter) if lists is None else lists
        self._chronicle = self._resources.chronicle
        self._limits = limits
        self._failures_allowed = failures_allowed
        self._quotas = Quotas(in_all=limits.max_subscriptions, per_subscriber=limits.subscriptions_per_subscriber)
        self._roll = Roll(self._quotas, self._resources)
        unpaced = Pacing(rate=0, in_flight=0)
        self._teller = Teller(self._resources, unpaced if pacing is None else pacing, window=window)
        self.views = Views(self._subscriptions, self._roll, self._resources)
        self._farewells: Deadlines[SubscriptionId] = Deadlines()
        self._notifies: Counter[int] = Counter()  # by final status
        self._change_to_answered = Histogram()
        self._last_id = 0

    def configure(self, limits: Limits, *, failures_allowed: int, window: float) -> None:
        """From here on accept within these limits; what was granted stays granted."""
        self._limits = limits
        self._teller.window = window
        self._failures_allowed = failures_allowed
        self._quotas.limit(in_all=limits.max_subscriptions, per_subscriber=limits.subscriptions_per_subscriber)

    def __len__(self) -> int:
        return len(self._roll)

    @property
    def unanswered(self) -> int:
        """The subscriptions that live, and those whose last NOTIFY is not answered yet."""
        return len(self._subscriptions)

    def knows(self, tag: str) -> bool:
        """Whether a living subscription has this local tag."""
        return tag in self._roll

    def record_of(self, request: Request) -> SubscriptionRecord | None:
        """The row of the living subscription in whose dialog a request is."""
        subscription = self._roll.get(request.to_tag)
        if subscription is None or not same_dialog(subscription.record, request):
            return None
        return subscription.record

    # What edges may see

    def due_cseq(self, ident: SubscriptionId) -> int | None:
        """The CSeq of the NOTIFY by which a subscriber learns what is true now: 0 if it has, None if it is gone."""
        subscription = self._subscriptions.get(ident)
        return None if subscription is None else self._teller.due_cseq(subscription)

    def cseq(self, ident: SubscriptionId) -> int:
        """The CSeq of the last NOTIFY of a subscription, 0 for one that is gone."""
        subscription = self._subscriptions.get(ident)
        return 0 if subscription is None else subscription.cseq

    def resources(self) -> Sequence[ResourceId]:
        """Every resource that is subscribed to or of which something is known."""
        return self._resources.names()

    def state_of(self, name: ResourceId) -> ResourceState:
        """What is known of a resource, blank for one nobody spoke of."""
        return self._resources.get(name).state

    def policy(self, account: AccountId) -> LampPolicy:
        """What an account wants its lamps to show."""
        return self._resources.policies.get(account, DEFAULT)

    def record(self, ident: SubscriptionId) -> SubscriptionRecord | None:
        """The row of a subscription, until its last NOTIFY is answered."""
        subscription = self._subscriptions.get(ident)
        return subscription.record if subscription is not None else None

    def figures(self) -> NotifierFigures:
        """What has been counted."""
        return NotifierFigures(
            subscriptions=self._roll.census.counts,
            subscriptions_ended=self._chronicle.ends,
            resources=len(self._resources),
            state_changes=self._chronicle.changes,
            notifies=self._notifies,
            change_to_answered=self._change_to_answered,
            paced=self._teller.waiting,
        )

    def pinholes(self) -> Sequence[Flow]:
        """The datagram flows through NATs that have to be kept open."""
        return self._roll.lifelines.pinholes()

    def carries(self, flow: Flow) -> bool:
        """Whether a living subscription came over this connection, or is reached through this pinhole."""
        return flow in self._roll.lifelines

    # SUBSCRIBE

    def subscribe(self, request: Request, watched: Watched, *, now: float) -> list[Effect]:
        """Accept an initial SUBSCRIBE, or fetch where it says Expires 0 (RFC 6665 section 4.2.1). Raises SipError.

        One that repeats a living subscription (Call-ID, From tag, Event) renews it under the same name.
        """
        event = read_package(request)
        asked = self._read(request, event.package, self._lists.asked(request, watched.resource))
        if not asked.contact:
            raise SipError(400, reason="Missing Contact")
        key = DialogKey(
            watched.account, watched.resource, request.call_id, request.from_tag, event.package, event.id, watched.user
        )
        tag = self._local_tag(key)
        known = self._roll.get(tag)
        if known is not None:
            return self._renew(known, request, asked, initial=True, now=now)
        if not asked.expires:
            return self._fetch(request, watched, asked, event=event, key=key, now=now)
        return self._accept(request, watched, asked, event=event, tag=tag, now=now)

    def refresh(self, request: Request, *, now: float) -> list[Effect]:
        """Take a SUBSCRIBE inside a dialog: refresh it, or end it where it says Expires 0. Raises SipError."""
        subscription = self._roll.get(request.to_tag)
        if subscription is None or not same_dialog(subscription.record, request):
            raise SipError(481)
        if request.cseq < subscription.remote_cseq:
            # RFC 3261 section 12.2.2: out of order, "MUST be rejected with a 500". An equal one was sent again because
            # our answer was lost, and is answered as before.
            raise SipError(500, reason="CSeq out of order")
        subscription.remote_cseq = request.cseq
        asked = self._read(request, subscription.record.event, self._lists.asked_again(request, subscription))
        return self._renew(subscription, request, asked, initial=False, now=now)

    def _read(self, request: Request, package: str, listing: Listing | None) -> Asked:
        asked = read(request, self._limits, package, min_expires=self._presenter.profile(request).min_expires)
        asked.listing = listing
        return asked

    def _accept(
        self, request: Request, watched: Watched, asked: Asked, *, event: Event, tag: str, now: float
    ) -> list[Effect]:
        record = new_record(self._next_id(), request, watched, asked, event=event, tag=tag, now=now)
        self._roll.refuse(record)
        subscription = self._lists.make(record, request.flow, asked.listing)
        self._teller.impose(subscription, asked.condition)
        kept = self._list(subscription)
        subscription.history.asked(Ask.SUBSCRIBED, now, expires=asked.expires)
        subscription.feed(Input.REFRESHED)
        answer = granted(request, asked, tag=tag, required=subscription.required)
        return [Save(record, None), *kept, answer, self._teller.notify(subscription, now)]

    def _fetch(
        self, request: Request, watched: Watched, asked: Asked, *, event: Event, key: DialogKey, now: float
    ) -> list[Effect]:
        """One NOTIFY, and nothing is kept (RFC 6665 section 4.4.3).

        A phone that fetches again under the same Call-ID gets another dialog: its NOTIFY's CSeq begins at 1 again.
        """
        tag = self._local_tag(key._replace(event_id=f"{event.id};cseq={request.cseq}"))
        record = new_record(self._next_id(), request, watched, asked, event=event, tag=tag, now=now)
        subscription = self._lists.make(record, request.flow, asked.listing)
        self._teller.impose(subscription, asked.condition)
        self._subscriptions[record.id] = subscription
        subscription.feed(Input.ENDED)
        answer = granted(request, asked, tag=tag, required=subscription.required)
        return [answer, self._teller.notify(subscription, now, ended=Reason.TIMEOUT)]

    def _renew(
        self, subscription: Subscription, request: Request, asked: Asked, *, initial: bool, now: float
    ) -> list[Effect]:
        previous = subscription.record
        record = renewed_record(subscription, request, asked, initial=initial, now=now)
        moved = self._roll.replace(subscription, record, request.flow, now=now)
        kept = self._lists.renew(subscription, asked.listing)
        subscription.remote_cseq = request.cseq
        # RFC 5839 section 6.3: "Notifiers MUST NOT suppress a NOTIFY unless the corresponding SUBSCRIBE message was
        # sent in an established dialog." One in flight to where the phone was is abandoned for one to where it is.
        quiet = self._teller.impose(subscription, asked.condition) and not initial
        quiet = quiet and not (moved and subscription.in_flight)
        status = 204 if quiet else 200
        answer = granted(request, asked, tag=record.local_tag, required=subscription.required, status=status)
        if not asked.expires:
            subscription.history.asked(Ask.UNSUBSCRIBED, now, expires=0)
            silent = quiet or not subscription.profile.final_notify
            return [Forget(record.id), answer, *self._end(subscription, End.UNSUBSCRIBED, silent=silent, now=now)]
        subscription.history.asked(Ask.RESUBSCRIBED if initial else Ask.REFRESHED, now, expires=asked.expires)
        self._teller.forgive(record.id)
        subscription.failures = 0
        effects: list[Effect] = [Save(record, previous), *kept, answer]
        if quiet:
            subscription.feed(Input.KNOWN)
            return effects
        # Any other refresh causes a NOTIFY (RFC 6665 section 4.2.1.2).
        if subscription.feed(Input.MOVED if moved else Input.REFRESHED) is Action.NOTIFY:
            effects.append(self._teller.notify(subscription, now))
        return effects

    def _end(self, subscription: Subscription, end: End, *, now: float, silent: bool = False) -> list[Effect]:
        """End a subscription: it leaves every list at once, and its phone gets one last NOTIFY.

        Unless it is `silent`: it wants none, or answers it with another SUBSCRIBE, without end (Zoiper, phones.md 22).
        """
        self._chronicle.ended(subscription, end, now)
        self._unlist(subscription)
        if silent:
            self._teller.release(subscription)
            del self._subscriptions[subscription.record.id]
            return []
        if end is End.DEACTIVATED:
            subscription.ends = Reason.DEACTIVATED
        if subscription.feed(Input.ENDED) is not Action.NOTIFY_FINAL:
            return []  # that follows the answer to the NOTIFY in flight
        return [self._teller.notify(subscription, now, ended=subscription.ends)]

    def deactivate(self, wanted: Callable[[SubscriptionRecord], bool], *, now: float, spread: float) -> int:
        """End these subscriptions within `spread` seconds, later where their target takes no more; return how many.

        "deactivated" makes a phone subscribe anew at once; other reasons would keep it dark for an hour or for ever.
        """
        leaving = {one.record.id: one.target for one in self._roll if wanted(one.record)}
        times = farewell_times(tuple(leaving.values()), now=now, spread=spread, rate=self._teller.rate)
        for ident, when in zip(leaving, times, strict=True):
            self._farewells.set(ident, when)
        return len(leaving)

    def notify_again(self, ident: SubscriptionId, *, now: float) -> list[Effect]:
        """Send a living subscription the full state once more."""
        return self._teller.tell_again(self._subscriptions[ident], now)

    def terminate(self, ident: SubscriptionId, reason: Reason, *, now: float) -> list[Effect]:
        """End a living subscription; its last NOTIFY says why."""
        subscription = self._subscriptions[ident]
        subscription.ends = reason
        return [Forget(ident), *self._end(subscription, End.TERMINATED, now=now)]

    def lists_changed(self, *, now: float) -> list[Effect]:
        """The directory is another one: tell those whose lists are others now. See also `is_without_list`."""
        effects: list[Effect] = []
        for subscription in self._lists.changed():
            effects += self._teller.tell_list(subscription, Input.CHANGED, now)
        return effects

    def is_without_list(self, record: SubscriptionRecord) -> bool:
        """Whether the list that is subscribed to is no more."""
        return self._lists.is_gone(record)

    # NOTIFY

    def notify_answered(
        self, ident: SubscriptionId, *, status: int, retry_after: int | None, now: float, sent_at: float = 0.0
    ) -> list[Effect]:
        """The NOTIFY in flight got its final answer (408: it never will; UNREACHABLE: it could not be sent)."""
        self._notifies[status] += 1
        subscription = self._subscriptions.get(ident)
        if subscription is None:
            return []
        self._teller.release(subscription)
        self._note_answer(subscription, status, now, sent_at=sent_at)
        action, delay = subscription.answered(status, retry_after, failures_allowed=self._failures_allowed)
        if action is Action.NOTIFY:
            return self._teller.notify_in_turn(subscription, now)
        if action is Action.NOTIFY_FINAL:
            return [self._teller.notify(subscription, now, ended=subscription.ends)]
        if action is Action.DROP:
            return self._drop(subscription, now)
        if action is Action.WAIT and delay is not None:
            self._teller.retry(ident, now + delay)
        return []

    def _note_answer(self, subscription: Subscription, status: int, now: float, *, sent_at: float) -> None:
        if status != UNREACHABLE:
            news = subscription.history.answered(status, now, sent_at=sent_at)
            if news is not None and news.changed_at:
                self._change_to_answered.observe(now - news.changed_at)

    def _drop(self, subscription: Subscription, now: float) -> list[Effect]:
        """The subscription is gone; nothing more is sent."""
        record = subscription.record
        del self._subscriptions[record.id]
        if not self._roll.lists(subscription):
            return []  # it was ended, and forgotten, before
        failed = subscription.failures >= self._failures_allowed
        self._chronicle.ended(subscription, End.FAILED if failed else End.REFUSED, now)
        self._unlist(subscription)
        return [Forget(record.id)]

    # State

    def change_decided(self, change: StateChange) -> None:
        """A change is on its way to the store."""
        self._resources.decided(change)

    def resource_changed(self, change: StateChange, *, now: float) -> list[Effect]:
        """Take in a committed change of state; tell the subscribers if it alters anything visible, or is a reset."""
        resource = self._resources.merge(change)
        return self._teller.tell_all(resource, flushed=change.is_reset, now=now) if resource else []

    # Time

    def next_deadline(self) -> float | None:
        """When `expire` has to be called at the latest."""
        times = (
            self._roll.expiries.next(),
            self._teller.next_deadline(),
            self._farewells.next(),
            self._resources.next_expiry(),
        )
        return min((when for when in times if when is not None), default=None)

    def expire(self, *, now: float) -> list[Effect]:
        """End what has expired, send again what waited long enough."""
        effects: list[Effect] = []
        for ident in list(self._roll.expiries.due(now)):
            effects += [Forget(ident), *self._end(self._subscriptions[ident], End.EXPIRED, now=now)]
        for ident in list(self._farewells.due(now)):
            effects += [Forget(ident), *self._end(self._subscriptions[ident], End.DEACTIVATED, now=now)]
        effects += self._teller.expire(self._subscriptions, now=now)
        effects += [SaveState(change) for change in self._resources.expired(now=now)]
        return effects

    # The store

    def restore(
        self,
        subscriptions: Sequence[SubscriptionRecord],
        states: Sequence[StateChange],
        *,
        now: float,
        spread: float,
        numbers_passed: int = 0,
        listings: Mapping[SubscriptionId, Listing] = NO_LISTINGS,
    ) -> list[Effect]:
        """Take over what the store remembers, once, at start; each phone gets its NOTIFY within `spread` seconds.

        Those go first whose resource has changed last: if a change was not told before the end, it was one of these.
        `numbers_passed`: how often NOTIFYs may have gone above the stored ceilings. `listings` are those of the
        subscriptions to lists.
        """
        effects: list[Effect] = []
        self._resources.restore(states, latest=now + self._limits.max_expires)
        gap = spread / max(len(subscriptions), 1)
        for index, stored in enumerate(sorted(subscriptions, key=self._changed_before, reverse=True)):
            # A clock that was wrong when the row was written must not make it last for ever.
            expires_at = min(stored.expires_at, now + self._limits.max_expires)
            record = stored._replace(expires_at=expires_at)
            subscription = self._lists.restore(record, listings.get(record.id))
            subscription.history.asked(Ask.RESTORED, now, expires=stored.expires)
            self._list(subscription)
            if numbers_passed:
                effects.append(subscription.leap(numbers_passed))
            self._teller.retry(stored.id, now + index * gap)
            self._last_id = max(self._last_id, stored.id)
        return effects

    def _changed_before(self, stored: SubscriptionRecord) -> float:
        return self._resources.get(stored.resource).state.changed_at

    def exact_numbers(self) -> list[Save]:
        """What to write at a clean stop, so that the next start goes on at exactly +1."""
        return [save for subscription in self._roll if (save := subscription.exact_numbers())]

    def not_saved(self, write: Write, *, now: float) -> bool:
        """A write was not committed: a new subscription never existed, an existing one keeps what it had.

        Return whether it was a new one, whose NOTIFY must not leave.
        """
        if isinstance(write, Save):
            return self._unsave(write, now)
        if isinstance(write, SaveState):
            self._resources.not_saved(write.change, now=now)
        elif isinstance(write, SaveList):
            self._lists.undo(write)
        return False

    def _unsave(self, save: Save, now: float) -> bool:
        record, previous = save.record, save.previous
        subscription = self._roll.get(record.local_tag)
        if subscription is None or subscription.record is not record:
            return False  # it has ended, or a later SUBSCRIBE was accepted since, whose own commit decides
        if previous is None:
            self._teller.release(subscription)
            self._unlist(subscription)
            del self._subscriptions[record.id]
            return True
        same_source = stored_flow(record) == stored_flow(previous)
        flow = subscription.flow if same_source else stored_flow(previous)
        self._roll.replace(subscription, previous, flow, now=now)
        if record.subscribe_cseq != previous.subscribe_cseq:  # a SUBSCRIBE, not a raised ceiling
            subscription.remote_cseq = previous.subscribe_cseq
            subscription.present(self._presenter.presentation(previous))
            subscription.history.asked(Ask.UNDONE, now, expires=previous.expires)
        return False

    def corrected(self, notify: Notify, *, now: float) -> Notify:
        """A NOTIFY that was decided with a write that failed, as it has to leave now."""
        subscription = self._subscriptions.get(notify.id)
        return notify if subscription is None else subscription.corrected(notify, now)

    # The tables

    def _next_id(self) -> SubscriptionId:
        self._last_id += 1
        return SubscriptionId(self._last_id)

    def _list(self, subscription: Subscription) -> Sequence[SaveList]:
        self._subscriptions[subscription.record.id] = subscription
        self._roll.add(subscription)
        return self._lists.add(subscription)

    def _unlist(self, subscription: Subscription) -> None:
        self._teller.forgive(subscription.record.id)
        self._farewells.discard(subscription.record.id)
        self._lists.remove(subscription)
        self._roll.remove(subscription)
