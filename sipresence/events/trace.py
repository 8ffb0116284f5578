"""Putting a timeline together, when somebody asks for one."""

from collections.abc import Callable, Iterator, Sequence

from sipresence.events.document import Document
from sipresence.events.history import Notified
from sipresence.events.record import SubscriptionRecord
from sipresence.events.resource import DialogState
from sipresence.events.resources import Resource
from sipresence.events.subscription import Subscription
from sipresence.events.timeline import Belief, Chronicle, Event, Timeline


def trace(resource: Resource, chronicle: Chronicle, wanted: Callable[[SubscriptionRecord], bool]) -> Timeline:
    """What happened to a resource, and to the subscriptions that are `wanted`: living ones, and those that ended."""
    living = [subscription for subscription in resource.subscribers.values() if wanted(subscription.record)]
    ended = chronicle.endings(wanted)
    events = [Event(change.at, change) for change in chronicle.changes_in(resource.log)]
    subscriptions = (*(gone for gone, _ in ended), *living)
    for subscription in subscriptions:
        events += _asked(subscription)
    events += [Event(ending.at, ending, gone.record) for gone, ending in ended]
    for subscription in subscriptions:
        last = (subscription.document,) if subscription.document is not None else ()  # that of a list is nowhere else
        events += _told(subscription, (*last, *resource.documents(subscription.form)))
    events.sort(key=lambda event: event.at)  # of what has the same time the cause comes first
    beliefs = [_belief(subscription, resource) for subscription in living]
    return Timeline(resource.state.id, resource.state.lamp, beliefs, events)


def _asked(subscription: Subscription) -> Iterator[Event]:
    record, history = subscription.record, subscription.history
    for asked in history.subscribes():
        yield Event(asked.at, asked, record)
    for moved in history.moves:
        yield Event(moved.at, moved, record)


def _told(subscription: Subscription, documents: Sequence[Document]) -> Iterator[Event]:
    for notify in subscription.history.notifies(cseq=subscription.cseq, version=subscription.version):
        yield Event(notify.at, notify, subscription.record, _document(notify, documents))


def _document(notify: Notified, documents: Sequence[Document]) -> Document | None:
    """What it carried. A resource that was forgotten meanwhile counts its revisions anew: the time tells."""
    for document in documents:
        if document.revision & 0xFFFF == notify.revision and document.changed_at <= notify.at:
            return document
    return None


def _belief(subscription: Subscription, resource: Resource) -> Belief:
    """What its phone shows. Of two states that look the same in its form it shows both at once."""
    current, lamp = resource.document(subscription.form), resource.state.lamp.state

    def shown(document: Document | None) -> DialogState | None:
        return lamp if document is current else document.state if document else None

    return Belief(subscription.record, shown(subscription.document), shown(subscription.history.believed))
