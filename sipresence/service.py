"""PresenceService: every verb on subscriptions and states. SIP, the HTTP dialects, the CLI, the bus and the timers all
come through here, so that one place decides who may do what.

What arrives by SIP, by the bus or by a timer is a plain call that decides and returns; effects go to the outbox. What
an HTTP dialect asks for is decided at once, then awaits the commit of its batch (commands.py).
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

import structlog

from sipresence.addressing import Addressing, is_extension
from sipresence.authentication import Authenticator
from sipresence.commands import Commands
from sipresence.commit import commit
from sipresence.directory import Directory
from sipresence.errors import InvalidExtension
from sipresence.events.binding import BindingRecord
from sipresence.events.effects import Effect, Write
from sipresence.events.notifier import Notifier
from sipresence.events.publication import PublicationCompositor
from sipresence.events.record import SubscriptionRecord
from sipresence.events.register import RegistrarLimits
from sipresence.events.resource import Lamp, ResourceState, StateChange
from sipresence.events.subscription import SubscriptionView
from sipresence.feed import Feed, Seen
from sipresence.names import AccountId, ResourceId, SubscriptionId, realm_of, resource_id
from sipresence.outbox import Outbox
from sipresence.ports import Clock, Endpoint, Loaded, StateBus, SubscriptionStore
from sipresence.refusals import SOURCE_RATE
from sipresence.registrations import Registrations
from sipresence.sip.admission import Admission, RateLimits
from sipresence.sip.dialog import DialogKey
from sipresence.sip.flow import Flow
from sipresence.sip.message import Request
from sipresence.uas_core import UasCore

log = structlog.get_logger()

STOP_PATIENCE = 10.0  # s until a store that does not answer is given up at a stop


@dataclass(slots=True, frozen=True)
class ServiceSettings:
    """Who is trusted, what is watched, how much may be asked. `local_hosts` are our own names, as `advertise` and
    listeners have them."""

    node: str
    trusted_networks: tuple[IPv4Network | IPv6Network, ...]
    unknown_resources_allowed: bool = True
    local_hosts: frozenset[str] = frozenset()
    restore_spread: float = 3.0  # s
    rates: RateLimits = field(default_factory=RateLimits)
    registrar: RegistrarLimits | None = None  # None: there is no registrar
    debug: bool = False  # log all that is decided


class PresenceService:
    """The verbs. Built once by app.py; `attach` gives it the endpoint, which needs the service first."""

    def __init__(
        self,
        settings: ServiceSettings,
        *,
        directory: Directory,
        authenticator: Authenticator,
        notifier: Notifier,
        compositor: PublicationCompositor,
        tag: Callable[[DialogKey], str],
        clock: Clock,
    ) -> None:
        self.directory = directory
        self.node = settings.node
        self.feed = Feed()
        self.admission = Admission(settings.rates, settings.trusted_networks)
        self._settings = settings
        self._addressing = Addressing(
            directory,
            local_hosts=settings.local_hosts,
            unknown_resources_allowed=settings.unknown_resources_allowed,
        )
        self._notifier = notifier
        self._clock = clock
        self._registrations = Registrations(settings.registrar, clock=clock, execute=self._execute)
        self._uas = UasCore(
            directory=directory,
            addressing=self._addressing,
            authenticator=authenticator,
            admission=self.admission,
            notifier=notifier,
            compositor=compositor,
            registrations=self._registrations,
            tag=tag,
            clock=clock,
            execute=self._execute,
            turn_end=self.on_turn_end,
        )
        self._journal = self._uas.journal
        self.commands = Commands(notifier=notifier, journal=self._journal, clock=clock, arm=self._arm)
        self._stopped = True
        self._armed_at: float | None = None
        self._disarm: Callable[[], None] = lambda: None

    def attach(self, *, store: SubscriptionStore, bus: StateBus, endpoint: Endpoint) -> None:
        """Connect the edges that carry effects out."""
        self.outbox = Outbox(
            store=store,
            bus=bus,
            endpoint=endpoint,
            clock=self._clock,
            not_saved=self._not_saved,
            corrected=lambda notify: self._notifier.corrected(notify, now=self._clock.now()),
        )
        self._uas.attach(outbox=self.outbox, endpoint=endpoint)
        self.commands.attach(self.outbox)
        self._registrations.attach(self.outbox)

    def restore(self, loaded: Loaded) -> None:
        """Take over what the store remembers."""
        effects = self._notifier.restore(
            loaded.subscriptions,
            self._registrations.restore(loaded),
            now=self._clock.now(),
            spread=self._settings.restore_spread,
            numbers_passed=loaded.numbers_passed,
            listings=loaded.listings,
        )
        self.outbox.add(effects)
        self.commands.restore(loaded)
        self.outbox.flush()

    def start(self) -> None:
        """The listeners are open: from here on NOTIFYs leave."""
        self._stopped = False
        self._arm()

    async def stop(self) -> None:
        """Decide, commit and answer what has been read, then write the exact numbers of every dialog. Subscriptions
        stay.

        Nothing may be received any more. Raises StoreError, TimeoutError.
        """
        self._stopped = True
        self._disarm()
        async with asyncio.timeout(STOP_PATIENCE):
            while self._uas.waiting or not self.outbox.idle:
                self.on_turn_end()
                await asyncio.sleep(0.001)
            await commit(self.outbox, self._notifier.exact_numbers())

    def turn_away(self, retry_after: int) -> None:
        """From here on refuse with 503 whatever belongs to no living subscription: somebody else may take it."""
        self._uas.turns_away_for = retry_after

    def deactivate_all(self, *, spread: float) -> int:
        """End every subscription within `spread` seconds or so, for good; return how many."""
        return self._deactivate(lambda _: True, spread)

    def deactivate_orphans(self, *, spread: float) -> int:
        """End the subscriptions whose account or list is no more in the directory, or has another realm now."""

        def orphaned(record: SubscriptionRecord) -> bool:
            account = self.directory.find(record.account)
            if account is None or account.realm != realm_of(record.resource):
                return True
            return self._notifier.is_without_list(record)

        return self._deactivate(orphaned, spread)

    def _deactivate(self, wanted: Callable[[SubscriptionRecord], bool], spread: float) -> int:
        count = self._notifier.deactivate(wanted, now=self._clock.now(), spread=spread)
        self._arm()
        return count

    def unregister_strangers(self) -> None:
        """End the registrations of devices that are no more in the directory."""
        self._registrations.evict(lambda one: not self.directory.is_own(one.account, one.user, one.resource))
        self._arm()

    def tell_changed_lists(self) -> None:
        """The directory is another one: so are some lists."""
        self._execute(self._notifier.lists_changed(now=self._clock.now()))
        self.outbox.flush()
        self._arm()

    @property
    def unanswered(self) -> int:
        """How many subscriptions live, or have not answered their last NOTIFY."""
        return self._notifier.unanswered

    def configure(self, settings: ServiceSettings) -> None:
        """Go on with other settings. `node`, `local_hosts`, `restore_spread` and whether there is a registrar stay."""
        self._settings = settings
        self.admission.configure(settings.rates, settings.trusted_networks)
        self._addressing.unknown_resources_allowed = settings.unknown_resources_allowed
        self._registrations.configure(settings.registrar)

    def now(self) -> float:
        """Unix seconds, as everything here counts them."""
        return self._clock.now()

    @property
    def serving(self) -> bool:
        """Whether the store is loaded and the listeners are open, until the stop begins."""
        return not self._stopped and not self._uas.turns_away_for

    @property
    def refusals(self) -> Mapping[str, int]:
        """How many requests and connections were refused, by reason."""
        return self._journal.refusals.counts

    @property
    def waiting(self) -> int:
        """How many requests wait to be decided."""
        return self._uas.waiting

    # What edges may see

    def resource(self, account: AccountId, extension: str) -> ResourceId:
        """Name the resource of an unescaped extension. Raises UnknownAccount, InvalidExtension."""
        realm = self.directory.account(account).realm
        if not is_extension(extension):
            raise InvalidExtension(extension)
        return resource_id(extension, realm)

    def subscriptions(
        self, account: AccountId, *, resource: ResourceId | None = None, event: str | None = None
    ) -> Iterator[SubscriptionView]:
        """The living subscriptions of an account, or those to one resource, or of one event package."""
        for name in self.resources() if resource is None else (resource,):
            yield from self._notifier.views.subscriptions(name, account=account, event=event)

    def resources(self) -> Sequence[ResourceId]:
        """Every resource of every account that is subscribed to or of which something is known."""
        return self._notifier.resources()

    def subscription_ids(self) -> Sequence[SubscriptionId]:
        """The names of all subscriptions of all accounts, the oldest first, and of some that have ended. More may come
        at its end."""
        return self._notifier.views.subscription_ids()

    def subscription(self, ident: SubscriptionId, *, account: AccountId) -> SubscriptionView | None:
        """One living subscription of an account."""
        return self._notifier.views.view(ident, account=account)

    def namesakes(self, record: SubscriptionRecord) -> Sequence[SubscriptionRecord]:
        """The living subscriptions to the same under the same Call-ID, this one too, the newest first."""
        return self._notifier.views.namesakes(record)

    def counts(self, resource: ResourceId, account: AccountId) -> Mapping[str, int]:
        """How many living subscriptions to a resource an account has, by event package."""
        return self._notifier.views.counts(resource, account=account)

    def registrations(self, account: AccountId, resource: ResourceId | None = None) -> Iterator[BindingRecord]:
        """The contacts under which an account's devices are registered, or those with one lamp."""
        return self._registrations.bindings_of(account, resource)

    def lamp(self, resource: ResourceId) -> Lamp:
        """What a lamp on this resource should show now."""
        return self._notifier.state_of(resource).lamp

    def state(self, resource: ResourceId) -> ResourceState:
        """All that is known of a resource. Not to be changed."""
        return self._notifier.state_of(resource)

    # What the bus and the endpoint report

    def on_state_change(self, change: StateChange) -> None:
        """A change of state was committed, here or on another node."""
        before = Seen.of(self._notifier.state_of(change.resource)) if self.feed.listened else None
        self._execute(self._notifier.resource_changed(change, now=self._clock.now()))
        self._arm()
        if before is not None:
            self.feed.tell(change, before, Seen.of(self._notifier.state_of(change.resource)))

    def on_notify_answered(
        self, ident: SubscriptionId, status: int, retry_after: int | None, sent_at: float = 0.0
    ) -> None:
        """The NOTIFY in flight was answered; 408: it never will be, 0: there was no way to send it."""
        if self.outbox.unsent(ident):
            return  # this is the answer to an older one, which a refresh from elsewhere has abandoned
        if self.commands.awaited:
            self.commands.on_notify_answered(ident, status)
        now = self._clock.now()
        record = None if 200 <= status < 300 else self._notifier.record(ident)
        effects = self._notifier.notify_answered(
            ident, status=status, retry_after=retry_after, now=now, sent_at=sent_at
        )
        if effects:
            self._execute(effects)
        if record is not None:
            self._arm()
            ended = not self._notifier.knows(record.local_tag)
            self._journal.notify_failed(record, status, now, ended=ended)

    def pinholes(self) -> Sequence[Flow]:
        """The datagram flows through NATs that have to be kept open."""
        return self._notifier.pinholes()

    def carries_subscription(self, flow: Flow) -> bool:
        """Whether a living subscription would be lost with this connection, or a device has registered over it."""
        return self._notifier.carries(flow) or self._registrations.carries(flow)

    def on_saturation(self) -> None:
        """This turn could not read all that had arrived."""
        self._uas.on_saturation()

    def on_turn_end(self) -> None:
        """A turn's reads are over."""
        self._uas.on_turn_end()
        self.outbox.flush()
        self._arm()

    def on_refusal(self, reason: str, flow: Flow, count: int = 1) -> None:
        """A message, or several, are refused, by us or by the endpoint before anybody else saw them."""
        self._journal.refused(reason, flow, self._clock.now(), count=count)

    def on_excess(self, request: Request) -> None:
        """A request came over a stream whose source asks too much."""
        self._uas.refuse_excess(request, SOURCE_RATE)

    def on_request(self, request: Request) -> None:
        """A request has arrived."""
        self._uas.receive(request)

    # The shell's turn

    def _execute(self, effects: Sequence[Effect]) -> None:
        if self._settings.debug:
            self._journal.decided(effects)
        self.outbox.add(effects)

    def _not_saved(self, write: Write) -> bool:
        never_existed = self._notifier.not_saved(write, now=self._clock.now())
        self._arm()
        return never_existed

    def _arm(self) -> None:
        """Let the clock call when the next deadline is due."""
        times = self._notifier.next_deadline(), self._registrations.next_deadline()
        deadline = min((when for when in times if when is not None), default=None)
        if self._stopped or deadline is None or (self._armed_at is not None and self._armed_at <= deadline):
            return
        self._disarm()
        self._armed_at = deadline
        self._disarm = self._clock.call_at(deadline, self._expire)

    def _expire(self) -> None:
        self._armed_at = None
        now = self._clock.now()
        effects = self._notifier.expire(now=now)
        self._journal.expired(effects, now)
        self._execute(effects)
        self._registrations.expire()
        self.outbox.flush()
        self._arm()
