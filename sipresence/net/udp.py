"""UDP: datagrams in, datagrams out, over a plain socket.

Read with `add_reader` and `recvfrom` until the socket is empty: asyncio's own datagram protocol takes one datagram per
turn of the loop, five times the CPU per message. Large buffers hold the burst when 10,000 phones answer at once.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any

import structlog

from sipresence.errors import ListenError
from sipresence.net.address import ListenAddress, LocalAddress
from sipresence.net.systemd import InheritedSockets
from sipresence.refusals import SOURCE_RATE
from sipresence.sip.flow import Flow

log = structlog.get_logger()

READS_PER_TURN = 256
BUFFER_BYTES = 16 * 1024 * 1024
MAX_FLOWS = 65_536
MAX_DATAGRAM = 65_535
MUTED_FOR = 0.02  # s
_SO_RCVBUFFORCE, _SO_SNDBUFFORCE = 33, 32  # Linux; beyond net.core.rmem_max where we may


class UdpListener:
    """One bound socket. `receive` gets each datagram with its flow, `turn_end` is called after each burst.

    `saturated` is called before that when the burst was cut off: there is more to read. A source of which `receive`
    says that it asks too much is muted for a moment: what it sends is read and thrown away, which is all that a flood
    can be given (1.7 instead of 3 µs). `refused` hears how much that was.
    """

    def __init__(
        self,
        listen: ListenAddress,
        *,
        receive: Callable[[bytes, Flow], bool],
        turn_end: Callable[[], None],
        saturated: Callable[[], None],
        refused: Callable[[str, Flow, int], None],
    ) -> None:
        self.listen = listen
        self._receive = receive
        self._turn_end = turn_end
        self._saturated = saturated
        self._refused = refused
        self._muted: dict[Any, Flow] = {}
        self._unmute_at = 0.0
        self._flows: dict[Any, Flow] = {}  # one per source address, so that none is made per message
        self._socket: socket.socket | None = None
        self.sends_failed = 0

    def open(self, loop: asyncio.AbstractEventLoop, inherited: InheritedSockets) -> None:
        """Take the socket that was passed in, or bind one, and start reading. Raises ListenError."""
        self._loop = loop
        sock = inherited.take(self.listen) or _bound(self.listen)
        _enlarge(sock)
        sock.setblocking(False)
        self._socket = sock
        self.port = sock.getsockname()[1]
        self.local = LocalAddress(self.listen, self.port)
        loop.add_reader(sock.fileno(), self._read)

    def stop_reading(self) -> None:
        """Leave what arrives to the next process: phones retransmit for 32 s."""
        if self._socket is not None:
            self._loop.remove_reader(self._socket.fileno())

    def close(self) -> None:
        if self._socket is not None:
            self.stop_reading()
            self._socket.close()
            self._socket = None

    def send(self, data: bytes, address: tuple[str, int]) -> None:
        """Send a datagram; one that cannot leave is as good as lost, timers repeat it."""
        if self._socket is None:
            return
        try:
            self._socket.sendto(data, address)
        except OSError:
            self.sends_failed += 1

    def flow_to(self, host: str, port: int) -> Flow:
        """The flow from this socket to an address."""
        return Flow("UDP", self.listen.url, host, port, self.local.towards(host))

    def _read(self) -> None:
        assert self._socket is not None
        recvfrom, receive, flows, muted = self._socket.recvfrom, self._receive, self._flows, self._muted
        if muted and self._loop.time() >= self._unmute_at:
            muted.clear()
        ignored = 0
        for _ in range(READS_PER_TURN):
            try:
                data, address = recvfrom(MAX_DATAGRAM)
            except BlockingIOError:
                break
            except OSError:
                continue
            if muted and address in muted:
                ignored += 1
                continue
            flow = flows.get(address) or self._new_flow(address)
            try:
                if not receive(data, flow):
                    self._mute(address, flow)
            except Exception:
                # A mistake of ours must cost this one message, not the listener.
                log.exception("datagram failed", listener=self.listen.url, source=flow.host)
        else:
            self._saturated()
        if ignored:
            self._refused(SOURCE_RATE, next(reversed(muted.values())), ignored)
        self._turn_end()

    def _mute(self, address: Any, flow: Flow) -> None:
        if not self._muted:
            self._unmute_at = self._loop.time() + MUTED_FOR
        self._muted[address] = flow

    def _new_flow(self, address: Any) -> Flow:
        if len(self._flows) >= MAX_FLOWS:
            self._flows.clear()
        flow = self._flows[address] = self.flow_to(address[0], address[1])
        return flow


def _bound(listen: ListenAddress) -> socket.socket:
    sock = socket.socket(listen.family, socket.SOCK_DGRAM)
    try:
        if listen.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((listen.host, listen.port))
    except OSError as error:
        sock.close()
        raise ListenError(f"cannot listen on {listen.url}: {error.strerror}") from None
    return sock


def _enlarge(sock: socket.socket) -> None:
    for forced, plain in ((_SO_RCVBUFFORCE, socket.SO_RCVBUF), (_SO_SNDBUFFORCE, socket.SO_SNDBUF)):
        if sock.getsockopt(socket.SOL_SOCKET, plain) >= BUFFER_BYTES:
            continue  # it was passed in so; what we may set ourselves could be less
        try:
            sock.setsockopt(socket.SOL_SOCKET, forced, BUFFER_BYTES)
        except OSError:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, plain, BUFFER_BYTES)
