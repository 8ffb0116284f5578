"""A fleet with phones on TCP among those on UDP: each has a connection of its own, and comes back when that breaks.

A request that a connection took with it is not sent again as it was: the phone asks anew over the next connection, with
the next CSeq, in its dialog where it knows of one. Nobody listens at the port that its Contact names, so while it is
away it can be told nothing.
"""

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass, field

from tests.e2e import wire
from tests.e2e.fleet import Fleet, Phone

PATIENCE_S = 30.0  # for an answer, or for a server to connect to
PAUSE_S = 0.1  # between two attempts to connect
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close sends RST


@dataclass(slots=True, eq=False)
class StreamPhone(Phone):
    """A phone on TCP; `socket` is its newest connection, which may be gone."""

    connected: bool = False
    buffer: bytearray = field(default_factory=bytearray)


class MixedFleet(Fleet):
    """Phones on UDP (`add`) and on TCP (`add_stream`). `breaks` counts the connections that the server's side ended."""

    breaks = 0

    def add_stream(self, extension: str) -> StreamPhone:
        """Make a phone on TCP that will watch `extension`; its first SUBSCRIBE connects it."""
        number = len(self.phones)
        phone = StreamPhone(
            extension, f"{number}.{self.random.getrandbits(64):x}@stream", f"s{number:x}", _unconnected()
        )
        self.phones[phone.call_id] = phone
        return phone

    async def __aexit__(self, *reason: object) -> None:
        for phone in self.phones.values():
            self.hang_up(phone)
            phone.socket.close()
        await super().__aexit__(*reason)

    async def subscribe(self, phone: Phone, *, expires: int = 3600) -> int:
        """As a fleet does; on TCP again over a new connection when one breaks before the answer."""
        if not isinstance(phone, StreamPhone):
            return await super().subscribe(phone, expires=expires)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while not await self._ask_once(phone, expires):
                    pass
        return phone.status

    def hang_up(self, phone: Phone, *, hard: bool = False) -> None:
        """End the connection of a phone on TCP: by FIN, or by RST where that is `hard`."""
        if not isinstance(phone, StreamPhone) or not phone.connected:
            return
        if hard:
            phone.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self._loop.remove_reader(phone.socket.fileno())
        phone.socket.close()
        phone.buffer.clear()
        phone.connected = False
        phone.acknowledged.set()  # whoever waits for an answer over it need not

    async def _ask_once(self, phone: StreamPhone, expires: int) -> int:
        """SUBSCRIBE once; return the final status, 0 when the connection broke before it."""
        if not phone.connected:
            await self._connect(phone)
        phone.cseq += 1
        phone.branch = f"z9hG4bK-fleet-{next(self._branches)}"
        phone.status = 0
        phone.acknowledged.clear()
        self._send(phone, self._subscribe_bytes(phone, expires))
        await phone.acknowledged.wait()
        return phone.status

    async def _connect(self, phone: StreamPhone) -> None:
        while not phone.connected:
            phone.socket = _unconnected()
            try:
                await self._loop.sock_connect(phone.socket, self.server)
            except OSError:
                phone.socket.close()
                await asyncio.sleep(PAUSE_S)
                continue
            phone.connected = True
            self._loop.add_reader(phone.socket.fileno(), self._read_stream, phone)

    def _subscribe_bytes(self, phone: Phone, expires: int) -> bytes:
        data = super()._subscribe_bytes(phone, expires)
        if not isinstance(phone, StreamPhone):
            return data
        return data.replace(b"SIP/2.0/UDP", b"SIP/2.0/TCP").replace(b">\r\nEvent:", b";transport=tcp>\r\nEvent:")

    def _send(self, phone: Phone, data: bytes) -> None:
        if not isinstance(phone, StreamPhone):
            super()._send(phone, data)
            return
        try:
            whole = phone.connected and phone.socket.send(data) == len(data)
        except OSError:
            whole = False
        if not whole:
            self._lose(phone)

    def _read_stream(self, phone: StreamPhone) -> None:
        try:
            data = phone.socket.recv(65535)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose(phone)
            return
        phone.buffer += data
        while phone.connected and (message := wire.cut_bytes(phone.buffer)):
            self._hear(message)

    def _lose(self, phone: StreamPhone) -> None:
        self.breaks += phone.connected
        self.hang_up(phone)


def _unconnected() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    return sock
