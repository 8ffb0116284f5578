"""Registrations: the registrar's shell. It puts REGISTERs into their turn, and tells the registrar what became of them.

What is asked about a lamp while a change of its bindings is not committed yet waits for that commit, or its failure:
only then is it known which bindings there are.
"""

from collections.abc import Callable, Iterator, Sequence

from sipresence.events.binding import BindingRecord
from sipresence.events.effects import Effect
from sipresence.events.register import Registrant, RegistrarLimits
from sipresence.events.registrar import Registrar
from sipresence.events.state import Source, StateChange
from sipresence.names import AccountId, ResourceId
from sipresence.outbox import Outbox
from sipresence.ports import Clock, Loaded
from sipresence.sip.flow import Flow
from sipresence.sip.message import Request


class Registrations:
    """All registrations of one node. Without `limits` there is no registrar, and nothing that one has said holds.

    `execute` takes the effects of a decision.
    """

    def __init__(
        self, limits: RegistrarLimits | None, *, clock: Clock, execute: Callable[[Sequence[Effect]], None]
    ) -> None:
        self.open = limits is not None
        self._registrar = Registrar(limits or RegistrarLimits())
        self._clock = clock
        self._execute = execute

    def attach(self, outbox: Outbox) -> None:
        """Connect what needs the service first."""
        self._outbox = outbox

    def configure(self, limits: RegistrarLimits | None) -> None:
        """From here on accept within these limits; whether there is a registrar stays as it is."""
        if limits is not None:
            self._registrar.configure(limits)

    def restore(self, loaded: Loaded) -> Sequence[StateChange]:
        """Take over what the store remembers; return the states that hold."""
        if not self.open:
            return [change for change in loaded.states if change.source is not Source.REGISTRAR]
        self._registrar.restore(loaded.bindings, now=self._clock.now())
        return loaded.states

    def knows(self, call_id: str) -> bool:
        """Whether a REGISTER with this Call-ID may be the refresh of a binding."""
        return self._registrar.knows(call_id)

    def carries(self, flow: Flow) -> bool:
        """Whether a device has registered over this connection."""
        return self._registrar.carries(flow)

    def bindings_of(self, account: AccountId, resource: ResourceId | None = None) -> Iterator[BindingRecord]:
        """The bindings of an account's devices, or of those with one lamp."""
        return self._registrar.bindings_of(account, resource)

    def register(self, request: Request, registrant: Registrant, *, to_tag: str, again: Callable[[], None]) -> None:
        """Decide a REGISTER, or let it be brought `again` when its turn has come. Raises SipError."""
        if self._registrar.is_under_way(registrant):
            self._outbox.when_committed(lambda _: self._clock.call_soon(again))
            return
        now = self._clock.now()
        self._carry_out(self._registrar.register(request, registrant, to_tag=to_tag, now=now))

    def next_deadline(self) -> float | None:
        """When `expire` has to be called at the latest."""
        return self._registrar.next_deadline()

    def expire(self) -> None:
        """End what has expired."""
        self._carry_out(self._registrar.expire(now=self._clock.now()))

    def evict(self, gone: Callable[[BindingRecord], bool]) -> None:
        """End these registrations at the next `expire`."""
        self._registrar.evict(gone, now=self._clock.now())

    def _carry_out(self, effects: Sequence[Effect]) -> None:
        if effects:
            self._execute(effects)
            self._outbox.when_committed(
                lambda error: self._registrar.settled(effects, saved=error is None, now=self._clock.now())
            )
