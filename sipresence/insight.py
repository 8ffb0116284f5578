"""Insight: what may be seen of the inside while it works: figures, health, and the timelines of lamps."""

from collections.abc import Callable, Sequence

from sipresence.events.notifier import Notifier
from sipresence.events.timeline import Timeline
from sipresence.figures import Figures, Health, WireFigures
from sipresence.names import AccountId, CallId, ResourceId
from sipresence.ports import Clock, StateBus
from sipresence.pulse import Pulse
from sipresence.service import PresenceService

STORE_PATIENCE = 30.0  # s until a commit that does not end is taken for one that never will


class Insight:
    """The verbs on what is seen. Nothing here changes anything. `wire` gives the figures of the endpoint."""

    def __init__(
        self,
        service: PresenceService,
        *,
        notifier: Notifier,
        wire: Callable[[], WireFigures],
        bus: StateBus,
        clock: Clock,
    ) -> None:
        self.pulse = Pulse(clock)
        self._service = service
        self._notifier = notifier
        self._wire = wire
        self._bus = bus
        self._clock = clock

    def figures(self) -> Figures:
        """All that was counted, and all that waits."""
        service = self._service
        return Figures(
            now=self._clock.now(),
            wire=self._wire(),
            notifier=self._notifier.figures(),
            outbox=service.outbox.figures(),
            refusals=service.refusals,
            inbox=service.waiting,
            bus_up=self._bus.up,
            loop_delay=self.pulse.delays,
        )

    def health(self) -> Health:
        """Whether it works, and whether it can take new work."""
        service = self._service
        return Health(
            responsive=self.pulse.regular,
            serving=service.serving,
            store=not service.outbox.failing,
            bus=self._bus.up,
        )

    def alive(self) -> bool:
        """Whether the process should go on: loop and store get round. A store that fails, on a full disk say, is no
        reason to end it: its subscribers are told all the same, and the next process could not even start."""
        since = self._service.outbox.waiting_since
        return self.pulse.regular and (since is None or self._clock.now() - since < STORE_PATIENCE)

    def status(self) -> str:
        """How it is, in a line for people."""
        figures = self.figures()
        connections = sum(figures.wire.connections.values())
        failing = ", the store is failing" if figures.outbox.failing else ""
        return f"{len(self._notifier)} subscriptions, {connections} connections{failing}"

    def timeline(self, account: AccountId, resource: ResourceId, *, call_id: CallId | None = None) -> Timeline:
        """What happened to a resource, and to the account's subscriptions to it, or to those with one Call-ID."""
        return self._notifier.views.timeline(resource, account=account, call_id=call_id)

    def timelines(self, account: AccountId, call_id: CallId) -> Sequence[Timeline]:
        """The same of every resource that subscriptions with this Call-ID are, or were, about."""
        names = self._notifier.views.watched_by(call_id, account=account)
        return [self.timeline(account, name, call_id=call_id) for name in names]
