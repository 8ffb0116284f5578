"""All listeners together: which socket or connection a message leaves by.

A way is a flow and an address. Most are known at once; a name has to be resolved, and a stream target without a
connection has to be connected to: then the way comes later, by callback, or not at all.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sipresence.deadlines import Interval
from sipresence.net.address import ListenAddress
from sipresence.net.tcp import TcpConnection, TcpListener
from sipresence.net.udp import UdpListener
from sipresence.ports import Clock
from sipresence.sip.flow import Flow, Hop
from sipresence.sip.transaction import Transmit
from sipresence.sip.uri import is_address

CONNECT_TIMEOUT = 5.0  # s
FAILURE_MEMORY = 30.0  # s during which a target that could not be connected to is not tried again
MAX_SEEKING = 256  # look-ups and connection attempts at one time


class Way(NamedTuple):
    flow: Flow
    address: tuple[str, int]


Found = Callable[[Way | None], None]


class Transports:
    """Opens and closes the listeners, and finds the way to a hop."""

    def __init__(
        self,
        addresses: Sequence[ListenAddress],
        *,
        clock: Clock,
        receive: Callable[[bytes, Flow], None],
        turn_end: Callable[[], None],
        lost: Callable[[Flow], None],
    ) -> None:
        self._clock = clock
        self._udp = {
            a.url: UdpListener(a, receive=receive, turn_end=turn_end) for a in addresses if a.transport == "UDP"
        }
        self._tcp = {
            a.url: TcpListener(a, receive=receive, turn_end=turn_end, lost=lost)
            for a in addresses
            if a.transport == "TCP"
        }
        self._listeners: tuple[UdpListener | TcpListener, ...] = (*self._udp.values(), *self._tcp.values())
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: set[tuple[str, int]] = set()
        self._failures: Interval[tuple[str, int]] = Interval(FAILURE_MEMORY)

    async def open(self) -> None:
        """Bind every listener. Raises ListenError; what was bound is closed again then."""
        self._loop = asyncio.get_running_loop()
        try:
            for udp in self._udp.values():
                udp.open(self._loop)
            for tcp in self._tcp.values():
                await tcp.open(self._loop)
        except BaseException:
            self.close()
            raise

    @property
    def bound(self) -> list[tuple[ListenAddress, int]]:
        """Each listener with the port it really has."""
        return [(listener.listen, listener.port) for listener in self._listeners]

    def stop_reading(self) -> None:
        for listener in self._listeners:
            listener.stop_reading()

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for listener in self._listeners:
            listener.close()

    def send(self, transmit: Transmit) -> None:
        """Put bytes on the wire; what cannot leave is as good as lost."""
        flow = transmit.flow
        if flow.connection:
            connection = self._connection(flow)
            if connection is not None:
                connection.send(transmit.data)
            return
        udp = self._udp.get(flow.listener)
        if udp is not None:
            udp.send(transmit.data, transmit.address)

    def is_alive(self, flow: Flow) -> bool:
        """Whether a flow still leads somewhere: always for datagrams, for a stream while its connection lives."""
        return self._connection(flow) is not None if flow.reliable else flow.listener in self._udp

    def way(self, hop: Hop) -> Way | None:
        """The way to a hop where it is known at once; None where it has to be sought."""
        if (hop.prefer_flow or not hop.host) and self.is_alive(hop.flow):
            return Way(hop.flow, (hop.flow.host, hop.flow.port))
        if not is_address(hop.host):
            return None
        if hop.transport == "UDP":
            return self._datagram_way(hop, hop.host)
        connection = self._connected(hop.host, hop.port)
        return Way(connection, (hop.host, hop.port)) if connection else None

    def seek(self, hop: Hop, found: Found) -> None:
        """Find the way to a hop, and call back with it, or with None where there is none."""
        if not hop.host or len(self._tasks) >= MAX_SEEKING or self._recently_failed(hop):
            self._loop.call_soon(found, None)
            return
        task = self._loop.create_task(self._seek(hop, found))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _seek(self, hop: Hop, found: Found) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                found(await self._find(hop))
        except (OSError, TimeoutError):
            self._failed.add((hop.host, hop.port))
            self._failures.add((hop.host, hop.port), self._clock.now())
            found(None)

    async def _find(self, hop: Hop) -> Way | None:
        host = hop.host
        if not is_address(host):
            try:
                infos = await self._loop.getaddrinfo(host, hop.port, type=socket.SOCK_DGRAM)
            except OSError:
                if not hop.fallback:
                    raise
                # A Contact whose name has no address: back to where the SUBSCRIBE came from.
                return Way(hop.flow, (hop.flow.host, hop.flow.port))
            host = str(infos[0][4][0])
        if hop.transport == "UDP":
            return self._datagram_way(hop, host)
        return await self._connect(hop, host)

    async def _connect(self, hop: Hop, host: str) -> Way | None:
        flow = self._connected(host, hop.port)
        listener = self._tcp.get(hop.flow.listener) or next(iter(self._tcp.values()), None)
        if flow is None and listener is not None:
            _, connection = await self._loop.create_connection(lambda: TcpConnection(listener), host, hop.port)
            flow = connection.flow
        return Way(flow, (host, hop.port)) if flow else None

    def _recently_failed(self, hop: Hop) -> bool:
        for target in self._failures.due(self._clock.now()):
            self._failed.discard(target)
        return (hop.host, hop.port) in self._failed

    def _datagram_way(self, hop: Hop, host: str) -> Way | None:
        """From the socket the SUBSCRIBE came in on, where that is one that can reach the host."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        own = self._udp.get(hop.flow.listener)
        if own is not None and own.listen.family == family:
            # Our address in Via is the one the subscriber reached us by, unless the hop is another host.
            flow = hop.flow if host == hop.flow.host else own.flow_to(host, hop.port)
            return Way(flow, (host, hop.port))
        for listener in self._udp.values():
            if listener.listen.family == family:
                return Way(listener.flow_to(host, hop.port), (host, hop.port))
        return None

    def _connection(self, flow: Flow) -> TcpConnection | None:
        listener = self._tcp.get(flow.listener)
        return listener.connections.get(flow.connection) if listener else None

    def _connected(self, host: str, port: int) -> Flow | None:
        for listener in self._tcp.values():
            connection = listener.by_address.get((host, port))
            if connection is not None:
                return connection.flow
        return None
