"""A listener for stream connections: a bound socket, and what TCP, TLS, WS and WSS differ in."""

import asyncio
import itertools
from collections.abc import Sequence

from sipresence.errors import ListenError
from sipresence.net.address import ListenAddress, LocalAddress
from sipresence.net.certificates import Certificates
from sipresence.net.stream import Framer, Owner, StreamConnection
from sipresence.net.systemd import InheritedSockets
from sipresence.net.tls import TlsLayer
from sipresence.net.websocket import WebSocketFramer
from sipresence.sip.flow import SECURE, WEBSOCKETS, Flow
from sipresence.sip.framing import StreamFramer

BACKLOG = 1024
_numbers = itertools.count(1)


class StreamListener:
    """One bound socket. Its connections, those that we open in its name included, belong to `owner`."""

    def __init__(
        self, listen: ListenAddress, owner: Owner, *, certificates: Certificates | None, ws_origins: Sequence[str] = ()
    ) -> None:
        self.listen = listen
        self._owner = owner
        self._ws_origins = ws_origins
        self._server: asyncio.Server | None = None
        self._certificates = certificates if listen.transport in SECURE else None

    async def open(self, loop: asyncio.AbstractEventLoop, inherited: InheritedSockets) -> None:
        """Take the socket that was passed in, or bind one, and start accepting. Raises ListenError."""
        listen = self.listen
        if listen.transport in SECURE and self._certificates is None:
            raise ListenError(f"cannot listen on {listen.url}: there is no certificate")
        sock = inherited.take(listen)
        try:
            if sock is not None:
                self._server = await loop.create_server(self._incoming, sock=sock, backlog=BACKLOG)
            else:
                self._server = await loop.create_server(
                    self._incoming, listen.host, listen.port, family=listen.family, backlog=BACKLOG
                )
        except OSError as error:
            raise ListenError(f"cannot listen on {listen.url}: {error.strerror}") from None
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.local = LocalAddress(listen, self.port)

    def close(self) -> None:
        """Accept no more."""
        if self._server is not None:
            self._server.close()

    def outgoing(self, name: str) -> StreamConnection:
        """A connection that we open to `name`, which over TLS must prove that it is it."""
        tls = TlsLayer(self._certificates.client, server_name=name) if self._certificates else None
        return StreamConnection(self._owner, self._flow, framer=StreamFramer(), tls=tls, name=name)

    def _incoming(self) -> StreamConnection:
        tls = TlsLayer(self._certificates.server) if self._certificates else None
        return StreamConnection(self._owner, self._flow, framer=self._framer(), tls=tls)

    def _framer(self) -> Framer:
        return WebSocketFramer(self._ws_origins) if self.listen.transport in WEBSOCKETS else StreamFramer()

    def _flow(self, host: str, port: int) -> Flow:
        return Flow(self.listen.transport, self.listen.url, host, port, self.local.towards(host), next(_numbers))
