"""The UAS core (RFC 3261 section 8.2): what each SIP request is answered.

Everybody passes the same gates in the same order: is it well formed and a method that we do, who sends it, may he do
this, what does it ask. What begins something new waits in the inbox until refreshes have been served; what is refused
costs its source, and leaves nothing behind.
"""

from collections.abc import Callable, Sequence

import structlog

from sipresence.addressing import Addressing, caller
from sipresence.authentication import Authenticator, Subscriber
from sipresence.directory import Directory
from sipresence.errors import Excess, MalformedMessage, SipError
from sipresence.events import resource_lists
from sipresence.events.effects import Effect, Respond, SaveState
from sipresence.events.lists import EXTENSIONS as LIST_EXTENSIONS
from sipresence.events.notifier import Notifier
from sipresence.events.package import ALLOW_EVENTS, CONTENT_TYPES
from sipresence.events.publication import PublicationCompositor, Publisher, PublishRules
from sipresence.events.record import SubscriptionRecord
from sipresence.events.register import EXTENSIONS
from sipresence.inbox import Inbox
from sipresence.journal import Journal, Names, names_of
from sipresence.names import AccountId
from sipresence.outbox import RETRY_AFTER, Outbox
from sipresence.ports import Clock, Endpoint
from sipresence.refusals import BY_STATUS, CHALLENGED, COMMITS_LATE, DRAINING, NEW_WORK, SUBSCRIBER_RATE
from sipresence.registrations import Registrations
from sipresence.sip import uas
from sipresence.sip.admission import Admission
from sipresence.sip.dialog import DialogKey
from sipresence.sip.message import Request

log = structlog.get_logger()

ALLOWED = ("SUBSCRIBE", "PUBLISH", "OPTIONS")
REGISTRAR = "REGISTER"  # is allowed where there is one
WAITING = frozenset(("SUBSCRIBE", REGISTRAR))  # these wait while they begin something new
MILD, STRICT = PublishRules(), PublishRules(strict=True)
MAX_COMMIT_AGE = 2.0  # s that a write may wait for its commit until nothing new is begun


