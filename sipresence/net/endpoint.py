"""The SIP endpoint: bytes to messages to transactions to the service, and back. Owns the transaction layer's timer.

Only what changes something gets a server transaction; everything else is answered without state, the same way each
time it is repeated (RFC 3261 section 8.2.7).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from sipresence.errors import MalformedMessage
from sipresence.events.effects import Notify, Respond
from sipresence.events.subscription import UNREACHABLE
from sipresence.figures import Histogram, WireFigures
from sipresence.names import SubscriptionId
from sipresence.net.address import ListenAddress
from sipresence.net.resolver import Ask, Target
from sipresence.net.systemd import InheritedSockets
from sipresence.net.transports import StreamSettings, Transports, Way
from sipresence.ports import Clock
from sipresence.refusals import MALFORMED, SOURCE_RATE
from sipresence.sip import stun
from sipresence.sip.admission import Admission
from sipresence.sip.answer import response
from sipresence.sip.flow import Flow, Hop
from sipresence.sip.message import Request, Response, parse
from sipresence.sip.transaction import Answered, Deliver, Effect, TransactionLayer, Transmit
from sipresence.sip.uri import split_host_port

log = structlog.get_logger()

MAX_DATAGRAM_BYTES = 1300
TICK = 0.02  # s that a retransmission may come late
LARGE_BYTES = 2048  # so much of a stranger's message costs a token: 16 KiB of header can take 2 ms to read
REPEATED = 0.25  # tokens for what a phone may only repeat because we are slow: it must not be shut out for that
STATEFUL = frozenset(("SUBSCRIBE", "PUBLISH", "REGISTER"))
COUNTED = frozenset(
    (
        "INVITE", "BYE", "CANCEL", "OPTIONS", "REGISTER", "SUBSCRIBE", "NOTIFY", "PUBLISH", "MESSAGE", "INFO", "PRACK",
        "REFER", "UPDATE",
    )
)  # fmt: skip
"""The methods that there are; what else somebody invents is counted as `other`."""


class Core(Protocol):
    """What the endpoint reports to: the service."""

    def on_request(self, request: Request) -> None: ...
    def on_notify_answered(
        self, ident: SubscriptionId, status: int, retry_after: int | None, sent_at: float = 0.0
    ) -> None: ...
    def on_refusal(self, reason: str, flow: Flow, count: int = 1) -> None: ...
    def on_excess(self, request: Request) -> None: ...
    def on_saturation(self) -> None: ...
    def on_turn_end(self) -> None: ...
    def carries_subscription(self, flow: Flow) -> bool: ...


class SipEndpoint:
    """One endpoint on any number of listeners. `admission` says whom to hear, `token` makes a branch unique."""

    def __init__(
        self,
        core: Core,
        addresses: Sequence[ListenAddress],
        *,
        streams: StreamSettings,
        admission: Admission,
        ask: Ask,
        clock: Clock,
        t1: float,
        token: Callable[[], str],
    ) -> None:
        self._core = core
        self._admission = admission
        self._clock = clock
        self._layer = TransactionLayer(t1=t1, token=token)
        self.transports = Transports(
            addresses,
            streams,
            ask=ask,
            clock=clock,
            receive=self.receive,
            turn_end=core.on_turn_end,
            saturated=core.on_saturation,
            lost=self._lost,
            refused=core.on_refusal,
            payer=admission.payer,
            carries=core.carries_subscription,
        )
        self._seeking: dict[SubscriptionId, int] = {}  # CSeq of the NOTIFY whose way is being sought
        self._named: dict[int, Target] = {}  # where the NOTIFY in flight went, if that is one server of several
        self._armed_for: float | None = None
        self._disarm: Callable[[], None] = lambda: None
        self._answers: Counter[tuple[str, int]] = Counter()  # by method and status
        self._notifies_sent = 0
        self._change_to_sent = Histogram()
        self.oversized = 0
        self.keepalives = 0

    async def open(self, inherited: InheritedSockets | None = None) -> None:
        """Open the listeners, with the sockets that were passed in. Raises ListenError."""
        await self.transports.open(inherited)

    @property
    def bound(self) -> list[tuple[ListenAddress, int]]:
        """Each listener with the port it really has."""
        return self.transports.bound

    def stop_reading(self) -> None:
        """Leave what arrives to the next process."""
        self.transports.stop_reading()

    def close(self) -> None:
        self._disarm()
        self.transports.close()

    # In

    def receive(self, data: bytes, flow: Flow) -> bool:
        """Take one message; return whether its source may be heard further, or asks too much.

        Whatever it is, no exception but a mistake of ours leaves here.
        """
        if len(data) <= 4 and not data.strip(b"\r\n\0"):
            self.keepalives += 1
            return True
        now = self._clock.now()
        admitted = self._admission.admits(flow.host, flow.port, now)
        if not admitted and not flow.reliable:
            # Silently: an answer would be sent to whoever the source address was forged after.
            self._core.on_refusal(SOURCE_RATE, flow)
        elif data.startswith(b"SIP/2.0 200 ") and (effects := self._layer.receive_success(data)) is not None:
            self._admission.known_good(flow.host, flow.port, now)
            self._execute(effects)
        elif not flow.reliable and stun.is_stun(data):
            self._answer_stun(data, flow, now)
        else:
            self._receive_sip(data, flow, now, admitted=admitted)
        return admitted

    def _receive_sip(self, data: bytes, flow: Flow, now: float, *, admitted: bool) -> None:
        if len(data) >= LARGE_BYTES:
            self._admission.charge(flow.host, flow.port, now, len(data) // LARGE_BYTES)
        try:
            message = parse(data, flow)
        except MalformedMessage as error:
            self._admission.charge(flow.host, flow.port, now)
            self._core.on_refusal(MALFORMED, flow)
            log.debug("malformed", source=flow.host, error=str(error))
            return
        if not isinstance(message, Request):
            self._receive_response(message, flow, now)
        elif not admitted:
            self._core.on_excess(message)
        else:
            self._receive_request(message, flow, now)

    def _answer_stun(self, data: bytes, flow: Flow, now: float) -> None:
        """A phone keeps its NAT's pinhole open, or asks for its own address (RFC 5626 section 4.4.2)."""
        self._admission.charge(flow.host, flow.port, now)
        try:
            answer = stun.answer(data, flow.host, flow.port)
        except MalformedMessage:
            self._core.on_refusal(MALFORMED, flow)
            return
        self.keepalives += 1
        if answer:
            self.transports.send(Transmit(answer, flow, (flow.host, flow.port)))

    def _receive_request(self, request: Request, flow: Flow, now: float) -> None:
        """A request is charged here if nobody above sees it, else by the service, which knows who sent it."""
        if request.method in STATEFUL:
            effects = self._layer.receive_request(request, now=now)
            if not (effects and isinstance(effects[0], Deliver)):  # a retransmission, and there may be a flood of it
                self._admission.charge(flow.host, flow.port, now, REPEATED)
            self._execute(effects)
        elif request.method != "ACK":  # which is never answered
            self._core.on_request(request)
        else:
            self._admission.charge(flow.host, flow.port, now)

    def _receive_response(self, answer: Response, flow: Flow, now: float) -> None:
        strays = self._layer.stray_responses
        effects = self._layer.receive_response(answer)
        if self._layer.stray_responses == strays:
            self._admission.known_good(flow.host, flow.port, now)  # our NOTIFY has reached it: the source is not forged
        else:
            self._admission.charge(flow.host, flow.port, now, REPEATED)
        self._execute(effects)
        self._arm()  # a 1xx moves timer F

    # Out (ports.Endpoint)

    def respond(self, answer: Respond) -> None:
        """Send the answer to where RFC 3261 section 18.2.2 and RFC 3581 section 4 have it go."""
        request = answer.request
        self._answers[request.method if request.method in COUNTED else "other", answer.status] += 1
        data = response(request, answer.status, to_tag=answer.to_tag, headers=answer.headers)
        transmit = Transmit(data, request.flow, _reply_address(request))
        if request.method in STATEFUL:
            self._execute(self._layer.respond(request, transmit))
        else:
            self.transports.send(transmit)

    def drop(self, request: Request) -> None:
        """Keep nothing of a request: its next copy is taken for a new one."""
        self._layer.drop(request)

    def send(self, notify: Notify) -> None:
        """Send a NOTIFY by the way of its dialog, or seek that way first."""
        way = self.transports.way(notify.hop)
        if way is not None:
            self._send_by(way, notify)
            return
        self._layer.abandon(notify.id)
        self._named.pop(notify.id, None)
        self._seeking[notify.id] = notify.cseq
        self.transports.seek(notify.hop, lambda found: self._sought(notify, found))

    def _sought(self, notify: Notify, way: Way | None) -> None:
        if self._seeking.get(notify.id) != notify.cseq:
            return  # a newer one has taken its place
        del self._seeking[notify.id]
        if way is not None:
            self._send_by(way, notify)
        else:
            self._core.on_notify_answered(notify.id, UNREACHABLE, None)
            self._core.on_turn_end()

    def _send_by(self, way: Way, notify: Notify) -> None:
        if self._seeking:
            self._seeking.pop(notify.id, None)
        if way.target is not None:
            self._named[notify.id] = way.target
        elif self._named:
            self._named.pop(notify.id, None)
        branch = self._layer.branch(notify.id)
        data = _notify_bytes(notify, flow=way.flow, branch=branch)
        if len(data) > MAX_DATAGRAM_BYTES and not way.flow.reliable:
            way, data = self._around_the_mtu(way, data, notify, branch=branch)
        transmit = Transmit(data, way.flow, way.address)
        now = self._clock.now()
        self._notifies_sent += 1
        if notify.changed_at:
            self._change_to_sent.observe(now - notify.changed_at)
        self._execute(
            self._layer.send(
                notify.id, branch=branch, call_id=notify.call_id, cseq=notify.cseq, transmit=transmit, now=now
            )
        )
        self._arm()

    def _around_the_mtu(self, way: Way, data: bytes, notify: Notify, *, branch: str) -> tuple[Way, bytes]:
        """Take a connection that the phone has open for what would be fragmented, and perhaps lost (phones.md 30).

        RFC 3261 section 18.1.1: a request above 1300 bytes "MUST be sent using" a congestion controlled transport. A
        phone without one gets it over UDP all the same: a lamp that may come late is better than one that never does.
        """
        self.oversized += 1
        stream = self.transports.way(Hop(way.flow, "TCP", *way.address))
        if stream is None:
            return way, data
        return stream, _notify_bytes(notify, flow=stream.flow, branch=branch)

    def figures(self) -> WireFigures:
        """What has been counted, and what is held."""
        layer, connections = self._layer, self.transports.connections
        return WireFigures(
            answers=self._answers,
            notifies_sent=self._notifies_sent,
            change_to_sent=self._change_to_sent,
            oversized=self.oversized,
            retransmissions_received=layer.retransmissions_received,
            retransmissions_sent=layer.retransmissions_sent,
            stray_responses=layer.stray_responses,
            keepalives=self.keepalives + connections.keepalives,
            sends_failed=self.transports.sends_failed,
            server_transactions=layer.server_transactions,
            client_transactions=len(layer),
            connections=connections.by_transport,
            connections_closed=connections.closed,
        )

    # The shell's turn

    def _execute(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Transmit):
                self.transports.send(effect)
            elif isinstance(effect, Answered):
                if self._named:
                    self._judge(effect)
                ident = SubscriptionId(effect.owner)
                self._core.on_notify_answered(ident, effect.status, effect.retry_after, effect.sent_at)
            else:
                self._core.on_request(effect.request)

    def _judge(self, answered: Answered) -> None:
        """Let the next NOTIFY go to another server, if this one has failed (RFC 3263 section 4.3)."""
        target = self._named.pop(answered.owner, None)
        if target is not None and answered.failed:
            self.transports.failed(target)

    def _lost(self, flow: Flow) -> None:
        """A connection is gone: what was asked over it will not be answered."""
        for owner in self._layer.owners_over(flow):
            self._layer.abandon(owner)
            self._named.pop(owner, None)
            self._core.on_notify_answered(SubscriptionId(owner), UNREACHABLE, None)

    def _arm(self) -> None:
        deadline = self._layer.next_deadline()
        if deadline is None or (self._armed_for is not None and self._armed_for <= deadline):
            return
        self._disarm()
        self._armed_for = deadline  # not the tick later: each NOTIFY would put it off once more
        # One call for all that is due within a tick: after a fan-out every NOTIFY has a timer of its own.
        self._disarm = self._clock.call_at(max(deadline, self._clock.now() + TICK), self._expire)

    def _expire(self) -> None:
        self._armed_for = None
        self._execute(self._layer.expire(now=self._clock.now()))
        self._arm()
        self._core.on_turn_end()


def _reply_address(request: Request) -> tuple[str, int]:
    """With rport the source itself; without, the source address at the port of sent-by."""
    flow = request.flow
    if request.via.rport or flow.reliable:
        return (flow.host, flow.port)
    try:
        return (flow.host, split_host_port(request.via.sent_by)[1] or 5060)
    except MalformedMessage:
        return (flow.host, flow.port)


def _notify_bytes(notify: Notify, *, flow: Flow, branch: str) -> bytes:
    """Write a NOTIFY: one join (hot: a fan-out is 10,000 of these)."""
    body = notify.document.stamp(notify.version, notify.entity)
    names = notify.names
    start = (
        f"NOTIFY {notify.request_uri} SIP/2.0\r\n"
        f"{names.via}: SIP/2.0/{flow.transport} {flow.local};rport;branch={branch}\r\n"
    )
    end = (
        f"CSeq: {notify.cseq} NOTIFY\r\nSubscription-State: {notify.subscription_state}\r\n"
        f"{names.content_length}: {len(body)}\r\n\r\n"
    )
    return b"".join((start.encode(), notify.head, end.encode(), body))
