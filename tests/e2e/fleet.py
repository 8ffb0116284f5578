"""A fleet of simulated desk phones on UDP: what each of them was told, and every rule a notifier broke.

A phone here is a lamp key, that is, one dialog; `keys` of them share a socket, as they do on a desk.

The fleet sees only the wire. It subscribes, retransmits as RFC 3261 has it, answers NOTIFYs (late, or never, where it
is told to), and keeps for each phone what its lamp would show. `faults` has a line for each NOTIFY that no phone should
ever get: a CSeq or version that does not rise, one after `terminated`, one for a dialog that is none of ours.
"""

import asyncio
import itertools
import random
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Self

T1 = 0.5
GIVE_UP = 32.0
SO_RCVBUFFORCE = 33


@dataclass(slots=True, eq=False)
class Phone:
    """One lamp key: one dialog. `lamp` is the state of the first dialog in the last document."""

    extension: str
    call_id: str
    tag: str
    socket: socket.socket
    answers: bool = True
    cseq: int = 0
    to: str = ""
    target: str = ""
    status: int = 0  # of the last SUBSCRIBE
    retry_after: int = 0  # s, as its refusal said
    lamp: str = ""
    notify_cseq: int = 0
    version: int = -1
    notifies: int = 0
    remaining: int = 0  # s, as the last NOTIFY said
    ended: str = ""
    branch: str = ""
    acknowledged: asyncio.Event = field(default_factory=asyncio.Event)


