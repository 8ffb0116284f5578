"""All listeners together: which socket or connection a message leaves by.

A way is a flow and an address. Most are known at once; a name has to be resolved, and a stream target without a
connection has to be connected to: then the way comes later, by callback, or not at all. A phone on a WebSocket can only
connect to us; without its connection there is no way to it (RFC 7118 section 5).

One timer looks through all connections, and after the certificates, every few seconds.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import SystemRandom

import structlog

from sipresence.net.address import ListenAddress
from sipresence.net.certificates import Certificates, TlsSettings
from sipresence.net.connections import Connections
from sipresence.net.listener import StreamListener
from sipresence.net.resolver import Ask, Question, Resolver, Target, Targets, question
from sipresence.net.stream import ConnectionLimits
from sipresence.net.systemd import InheritedSockets
from sipresence.net.udp import UdpListener
from sipresence.ports import Clock
from sipresence.sip.flow import WEBSOCKETS, Flow, Hop
from sipresence.sip.transaction import Transmit
from sipresence.sip.uri import is_address

log = structlog.get_logger()

CONNECT_TIMEOUT = 5.0  # s
MAX_ATTEMPTS = 3  # servers of one name that are connected to in a row
MAX_SEEKING = 256  # look-ups and connection attempts at one time
SLICE = 256  # of those who wait for one, told in one turn of the loop
MAX_LOOK = 2.5  # s from one look at all connections to the next


@dataclass(slots=True, init=False)  # hot: one per NOTIFY, hence not frozen, and an __init__ that can be compiled
class Way:
    """`target` is set where it is one of those of a name."""

    flow: Flow
    address: tuple[str, int]
    target: Target | None

    def __init__(self, flow: Flow, address: tuple[str, int], target: Target | None = None) -> None:
        self.flow = flow
        self.address = address
        self.target = target


Found = Callable[[Way | None], None]


@dataclass(slots=True, frozen=True)
class StreamSettings:
    """Of all stream listeners: bounds, certificates, and the web pages that may connect (any, where none is named)."""

    limits: ConnectionLimits = field(default_factory=ConnectionLimits)
    tls: TlsSettings | None = None
    ws_origins: tuple[str, ...] = ()


class Transports:
    """Opens and closes the listeners, and finds the way to a hop. See Connections for `refused`, `payer`, `carries`."""

    def __init__(
        self,
        addresses: Sequence[ListenAddress],
        streams: StreamSettings,
        *,
        ask: Ask,
        clock: Clock,
        receive: Callable[[bytes, Flow], bool],
        turn_end: Callable[[], None],
        saturated: Callable[[], None],
        lost: Callable[[Flow], None],
        refused: Callable[[str, Flow, int], None],
        payer: Callable[[str], str],
        carries: Callable[[Flow], bool],
    ) -> None:
        self._clock = clock
        limits = streams.limits
        self._look_interval = _look_interval(limits)
        self._stop_looking: Callable[[], None] = lambda: None
        self._certificates = Certificates(streams.tls) if streams.tls is not None else None
        self.connections = Connections(
            limits,
            clock=clock,
            receive=receive,
            turn_end=turn_end,
            lost=lost,
            refused=refused,
            payer=payer,
            carries=carries,
        )
        self._udp = {
            a.url: UdpListener(a, receive=receive, turn_end=turn_end, saturated=saturated, refused=refused)
            for a in addresses
            if a.transport == "UDP"
        }
        self._streams = {
            a.url: StreamListener(a, self.connections, certificates=self._certificates, ws_origins=streams.ws_origins)
            for a in addresses
            if a.transport != "UDP"
        }
        self._listeners: tuple[UdpListener | StreamListener, ...] = (*self._udp.values(), *self._streams.values())
        self._tasks: set[asyncio.Task[None]] = set()
        self._seekers: dict[Question, deque[tuple[Hop, Found]]] = {}
        self._resolver = Resolver(ask, reach=_reach(addresses), now=clock.now, random=SystemRandom().random)

    async def open(self, inherited: InheritedSockets | None = None) -> None:
        """Open every listener, with the socket that was passed in for it where there is one.

        Raises ListenError; what was opened is closed again then.
        """
        self._loop = asyncio.get_running_loop()
        inherited = inherited or InheritedSockets()
        try:
            for udp in self._udp.values():
                udp.open(self._loop, inherited)
            for stream in self._streams.values():
                await stream.open(self._loop, inherited)
        except BaseException:
            self.close()
            raise
        unused = inherited.close_others()
        if unused:
            log.warning("sockets were passed in that no listener has taken", sockets=unused)
        if self._streams:
            self.connections.make_room()
            self._look()

    @property
    def bound(self) -> list[tuple[ListenAddress, int]]:
        """Each listener with the port it really has."""
        return [(listener.listen, listener.port) for listener in self._listeners]

    @property
    def sends_failed(self) -> int:
        """Datagrams that the system did not take."""
        return sum(udp.sends_failed for udp in self._udp.values())

    def configure(self, streams: StreamSettings) -> None:
        """Go on with other limits and certificates; connections that stand keep theirs.

        Raises ListenError where the certificates cannot be used: then all stays as it is.
        """
        if self._certificates is not None and streams.tls is not None:
            self._certificates.replace(streams.tls)
        self._look_interval = _look_interval(streams.limits)
        if self._streams:
            self.connections.limit(streams.limits)

    def stop_reading(self) -> None:
        for udp in self._udp.values():
            udp.stop_reading()
        for stream in self._streams.values():
            stream.close()
        self.connections.pause()

    def close(self) -> None:
        self._stop_looking()
        for task in self._tasks:
            task.cancel()
        self._resolver.close()
        for listener in self._listeners:
            listener.close()
        self.connections.abort()

    def send(self, transmit: Transmit) -> None:
        """Put bytes on the wire; what cannot leave is as good as lost."""
        flow = transmit.flow
        if flow.connection:
            connection = self.connections.find(flow)
            if connection is not None:
                connection.send(transmit.data)
            return
        udp = self._udp.get(flow.listener)
        if udp is not None:
            udp.send(transmit.data, transmit.address)

    def is_alive(self, flow: Flow) -> bool:
        """Whether a flow still leads somewhere: always for datagrams, for a stream while its connection lives."""
        return self.connections.find(flow) is not None if flow.reliable else flow.listener in self._udp

    def way(self, hop: Hop) -> Way | None:
        """The way to a hop where it is known at once; None where it has to be sought."""
        if (hop.prefer_flow or not hop.host) and self.is_alive(hop.flow):
            return Way(hop.flow, (hop.flow.host, hop.flow.port))
        return self._way_by(hop, self._targets(hop))

    def seek(self, hop: Hop, found: Found) -> None:
        """Find the way to a hop, and call back with it, or with None where there is none.

        All that seek the same share one attempt.
        """
        sought = question(hop)
        seekers = self._seekers.get(sought)
        if seekers is not None:
            seekers.append((hop, found))
            return
        if len(self._seekers) >= MAX_SEEKING or not self._may_become_known(self._targets(hop)):
            self._loop.call_soon(found, self.way(hop))
            return
        self._seekers[sought] = deque([(hop, found)])
        task = self._loop.create_task(self._seek(sought, hop))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def failed(self, target: Target) -> None:
        """A server did not answer a request: the next one goes to another, where there is one."""
        self._resolver.failed(target)

    async def _seek(self, sought: Question, hop: Hop) -> None:
        targets: Targets = ()
        try:
            known = self._targets(hop)
            targets = await self._resolver.targets(hop) if known is None else known
            await self._connect_one(hop, targets)
        except Exception:
            # A mistake of ours must cost these requests, not everything to come.
            log.exception("way not found", host=hop.host)
        self._release(self._seekers.pop(sought), targets)

    def _release(self, seekers: deque[tuple[Hop, Found]], targets: Targets) -> None:
        """Tell a slice of those who waited; the rest after the loop has read what arrived meanwhile."""
        try:
            for _ in range(min(SLICE, len(seekers))):
                hop, found = seekers.popleft()
                found(self._way_by(hop, targets))
        finally:
            if seekers:
                self._loop.call_soon(self._release, seekers, targets)

    def _targets(self, hop: Hop) -> Targets | None:
        """Where a hop can be reached, as far as we could connect to it; None where its name must be looked up."""
        if not hop.host or hop.transport in WEBSOCKETS:
            return ()
        if is_address(hop.host):
            return (Target(hop.transport, hop.host, hop.port),)
        return self._resolver.cached(hop)

    def _may_become_known(self, targets: Targets | None) -> bool:
        return targets is None or any(target not in self._resolver.failures for target in targets)

    def _way_by(self, hop: Hop, targets: Targets | None) -> Way | None:
        """The way by the first target that we can send to at once; None where one before it is still to be tried."""
        if targets is None:
            return None
        if not targets and hop.fallback:
            # A Contact whose name has no address: back to where the SUBSCRIBE came from.
            return Way(hop.flow, (hop.flow.host, hop.flow.port))
        named = not is_address(hop.host)
        for target in targets:
            flow = self._flow_to(hop, target)
            if flow is not None:
                return Way(flow, (target.host, target.port), target if named else None)
            if target not in self._resolver.failures:
                return None
        return None

    def _flow_to(self, hop: Hop, target: Target) -> Flow | None:
        if target.transport == "UDP":
            return self._datagram_flow(hop, target)
        return self.connections.leading_to(target.transport, target.host, target.port, hop.host)

    async def _connect_one(self, hop: Hop, targets: Targets) -> None:
        """Go through the targets until there is one that we can send to."""
        fresh = [target for target in targets if target not in self._resolver.failures]
        for target in fresh[:MAX_ATTEMPTS]:
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT):
                    if self._flow_to(hop, target) is not None or await self._connect(hop, target):
                        return
            except OSError:  # a timeout is one
                self._resolver.failed(target)

    async def _connect(self, hop: Hop, target: Target) -> bool:
        listener = self._listener_towards(hop, target)
        if listener is None:
            return False
        _, connection = await self._loop.create_connection(
            lambda: listener.outgoing(hop.host), target.host, target.port
        )
        try:
            await self.connections.until_ready(connection)
        except BaseException:
            connection.abort()
            raise
        return True

    def _listener_towards(self, hop: Hop, target: Target) -> StreamListener | None:
        """The listener in whose name we connect: the subscriber's own, where it is one of that transport and family."""
        wanted = (target.transport, _family(target.host))
        own = self._streams.get(hop.flow.listener)
        candidates = (own, *self._streams.values()) if own is not None else self._streams.values()
        return next((one for one in candidates if (one.listen.transport, one.listen.family) == wanted), None)

    def _datagram_flow(self, hop: Hop, target: Target) -> Flow | None:
        """From the socket the SUBSCRIBE came in on, where that is one that can reach the host."""
        host, port = target.host, target.port
        family = _family(host)
        own = self._udp.get(hop.flow.listener)
        if own is not None and own.listen.family == family:
            # Our address in Via is the one the subscriber reached us by, unless the hop is another host.
            return hop.flow if host == hop.flow.host else own.flow_to(host, port)
        for listener in self._udp.values():
            if listener.listen.family == family:
                return listener.flow_to(host, port)
        return None

    def _look(self) -> None:
        self.connections.look_through()
        if self._certificates is not None:
            self._certificates.reload_if_changed()
        self._stop_looking = self._clock.call_at(self._clock.now() + self._look_interval, self._look)


def _look_interval(limits: ConnectionLimits) -> float:
    return min(MAX_LOOK, min(limits.handshake_deadline, limits.message_deadline, limits.idle_timeout) / 4)


def _reach(addresses: Sequence[ListenAddress]) -> dict[str, tuple[socket.AddressFamily, ...]]:
    """The transports that we can send by, UDP before TCP before TLS, each with the families of its listeners."""
    families = {
        transport: tuple(dict.fromkeys(a.family for a in addresses if a.transport == transport))
        for transport in ("UDP", "TCP", "TLS")
    }
    return {transport: found for transport, found in families.items() if found}


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
