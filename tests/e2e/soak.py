"""Desk phones on TCP that subscribe, refresh, break and come back: a process of its own, told what to do by line.

    python -m tests.e2e.soak HOST:PORT PHONES RESOURCES

Each line on standard input is a command, each answered by one line of JSON: `churn SECONDS` lets the phones live for
that long and then come to rest, each subscribed over a connection of its own; `report` changes nothing; `leave`
unsubscribes all and closes every connection. `faults` has a line for everything that no phone should ever see.

A phone breaks its connection by FIN, by RST or in the middle of a request, and comes back over a new one, with a
refresh in its old dialog; or it opens a second one beside the first, as after a change of network. From the first
NOTIFY over the newest connection none may come over an older one. One phone in four has a Contact that can be connected
to: while it is away, its NOTIFYs reach it that way.
"""

import asyncio
import contextlib
import itertools
import json
import random
import resource
import socket
import struct
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from tests.e2e import wire
from tests.e2e.wire import Message

PATIENCE_S = 20.0
ACTS_PER_S = 300  # of all phones together
MAX_ARRIVALS = 200  # at one time
REACHABLE = 4  # one phone in so many
NOBODY = "127.0.0.1:9"  # a port where nobody listens
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close sends RST
ACTS = {"refresh": 4, "fin": 3, "rst": 3, "torn": 1, "move": 3, "renew": 1}  # by weight


