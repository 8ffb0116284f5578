"""The edges that the service talks to, as Protocols: what remembers, what spreads, what sends, what keeps time.

All but `SubscriptionStore.load` are plain calls that return at once; what comes of them arrives by callback on the
loop, in order.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sipresence.audit import AuditEntry
from sipresence.errors import StoreError
from sipresence.events.binding import BindingRecord
from sipresence.events.effects import Notify, Respond, Write
from sipresence.events.record import SubscriptionRecord
from sipresence.events.resource import StateChange
from sipresence.events.resource_lists import Listing
from sipresence.names import SubscriptionId
from sipresence.objects import ObjectRecord
from sipresence.sip.message import Request


@dataclass(slots=True, frozen=True)
class Loaded:
    """Everything a store remembers. `tag_key` is the secret of the local tags: 32 bytes, made once.

    `numbers_passed`: how many processes in a row ended while the store failed, so that NOTIFYs may have gone above the
    ceilings, each time above those of the one before. `listings` are those of the subscriptions to lists.
    """

    subscriptions: Sequence[SubscriptionRecord]
    states: Sequence[StateChange]
    tag_key: bytes
    numbers_passed: int = 0
    bindings: Sequence[BindingRecord] = ()
    listings: Mapping[SubscriptionId, Listing] = field(default_factory=dict)
    objects: Sequence[ObjectRecord] = ()
    audit: Sequence[AuditEntry] = ()


class SubscriptionStore(Protocol):
    """What remembers subscriptions, states, bindings, objects of the directory and the audit trail."""

    async def load(self) -> Loaded:
        """Open the store and read all of it, once, at start. Raises StoreUnusable."""

    def submit(self, writes: Sequence[Write], done: Callable[[StoreError | None], None]) -> None:
        """Commit all `writes`, in order, or none; then call `done` on the loop."""

    async def close(self) -> None:
        """Finish what was submitted and release the store."""


class StateBus(Protocol):
    """What spreads committed state changes to every node, this one included."""

    @property
    def up(self) -> bool:
        """Whether what is published reaches all nodes now."""

    def publish(self, change: StateChange) -> None:
        """Deliver a committed change to the service, in the order of commits."""


class Endpoint(Protocol):
    """What speaks SIP on the wire."""

    def respond(self, response: Respond) -> None:
        """Send the answer, and repeat it for each retransmission of its request."""

    def drop(self, request: Request) -> None:
        """Keep nothing of a request: its next copy is taken for a new one."""

    def send(self, notify: Notify) -> None:
        """Send a NOTIFY in a client transaction; an older one of the same subscription is abandoned."""


class Clock(Protocol):
    """What keeps time: Unix seconds that no clock step moves."""

    def now(self) -> float:
        """Unix time at start + monotonic time since."""

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call back in the next turn of the loop."""

    def call_at(self, when: float, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back at `when`, in a later turn of the loop; return what cancels it."""
