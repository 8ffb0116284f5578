"""PresenceService: every verb on subscriptions and states. SIP, the HTTP dialects, the CLI, the bus and the timers all
come through here, so that one place decides who may do what.

What arrives by SIP, by the bus or by a timer is a plain call that decides and returns; effects go to the outbox. What
an HTTP dialect asks for is decided at once, then awaits the commit of its batch.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

import structlog

from sipresence.addressing import Addressing, caller, is_extension
from sipresence.authentication import Authenticator, Subscriber
from sipresence.directory import Directory
from sipresence.errors import Excess, InvalidExtension, MalformedMessage, SipError, StoreError
from sipresence.events.effects import Effect, Respond, SaveState, Write
from sipresence.events.notifier import Notifier
from sipresence.events.record import SubscriptionRecord
from sipresence.events.resource import DialogState, Lamp, StateChange, reset, set_manually
from sipresence.events.subscribe import PACKAGE
from sipresence.events.subscription import SubscriptionView
from sipresence.inbox import Inbox
from sipresence.journal import Journal, Names, names_of
from sipresence.names import AccountId, ResourceId, SubscriptionId, realm_of, resource_id
from sipresence.outbox import RETRY_AFTER, Outbox
from sipresence.ports import Clock, Endpoint, Loaded, StateBus, SubscriptionStore
from sipresence.refusals import BY_STATUS, CHALLENGED, COMMITS_LATE, DRAINING, NEW_WORK, SOURCE_RATE, SUBSCRIBER_RATE
from sipresence.sip import uas
from sipresence.sip.admission import Admission, RateLimits
from sipresence.sip.dialog import DialogKey
from sipresence.sip.flow import Flow
from sipresence.sip.message import Request

log = structlog.get_logger()

ALLOWED = ("SUBSCRIBE", "OPTIONS")
MAX_COMMIT_AGE = 2.0  # s that a write may wait for its commit until nothing new is begun
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
        tag: Callable[[DialogKey], str],
        clock: Clock,
    ) -> None:
        self.directory = directory
        self.node = settings.node
        self.admission = Admission(settings.rates, settings.trusted_networks)
        self._settings = settings
        self._authenticator = authenticator
        self._addressing = Addressing(
            directory,
            local_hosts=settings.local_hosts,
            unknown_resources_allowed=settings.unknown_resources_allowed,
        )
        self._notifier = notifier
        self._tag = tag
        self._clock = clock
        self._inbox = Inbox(decide=self._decide, turn_end=self.on_turn_end, clock=clock)
        self._journal = Journal(about=self._about, find=notifier.record)
        self._stopped = True
        self._turns_away_for = 0  # s, told to whoever comes with something new; 0 while all are welcome
        self._armed_at: float | None = None
        self._disarm: Callable[[], None] = lambda: None

    def attach(self, *, store: SubscriptionStore, bus: StateBus, endpoint: Endpoint) -> None:
        """Connect the edges that carry effects out."""
        self._endpoint = endpoint
        self.outbox = Outbox(
            store=store,
            bus=bus,
            endpoint=endpoint,
            clock=self._clock,
            not_saved=self._not_saved,
            corrected=lambda notify: self._notifier.corrected(notify, now=self._clock.now()),
        )

    def restore(self, loaded: Loaded) -> None:
        """Take over what the store remembers."""
        effects = self._notifier.restore(
            loaded.subscriptions,
            loaded.states,
            now=self._clock.now(),
            spread=self._settings.restore_spread,
            numbers_passed=loaded.numbers_passed,
        )
        self.outbox.add(effects)
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
            while len(self._inbox) or not self.outbox.idle:
                self.on_turn_end()
                await asyncio.sleep(0.001)
            self.outbox.add(self._notifier.exact_numbers())
            await self._committed()

    def turn_away(self, retry_after: int) -> None:
        """From here on refuse with 503 whatever belongs to no living subscription: somebody else may take it."""
        self._turns_away_for = retry_after

    def deactivate_all(self, *, spread: float) -> int:
        """End every subscription within `spread` seconds or so, for good; return how many."""
        return self._deactivate(lambda _: True, spread)

    def deactivate_orphans(self, *, spread: float) -> int:
        """End the subscriptions whose account is no more in the directory, or has another realm now."""

        def orphaned(record: SubscriptionRecord) -> bool:
            account = self.directory.find(record.account)
            return account is None or account.realm != realm_of(record.resource)

        return self._deactivate(orphaned, spread)

    def _deactivate(self, wanted: Callable[[SubscriptionRecord], bool], spread: float) -> int:
        count = self._notifier.deactivate(wanted, now=self._clock.now(), spread=spread)
        self._arm()
        return count

    @property
    def unanswered(self) -> int:
        """How many subscriptions live, or have not answered their last NOTIFY."""
        return self._notifier.unanswered

    def configure(self, settings: ServiceSettings) -> None:
        """Go on with other settings. `node`, `local_hosts` and `restore_spread` stay what they are."""
        self._settings = settings
        self.admission.configure(settings.rates, settings.trusted_networks)
        self._addressing.unknown_resources_allowed = settings.unknown_resources_allowed

    def now(self) -> float:
        """Unix seconds, as everything here counts them."""
        return self._clock.now()

    @property
    def serving(self) -> bool:
        """Whether the store is loaded and the listeners are open, until the stop begins."""
        return not self._stopped and not self._turns_away_for

    @property
    def refusals(self) -> Mapping[str, int]:
        """How many requests and connections were refused, by reason."""
        return self._journal.refusals.counts

    @property
    def waiting(self) -> int:
        """How many requests wait to be decided."""
        return len(self._inbox)

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
        self,
        account: AccountId,
        resources: Sequence[ResourceId],
        state: DialogState,
        *,
        expires: int | None = None,
        by: str = "",
    ) -> None:
        """Set lamps, all or none; returns once that is committed and delivered. `by` asks for it. Raises StoreError."""
        now = self._clock.now()
        until = None if expires is None else now + expires
        self._journal.commanded("set", account, resources, now, by=by, state=state.value, expires=expires)
        await self._change(
            [set_manually(account, name, state=state, at=now, expires_at=until, by=by) for name in resources]
        )

    async def reset(self, account: AccountId, resources: Sequence[ResourceId], *, by: str = "") -> None:
        """Forget all that is known of these resources; every subscriber is told at once. Raises StoreError."""
        now = self._clock.now()
        self._journal.commanded("reset", account, resources, now, by=by)
        await self._change([reset(account, name, at=now, by=by) for name in resources])

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
        self._arm()

    def on_notify_answered(
        self, ident: SubscriptionId, status: int, retry_after: int | None, sent_at: float = 0.0
    ) -> None:
        """The NOTIFY in flight was answered; 408: it never will be, 0: there was no way to send it."""
        if self.outbox.unsent(ident):
            return  # this is the answer to an older one, which a refresh from elsewhere has abandoned
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
        """Whether a living subscription would be lost with this connection."""
        return self._notifier.carries(flow)

    def on_saturation(self) -> None:
        """This turn could not read all that had arrived."""
        self._inbox.on_saturation()

    def on_turn_end(self) -> None:
        """A turn's reads are over."""
        self._inbox.on_turn_end()
        self.outbox.flush()
        self._arm()

    def on_refusal(self, reason: str, flow: Flow, count: int = 1) -> None:
        """A message, or several, are refused, by us or by the endpoint before anybody else saw them."""
        self._journal.refused(reason, flow, self._clock.now(), count=count)

    def on_excess(self, request: Request) -> None:
        """A request came over a stream whose source asks too much."""
        self._refuse_excess(request, SOURCE_RATE)

    def on_request(self, request: Request) -> None:
        """Answer any SIP request but ACK, which is never answered. What begins something new waits for its turn.

        While it waits it is paid for: a flood must not fill the queue before anybody looks at the first of it.
        """
        if request.method != "SUBSCRIBE" or (request.to_tag and self._notifier.knows(request.to_tag)):
            self._answer(request)
        elif self._inbox.add(request):
            if not self.admission.trusts(request.flow.host):
                self.admission.charge(request.flow.host, request.flow.port, self._clock.now())
        else:
            self._refuse_excess(request, NEW_WORK)

    # SIP

    def _decide(self, request: Request) -> None:
        if not self.admission.trusts(request.flow.host):
            self.admission.refund(request.flow.host, request.flow.port, self._clock.now())
        try:
            self._answer(request)
        except Exception:
            # A mistake of ours must cost this one message, not those that wait behind it.
            log.exception("request failed", source=request.flow.host)

    def _answer(self, request: Request) -> None:
        stranger = not self.admission.trusts(request.flow.host)
        try:
            if self._turns_away_for and not self._notifier.knows(request.to_tag):
                raise SipError(503, f"Retry-After: {self._turns_away_for}\r\n", name=DRAINING)
            uas.refuse_method(request, ALLOWED)
            if request.method == "OPTIONS":
                effects = self._options(request)
            else:
                uas.refuse_hops(request)
                record = self._notifier.record_of(request)
                subscriber = self._authenticate(request, record)
                stranger = False
                self._authorise(request, record, subscriber)
                effects = self._subscribe(request, user=subscriber.user if subscriber else "")
        except Excess as error:
            self._refuse_excess(request, error.name)
            return
        except SipError as error:
            effects = self._refuse(request, error)
        except MalformedMessage:
            effects = self._refuse(request, SipError(400))
        if stranger:
            self._charge(request)
        self._execute(effects)

    def _charge(self, request: Request) -> None:
        """A request that nobody has answered for: its source pays, and we keep nothing of it.

        "If unauthenticated requests were handled statefully, then malicious floods of unauthenticated requests could
        create massive amounts of transaction state" (RFC 3261 section 8.2.7).
        """
        flow = request.flow
        self.admission.charge(flow.host, flow.port, self._clock.now())
        self._endpoint.drop(request)

    def _refuse(self, request: Request, error: SipError) -> list[Effect]:
        self._note_refusal(request, _reason(request, error))
        return [Respond(request, error.status, self._stateless_tag(request), error.headers)]

    def _refuse_excess(self, request: Request, reason: str) -> None:
        """Over UDP say nothing, and look at the next copy anew; over a stream, where none follows, say when to ask."""
        self._note_refusal(request, reason)
        self._endpoint.drop(request)
        if request.flow.reliable and request.method != "ACK":
            tag, headers = self._stateless_tag(request), f"Retry-After: {RETRY_AFTER}\r\n"
            self._execute([Respond(request, 503, tag, headers)])

    def _note_refusal(self, request: Request, reason: str) -> None:
        self._journal.refused(reason, request.flow, self._clock.now(), request=request)

    def _about(self, request: Request) -> Names:
        """Whose a request seems to be, for the log: nothing in it need be true."""
        try:
            record = self._notifier.record_of(request)
        except (SipError, MalformedMessage):
            record = None
        if record is not None:
            return names_of(record)
        account, resource = self._addressing.asked(request)
        return {"call_id": request.call_id, "resource": resource or "", "account": account.id if account else ""}

    def _options(self, request: Request) -> list[Effect]:
        uas.refuse_extensions(request)
        uas.refuse_scheme(request)
        headers = (
            f"Allow: {', '.join(ALLOWED)}\r\nAccept: application/dialog-info+xml\r\n"
            f"Allow-Events: {PACKAGE}\r\nSupported: \r\n"
        )
        return [Respond(request, 200, self._stateless_tag(request), headers)]

    def _subscribe(self, request: Request, *, user: str) -> list[Effect]:
        """Refuse in the order 420, 416, 404, 481, 500, 489, 406, 423; else let the notifier accept."""
        uas.refuse_extensions(request)
        uas.refuse_scheme(request)
        now = self._clock.now()
        if request.to_tag:
            return self._notifier.refresh(request, now=now)
        if not request.from_tag:
            raise SipError(400, reason="Missing From tag")
        watched = self._addressing.watched(request, user=user)
        since = self.outbox.waiting_since
        if since is not None and now - since > MAX_COMMIT_AGE:  # what the store can do belongs to the refreshes
            raise SipError(500, f"Retry-After: {RETRY_AFTER}\r\n", name=COMMITS_LATE)
        return self._notifier.subscribe(request, watched, now=now)

    def _authenticate(self, request: Request, record: SubscriptionRecord | None) -> Subscriber | None:
        """Return who asks; None where he need not say. `record` is the subscription that a request is about.

        Raises SipError: 401, or 403 where there is no account whose password could be asked for; Excess.
        """
        flow = request.flow
        if self.admission.trusts(flow.host):
            return None
        account = self._addressing.asked(request)[0] if record is None else self.directory.find(record.account)
        if account is None:
            raise SipError(481 if request.to_tag else 403)
        now = self._clock.now()
        subscriber = self._authenticator.authenticate(
            request, account, means_us=lambda uri: self._addressing.means_us(uri, flow), now=now
        )
        self.admission.known_good(flow.host, flow.port, now)
        if not self.admission.allows(subscriber.account, subscriber.user, now):
            raise Excess(SUBSCRIBER_RATE)
        return subscriber

    def _authorise(self, request: Request, record: SubscriptionRecord | None, subscriber: Subscriber | None) -> None:
        """Refuse what this subscriber may not do. Raises SipError 403."""
        if subscriber is None and not self.directory.has_watch_rules:
            return
        if record is not None:
            # In a dialog only those credentials count that made it, and any of its account where none were needed.
            if subscriber is not None and record.authenticated_user not in ("", subscriber.user):
                raise SipError(403)
            resource, account_id = record.resource, record.account
        else:
            account, asked = self._addressing.asked(request)
            if account is None or asked is None:
                return  # that is refused in its turn
            resource, account_id = asked, account.id
        self._authenticator.authorise(subscriber, resource, account_id, caller=caller(request))

    def _stateless_tag(self, request: Request) -> str:
        """One To tag for a request and all its retransmissions (RFC 3261 section 8.2.7)."""
        key = DialogKey("", "", request.call_id, request.from_tag, request.via.branch, request.get("cseq") or "")
        return self._tag(key)

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
        """Let the clock call when the notifier's next deadline is due."""
        deadline = self._notifier.next_deadline()
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
        self.outbox.flush()
        self._arm()


def _reason(request: Request, error: SipError) -> str:
    """What a refusal is counted as. A phone without credentials, or with old ones, does nothing wrong."""
    if error.status == 401 and (request.get("authorization") is None or "stale=true" in error.headers):
        return CHALLENGED
    return error.name or BY_STATUS.get(error.status, str(error.status))
