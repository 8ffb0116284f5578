"""The outbox: the only executor of effects, and how order, commit and a busy loop live together.

Writes gather in the open batch, which goes to the store at the end of a turn's reads; one batch is in flight. All other
effects run at once while no write is open or in flight; otherwise they are held with the open batch and released, in
order, at its commit: nothing leaves before the commit of everything decided before it.

At a commit its state changes are delivered first, then what was held is released: answers at once, NOTIFYs into one
lane that is emptied a slice per turn of the loop, so that an answer never waits behind a fan-out of 10,000. If a commit
fails, each held success becomes 500 with Retry-After, and whoever decided the write hears of it.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from sipresence.errors import StoreError
from sipresence.events.effects import (
    Effect,
    Forget,
    ForgetAudit,
    ForgetBinding,
    ForgetObject,
    Notify,
    Respond,
    Save,
    SaveAudit,
    SaveBinding,
    SaveList,
    SaveObject,
    SaveState,
    SendNotify,
    Write,
)
from sipresence.figures import Histogram, OutboxFigures
from sipresence.names import SubscriptionId
from sipresence.ports import Clock, Endpoint, StateBus, SubscriptionStore

SLICE = 256  # NOTIFYs sent per turn of the loop
RETRY_AFTER = 5  # s told to a phone whose request could not be committed

_UNDONE_BY_NOBODY = (SaveObject, ForgetObject, SaveAudit, ForgetAudit)  # nobody has acted on these before their commit
_WRITES = (Save, Forget, SaveList, SaveState, SaveBinding, ForgetBinding, *_UNDONE_BY_NOBODY)

Committed: TypeAlias = Callable[[StoreError | None], None]
"""Called once everything decided before it is committed, or with why it was not."""


@dataclass(slots=True)
class _Batch:
    writes: list[Write] = field(default_factory=list)
    held: list[Respond | SendNotify | Committed] = field(default_factory=list)
    since: float = 0.0  # when its first write was decided
    submitted_at: float = 0.0


class Outbox:
    """Executes effects. `not_saved` hears of each write that failed, and says whether it made a new subscription.

    `corrected` gives what a NOTIFY that was held with such a write has to say instead.
    """

    def __init__(
        self,
        *,
        store: SubscriptionStore,
        bus: StateBus,
        endpoint: Endpoint,
        clock: Clock,
        not_saved: Callable[[Write], bool],
        corrected: Callable[[Notify], Notify],
    ) -> None:
        self._store = store
        self._bus = bus
        self._endpoint = endpoint
        self._clock = clock
        self._not_saved = not_saved
        self._corrected = corrected
        self._open = _Batch()
        self._in_flight: _Batch | None = None
        self._releasing = False
        self._unforgotten: list[Forget] = []  # deletions that failed: they go with the next batch
        self._lane: deque[Notify] = deque()
        self._unsent: dict[SubscriptionId, int] = {}  # CSeq of the last NOTIFY decided, until the endpoint has it
        self._draining = False
        self.failing = False  # whether the last commit failed
        self._commits_failed = 0
        self._commit_time = Histogram()

    def add(self, effects: Sequence[Effect]) -> None:
        """Execute effects in order: now, or when the writes before them are committed."""
        for effect in effects:
            if isinstance(effect, _WRITES):
                if not self._open.writes:
                    self._open.since = self._clock.now()
                self._open.writes.append(effect)
                continue
            if isinstance(effect, SendNotify):
                self._unsent[effect.notify.id] = effect.notify.cseq
            self._run_or_hold(effect)

    def when_committed(self, callback: Committed) -> None:
        """Call back once everything added so far is committed."""
        self._run_or_hold(callback)

    def flush(self) -> None:
        """The turn's reads are over: send the open batch to the store, unless one is under way."""
        if self._in_flight is None and self._open.writes and not self._releasing:
            batch, self._open = self._open, _Batch()
            if self._unforgotten:
                batch.writes, self._unforgotten = [*self._unforgotten, *batch.writes], []
            self._in_flight = batch
            batch.submitted_at = self._clock.now()
            self._store.submit(batch.writes, lambda error: self._finish(batch, error))

    def unsent(self, ident: SubscriptionId) -> bool:
        """Whether a NOTIFY is decided that the endpoint has not seen: an answer now is that of an abandoned one."""
        return ident in self._unsent

    @property
    def idle(self) -> bool:
        """Whether nothing waits: no write, no commit, no NOTIFY in the lane."""
        return self._in_flight is None and not self._open.writes and not self._lane

    @property
    def waiting_since(self) -> float | None:
        """When the oldest write was decided that is not committed yet; None while there is none."""
        if self._in_flight is not None:
            return self._in_flight.since
        return self._open.since if self._open.writes else None

    def figures(self) -> OutboxFigures:
        """What has been counted, and what waits."""
        return OutboxFigures(
            commit_time=self._commit_time,
            commits_failed=self._commits_failed,
            failing=self.failing,
            waiting_since=self.waiting_since,
            lane=len(self._lane),
        )

    def _run_or_hold(self, effect: Respond | SendNotify | Committed) -> None:
        if self._in_flight is not None or self._open.writes or self._open.held:
            self._open.held.append(effect)
        else:
            self._run(effect)

    def _run(self, effect: Respond | SendNotify | Committed) -> None:
        if isinstance(effect, SendNotify):
            self._lane.append(effect.notify)
            if not self._draining:
                self._draining = True
                self._clock.call_soon(self._drain)
        elif isinstance(effect, Respond):
            self._endpoint.respond(effect)
        else:
            effect(None)

    def _drain(self) -> None:
        """Send one slice of the NOTIFY lane, and come back for the next after the loop has read what arrived."""
        lane, unsent, send = self._lane, self._unsent, self._endpoint.send
        try:
            for _ in range(min(SLICE, len(lane))):
                notify = lane.popleft()
                if unsent.get(notify.id) == notify.cseq:
                    del unsent[notify.id]
                send(notify)
        finally:  # a mistake of ours must cost one NOTIFY, not the lane
            self._draining = bool(lane)
            if lane:
                self._clock.call_soon(self._drain)

    def _finish(self, batch: _Batch, error: StoreError | None) -> None:
        """The batch is committed, or is not: release what it held, then see to what has gathered meanwhile."""
        self._in_flight = None
        self._releasing = True
        self.failing = error is not None
        try:
            if error is None:
                self._commit_time.observe(self._clock.now() - batch.submitted_at)
                self._release(batch)
            else:
                self._fail(batch, error)
        finally:  # whatever went wrong, the next batch goes
            self._releasing = False
            self._go_on()

    def _release(self, batch: _Batch) -> None:
        for write in batch.writes:
            if isinstance(write, SaveState):
                self._bus.publish(write.change)
        for effect in batch.held:
            self._run(effect)

    def _fail(self, batch: _Batch, error: StoreError) -> None:
        self._commits_failed += 1
        never_existed = self._undo(batch.writes)
        for effect in batch.held:
            if isinstance(effect, Respond):
                self._refuse(effect)
            elif not isinstance(effect, SendNotify):
                effect(error)
            elif effect.notify.id in never_existed:
                self._unsent.pop(effect.notify.id, None)
            else:
                effect.notify = self._corrected(effect.notify)
                self._run(effect)

    def _refuse(self, answer: Respond) -> None:
        """An answer whose commit failed: a success is none any more."""
        if answer.status >= 300:
            self._endpoint.respond(answer)
        elif answer.silent:
            self._endpoint.drop(answer.request)
        else:
            headers = f"Retry-After: {RETRY_AFTER}\r\n"
            self._endpoint.respond(Respond(answer.request, 500, answer.to_tag, headers))

    def _undo(self, writes: Sequence[Write]) -> set[SubscriptionId]:
        """Give back what was before these writes; return the subscriptions that never existed."""
        never_existed: set[SubscriptionId] = set()
        later = {write.record.id: write for write in reversed(self._open.writes) if isinstance(write, Save)}
        for write in reversed(writes):  # the last one first: each gives back what was before it
            if isinstance(write, Forget):
                self._unforgotten.append(write)  # it has ended all the same; its row must go
                continue
            if isinstance(write, _UNDONE_BY_NOBODY):
                continue
            if isinstance(write, Save):
                following = later.get(write.record.id)
                if following is not None and following.previous is write.record:
                    following.previous = write.previous  # which it really replaces now
            if self._not_saved(write) and isinstance(write, Save):
                never_existed.add(write.record.id)
        return never_existed

    def _go_on(self) -> None:
        if self._open.writes:
            self.flush()
            return
        held, self._open.held = self._open.held, []
        for effect in held:
            self._run_or_hold(effect)
