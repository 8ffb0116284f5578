"""The timeline of a lamp: what happened to it, in order, and what each phone believes now.

It is put together when somebody asks (trace.py), of what is kept anyway: the last changes of the resource and the
subscriptions that ended last (`Chronicle`), the last SUBSCRIBEs and NOTIFYs of each subscription (`History`). Nothing
of it is stored: after a restart it begins anew.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from struct import Struct
from typing import NamedTuple, TypeAlias

from sipresence.events.document import Document
from sipresence.events.history import Moved, Notified, Subscribed
from sipresence.events.record import SubscriptionRecord
from sipresence.events.resource import IMPORTANCE, DialogState, Lamp, Source, StateChange
from sipresence.events.subscription import Subscription
from sipresence.names import ResourceId

CHANGES = 64  # that are kept of each resource
ENDED = 1000  # subscriptions that are kept after their end, of all resources
MAX_NAMES = 65_535

_CHANGE = Struct("<dBBBH")  # at, source, what it says, the lamp, by whom
_SOURCES = (None, *Source)
_STATES = tuple(DialogState)
_IMPORTANCE = IMPORTANCE.__getitem__


class Changed(NamedTuple):
    """A source has spoken; `source` None is a reset. `by` is who asked for it, "" where nobody did."""

    at: float
    source: Source | None
    state: DialogState  # what it says now
    lamp: DialogState  # of all sources together
    by: str


class End(StrEnum):
    """Why a subscription is no more."""

    UNSUBSCRIBED = "unsubscribed"
    EXPIRED = "expired"
    REFUSED = "refused"  # its phone has answered a NOTIFY with 481 or the like
    FAILED = "failed"  # too many NOTIFYs in a row were not answered with success
    DEACTIVATED = "deactivated"  # by us: its account is gone, or this node will not come back
    TERMINATED = "terminated"  # by an admin


class Ended(NamedTuple):
    """A subscription is no more."""

    at: float
    end: End


What: TypeAlias = Changed | Subscribed | Moved | Notified | Ended


class Event(NamedTuple):
    """Something that happened, to the subscription of `record` if it has one; `document` is what a NOTIFY carried, if
    that is still known."""

    at: float
    what: What
    record: SubscriptionRecord | None = None
    document: Document | None = None


class Belief(NamedTuple):
    """A living subscription: the state that its phone was told last, and the one it has last acknowledged."""

    record: SubscriptionRecord
    told: DialogState | None
    believes: DialogState | None


class Timeline(NamedTuple):
    """One resource, its events the oldest first."""

    resource: ResourceId
    lamp: Lamp
    phones: Sequence[Belief]
    events: Sequence[Event]


class Chronicle:
    """What a node remembers of its resources besides their state. `changes` counts them by source."""

    def __init__(self) -> None:
        self.changes: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()  # of subscriptions, by why
        self._ended: deque[tuple[Subscription, Ended]] = deque(maxlen=ENDED)
        self._names = [""]
        self._numbers = {"": 0}

    def noted(self, log: bytes, change: StateChange, lamp: DialogState) -> bytes:
        """The log of a resource, with this change, after which its lamp shows `lamp`, at its end."""
        said = min((dialog.state for dialog in change.dialogs), key=_IMPORTANCE, default=DialogState.TERMINATED)
        self.changes[change.source.value if change.source else "reset"] += 1
        entry = _CHANGE.pack(
            change.at, _SOURCES.index(change.source), _STATES.index(said), _STATES.index(lamp), self._number(change.by)
        )
        return log[-(CHANGES - 1) * _CHANGE.size :] + entry

    def changes_in(self, log: bytes) -> Iterator[Changed]:
        """The changes of such a log, the oldest first."""
        for at, source, said, lamp, by in _CHANGE.iter_unpack(log):
            yield Changed(at, _SOURCES[source], _STATES[said], _STATES[lamp], self._names[by])

    def ended(self, subscription: Subscription, end: End, now: float) -> None:
        """A subscription has ended; its last NOTIFY may still be answered."""
        self.ends[end.value] += 1
        self._ended.append((subscription, Ended(now, end)))

    def endings(self, wanted: Callable[[SubscriptionRecord], bool]) -> list[tuple[Subscription, Ended]]:
        """The subscriptions that ended last."""
        return [ending for ending in self._ended if wanted(ending[0].record)]

    def _number(self, name: str) -> int:
        """Those who speak are few; were they many, the later ones would be nobody."""
        number = self._numbers.get(name)
        if number is None:
            if len(self._names) > MAX_NAMES:
                return 0
            number = self._numbers[name] = len(self._names)
            self._names.append(name)
        return number