class Link(asyncio.Protocol):
    """One connection, whoever opened it."""

    def __init__(self, desks: "Desks") -> None:
        self._desks = desks
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._desks.links.add(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (message := wire.cut(self._buffer)) is not None:
            self._desks.take(message, self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._desks.links.discard(self)
        self._desks.lost(self)

    def send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def close(self) -> None:
        """End it in good order: FIN."""
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        """End it the hard way: RST."""
        if self._transport is not None:
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            self._transport.abort()


@dataclass(slots=True, eq=False)
class Desk:
    """One phone with one lamp key. `link` is its newest connection, None while it is away."""

    extension: str
    tag: str
    contact: str
    call_id: str = ""
    cseq: int = 0
    to: str = ""
    target: str = ""
    link: Link | None = None
    told: int = 0  # CSeq of the last NOTIFY
    settled: int = 0  # CSeq of the first NOTIFY over the newest connection, 0 before it
    accepted: int = 0  # what `told` was when the last SUBSCRIBE was answered
    status: int = 0  # of the last SUBSCRIBE, 0 while it is not answered
    lamp: str = ""
    ended: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)


class Desks:
    """All phones of the process."""

    def __init__(self, server: tuple[str, int], *, count: int, resources: int) -> None:
        self.links: set[Link] = set()
        self.faults: list[str] = []
        self.counts: Counter[str] = Counter()
        self._server = server
        self._random = random.Random(count)
        self._numbers = itertools.count(1)
        self._gate = asyncio.Semaphore(MAX_ARRIVALS)
        self._count, self._resources = count, resources
        self._by_call: dict[str, Desk] = {}
        self._phones: list[Desk] = []

    async def open(self) -> None:
        """Listen for the connections that the server opens, and subscribe every phone."""
        self._listener = await asyncio.get_running_loop().create_server(lambda: Link(self), "127.0.0.1", 0)
        reachable = f"127.0.0.1:{self._listener.sockets[0].getsockname()[1]}"
        for number in range(self._count):
            place = NOBODY if number % REACHABLE else reachable
            contact = f"sip:d{number}@{place};transport=tcp"
            self._phones.append(Desk(str(1000 + number % self._resources), f"t{number}", contact))
        await asyncio.gather(*map(self._arrive, self._phones))

    async def churn(self, seconds: float) -> None:
        """Let every phone live for so long, then come to rest."""
        until = asyncio.get_running_loop().time() + seconds
        await asyncio.gather(*(self._live(phone, until) for phone in self._phones))

    async def leave(self) -> None:
        """Unsubscribe every phone, and close every connection."""
        await asyncio.gather(*map(self._unsubscribe, self._phones))
        self._listener.close()
        for phone in self._phones:
            phone.link = None
        for link in list(self.links):
            link.close()
        while self.links:  # noqa: ASYNC110 (many events)
            await asyncio.sleep(0.05)

    def report(self) -> dict[str, object]:
        """What there is to say now; `lamps` are the states that the phones of each extension show."""
        lamps: dict[str, set[str]] = defaultdict(set)
        for phone in self._phones:
            lamps[phone.extension].add(phone.lamp)
        return {
            "links": len(self.links),
            "counts": self.counts,
            "faults": self.faults[:20],
            "lamps": {extension: sorted(states) for extension, states in lamps.items()},
        }

    # What a phone does

    async def _live(self, phone: Desk, until: float) -> None:
        loop = asyncio.get_running_loop()
        pause = self._count / ACTS_PER_S
        acts, weights = list(ACTS), list(ACTS.values())
        while loop.time() + 2 * pause < until:
            await asyncio.sleep(self._random.uniform(0, 2 * pause))
            (act,) = self._random.choices(acts, weights)
            self.counts[act] += 1
            await self._act(phone, act)

    async def _act(self, phone: Desk, act: str) -> None:
        if act == "refresh":
            await self._subscribe(phone)
            return
        if act == "renew":
            await self._unsubscribe(phone)
            phone.call_id = phone.to = ""
        old, phone.link, phone.settled = phone.link, None, 0
        if act in ("fin", "rst", "torn"):
            self._break(phone, old, act)
            await asyncio.sleep(self._random.uniform(0, 1))
        await self._arrive(phone)
        if act in ("move", "renew") and old is not None:
            old.close()

    def _break(self, phone: Desk, link: Link | None, how: str) -> None:
        if link is None:
            return
        if how == "torn":
            phone.cseq += 1
            data = self._subscribe_bytes(phone, expires=3600)
            link.send(data[: self._random.randrange(1, len(data) - 1)])
        if how == "fin":
            link.close()
        else:
            link.reset()

    async def _arrive(self, phone: Desk) -> None:
        """Open a connection and SUBSCRIBE over it: in the old dialog, where there is one."""
        async with self._gate:
            _, phone.link = await asyncio.get_running_loop().create_connection(lambda: Link(self), *self._server)
            await self._subscribe(phone)

    async def _unsubscribe(self, phone: Desk) -> None:
        await self._subscribe(phone, expires=0)
        if not phone.ended:
            self.faults.append(f"{phone.call_id}: no terminated NOTIFY")
        self._by_call.pop(phone.call_id, None)

    async def _subscribe(self, phone: Desk, *, expires: int = 3600) -> None:
        """SUBSCRIBE over the newest connection; its 200 and its NOTIFY come before long."""
        if not phone.call_id:
            phone.call_id = f"{next(self._numbers)}@soak"
            phone.cseq = phone.told = phone.settled = 0
            phone.ended = False
            self._by_call[phone.call_id] = phone
        assert phone.link is not None
        phone.cseq += 1
        phone.status = phone.accepted = 0
        phone.link.send(self._subscribe_bytes(phone, expires=expires))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while not (phone.status and phone.told > phone.accepted and (phone.ended or expires)):
                    phone.news.clear()
                    await phone.news.wait()
                return
        self.faults.append(f"{phone.call_id}: SUBSCRIBE {phone.cseq} got {phone.status}, no NOTIFY after {phone.told}")

    def _subscribe_bytes(self, phone: Desk, *, expires: int) -> bytes:
        host, port = self._server
        return (
            f"SUBSCRIBE {phone.target if phone.to else f'sip:{phone.extension}@{host}:{port}'} SIP/2.0\r\n"
            f"Via: SIP/2.0/TCP {NOBODY};branch=z9hG4bK{phone.tag}.{phone.cseq}.{phone.call_id.partition('@')[0]}\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:desk@{host}>;tag={phone.tag}\r\n"
            f"To: {phone.to or f'<sip:{phone.extension}@{host}>'}\r\n"
            f"Call-ID: {phone.call_id}\r\nCSeq: {phone.cseq} SUBSCRIBE\r\nContact: <{phone.contact}>\r\n"
            f"Event: dialog\r\nExpires: {expires}\r\nContent-Length: 0\r\n\r\n"
        ).encode()

    # What a phone sees

    def take(self, message: Message, link: Link) -> None:
        """Take a message of the server's."""
        if message.method:
            link.send(wire.answer(message))
        phone = self._by_call.get(message.get("call-id"))
        if phone is None:
            self.faults.append(f"{message.get('call-id')}: no dialog of ours: {message.start}")
        elif message.method == "NOTIFY":
            self._notified(phone, message, link)
        elif message.cseq == phone.cseq:
            self._answered(phone, message)

    def lost(self, link: Link) -> None:
        """A connection is gone, and it was not its phone that ended it where that still uses it."""
        self.faults += [f"{phone.call_id}: the connection was closed" for phone in self._phones if phone.link is link]

    def _answered(self, phone: Desk, message: Message) -> None:
        phone.status = message.status
        phone.accepted = phone.told
        if message.status == 200:
            phone.to = message.get("to")
            phone.target = message.get("contact").strip("<>")
        else:
            self.faults.append(f"{phone.call_id}: SUBSCRIBE {phone.cseq} got {message.start}")
        phone.news.set()

    def _notified(self, phone: Desk, message: Message, link: Link) -> None:
        cseq = message.cseq
        self.counts["notify"] += 1
        if phone.ended:
            self.faults.append(f"{phone.call_id}: NOTIFY {cseq} after terminated")
        if link is phone.link:
            if cseq <= phone.told:
                self.faults.append(f"{phone.call_id}: NOTIFY {cseq} after {phone.told}")
            phone.settled = phone.settled or cseq
        elif 0 < phone.settled < cseq:
            self.faults.append(f"{phone.call_id}: NOTIFY {cseq} over an old connection")
        if cseq > phone.told:
            phone.told, phone.lamp = cseq, message.lamp
            phone.ended = message.get("subscription-state").startswith("terminated")
        phone.news.set()


async def _obey(desks: Desks) -> None:
    loop = asyncio.get_running_loop()
    await desks.open()
    while True:
        print(json.dumps(desks.report()), flush=True)
        command, *arguments = (await loop.run_in_executor(None, sys.stdin.readline)).split() or ["exit"]
        if command == "churn":
            await desks.churn(float(arguments[0]))
        elif command == "leave":
            await desks.leave()
        elif command == "exit":
            return


if __name__ == "__main__":
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    address, _, at = sys.argv[1].rpartition(":")
    asyncio.run(_obey(Desks((address, int(at)), count=int(sys.argv[2]), resources=int(sys.argv[3]))))
