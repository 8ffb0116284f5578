"""What one process needs when nothing has to outlive it: a store in dictionaries, and a bus to itself.

Both keep the contracts of their durable siblings (tests/contract), so they also serve as the fakes of the other tests:
a second `load` of one MemoryStore gives what the first life of a server left in it.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace

from sipresence.audit import AuditEntry, AuditId
from sipresence.errors import StoreError
from sipresence.events.binding import BindingId, BindingRecord
from sipresence.events.effects import (
    Forget,
    ForgetAudit,
    ForgetBinding,
    ForgetObject,
    Save,
    SaveAudit,
    SaveBinding,
    SaveList,
    SaveObject,
    Write,
)
from sipresence.events.published import emptied
from sipresence.events.record import SubscriptionRecord
from sipresence.events.resource import Source, StateChange
from sipresence.events.resource_lists import Listing
from sipresence.names import ResourceId, SubscriptionId
from sipresence.objects import ObjectKey, ObjectRecord
from sipresence.ports import Loaded


class MemoryStore:
    """Keeps everything as long as the object lives; commits inside `submit`.

    While `fail_with` is set, every submit keeps nothing and reports it.
    """

    def __init__(self) -> None:
        self.fail_with: StoreError | None = None
        self._subscriptions: dict[SubscriptionId, SubscriptionRecord] = {}
        self._states: dict[ResourceId, dict[tuple[Source | None, str], StateChange]] = {}  # by source
        self._bindings: dict[BindingId, BindingRecord] = {}
        self._listings: dict[SubscriptionId, Listing] = {}
        self._objects: dict[ObjectKey, ObjectRecord] = {}
        self._audit: dict[AuditId, AuditEntry] = {}
        self._tag_key = os.urandom(32)

    async def load(self) -> Loaded:
        """Return what is kept, subscriptions and bindings by id, states by age."""
        states = [change for sources in self._states.values() for change in sources.values()]
        states.sort(key=lambda change: change.at)
        subscriptions, bindings = sorted(self._subscriptions.values()), sorted(self._bindings.values())
        return Loaded(
            subscriptions,
            states,
            self._tag_key,
            bindings=bindings,
            listings=dict(self._listings),
            objects=sorted(self._objects.values()),
            audit=sorted(self._audit.values()),
        )

    def submit(self, writes: Sequence[Write], done: Callable[[StoreError | None], None]) -> None:
        """Keep all `writes`, in order, and call `done` before returning."""
        if self.fail_with is None:
            for write in writes:
                self._apply(write)
        done(self.fail_with)

    async def close(self) -> None:
        """Release nothing: the next `load` finds everything."""

    def _apply(self, write: Write) -> None:
        if isinstance(write, Save):
            self._subscriptions[write.record.id] = write.record
        elif isinstance(write, Forget):
            self._subscriptions.pop(write.id, None)
            self._listings.pop(write.id, None)
        elif isinstance(write, SaveList):
            self._listings[write.id] = write.listing
        elif isinstance(write, SaveBinding):
            self._bindings[write.record.id] = write.record
        elif isinstance(write, ForgetBinding):
            self._bindings.pop(write.record.id, None)
        elif isinstance(write, SaveObject):
            self._objects[write.record.key] = write.record
        elif isinstance(write, ForgetObject):
            self._objects.pop(write.key, None)
        elif isinstance(write, SaveAudit):
            self._audit[write.entry.id] = write.entry
        elif isinstance(write, ForgetAudit):
            self._audit.pop(write.id, None)
        else:
            self._apply_state(write.change)

    def _apply_state(self, change: StateChange) -> None:
        said = self._states.setdefault(change.resource, {})
        key = (change.source, change.publication)
        if change.is_reset:
            self._states[change.resource] = {
                key: emptied(known) if key[0] is Source.PUBLISHED else known
                for key, known in said.items()
                if key[0] in (Source.PUBLISHED, Source.REGISTRAR)  # which phones are registered stays true
            }
        elif change.is_end:
            said.pop(key, None)
        else:
            known = said.get(key)
            if known is not None and not change.publication and known.says_the_same_as(change):
                change = replace(change, at=known.at)  # saying it again is no news: the lamp shows it since then
            said[key] = change
        if not self._states[change.resource]:
            del self._states[change.resource]


class LocalBus:
    """The bus of a single process: a committed change is delivered on the spot."""

    def __init__(self, deliver: Callable[[StateChange], None]) -> None:
        self._deliver = deliver

    @property
    def up(self) -> bool:
        return True  # there is nothing to lose contact with

    def publish(self, change: StateChange) -> None:
        """Deliver the change to this process, the only one there is."""
        self._deliver(change)