class Fleet:
    """Phones on one host, subscribed to a server at `server`. Use as an async context manager."""

    def __init__(self, server: tuple[str, int], *, host: str = "127.0.0.1", keys: int = 10, seed: int = 0) -> None:
        self._keys = keys
        self._sockets: list[socket.socket] = []
        self.server = server
        self.host = host
        self.random = random.Random(seed)
        self.phones: dict[str, Phone] = {}
        self.faults: list[str] = []
        self.answer_delay = 0.0  # s
        self.gaps_allowed = False  # after a crash of the server versions may jump, never go back
        self.retransmissions = 0
        self.on_acknowledged: Callable[[Phone], None] = lambda phone: None
        self._branches = itertools.count(1)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        return self

    async def __aexit__(self, *_: object) -> None:
        for sock in self._sockets:
            self._loop.remove_reader(sock.fileno())
            sock.close()

    def _open(self) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for option in (SO_RCVBUFFORCE, socket.SO_RCVBUF):
            try:
                sock.setsockopt(socket.SOL_SOCKET, option, 1024 * 1024)
                break
            except OSError:
                continue
        sock.setblocking(False)
        sock.bind((self.host, 0))
        self._loop.add_reader(sock.fileno(), self._read, sock)
        self._sockets.append(sock)

    def add(self, extension: str, *, answers: bool = True) -> Phone:
        """Make a phone that will watch `extension`."""
        number = len(self.phones)
        if not self._sockets or number % self._keys == 0:
            self._open()
        call_id = f"{number}.{self.random.getrandbits(64):x}@fleet"
        phone = Phone(extension, call_id, f"f{number:x}", self._sockets[-1], answers)
        self.phones[phone.call_id] = phone
        return phone

    async def subscribe(self, phone: Phone, *, expires: int = 3600) -> int:
        """SUBSCRIBE, or refresh inside the dialog; return the final status, 0 when none came in 32 s."""
        phone.cseq += 1
        phone.branch = f"z9hG4bK-fleet-{next(self._branches)}"
        phone.status = 0
        phone.acknowledged.clear()
        data = self._subscribe_bytes(phone, expires)
        delay, waited = T1, 0.0
        while waited < GIVE_UP:
            self._send(phone, data)
            try:
                async with asyncio.timeout(delay):
                    await phone.acknowledged.wait()
                return phone.status
            except TimeoutError:
                self.retransmissions += 1
                waited += delay
                delay = min(2 * delay, 4.0)
        return 0

    async def subscribe_all(self, phones: Iterable[Phone], *, at_once: int = 500, expires: int = 3600) -> None:
        """SUBSCRIBE many phones, `at_once` of them at one time."""
        gate = asyncio.Semaphore(at_once)

        async def one(phone: Phone) -> None:
            async with gate:
                await self.subscribe(phone, expires=expires)

        await asyncio.gather(*map(one, phones))

    async def settled(self, holds: Callable[[], bool], *, within: float) -> bool:
        """Wait until `holds`, at most `within` seconds; return whether it does."""
        deadline = self._loop.time() + within
        while not holds() and self._loop.time() < deadline:  # noqa: ASYNC110 (what holds is not one event)
            await asyncio.sleep(0.05)
        return holds()

    def _subscribe_bytes(self, phone: Phone, expires: int) -> bytes:
        host, port = self.server
        port_of_ours = phone.socket.getsockname()[1]
        target = phone.target or f"sip:{phone.extension}@{host}:{port}"
        to = phone.to or f"<sip:{phone.extension}@{host}>"
        return (
            f"SUBSCRIBE {target} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {self.host}:{port_of_ours};rport;branch={phone.branch}\r\n"
            f"Max-Forwards: 70\r\n"
            f"From: <sip:phone@{self.host}>;tag={phone.tag}\r\n"
            f"To: {to}\r\n"
            f"Call-ID: {phone.call_id}\r\n"
            f"CSeq: {phone.cseq} SUBSCRIBE\r\n"
            f"Contact: <sip:{phone.tag}@{self.host}:{port_of_ours}>\r\n"
            f"Event: dialog\r\nExpires: {expires}\r\n"
            f"Accept: application/dialog-info+xml\r\nContent-Length: 0\r\n\r\n"
        ).encode()

    def _send(self, phone: Phone, data: bytes) -> None:
        try:
            phone.socket.sendto(data, self.server)
        except OSError:
            return  # as good as lost

    def _read(self, sock: socket.socket) -> None:
        for _ in range(256):
            try:
                data = sock.recv(65535)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error: the server is not there just now
            self._hear(data)

    def _hear(self, data: bytes) -> None:
        """Take one whole message of the server's."""
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        if lines[0].startswith("NOTIFY"):
            self._notified(headers, body)
        else:
            self._answered(int(lines[0].split()[1]), headers)

    def _answered(self, status: int, headers: dict[str, str]) -> None:
        phone = self.phones[headers["call-id"]]
        if phone.branch not in headers["via"] or status < 200 or phone.acknowledged.is_set():
            return  # of an earlier request, or once more
        phone.status = status
        phone.retry_after = int(headers.get("retry-after", 0))
        if status == 200:
            phone.to = headers["to"]
            phone.target = headers["contact"].strip("<>")
            self.on_acknowledged(phone)
        phone.acknowledged.set()

    def _notified(self, headers: dict[str, str], body: bytes) -> None:
        phone = self.phones.get(headers["call-id"])
        cseq = int(headers["cseq"].split()[0])
        if phone is None:
            self.faults.append(f"NOTIFY for an unknown dialog {headers['call-id']}")
            return
        if cseq != phone.notify_cseq:  # else a retransmission, which is answered again
            self._take(phone, cseq, headers["subscription-state"], body)
        if phone.answers:
            answer = "SIP/2.0 200 OK\r\n" + "".join(
                f"{name}: {headers[name]}\r\n" for name in ("via", "from", "to", "call-id", "cseq")
            )
            data = f"{answer}Content-Length: 0\r\n\r\n".encode()
            if self.answer_delay:
                self._loop.call_later(self.answer_delay, self._send, phone, data)
            else:
                self._send(phone, data)

    def _take(self, phone: Phone, cseq: int, subscription_state: str, body: bytes) -> None:
        version = _version(body)
        if phone.ended:
            self.faults.append(f"{phone.call_id}: NOTIFY {cseq} after terminated")
        if cseq < phone.notify_cseq or version <= phone.version:
            self.faults.append(
                f"{phone.call_id}: CSeq {phone.notify_cseq} -> {cseq}, version {phone.version} -> {version}"
            )
        elif version != phone.version + 1 and not self.gaps_allowed:
            self.faults.append(f"{phone.call_id}: version {phone.version} -> {version}")
        phone.notify_cseq, phone.version = cseq, version
        phone.notifies += 1
        phone.lamp = body.partition(b"<state>")[2].partition(b"<")[0].decode()
        phone.remaining = int(subscription_state.partition("expires=")[2] or 0)
        if subscription_state.startswith("terminated"):
            phone.ended = subscription_state


def _version(body: bytes) -> int:
    """The version attribute of dialog-info, not that of the XML declaration."""
    return int(body.partition(b"<dialog-info")[2].partition(b'version="')[2].partition(b'"')[0])
