"""Non-INVITE transactions (RFC 3261 section 17), client and server, without I/O.

Server: a request is delivered once; its retransmissions are absorbed in silence until there is an answer, then get that
answer again (17.2.2), for timer J (64·T1) at least: answers live in two generations of a dictionary, swapped every J.

    request ──> TRYING ── respond ──> COMPLETED ── J ──> gone

Client: at most one transaction per owner (a subscription); a newer one abandons the older. Over UDP the request is
repeated at T1, 2·T1, … up to T2 (timer E) until 64·T1 have passed (timer F); each delay has its own queue, so no timer
is sorted but those of the rare transaction that got a 1xx. Timer K is not needed: an answer to a transaction that is
gone is dropped silently all the same.

    send ──> CALLING ── 1xx ──> PROCEEDING ── final answer, F ──> gone, Answered
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

from sipresence.deadlines import Deadlines, Interval
from sipresence.errors import MalformedMessage
from sipresence.sip.flow import Flow
from sipresence.sip.headers import MAGIC
from sipresence.sip.message import Request, Response

T2 = 4.0
MAX_SERVER_TRANSACTIONS = 200_000
TIMED_OUT = 408  # "treat as if a 408 (Request Timeout) had been received" (section 8.1.3.1)

Address: TypeAlias = tuple[str, int]


class TransactionState(IntEnum):
    """Of a client transaction."""

    CALLING = 0
    PROCEEDING = 1
    GONE = 2


# Hot: one or two per message, hence slots without frozen.


@dataclass(slots=True)
class Transmit:
    """Put these bytes on the wire: over the flow, to `address` where it is a datagram."""

    data: bytes
    flow: Flow
    address: Address


@dataclass(slots=True)
class Deliver:
    """A new request for the layer above."""

    request: Request


@dataclass(slots=True)
class Answered:
    """The owner's request has its final answer, or none ever will come (408)."""

    owner: int
    status: int
    retry_after: int | None


Effect: TypeAlias = Transmit | Deliver | Answered


class ClientTransaction:
    """One request of ours that waits for its final answer."""

    __slots__ = ("branch", "call_id", "ends_at", "owner", "stage", "state", "transmit")

    def __init__(self, owner: int, branch: str, *, call_id: str, transmit: Transmit, ends_at: float) -> None:
        self.owner = owner
        self.branch = branch
        self.call_id = call_id
        self.transmit: Transmit | None = transmit
        self.ends_at = ends_at
        self.stage = 0
        self.state = TransactionState.CALLING

    def end(self) -> None:
        self.state = TransactionState.GONE
        self.transmit = None  # the timer's queue keeps the transaction for a while, not its bytes


