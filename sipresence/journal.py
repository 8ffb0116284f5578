"""The journal: what is logged of requests, NOTIFYs and states, each line with the names that it is about.

Refusals, failed NOTIFYs, commands and states that ended by themselves are INFO, and only a few lines a second of each,
since thousands can come at once; everything decided is DEBUG, for whoever looks for one phone.
"""

from collections.abc import Callable, Mapping, Sequence

import structlog

from sipresence.events.effects import Effect, Respond, SaveState, SendNotify
from sipresence.events.record import SubscriptionRecord
from sipresence.names import AccountId, ResourceId, SubscriptionId
from sipresence.refusals import LineLimit, Refusals
from sipresence.sip.flow import Flow
from sipresence.sip.message import Request
from sipresence.sip.uri import join_host_port

log = structlog.get_logger()

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

    def commanded(
        self,
        command: str,
        account: AccountId,
        resources: Sequence[ResourceId],
        now: float,
        *,
        by: str,
        **details: str | int | None,
    ) -> None:
        """Somebody has asked over HTTP for lamps to be set or reset."""
        suppressed = self._commands.suppressed(now)
        if suppressed is not None:
            log.info(command, account=account, resources=resources, **details, by=by, suppressed=suppressed)

    def refused(self, reason: str, flow: Flow, now: float, *, count: int = 1, request: Request | None = None) -> None:
        """Messages were refused, or a connection; `request` where there is one."""
        suppressed = self.refusals.count(reason, now, count)
        if suppressed is not None:
            names = self._about(request) if request is not None else {}
            source = join_host_port(flow.host, flow.port)
            log.info("refused", reason=reason, source=source, **names, suppressed=suppressed)

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