class UasCore:
    """Answers requests. `execute` takes the effects of a decision, `turn_end` is called when a turn ends of itself.

    While `turns_away_for` is not 0, whatever belongs to no living subscription or registration is told to come back
    after so many seconds.
    """

    def __init__(
        self,
        *,
        directory: Directory,
        addressing: Addressing,
        authenticator: Authenticator,
        admission: Admission,
        notifier: Notifier,
        compositor: PublicationCompositor,
        registrations: Registrations,
        tag: Callable[[DialogKey], str],
        clock: Clock,
        execute: Callable[[Sequence[Effect]], None],
        turn_end: Callable[[], None],
    ) -> None:
        self._directory = directory
        self._addressing = addressing
        self._authenticator = authenticator
        self._admission = admission
        self._notifier = notifier
        self._compositor = compositor
        self._registrations = registrations
        self._allowed = (*ALLOWED, REGISTRAR) if registrations.open else ALLOWED
        self._tag = tag
        self._clock = clock
        self._execute = execute
        self._inbox = Inbox(decide=self._decide, turn_end=turn_end, clock=clock)
        self.journal = Journal(about=self._about, find=notifier.record)
        self.turns_away_for = 0

    def attach(self, *, outbox: Outbox, endpoint: Endpoint) -> None:
        """Connect what needs the service first."""
        self._outbox = outbox
        self._endpoint = endpoint

    @property
    def waiting(self) -> int:
        """How many requests wait to be decided."""
        return len(self._inbox)

    def on_saturation(self) -> None:
        """This turn could not read all that had arrived."""
        self._inbox.on_saturation()

    def on_turn_end(self) -> None:
        """A turn's reads are over."""
        self._inbox.on_turn_end()

    def receive(self, request: Request) -> None:
        """Answer any SIP request but ACK, which is never answered. What begins something new waits for its turn.

        While it waits it is paid for: a flood must not fill the queue before anybody looks at the first of it.
        """
        if request.method not in WAITING or self._goes_on(request):
            self._answer(request)
        elif self._inbox.add(request):
            if not self._admission.trusts(request.flow.host):
                self._admission.charge(request.flow.host, request.flow.port, self._clock.now())
        else:
            self.refuse_excess(request, NEW_WORK)

    def _goes_on(self, request: Request) -> bool:
        """Whether it belongs to something that lives: a subscription, or a registration."""
        if request.method == REGISTRAR:
            return self._registrations.knows(request.call_id)
        return self._notifier.knows(request.to_tag)

    def _decide(self, request: Request) -> None:
        if not self._admission.trusts(request.flow.host):
            self._admission.refund(request.flow.host, request.flow.port, self._clock.now())
        try:
            self._answer(request)
        except Exception:
            # A mistake of ours must cost this one message, not those that wait behind it.
            log.exception("request failed", source=request.flow.host)

    def _answer(self, request: Request) -> None:
        stranger = not self._admission.trusts(request.flow.host)
        try:
            if self.turns_away_for and not self._goes_on(request):
                raise SipError(503, f"Retry-After: {self.turns_away_for}\r\n", name=DRAINING)
            uas.refuse_method(request, self._allowed)
            if request.method == "OPTIONS":
                effects = self._options(request)
            else:
                uas.refuse_hops(request)
                record = self._notifier.record_of(request)
                subscriber = self._authenticate(request, record)
                stranger = False
                if request.method == "PUBLISH":
                    effects = self._publish(request, subscriber)
                elif request.method == REGISTRAR:
                    effects = self._register(request, subscriber)
                else:
                    self._authorise(request, record, subscriber)
                    effects = self._subscribe(request, user=subscriber.user if subscriber else "")
        except Excess as excess:
            self.refuse_excess(request, excess.name)
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
        self._admission.charge(flow.host, flow.port, self._clock.now())
        self._endpoint.drop(request)

    def _refuse(self, request: Request, error: SipError) -> list[Effect]:
        self._note_refusal(request, _reason(request, error))
        return [Respond(request, error.status, self._stateless_tag(request), error.headers)]

    def refuse_excess(self, request: Request, reason: str) -> None:
        """Over UDP say nothing, and look at the next copy anew; over a stream, where none follows, say when to ask."""
        self._note_refusal(request, reason)
        self._endpoint.drop(request)
        if request.flow.reliable and request.method != "ACK":
            tag, headers = self._stateless_tag(request), f"Retry-After: {RETRY_AFTER}\r\n"
            self._execute([Respond(request, 503, tag, headers)])

    def _note_refusal(self, request: Request, reason: str) -> None:
        self.journal.refused(reason, request.flow, self._clock.now(), request=request)

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
        supported = sorted(LIST_EXTENSIONS | EXTENSIONS if self._registrations.open else LIST_EXTENSIONS)
        headers = (
            f"Allow: {', '.join(self._allowed)}\r\n"
            f"Accept: {', '.join((*CONTENT_TYPES, resource_lists.CONTENT_TYPE))}\r\n"
            f"Accept-Encoding: {resource_lists.ENCODING}\r\n{ALLOW_EVENTS}Supported: {', '.join(supported)}\r\n"
        )
        return [Respond(request, 200, self._stateless_tag(request), headers)]

    def _subscribe(self, request: Request, *, user: str) -> list[Effect]:
        """Refuse in the order 420, 416, 404, 481, 500, 489, 421, 406, 423; else let the notifier accept."""
        uas.refuse_extensions(request, LIST_EXTENSIONS)
        uas.refuse_scheme(request)
        now = self._clock.now()
        if request.to_tag:
            return self._notifier.refresh(request, now=now)
        if not request.from_tag:
            raise SipError(400, reason="Missing From tag")
        watched = self._addressing.watched(request, user=user)
        self._refuse_while_late(now)
        return self._notifier.subscribe(request, watched, now=now)

    def _refuse_while_late(self, now: float) -> None:
        """What the store can do belongs to the refreshes. Raises SipError 500."""
        if self._is_late(now):
            raise SipError(500, f"Retry-After: {RETRY_AFTER}\r\n", name=COMMITS_LATE)

    def _is_late(self, now: float) -> bool:
        """Whether the oldest write has waited too long for its commit."""
        since = self._outbox.waiting_since
        return since is not None and now - since > MAX_COMMIT_AGE

    def _register(self, request: Request, subscriber: Subscriber | None) -> list[Effect]:
        """Let the registrar decide, in its turn."""
        uas.refuse_extensions(request, EXTENSIONS)
        uas.refuse_scheme(request)
        owner, user = (None, "") if subscriber is None else subscriber
        registrant = self._addressing.registrant(request, owner=owner, user=user)
        if not self._registrations.knows(request.call_id):
            self._refuse_while_late(self._clock.now())

        def again() -> None:
            try:
                self._register(request, subscriber)
            except SipError as error:
                self._execute(self._refuse(request, error))
            self._outbox.flush()

        self._registrations.register(request, registrant, to_tag=self._stateless_tag(request), again=again)
        return []

    def _publish(self, request: Request, subscriber: Subscriber | None) -> list[Effect]:
        """Let the compositor decide; where it cannot, and while the store is behind, say nothing.

        The proxies of this world lose the state of a call for good at an error answer, and send again on silence.
        """
        uas.refuse_extensions(request)
        uas.refuse_scheme(request)
        now = self._clock.now()
        watched = self._addressing.watched(request, user="")
        account, resource = watched.account, watched.resource
        if subscriber is not None and not self._directory.may_publish(account, subscriber.user, resource):
            raise SipError(403, reason="Not its own state")
        publisher = Publisher(account, resource, subscriber.user if subscriber else request.flow.host)
        granted = None
        if not self._is_late(now):
            granted = self._compositor.publish(request, publisher, self._publish_rules(account), now=now)
        if granted is None:
            self._endpoint.drop(request)
            return []
        saves: list[Effect] = [SaveState(change) for change in granted.changes]
        return [*saves, Respond(request, 200, self._stateless_tag(request), granted.headers, silent=True)]

    def _publish_rules(self, account: AccountId) -> PublishRules:
        return STRICT if self._directory.account(account).strict_publications else MILD

    def _authenticate(self, request: Request, record: SubscriptionRecord | None) -> Subscriber | None:
        """Return who asks; None where he need not say. `record` is the subscription that a request is about.

        Raises SipError: 401, or 403 where there is no account whose password could be asked for; Excess.
        """
        flow = request.flow
        if self._admission.trusts(flow.host):
            return None
        account = self._addressing.asked(request)[0] if record is None else self._directory.find(record.account)
        if account is None:
            raise SipError(481 if request.to_tag else 403)
        now = self._clock.now()
        subscriber = self._authenticator.authenticate(
            request, account, means_us=lambda uri: self._addressing.means_us(uri, flow), now=now
        )
        self._admission.known_good(flow.host, flow.port, now)
        if not self._admission.allows(subscriber.account, subscriber.user, now):
            raise Excess(SUBSCRIBER_RATE)
        return subscriber

    def _authorise(self, request: Request, record: SubscriptionRecord | None, subscriber: Subscriber | None) -> None:
        """Refuse what this subscriber may not do. Raises SipError 403."""
        if subscriber is None and not self._directory.has_watch_rules:
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


def _reason(request: Request, error: SipError) -> str:
    """What a refusal is counted as. A phone without credentials, or with old ones, does nothing wrong."""
    if error.status == 401 and (request.get("authorization") is None or "stale=true" in error.headers):
        return CHALLENGED
    return error.name or BY_STATUS.get(error.status, str(error.status))
