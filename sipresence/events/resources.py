"""The resources of a node: each one with its state, its subscribers and its current documents.

A resource is here as long as somebody subscribes to it or something is known of it; how long a manual state or a
publication said it would last is watched here, too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from sipresence.deadlines import Deadlines
from sipresence.events.document import Document, Form
from sipresence.events.list_subscription import ListSubscription
from sipresence.events.policy import DEFAULT, LampPolicy
from sipresence.events.resource import ResourceState, Source, StateChange
from sipresence.events.subscription import Subscription
from sipresence.events.timeline import Chronicle
from sipresence.names import AccountId, ResourceId, SubscriptionId

RECENT = 4  # documents that are kept for timelines: what one call looks like
NO_POLICIES: Mapping[AccountId, LampPolicy] = MappingProxyType({})
RETRY = 5.0  # s until an expired state that could not be committed is tried again


class Rendering:
    """A resource in one form: the last few documents, the newest last, and up to which revision that one holds."""

    __slots__ = ("documents", "revision")

    def __init__(self, document: Document) -> None:
        self.revision = document.revision
        self.documents: tuple[Document, ...] = (document,)

    def go_on(self, document: Document) -> None:
        """Take what was rendered of a later revision, unless it says what the newest has said already."""
        self.revision = document.revision
        if not document.says_the_same_as(self.documents[-1]):
            self.documents = (*self.documents[1 - RECENT :], document)


class Resource:
    """A resource, who subscribes to it, its documents, and what it was before (`log`, see Chronicle).

    `lists` are the subscriptions to lists that it is a member of: most are of none. A change may be held until
    `held_until` (see Teller), Unix seconds.
    """

    __slots__ = ("_renderings", "held_until", "lists", "log", "state", "subscribers")

    def __init__(self, name: ResourceId) -> None:
        self.state = ResourceState(name)
        self.subscribers: dict[SubscriptionId, Subscription] = {}
        self.lists: dict[SubscriptionId, ListSubscription] | None = None
        self.held_until = 0.0
        self.log = b""
        self._renderings: dict[Form, Rendering] = {}

    def document(self, form: Form) -> Document:
        """The document of the current revision, rendered once; the one before, if that says the same."""
        rendering = self._renderings.get(form)
        if rendering is None:
            rendering = self._renderings[form] = Rendering(form.render(self.state))
        elif rendering.revision != self.state.revision:
            rendering.go_on(form.render(self.state))
        return rendering.documents[-1]

    def documents(self, form: Form) -> Sequence[Document]:
        """The last few documents in this form, the newest last."""
        rendering = self._renderings.get(form)
        return rendering.documents if rendering is not None else ()


class Resources:
    """All of them, by name. `policies` say what each account wants its lamps to show. `publications` counts those of
    all resources."""

    def __init__(self, chronicle: Chronicle, policies: Mapping[AccountId, LampPolicy] = NO_POLICIES) -> None:
        self.policies = policies
        self.publications = 0
        self.chronicle = chronicle
        self._known: dict[ResourceId, Resource] = {}
        self._expiries: Deadlines[ResourceId] = Deadlines()
        self._under_way: dict[ResourceId, list[StateChange]] = {}  # decided here, neither delivered nor failed

    def __len__(self) -> int:
        return len(self._known)

    def names(self) -> Sequence[ResourceId]:
        return tuple(self._known)

    def get(self, name: ResourceId) -> Resource:
        """The resource, or a blank one that is not kept."""
        return self._known.get(name) or Resource(name)

    def document(self, name: ResourceId, form: Form) -> Document:
        """The current document of a resource."""
        return self.get(name).document(form)

    def subscribe(self, subscription: Subscription) -> None:
        record = subscription.record
        self._obtain(record.resource).subscribers[record.id] = subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        record = subscription.record
        resource = self._known[record.resource]
        del resource.subscribers[record.id]
        self._drop_if_idle(resource)

    def join(self, name: ResourceId, subscription: ListSubscription) -> None:
        """A resource is a member of the list that is subscribed to."""
        resource = self._obtain(name)
        if resource.lists is None:
            resource.lists = {}
        resource.lists[subscription.record.id] = subscription

    def leave(self, name: ResourceId, subscription: ListSubscription) -> None:
        """It is none any more, or nobody subscribes."""
        resource = self._known[name]
        assert resource.lists is not None
        del resource.lists[subscription.record.id]
        self._drop_if_idle(resource)

    def decided(self, change: StateChange) -> None:
        """A change is on its way to the store: until it is delivered, or fails, nothing of its resource expires.

        Else the end of an old state could be committed behind a newer word, and wipe that out.
        """
        self._under_way.setdefault(change.resource, []).append(change)
        self._expiries.discard(change.resource)

    def merge(self, change: StateChange) -> Resource | None:
        """Take in a committed change; return the resource if its subscribers have to be told."""
        self._arrived(change)
        resource = self._obtain(change.resource)
        state = resource.state
        before = len(state.publications)
        told = state.merge(change, self.policies.get(change.account, DEFAULT))
        self.publications += len(state.publications) - before
        if told or change.source is not Source.PUBLISHED:  # refreshes would drown what has happened
            resource.log = self.chronicle.noted(resource.log, change, state.lamp.state)
        self._watch(state, state.due_at)
        self._drop_if_idle(resource)
        return resource if told else None

    def restore(self, states: Sequence[StateChange], *, latest: float) -> None:
        """Take in what was stored. A clock that was wrong when a publication came must not make it last for ever."""
        for change in states:
            if change.publication and change.expires_at is not None:
                change = replace(change, expires_at=min(change.expires_at, latest))
            self.merge(change)

    def not_saved(self, change: StateChange, *, now: float) -> None:
        """A change was not committed. Had it been the end of a state, the lamp would stay lit: it comes up again."""
        self._arrived(change)
        state = self.get(change.resource).state
        if state.due_at is not None:
            self._watch(state, max(state.due_at, now + RETRY))

    def is_under_way(self, name: ResourceId, publication: str) -> bool:
        """Whether a change of this publication, or a reset, is decided and neither delivered nor failed."""
        waiting = self._under_way.get(name, ())
        return any(change.publication == publication or change.is_reset for change in waiting)

    def next_expiry(self) -> float | None:
        """When `expired` has to be asked at the latest."""
        return self._expiries.next()

    def expired(self, *, now: float) -> list[StateChange]:
        """The changes that end what has lasted as long as it said, and those that rows need (see published.py)."""
        changes = [change for name in list(self._expiries.due(now)) for change in self.get(name).state.due(now)]
        for change in changes:
            self.decided(change)
        return changes

    def _arrived(self, change: StateChange) -> None:
        """A change is no more on its way; one that was decided on another node never was."""
        waiting = self._under_way.get(change.resource)
        if waiting and change in waiting:
            waiting.remove(change)
            if not waiting:
                del self._under_way[change.resource]

    def _watch(self, state: ResourceState, expires_at: float | None) -> None:
        if expires_at is None or state.id in self._under_way:
            self._expiries.discard(state.id)
        else:
            self._expiries.set(state.id, expires_at)

    def _obtain(self, name: ResourceId) -> Resource:
        resource = self._known.get(name)
        if resource is None:
            resource = self._known[name] = Resource(name)
        return resource

    def _drop_if_idle(self, resource: Resource) -> None:
        if resource.state.blank and not resource.subscribers and not resource.lists:
            self._known.pop(resource.state.id, None)
