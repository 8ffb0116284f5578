"""The journal: what is logged of requests, NOTIFYs and states, each line with the names that it is about.

Refusals, failed NOTIFYs, commands and states that ended by themselves are INFO, and only a few lines a second of each,
since thousands can come at once; everything decided is DEBUG, for whoever looks for one phone.

A phone that asks for an event package we do not have asks again every minute, for ever (phones.md 31): that is logged
once, and again a day later, lest it be forgotten.
"""

from collections.abc import Callable, Mapping, Sequence

import structlog

from sipresence.events.effects import Effect, Respond, SaveState, SendNotify
from sipresence.events.record import SubscriptionRecord
from sipresence.names import AccountId, ResourceId, SubscriptionId
from sipresence.objects import Json
from sipresence.refusals import BY_STATUS, LineLimit, Refusals
from sipresence.sip.admission import Generations
from sipresence.sip.flow import Flow
from sipresence.sip.message import Request
from sipresence.sip.uri import join_host_port

log = structlog.get_logger()

BAD_EVENT = BY_STATUS[489]
OLD_NEWS_FOR = 86_400.0  # s in which it is not logged again that a phone wants a package
MAX_OLD_NEWS = 16_384  # phones with a package that one generation remembers

Names = Mapping[str, str]


def names_of(record: SubscriptionRecord) -> Names:
    """By what a line about a subscription is found."""
    return {"call_id": record.call_id, "resource": record.resource, "account": record.account}


class Journal:
    """`about` names what a request is about; `find` the subscription of a NOTIFY, which may be over."""

    def __init__(
        self, *, about: Callable[[Request], Names], find: Callable[[SubscriptionId], SubscriptionRecord | None]
    ) -> None:
        self.refusals = Refusals()
        self._about = about
        self._find = find
        self._limit = LineLimit()
        self._commands = LineLimit()
        self._logged_at: Generations[int, float] = Generations(period=OLD_NEWS_FOR, most=MAX_OLD_NEWS)

    def commanded(
        self,
        command: str,
        account: AccountId,
        resources: Sequence[ResourceId],
        now: float,
        *,
        by: str,
        **details: Json,
    ) -> None:
        """Somebody has asked over HTTP for something (see commands.py)."""
        suppressed = self._commands.suppressed(now)
        if suppressed is not None:
            log.info(command, account=account, resources=resources, **details, by=by, suppressed=suppressed)

    def refused(self, reason: str, flow: Flow, now: float, *, count: int = 1, request: Request | None = None) -> None:
        """Messages were refused, or a connection; `request` where there is one."""
        if reason == BAD_EVENT and request is not None:
            self._refused_event(request, flow, now)
            return
        suppressed = self.refusals.count(reason, now, count)
        if suppressed is not None:
            names = self._about(request) if request is not None else {}
            source = join_host_port(flow.host, flow.port)
            log.info("refused", reason=reason, source=source, **names, suppressed=suppressed)

    def _refused_event(self, request: Request, flow: Flow, now: float) -> None:
        """A phone wants a package that we do not have: each time it is counted, but logged only where it is news."""
        source, event = join_host_port(flow.host, flow.port), request.get("event") or ""
        phone = hash((request.get("contact") or source, request.get("user-agent"), event))  # they may be long
        logged_at = self._logged_at.get(phone)
        if logged_at is not None and now - logged_at < OLD_NEWS_FOR:
            self.refusals.counts[BAD_EVENT] += 1
            return
        suppressed = self.refusals.count(BAD_EVENT, now)
        if suppressed is not None:
            self._logged_at.set(phone, now, now)
            names = self._about(request)
            log.info("refused", reason=BAD_EVENT, source=source, event_package=event, **names, suppressed=suppressed)

    def notify_failed(self, record: SubscriptionRecord, status: int, now: float, *, ended: bool) -> None:
        """A NOTIFY was not answered with success, which may have ended its subscription."""
        suppressed = self._limit.suppressed(now)
        if suppressed is not None:
            event = "subscription ended" if ended else "notify failed"
            log.info(event, status=status or "unreachable", **names_of(record), suppressed=suppressed)

    def expired(self, effects: Sequence[Effect], now: float) -> None:
        """Time has passed: some states may have ended by themselves."""
        for effect in effects:
            if not isinstance(effect, SaveState) or effect.change.entity_tag:
                continue  # of a publication with a tag only the row is brought up to date
            suppressed = self._limit.suppressed(now)
            if suppressed is not None:
                change = effect.change
                log.info("state expired", resource=change.resource, account=change.account, suppressed=suppressed)

    def decided(self, effects: Sequence[Effect]) -> None:
        """For whoever wants to see everything."""
        for effect in effects:
            if isinstance(effect, Respond):
                request = effect.request
                log.debug("answer", method=request.method, status=effect.status, **self._about(request))
            elif isinstance(effect, SendNotify):
                notify = effect.notify
                record = self._find(notify.id)
                names = names_of(record) if record is not None else {"call_id": notify.call_id}
                log.debug("notify", cseq=notify.cseq, version=notify.version, state=notify.subscription_state, **names)
