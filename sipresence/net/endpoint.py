"""The SIP endpoint: bytes to messages to transactions to the service, and back. Owns the transaction layer's timer.

Only what changes something gets a server transaction; everything else is answered without state, the same way each
time it is repeated (RFC 3261 section 8.2.7).
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from sipresence.errors import MalformedMessage
from sipresence.events.effects import Notify, Respond
from sipresence.events.subscription import UNREACHABLE
from sipresence.names import SubscriptionId
from sipresence.net.address import ListenAddress
from sipresence.net.transports import Transports, Way
from sipresence.ports import Clock
from sipresence.sip.flow import Flow
from sipresence.sip.message import Request, parse, response
from sipresence.sip.transaction import Answered, Effect, TransactionLayer, Transmit
from sipresence.sip.uri import split_host_port

log = structlog.get_logger()

STATEFUL = frozenset(("SUBSCRIBE",))


class Core(Protocol):
    """What the endpoint reports to: the service."""

    def on_request(self, request: Request) -> None: ...
    def on_notify_answered(self, ident: SubscriptionId, status: int, retry_after: int | None) -> None: ...
    def on_turn_end(self) -> None: ...


class SipEndpoint:
    """One endpoint on any number of listeners. `token` makes what is unique in a branch."""

    def __init__(
        self, core: Core, addresses: Sequence[ListenAddress], *, clock: Clock, t1: float, token: Callable[[], str]
    ) -> None:
        self._core = core
        self._clock = clock
        self._layer = TransactionLayer(t1=t1, token=token)
        self.transports = Transports(
            addresses, clock=clock, receive=self.receive, turn_end=core.on_turn_end, lost=self._lost
        )
        self._seeking: dict[SubscriptionId, int] = {}  # CSeq of the NOTIFY whose way is being sought
        self._armed_at: float | None = None
        self._disarm: Callable[[], None] = lambda: None
        self.malformed = 0

    async def open(self) -> None:
        """Bind the listeners. Raises ListenError."""
        await self.transports.open()

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

    def receive(self, data: bytes, flow: Flow) -> None:
        """Take one message. Whatever it is, no exception but a mistake of ours leaves here."""
        if len(data) <= 4 and not data.strip(b"\r\n\0"):
            return  # a keep-alive
        try:
            message = parse(data, flow)
        except MalformedMessage as error:
            self.malformed += 1
            log.debug("malformed", source=flow.host, error=str(error))
            return
        if not isinstance(message, Request):
            self._execute(self._layer.receive_response(message))
        elif message.method in STATEFUL:
            self._execute(self._layer.receive_request(message, now=self._clock.now()))
        elif message.method != "ACK":  # which is never answered
            self._core.on_request(message)

    # Out (ports.Endpoint)

    def respond(self, answer: Respond) -> None:
        """Send the answer to where RFC 3261 section 18.2.2 and RFC 3581 section 4 have it go."""
        request = answer.request
        data = response(request, answer.status, to_tag=answer.to_tag, headers=answer.headers)
        transmit = Transmit(data, request.flow, _reply_address(request))
        if request.method in STATEFUL:
            self._execute(self._layer.respond(request, transmit))
        else:
            self.transports.send(transmit)

    def send(self, notify: Notify) -> None:
        """Send a NOTIFY by the way of its dialog, or seek that way first."""
        way = self.transports.way(notify.hop)
        if way is not None:
            self._send_by(way, notify)
            return
        self._layer.abandon(notify.id)
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
        branch = self._layer.branch(notify.id)
        transmit = Transmit(_notify_bytes(notify, flow=way.flow, branch=branch), way.flow, way.address)
        self._execute(
            self._layer.send(notify.id, branch=branch, call_id=notify.call_id, transmit=transmit, now=self._clock.now())
        )

    # The shell's turn

    def _execute(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Transmit):
                self.transports.send(effect)
            elif isinstance(effect, Answered):
                self._core.on_notify_answered(SubscriptionId(effect.owner), effect.status, effect.retry_after)
            else:
                self._core.on_request(effect.request)
        self._arm()

    def _lost(self, flow: Flow) -> None:
        """A connection is gone: what was asked over it will not be answered."""
        for owner in self._layer.owners_over(flow):
            self._layer.abandon(owner)
            self._core.on_notify_answered(SubscriptionId(owner), UNREACHABLE, None)

    def _arm(self) -> None:
        deadline = self._layer.next_deadline()
        if deadline is None or (self._armed_at is not None and self._armed_at <= deadline):
            return
        self._disarm()
        self._armed_at = deadline
        self._disarm = self._clock.call_at(deadline, self._expire)

    def _expire(self) -> None:
        self._armed_at = None
        self._execute(self._layer.expire(now=self._clock.now()))
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
    start = (
        f"NOTIFY {notify.request_uri} SIP/2.0\r\nVia: SIP/2.0/{flow.transport} {flow.local};rport;branch={branch}\r\n"
    )
    end = (
        f"CSeq: {notify.cseq} NOTIFY\r\nSubscription-State: {notify.subscription_state}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return b"".join((start.encode(), notify.head, end.encode(), body))
