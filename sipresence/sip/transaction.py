"""Non-INVITE transactions (RFC 3261 section 17), client and server, without I/O.

Server: a request is delivered once; its retransmissions are absorbed in silence until there is an answer, then get that
answer again (17.2.2), for timer J (64·T1) at least: answers live in two generations of a dictionary, swapped every J.
A request outside a dialog that comes again as another transaction, because a proxy forked it and its branches met here,
is delivered as one that is to be refused with 482 (8.2.2.2).

    request ──> TRYING ── respond ──> COMPLETED ── J ──> gone

Client: at most one transaction per owner (a subscription); a newer one abandons the older. Over UDP the request is
repeated at T1, 2·T1, … up to T2 (timer E) until 64·T1 have passed (timer F); each delay has its own queue, so no timer
is sorted but those of the rare transaction that got a 1xx. Timer K is not needed: an answer to a transaction that is
gone is dropped silently all the same.

    send ──> CALLING ── 1xx ──> PROCEEDING ── final answer, F ──> gone, Answered
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeAlias

from sipresence.deadlines import Deadlines, Interval
from sipresence.errors import MalformedMessage
from sipresence.sip.flow import Flow
from sipresence.sip.headers import MAGIC
from sipresence.sip.message import Defect, Request, Response

T2 = 4.0
MAX_SERVER_TRANSACTIONS = 200_000
TIMED_OUT = 408  # "treat as if a 408 (Request Timeout) had been received" (section 8.1.3.1)
UNAVAILABLE = 503

MERGED = Defect(482, "Merged request")

Address: TypeAlias = tuple[str, int]
TransactionKey: TypeAlias = tuple[str, ...]
MergeKey: TypeAlias = tuple[str, str, int, str]


class TransactionState(IntEnum):
    """Of a client transaction."""

    CALLING = 0
    PROCEEDING = 1
    GONE = 2


# Hot: one or two per message, hence slots without frozen, and an __init__ that can be compiled.


@dataclass(slots=True, init=False)
class Transmit:
    """Put these bytes on the wire: over the flow, to `address` where it is a datagram."""

    data: bytes
    flow: Flow
    address: Address

    def __init__(self, data: bytes, flow: Flow, address: Address) -> None:
        self.data = data
        self.flow = flow
        self.address = address


@dataclass(slots=True, init=False)
class Deliver:
    """A new request for the layer above."""

    request: Request

    def __init__(self, request: Request) -> None:
        self.request = request


@dataclass(slots=True, init=False)
class Answered:
    """The owner's request has its final answer, or none ever will come (408).

    `failed`: its server is to be passed over for a while, for it said 503, or "the transaction layer times out without
    ever having received any response, provisional or final" (RFC 3263 section 4.3).
    """

    owner: int
    status: int
    retry_after: int | None
    failed: bool
    sent_at: float = field(compare=False)  # when the request left first

    def __init__(
        self, owner: int, status: int, retry_after: int | None, failed: bool = False, sent_at: float = 0.0
    ) -> None:
        self.owner = owner
        self.status = status
        self.retry_after = retry_after
        self.failed = failed
        self.sent_at = sent_at


Effect: TypeAlias = Transmit | Deliver | Answered


class ClientTransaction:
    """One request of ours that waits for its final answer."""

    __slots__ = ("branch", "call_id", "cseq", "ends_at", "owner", "stage", "state", "transmit")

    def __init__(  # by position: a call by keyword costs three times as much
        self, owner: int, branch: str, call_id: str, cseq: int, transmit: Transmit, ends_at: float
    ) -> None:
        self.owner = owner
        self.branch = branch
        self.call_id = call_id
        self.cseq = cseq
        self.transmit: Transmit | None = transmit
        self.ends_at = ends_at
        self.stage = 0
        self.state = TransactionState.CALLING

    def end(self) -> None:
        self.state = TransactionState.GONE
        self.transmit = None  # the timer's queue keeps the transaction for a while, not its bytes


class _Generation:
    """The server transactions that began within one timer J."""

    __slots__ = ("answers", "initial")

    def __init__(self) -> None:
        self.answers: dict[TransactionKey, Transmit | None] = {}
        self.initial: dict[MergeKey, TransactionKey] = {}  # of the requests outside a dialog


def _merge_key(request: Request) -> MergeKey:
    """What a request outside a dialog keeps on every way that a proxy forks it to (section 8.2.2.2)."""
    return (request.call_id, request.from_tag, request.cseq, request.method)


class TransactionLayer:
    """Both kinds of transaction of one endpoint. `token` makes what is unique in a branch."""

    def __init__(self, *, t1: float, token: Callable[[], str]) -> None:
        self._token = token
        self._lifetime = 64 * t1
        self._clients: dict[int, ClientTransaction] = {}
        self._over: dict[int, set[int]] = {}  # connection -> owners that wait for an answer over it
        self._generations = (_Generation(), _Generation())  # this timer J's, and the last one's
        self._swap_at: float | None = None
        self._stages = self._retransmission_stages(t1)
        self._waiting = {delay: Interval[ClientTransaction](delay) for delay in (*self._stages, T2, self._lifetime)}
        self._proceeding: Deadlines[int] = Deadlines()  # timer F of the owners whose request got a 1xx
        self._wake_at: float | None = None
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

    @property
    def server_transactions(self) -> int:
        """How many are kept."""
        return sum(len(generation.answers) for generation in self._generations)

    # Server side

    def receive_request(self, request: Request, *, now: float) -> list[Effect]:
        """Deliver a new request; absorb a retransmission, or repeat its answer."""
        key = request.transaction_key
        newest, older = self._generations
        for generation in (newest, older):
            if key in generation.answers:
                self.retransmissions_received += 1
                answer = generation.answers[key]
                return [] if answer is None else [answer]
        if len(newest.answers) >= MAX_SERVER_TRANSACTIONS:
            return []  # as good as lost: the phone asks again
        newest.answers[key] = None
        if self._swap_at is None:
            self._swap_at = now + self._lifetime
            self._wake_by(self._swap_at)
        if not request.to_tag:
            self._refuse_merged(request, key)
        return [Deliver(request)]

    def _refuse_merged(self, request: Request, key: TransactionKey) -> None:
        """ "If the From tag, Call-ID, and CSeq exactly match those associated with an ongoing transaction, but the
        request does not match that transaction …, the UAS core SHOULD generate a 482" (section 8.2.2.2).
        """
        newest, older = self._generations
        merge_key = _merge_key(request)
        if merge_key in older.initial or newest.initial.setdefault(merge_key, key) is not key:
            request.defect = request.defect or MERGED

    def respond(self, request: Request, answer: Transmit) -> list[Effect]:
        """Send the final answer and keep it for retransmissions, unless the request was dropped."""
        key = request.transaction_key
        for generation in self._generations:
            if key in generation.answers:
                generation.answers[key] = answer
        return [answer]

    def drop(self, request: Request) -> None:
        """Keep nothing of a request: it is not answered, or the same way each time.

        "If unauthenticated requests were handled statefully, then malicious floods of unauthenticated requests could
        create massive amounts of transaction state" (section 8.2.7).
        """
        key, merge_key = request.transaction_key, _merge_key(request)
        for generation in self._generations:
            generation.answers.pop(key, None)
            if generation.initial.get(merge_key) == key:
                del generation.initial[merge_key]

    # Client side

    def branch(self, owner: int) -> str:
        """Make the branch of the owner's next request; it carries the owner, so that an answer finds it."""
        return f"{MAGIC}{self._token()}.{owner}"

    def send(self, owner: int, *, branch: str, call_id: str, cseq: int, transmit: Transmit, now: float) -> list[Effect]:
        """Send a request and await its answer. An older request of this owner is abandoned."""
        if owner in self._clients:
            self.abandon(owner)
        ends_at = now + self._lifetime
        transaction = ClientTransaction(owner, branch, call_id, cseq, transmit, ends_at)
        self._clients[owner] = transaction
        if transmit.flow.connection:
            self._over.setdefault(transmit.flow.connection, set()).add(owner)
        # "If a reliable transport is being used, timer E is not set" (section 17.1.2.2).
        delay = self._lifetime if transmit.flow.reliable else self._stages[0]
        self._waiting[delay].add(transaction, now)
        self._wake_by(now + delay)
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

    def receive_success(self, data: bytes) -> list[Effect] | None:
        """Match a 200 as phones write it, without splitting its headers: half of all messages are such. Hot.

        Its branch, which nobody can guess, finds the transaction. None where anything is out of the ordinary: then the
        message has to be parsed, and `receive_response` decides.
        """
        text = data.decode("latin-1")  # never fails; a Call-ID that is not ASCII is not found
        start = text.find(";branch=") + 8
        branch = text[start : text.find("\r", start)].partition(";")[0]
        transaction = self._client(branch)
        if (
            transaction is None
            or f": {transaction.call_id}\r\n" not in text
            or f": {transaction.cseq} NOTIFY\r\n" not in text
            or text.find("branch=", start) >= 0  # more than one Via
        ):
            return None
        return self._end(transaction, 200, None)

    def receive_response(self, response: Response) -> list[Effect]:
        """Match a response (section 17.1.3: top Via branch and CSeq method); a stray one is dropped."""
        transaction = self._match(response)
        if transaction is None:
            self.stray_responses += 1
            return []
        if response.status < 200:
            transaction.state = TransactionState.PROCEEDING
            self._proceeding.set(transaction.owner, transaction.ends_at)
            self._wake_by(transaction.ends_at)
            return []
        return self._end(transaction, response.status, response.retry_after)

    def _end(self, transaction: ClientTransaction, status: int, retry_after: int | None) -> list[Effect]:
        """It has its final answer."""
        self.abandon(transaction.owner)
        failed = status == UNAVAILABLE
        return [Answered(transaction.owner, status, retry_after, failed, transaction.ends_at - self._lifetime)]

    def _client(self, branch: str) -> ClientTransaction | None:
        """The transaction with this branch, which names its owner."""
        owner = branch.rpartition(".")[2]
        if not (owner.isascii() and owner.isdigit() and len(owner) < 20):
            return None
        transaction = self._clients.get(int(owner))
        return transaction if transaction is not None and transaction.branch == branch else None

    def _match(self, response: Response) -> ClientTransaction | None:
        transaction = self._client(response.branch)
        # The Call-ID is more than the RFC asks: it keeps one phone from answering for another.
        if transaction is None or transaction.call_id != response.get("call-id"):
            return None
        try:
            return transaction if response.cseq[1] == "NOTIFY" else None
        except MalformedMessage:
            return None

    # Time

    def next_deadline(self) -> float | None:
        """When `expire` has to be called at the latest; it may turn out that it was not needed."""
        return self._wake_at

    def _wake_by(self, when: float) -> None:
        if self._wake_at is None or when < self._wake_at:
            self._wake_at = when

    def _first_deadline(self) -> float | None:
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
            newest, _ = self._generations
            self._generations = (_Generation(), newest)
            self._swap_at = now + self._lifetime if newest.answers else None
        self._wake_at = self._first_deadline()
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
        transaction = self._clients[owner]
        failed = transaction.state is TransactionState.CALLING
        self.abandon(owner)
        return Answered(owner, TIMED_OUT, None, failed, transaction.ends_at - self._lifetime)
