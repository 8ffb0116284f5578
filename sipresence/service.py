"""PresenceService: every verb on subscriptions and states. SIP, the HTTP dialects, the CLI, the bus and the timers all
come through here, so that one place decides who may do what.

What arrives by SIP, by the bus or by a timer is a plain call that decides and returns; effects go to the outbox. What
an HTTP dialect asks for is decided at once, then awaits the commit of its batch.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address

import structlog

from sipresence.directory import Account, Directory
from sipresence.errors import InvalidExtension, MalformedMessage, SipError, StoreError
from sipresence.events.effects import Effect, Respond, SaveState, Write
from sipresence.events.notifier import Notifier
from sipresence.events.resource import DialogState, Lamp, StateChange, reset, set_manually
from sipresence.events.subscribe import PACKAGE, Watched, entity_of
from sipresence.events.subscription import SubscriptionView
from sipresence.names import AccountId, ResourceId, SubscriptionId, resource_id
from sipresence.outbox import Outbox
from sipresence.ports import Clock, Endpoint, Loaded, StateBus, SubscriptionStore
from sipresence.sip import uas
from sipresence.sip.dialog import DialogKey
from sipresence.sip.headers import parse_name_addr
from sipresence.sip.message import Request
from sipresence.sip.uri import Uri, join_host_port, parse_uri

log = structlog.get_logger()

ALLOWED = ("SUBSCRIBE", "OPTIONS")
MAX_EXTENSION = 128  # characters
MAX_TRUST_CACHE = 65_536  # sources
STOP_PATIENCE = 10.0  # s until a store that does not answer is given up at a stop


@dataclass(slots=True, frozen=True)
class ServiceSettings:
    """Who is trusted, and what is watched. `local_hosts` are our own names, as `advertise` and listeners have them."""

    node: str
    trusted_networks: tuple[IPv4Network | IPv6Network, ...]
    unknown_resources_allowed: bool = True
    local_hosts: frozenset[str] = frozenset()
    restore_spread: float = 3.0  # s


class PresenceService:
    """The verbs. Built once by app.py; `attach` gives it the endpoint, which needs the service first."""

    def __init__(
        self,
        settings: ServiceSettings,
        *,
        directory: Directory,
        notifier: Notifier,
        tag: Callable[[DialogKey], str],
        clock: Clock,
    ) -> None:
        self.directory = directory
        self.node = settings.node
        self.refusals: Counter[int] = Counter()
        self._settings = settings
        self._notifier = notifier
        self._tag = tag
        self._clock = clock
        self._trust: dict[str, bool] = {}
        self._stopped = True
        self._armed_at: float | None = None
        self._disarm: Callable[[], None] = lambda: None

    def attach(self, *, store: SubscriptionStore, bus: StateBus, endpoint: Endpoint) -> None:
        """Connect the edges that carry effects out."""
        self.outbox = Outbox(store=store, bus=bus, endpoint=endpoint, clock=self._clock, not_saved=self._not_saved)

    def restore(self, loaded: Loaded) -> None:
        """Take over what the store remembers."""
        now = self._clock.now()
        self._notifier.restore(loaded.subscriptions, loaded.states, now=now, spread=self._settings.restore_spread)

    def start(self) -> None:
        """The listeners are open: from here on NOTIFYs leave."""
        self._stopped = False
        self._arm()

    async def stop(self) -> None:
        """Commit and answer what was accepted, then write the exact numbers of every dialog. Subscriptions stay.

        Nothing may be received any more. Raises StoreError, TimeoutError.
        """
        self._stopped = True
        self._disarm()
        async with asyncio.timeout(STOP_PATIENCE):
            while not self.outbox.idle:
                self.outbox.flush()
                await asyncio.sleep(0.001)
            self.outbox.add(self._notifier.exact_numbers())
            await self._committed()

    def now(self) -> float:
        """Unix seconds, as everything here counts them."""
        return self._clock.now()

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
        names = self._notifier.resources() if resource is None else (resource,)
        for name in names:
            for view in self._notifier.subscriptions(name):
                if view.record.account == account and event in (None, view.record.event):
                    yield view

    def lamp(self, resource: ResourceId) -> Lamp:
        """What a lamp on this resource should show now."""
        return self._notifier.state_of(resource).lamp

    def lamps(self, account: AccountId) -> dict[ResourceId, Lamp]:
        """The lamps of every resource of the account that is in the directory, subscribed to or known of."""
        realm = f"@{self.directory.account(account).realm}"
        names = [*self.directory.lamps(account), *(n for n in self._notifier.resources() if n.endswith(realm))]
        return {name: self.lamp(name) for name in names}

    # What HTTP asks for

    async def set_state(
        self, account: AccountId, resources: Sequence[ResourceId], state: DialogState, *, expires: int | None = None
    ) -> None:
        """Set lamps, all or none; returns once that is committed and delivered. Raises StoreError."""
        now = self._clock.now()
        until = None if expires is None else now + expires
        log.info("set", account=account, resources=resources, state=str(state), expires=expires)
        await self._change([set_manually(account, name, state=state, at=now, expires_at=until) for name in resources])

    async def reset(self, account: AccountId, resources: Sequence[ResourceId]) -> None:
        """Forget all that is known of these resources; every subscriber is told at once. Raises StoreError."""
        now = self._clock.now()
        log.info("reset", account=account, resources=resources)
        await self._change([reset(account, name, at=now) for name in resources])

    async def _change(self, changes: Sequence[StateChange]) -> None:
        for change in changes:
            self._notifier.change_decided(change)
        self.outbox.add([SaveState(change) for change in changes])
        await self._committed()

    async def _committed(self) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def finish(error: StoreError | None) -> None:
            if done.cancelled():
                return  # the caller went away; what it asked for is done all the same
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

        self.outbox.when_committed(finish)
        self.outbox.flush()
        await done

    # What the bus and the endpoint report

    def on_state_change(self, change: StateChange) -> None:
        """A change of state was committed, here or on another node."""
        self._execute(self._notifier.resource_changed(change, now=self._clock.now()))

    def on_notify_answered(self, ident: SubscriptionId, status: int, retry_after: int | None) -> None:
        """The NOTIFY in flight was answered; 408: it never will be, 0: there was no way to send it."""
        if self.outbox.unsent(ident):
            return  # this is the answer to an older one, which a refresh from elsewhere has abandoned
        now = self._clock.now()
        self._execute(self._notifier.notify_answered(ident, status=status, retry_after=retry_after, now=now))

    def on_turn_end(self) -> None:
        """A turn's reads are over."""
        self.outbox.flush()

    def on_request(self, request: Request) -> None:
        """Answer any SIP request but ACK, which is never answered."""
        try:
            uas.refuse_method(request, ALLOWED)
            if request.method == "OPTIONS":
                effects = self._options(request)
            else:
                effects = self._subscribe(request)
        except SipError as error:
            self.refusals[error.status] += 1
            effects = [Respond(request, error.status, self._stateless_tag(request), error.headers)]
        except MalformedMessage:
            self.refusals[400] += 1
            effects = [Respond(request, 400, self._stateless_tag(request))]
        self._execute(effects)

    # SIP

    def _options(self, request: Request) -> list[Effect]:
        uas.refuse_extensions(request)
        uas.refuse_scheme(request)
        headers = (
            f"Allow: {', '.join(ALLOWED)}\r\nAccept: application/dialog-info+xml\r\n"
            f"Allow-Events: {PACKAGE}\r\nSupported: \r\n"
        )
        return [Respond(request, 200, self._stateless_tag(request), headers)]

    def _subscribe(self, request: Request) -> list[Effect]:
        """Refuse in the order 483, 403, 420, 416, 404, 481, 500, 489, 406, 423; else let the notifier accept."""
        uas.refuse_hops(request)
        if not self._trusts(request.flow.host):
            raise SipError(403)
        uas.refuse_extensions(request)
        uas.refuse_scheme(request)
        now = self._clock.now()
        if request.to_tag:
            return self._notifier.refresh(request, now=now)
        if not request.from_tag:
            raise SipError(400, reason="Missing From tag")
        return self._notifier.subscribe(request, self._watched(request), now=now)

    def _trusts(self, host: str) -> bool:
        known = self._trust.get(host)
        if known is None:
            if len(self._trust) >= MAX_TRUST_CACHE:
                self._trust.clear()
            address = ip_address(host.partition("%")[0])
            mapped = getattr(address, "ipv4_mapped", None)
            known = any((mapped or address) in network for network in self._settings.trusted_networks)
            self._trust[host] = known
        return known

    def _watched(self, request: Request) -> Watched:
        """Find what an initial request is about. Raises SipError 404."""
        uri = parse_uri(request.uri)
        account = self._account(request, uri)
        user = uri.unescaped_user
        if account is None or not is_extension(user):
            raise SipError(404)
        resource = resource_id(user, account.realm)
        if not self._settings.unknown_resources_allowed and not self.directory.knows(resource):
            raise SipError(404)
        return Watched(account.id, resource, entity_of(request))

    def _account(self, request: Request, uri: Uri) -> Account | None:
        """The account by the host of the Request-URI; if that is us, by To, then From. A sole account in any case."""
        sole = self.directory.sole_account
        if sole is not None:
            return sole
        account = self.directory.account_by_host(uri.host)
        if account is None and self._is_local(request, uri):
            for name in ("to", "from"):
                account = account or self.directory.account_by_host(_host_of(request.get(name) or ""))
        return account

    def _is_local(self, request: Request, uri: Uri) -> bool:
        written = join_host_port(uri.host, uri.port)
        return (
            uri.host in self._settings.local_hosts
            or written == request.flow.local
            or (join_host_port(uri.host, 0) == request.flow.local.rpartition(":")[0])
        )

    def _stateless_tag(self, request: Request) -> str:
        """One To tag for a request and all its retransmissions (RFC 3261 section 8.2.7)."""
        key = DialogKey("", "", request.call_id, request.from_tag, request.via.branch, request.get("cseq") or "")
        return self._tag(key)

    # The shell's turn

    def _execute(self, effects: Sequence[Effect]) -> None:
        self.outbox.add(effects)
        self._arm()

    def _not_saved(self, write: Write) -> bool:
        never_existed = self._notifier.not_saved(write, now=self._clock.now())
        self._arm()
        return never_existed

    def _arm(self) -> None:
        """Let the clock call when the notifier's next deadline is due."""
        deadline = self._notifier.next_deadline()
        if self._stopped or deadline is None or (self._armed_at is not None and self._armed_at <= deadline):
            return
        self._disarm()
        self._armed_at = deadline
        self._disarm = self._clock.call_at(deadline, self._expire)

    def _expire(self) -> None:
        self._armed_at = None
        self._execute(self._notifier.expire(now=self._clock.now()))
        self.outbox.flush()


def is_extension(text: str) -> bool:
    """Whether unescaped text can be the user part of a watched address: something, printable, and not too long."""
    return 0 < len(text) <= MAX_EXTENSION and text.isprintable()


def _host_of(value: str) -> str:
    try:
        return parse_uri(parse_name_addr(value).uri).host
    except (MalformedMessage, SipError):
        return ""
