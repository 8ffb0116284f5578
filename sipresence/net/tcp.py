"""TCP: connections in and out, each cut into messages by a framer (RFC 3261 section 18.3)."""

import asyncio
import itertools
from collections.abc import Callable
from typing import cast

import structlog

from sipresence.errors import ListenError, MalformedMessage
from sipresence.net.address import ListenAddress, LocalAddress
from sipresence.sip.flow import Flow
from sipresence.sip.framing import PONG, StreamFramer

log = structlog.get_logger()

MAX_UNSENT_BYTES = 1024 * 1024  # a phone that reads so slowly is as good as gone
_numbers = itertools.count(1)


class TcpConnection(asyncio.Protocol):
    """One connection, whoever opened it."""

    def __init__(self, listener: "TcpListener") -> None:
        self._listener = listener
        self._framer = StreamFramer()
        self._transport: asyncio.Transport | None = None
        self.flow: Flow | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        host, port = transport.get_extra_info("peername")[:2]
        listener = self._listener
        local = listener.local.towards(host)
        self.flow = Flow("TCP", listener.listen.url, host, port, local, next(_numbers))
        listener.connections[self.flow.connection] = self
        listener.by_address[host, port] = self

    def data_received(self, data: bytes) -> None:
        if self.flow is None:
            return
        try:
            for message in self._framer.feed(data):
                self._receive(message)
        except MalformedMessage:
            # "If a framing error occurs, the connection must be closed": nothing later can be told apart.
            self._listener.streams_broken += 1
            self.abort()
        if self._framer.pings:
            self.send(PONG * self._framer.pings)  # RFC 5626 section 3.5.1
            self._framer.pings = 0
        self._listener.turn_end()

    def _receive(self, message: bytes) -> None:
        assert self.flow is not None
        try:
            self._listener.receive(message, self.flow)
        except MalformedMessage:
            raise
        except Exception:
            # A mistake of ours must cost this one message, not the connection.
            log.exception("message failed", listener=self._listener.listen.url, source=self.flow.host)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.flow is None:
            return
        listener, flow = self._listener, self.flow
        listener.connections.pop(flow.connection, None)
        if listener.by_address.get((flow.host, flow.port)) is self:
            del listener.by_address[flow.host, flow.port]
        listener.lost(flow)
        listener.turn_end()

    def send(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.write(data)
        if transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self.abort()

    def pause(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class TcpListener:
    """One bound socket and its connections, those we opened ourselves included."""

    def __init__(
        self,
        listen: ListenAddress,
        *,
        receive: Callable[[bytes, Flow], None],
        turn_end: Callable[[], None],
        lost: Callable[[Flow], None],
    ) -> None:
        self.listen = listen
        self.receive = receive
        self.turn_end = turn_end
        self.lost = lost
        self.connections: dict[int, TcpConnection] = {}
        self.by_address: dict[tuple[str, int], TcpConnection] = {}
        self._server: asyncio.Server | None = None
        self.streams_broken = 0

    async def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Bind and start accepting. Raises ListenError."""
        try:
            self._server = await loop.create_server(
                lambda: TcpConnection(self), self.listen.host, self.listen.port, family=self.listen.family, backlog=1024
            )
        except OSError as error:
            raise ListenError(f"cannot listen on {self.listen.url}: {error.strerror}") from None
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.local = LocalAddress(self.listen, self.port)

    def stop_reading(self) -> None:
        """Accept no more, read no more."""
        if self._server is not None:
            self._server.close()
        for connection in self.connections.values():
            connection.pause()

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections.values()):
            connection.abort()
