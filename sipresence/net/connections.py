"""All stream connections of all listeners: how many there may be, where they lead, and which have to go.

Whoever connects is counted from the first moment on, before any handshake. All of them are looked through every few
seconds, so that no connection has a timer of its own: a deadline is kept to within that time.

A connection that carries a subscription is never idle: its phone may say nothing for an hour, and could not be reached
without it.
"""

import asyncio
import contextlib
import resource
from collections import Counter
from collections.abc import Callable

import structlog

from sipresence.net.stream import ConnectionLimits, StreamConnection
from sipresence.ports import Clock
from sipresence.refusals import CONNECTIONS_FULL, SOURCE_CONNECTIONS_FULL
from sipresence.sip.flow import Flow

log = structlog.get_logger()

PEER = "peer"  # instead of a reason of ours: the other side has closed it
SPARE_DESCRIPTORS = 128  # for listeners, the store, the API, and what comes and goes


class Connections:
    """The table. `payer` says to whose bound an address counts, "" for one without; `carries` which flows carry a
    subscription; `refused` hears why a connection was not taken, or was closed by us."""

    def __init__(
        self,
        limits: ConnectionLimits,
        *,
        clock: Clock,
        receive: Callable[[bytes, Flow], bool],
        turn_end: Callable[[], None],
        lost: Callable[[Flow], None],
        refused: Callable[[str, Flow, int], None],
        payer: Callable[[str], str],
        carries: Callable[[Flow], bool],
    ) -> None:
        self.receive = receive
        self._turn_end = turn_end
        self._turn_ends = False  # in this turn of the loop
        self._unflushed: list[StreamConnection] = []
        self._clock = clock
        self.now = clock.now
        self._limits = limits
        self._most = limits.connections
        self._lost = lost
        self._refused = refused
        self._payer = payer
        self._carries = carries
        self._all: dict[int, StreamConnection] = {}
        self._per_source: Counter[str] = Counter()
        self._leading_to: dict[tuple[str, str, int, str], StreamConnection] = {}
        self._awaited: dict[StreamConnection, asyncio.Future[Flow]] = {}
        self.keepalives = 0
        self.by_transport: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()  # by reason

    def __len__(self) -> int:
        return len(self._all)

    def limit(self, limits: ConnectionLimits) -> None:
        """From here on have these limits; no connection is closed because there are too many."""
        self._limits = limits
        self._most = limits.connections
        self.make_room()

    def make_room(self) -> None:
        """Raise our own limit of file descriptors; take no more connections than it allows."""
        wanted = self._limits.connections + SPARE_DESCRIPTORS
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard != resource.RLIM_INFINITY:
            wanted = min(wanted, hard)
        if soft not in (resource.RLIM_INFINITY, wanted) and soft < wanted:
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
                soft = wanted
        if soft != resource.RLIM_INFINITY:
            self._most = min(self._limits.connections, soft - SPARE_DESCRIPTORS)
        if self._most < self._limits.connections:
            log.warning("fewer connections than configured: too few file descriptors", max_connections=self._most)

    # Where they lead

    def find(self, flow: Flow) -> StreamConnection | None:
        """The connection of a flow, while others may send over it."""
        connection = self._all.get(flow.connection)
        return connection if connection is not None and connection.is_ready else None

    def leading_to(self, transport: str, host: str, port: int, name: str) -> Flow | None:
        """The flow of the newest connection to this address. One over TLS must be one to `name` that we have opened:
        only then its certificate was that of the name (RFC 5923 section 5)."""
        connection = self._leading_to.get((transport, host, port, name if transport == "TLS" else ""))
        return connection.flow if connection is not None else None

    async def until_ready(self, connection: StreamConnection) -> Flow:
        """Wait for a connection that we opened. Raises ConnectionError where it fails."""
        if not connection.is_ready:
            self._awaited[connection] = asyncio.get_running_loop().create_future()
            try:
                return await self._awaited[connection]
            finally:
                del self._awaited[connection]
        return connection.flow

    # What each of them reports (stream.Owner)

    def turn_end(self) -> None:
        """One was read. The turn ends when all have been that could be: their writes are one commit then."""
        if not self._turn_ends:
            self._turn_ends = True
            self._clock.call_soon(self._end_turn)

    def _end_turn(self) -> None:
        self._turn_ends = False
        self._turn_end()

    def unsent(self, connection: StreamConnection) -> None:
        """It has something to send. That leaves after the next turn of the loop, which is the NOTIFYs'."""
        if not self._unflushed:
            self._clock.call_soon(lambda: self._clock.call_soon(self._flush))
        self._unflushed.append(connection)

    def _flush(self) -> None:
        unflushed, self._unflushed = self._unflushed, []
        for connection in unflushed:
            connection.flush()

    def made(self, connection: StreamConnection) -> bool:
        """Whether it may stay. Those that we open ourselves are counted, but not refused."""
        source = self._payer(connection.flow.host)
        if not connection.name:
            reason = self._full(source)
            if reason:
                self._refused(reason, connection.flow, 1)
                return False
        self._all[connection.flow.connection] = connection
        self._per_source[source] += 1
        self.by_transport[connection.flow.transport] += 1
        return True

    def ready(self, connection: StreamConnection) -> None:
        self._leading_to[_address(connection)] = connection
        waiting = self._awaited.get(connection)
        if waiting is not None and not waiting.done():
            waiting.set_result(connection.flow)

    def closing(self, connection: StreamConnection, reason: str) -> None:
        """Nobody may send over it any more; "" where it is the other side that has closed it."""
        self._forget_address(connection)
        self.closed[reason or PEER] += 1
        if reason:
            self._refused(reason, connection.flow, 1)

    def lost(self, connection: StreamConnection) -> None:
        flow = connection.flow
        del self._all[flow.connection]
        self.by_transport[flow.transport] -= 1
        source = self._payer(flow.host)
        self._per_source[source] -= 1
        if not self._per_source[source]:
            del self._per_source[source]
        self._forget_address(connection)
        waiting = self._awaited.get(connection)
        if waiting is not None and not waiting.done():
            waiting.set_exception(ConnectionResetError("no TLS with the other side"))
        if connection.is_ready:
            self._lost(flow)

    def _full(self, source: str) -> str:
        if len(self._all) >= self._most:
            return CONNECTIONS_FULL
        if source and self._per_source[source] >= self._limits.per_source:
            return SOURCE_CONNECTIONS_FULL
        return ""

    def _forget_address(self, connection: StreamConnection) -> None:
        address = _address(connection)
        if self._leading_to.get(address) is connection:
            del self._leading_to[address]

    # All together

    def look_through(self) -> None:
        """Close whatever is overdue."""
        now = self.now()
        for connection in tuple(self._all.values()):
            connection.check(now, self._limits, carries=self._carries)

    def pause(self) -> None:
        for connection in self._all.values():
            connection.pause()

    def abort(self) -> None:
        self._flush()
        for connection in tuple(self._all.values()):
            connection.abort()


def _address(connection: StreamConnection) -> tuple[str, str, int, str]:
    flow = connection.flow
    return (flow.transport, flow.host, flow.port, connection.name if flow.transport == "TLS" else "")
