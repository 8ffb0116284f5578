"""The feed: every visible change of a resource, in the order of commits, for edges that pass it on as events.

The service tells it what a committed change has made of a resource. Who listens does so to a topic: all of an account,
one resource, or one dialog. Nothing is held together here, and nothing left out: each change that is visible is one
`News`. While nobody listens, all of this costs one truth test a change.

A listener takes its news from a bounded queue when it can. One that lets it fill up is overrun: it hears nothing more,
and whoever owns it has to let it go. So the slowest reader costs a queue, and delays nobody.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from sipresence.events.resource import DialogInfo, DialogState, Lamp, ResourceState, StateChange
from sipresence.events.state import Messages, Presence
from sipresence.names import AccountId, ResourceId


class Topic(NamedTuple):
    """What one may listen to: all of an account, or of it one resource, or one dialog.

    A dialog goes by its Call-ID, or where it has none, being a state and no call, by its id.
    """

    account: AccountId
    resource: ResourceId | None = None
    dialog: str | None = None


class Seen(NamedTuple):
    """What can be seen of a resource at one moment; see `ResourceState`."""

    lamp: Lamp
    calls: tuple[DialogInfo, ...]
    dialogs: tuple[DialogInfo, ...]
    presence: Presence
    messages: Messages

    @classmethod
    def of(cls, state: ResourceState) -> "Seen":
        return cls(state.lamp, state.calls, state.dialogs, state.presence, state.messages)


@dataclass(slots=True, frozen=True, eq=False)
class News:
    """A visible change: what was said, and what could be seen before and after it.

    `calls` are those that it alters, as they are now; first those that it ends, as `terminated`. A reset is news even
    where nothing was known.
    """

    change: StateChange
    before: Seen
    after: Seen
    calls: tuple[DialogInfo, ...]

    @property
    def account(self) -> AccountId:
        return self.change.account

    @property
    def resource(self) -> ResourceId:
        return self.change.resource

    @property
    def topics(self) -> Iterator[Topic]:
        """Whatever this is news for."""
        account = self.change.account
        yield Topic(account)
        yield Topic(account, resource=self.change.resource)
        for name in dict.fromkeys(name_of(dialog) for dialog in self.calls):
            yield Topic(account, dialog=name)


class Listener:
    """Somebody who listens: to each topic under a name of his own choice, by which he is told.

    `woken` is called when something has come to an empty queue, and when the queue has overrun. It must not take long,
    nor raise.
    """

    __slots__ = ("_limit", "_queue", "_topics", "_woken", "overrun")

    def __init__(self, *, limit: int, woken: Callable[[], None]) -> None:
        self.overrun = False
        self._limit = limit
        self._woken = woken
        self._queue: deque[tuple[str, News]] = deque()
        self._topics: dict[str, Topic] = {}

    def take(self) -> tuple[str, News] | None:
        """The oldest of what waits, with the name of the topic that it came under; None for nothing."""
        return self._queue.popleft() if self._queue else None

    def hear(self, name: str, news: News) -> None:
        if self.overrun:
            return
        if len(self._queue) == self._limit:
            self.overrun = True
            self._queue.clear()
            self._woken()
            return
        self._queue.append((name, news))
        if len(self._queue) == 1:
            self._woken()


class Feed:
    """All who listen, by topic. `listened` says whether anybody does."""

    __slots__ = ("_by_topic", "listened")

    def __init__(self) -> None:
        self.listened = False
        self._by_topic: dict[Topic, dict[tuple[Listener, str], None]] = {}

    def listen(self, listener: Listener, name: str, topic: Topic) -> None:
        """From here on tell the listener what is news for this topic, as `name`, which it has not used yet."""
        listener._topics[name] = topic
        self._by_topic.setdefault(topic, {})[listener, name] = None
        self.listened = True

    def ignore(self, listener: Listener, name: str) -> None:
        """Tell it no more of that. What waits in its queue is still there."""
        topic = listener._topics.pop(name)
        listeners = self._by_topic[topic]
        del listeners[listener, name]
        if not listeners:
            del self._by_topic[topic]
            self.listened = bool(self._by_topic)

    def leave(self, listener: Listener) -> None:
        """Tell it nothing more."""
        for name in tuple(listener._topics):
            self.ignore(listener, name)

    def tell(self, change: StateChange, before: Seen, after: Seen) -> None:
        """A committed change was taken in. Who is told of it hears each piece of news once for each of its topics."""
        if not change.is_reset and before[1:] == after[1:]:
            return
        news = News(change, before, after, _altered(before.calls, after.calls))
        for topic in news.topics:
            for listener, name in tuple(self._by_topic.get(topic, ())):
                listener.hear(name, news)


def name_of(dialog: DialogInfo) -> str:
    """What a dialog goes by, see `Topic`."""
    return dialog.call_id or dialog.id


def _altered(before: tuple[DialogInfo, ...], after: tuple[DialogInfo, ...]) -> tuple[DialogInfo, ...]:
    if before == after:
        return ()
    known = {dialog.id: dialog for dialog in before}
    altered = [dialog for dialog in after if known.pop(dialog.id, None) != dialog]
    ended = [replace(dialog, state=DialogState.TERMINATED, held=False) for dialog in known.values()]
    return (*ended, *altered)