class TransactionLayer:
    """Both kinds of transaction of one endpoint. `token` makes what is unique in a branch."""

    def __init__(self, *, t1: float, token: Callable[[], str]) -> None:
        self._token = token
        self._lifetime = 64 * t1
        self._clients: dict[int, ClientTransaction] = {}
        self._over: dict[int, set[int]] = {}  # connection -> owners that wait for an answer over it
        self._answers: dict[tuple[str, ...], Transmit | None] = {}
        self._older_answers: dict[tuple[str, ...], Transmit | None] = {}
        self._swap_at: float | None = None
        self._stages = self._retransmission_stages(t1)
        self._waiting = {delay: Interval[ClientTransaction](delay) for delay in (*self._stages, T2, self._lifetime)}
        self._proceeding: Deadlines[int] = Deadlines()  # timer F of the owners whose request got a 1xx
        self.retransmissions_received = 0
        self.retransmissions_sent = 0
        self.stray_responses = 0

    def _retransmission_stages(self, t1: float) -> list[float]:
        """The delays of timer E in order, the last one ending with timer F."""
        stages: list[float] = []
        delay, left = t1, self._lifetime
        while left > 0:
            stages.append(min(delay, left))
            left -= delay
            delay = min(2 * delay, T2)
        return stages

    def __len__(self) -> int:
        return len(self._clients)

    # Server side

    def receive_request(self, request: Request, *, now: float) -> list[Effect]:
        """Deliver a new request; absorb a retransmission, or repeat its answer."""
        key = request.transaction_key
        for generation in (self._answers, self._older_answers):
            if key in generation:
                self.retransmissions_received += 1
                answer = generation[key]
                return [] if answer is None else [answer]
        if len(self._answers) >= MAX_SERVER_TRANSACTIONS:
            return []  # as good as lost: the phone asks again
        self._answers[key] = None
        if self._swap_at is None:
            self._swap_at = now + self._lifetime
        return [Deliver(request)]

    def respond(self, request: Request, answer: Transmit) -> list[Effect]:
        """Send the final answer and keep it for retransmissions."""
        key = request.transaction_key
        generation = self._older_answers if key in self._older_answers else self._answers
        generation[key] = answer
        return [answer]

    # Client side

    def branch(self, owner: int) -> str:
        """Make the branch of the owner's next request; it carries the owner, so that an answer finds it."""
        return f"{MAGIC}{self._token()}.{owner}"

    def send(self, owner: int, *, branch: str, call_id: str, transmit: Transmit, now: float) -> list[Effect]:
        """Send a request and await its answer. An older request of this owner is abandoned."""
        self.abandon(owner)
        ends_at = now + self._lifetime
        transaction = ClientTransaction(owner, branch, call_id=call_id, transmit=transmit, ends_at=ends_at)
        self._clients[owner] = transaction
        if transmit.flow.connection:
            self._over.setdefault(transmit.flow.connection, set()).add(owner)
        # "If a reliable transport is being used, timer E is not set" (section 17.1.2.2).
        delay = self._lifetime if transmit.flow.reliable else self._stages[0]
        self._waiting[delay].add(transaction, now)
        return [transmit]

    def abandon(self, owner: int) -> None:
        """Stop the owner's request: no more retransmissions, its answer is not waited for."""
        transaction = self._clients.pop(owner, None)
        if transaction is None:
            return
        connection = transaction.transmit.flow.connection if transaction.transmit else 0
        if connection:
            owners = self._over[connection]
            owners.discard(owner)
            if not owners:
                del self._over[connection]
        if transaction.state is TransactionState.PROCEEDING:
            self._proceeding.discard(owner)
        transaction.end()

    def owners_over(self, flow: Flow) -> list[int]:
        """Who waits for an answer over this connection."""
        return list(self._over.get(flow.connection, ()))

    def receive_response(self, response: Response) -> list[Effect]:
        """Match a response (section 17.1.3: top Via branch and CSeq method); a stray one is dropped."""
        transaction = self._match(response)
        if transaction is None:
            self.stray_responses += 1
            return []
        if response.status < 200:
            transaction.state = TransactionState.PROCEEDING
            self._proceeding.set(transaction.owner, transaction.ends_at)
            return []
        self.abandon(transaction.owner)
        return [Answered(transaction.owner, response.status, response.retry_after)]

    def _match(self, response: Response) -> ClientTransaction | None:
        branch = response.branch
        owner = branch.rpartition(".")[2]
        if not (owner.isascii() and owner.isdigit() and len(owner) < 20):
            return None
        transaction = self._clients.get(int(owner))
        # The Call-ID is more than the RFC asks: it keeps one phone from answering for another.
        if transaction is None or transaction.branch != branch or transaction.call_id != response.get("call-id"):
            return None
        try:
            return transaction if response.cseq.method == "NOTIFY" else None
        except MalformedMessage:
            return None

    # Time

    def next_deadline(self) -> float | None:
        """When `expire` has to be called at the latest."""
        times = [when for interval in self._waiting.values() if (when := interval.next()) is not None]
        if self._swap_at is not None:
            times.append(self._swap_at)
        if self._proceeding and (when := self._proceeding.next()) is not None:
            times.append(when)
        return min(times, default=None)

    def expire(self, *, now: float) -> list[Effect]:
        """Repeat what is due, and give up on what has waited for 64·T1."""
        effects: list[Effect] = [self._give_up(owner) for owner in self._proceeding.due(now)]
        for interval in self._waiting.values():
            for transaction in interval.due(now):
                if transaction.state is not TransactionState.GONE:
                    effects.append(self._next_stage(transaction, now))
        if self._swap_at is not None and self._swap_at <= now:
            self._older_answers, self._answers = self._answers, {}
            self._swap_at = now + self._lifetime if self._older_answers else None
        return effects

    def _next_stage(self, transaction: ClientTransaction, now: float) -> Effect:
        transmit = transaction.transmit
        assert transmit is not None
        transaction.stage += 1
        if transmit.flow.reliable or transaction.stage >= len(self._stages):
            return self._give_up(transaction.owner)
        # "If Timer E fires while in the 'Proceeding' state, … Timer E MUST be reset with a value of T2 seconds"
        # (section 17.1.2.2).
        proceeding = transaction.state is TransactionState.PROCEEDING
        self._waiting[T2 if proceeding else self._stages[transaction.stage]].add(transaction, now)
        self.retransmissions_sent += 1
        return transmit

    def _give_up(self, owner: int) -> Effect:
        self.abandon(owner)
        return Answered(owner, TIMED_OUT, None)
