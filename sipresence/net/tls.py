"""TLS between a socket and the messages on it, without I/O (RFC 8446, RFC 5246).

A connection puts in what came from its socket and sends what comes out; OpenSSL works between two memory buffers. The
loop's own TLS would show a connection only once its handshake is over: until then it could be neither counted, nor
bounded, nor told why it failed, and each handshake would have a timer of its own.
"""

import ssl
from contextlib import suppress

_READ_BYTES = 65_536


class TlsLayer:
    """One connection's TLS. `open` once the handshake is over; `over` once the peer has said goodbye."""

    __slots__ = ("_incoming", "_outgoing", "_tls", "open", "over")

    def __init__(self, context: ssl.SSLContext, *, server_name: str | None = None) -> None:
        """Be the client of `server_name`, whose certificate must be its own, or the server where there is none."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_name is None, server_hostname=server_name
        )
        self.open = False
        self.over = False

    def receive(self, data: bytes) -> bytes:
        """Take in what came from the socket, nothing at a client's start; return what it says. Raises ssl.SSLError."""
        self._incoming.write(data)
        with suppress(ssl.SSLWantReadError):
            if not self.open:
                self._tls.do_handshake()
                self.open = True
        return self._read() if self.open else b""

    def send(self, data: bytes) -> None:
        """Encrypt; the bytes are in `output` then."""
        view = memoryview(data)
        while view:  # one record of 16 KiB at most is written at a time
            view = view[self._tls.write(view) :]

    def close(self) -> None:
        """Say goodbye, where there was a handshake."""
        with suppress(ssl.SSLError, ValueError):  # the peer need not answer
            self._tls.unwrap()

    def output(self) -> bytes:
        """What has to go to the socket: after a failure the alert that says why."""
        return self._outgoing.read()

    def _read(self) -> bytes:
        portions: list[bytes] = []
        with suppress(ssl.SSLWantReadError):
            while portion := self._tls.read(_READ_BYTES):
                portions.append(portion)
            self.over = True  # close_notify
        return b"".join(portions)
