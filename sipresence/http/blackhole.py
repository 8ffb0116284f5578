"""Kazoo's websocket, `blackhole`: events about lamps, as they happen. This is the sockets; what is said over them is in
conversation.py.

A client sends text frames and gets replies and events. Its events wait in a bounded queue while its socket is full, or
while it is others' turn: a turn of the loop sends a few, so that phones are told no later than without all this. One
for whom too many wait is closed with 1013 (try again later), one whose token has ended with 1008, one that listens to
nothing and asks for nothing with 1000, and all with 1001 when the server stops. Pings find out who is gone.
"""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog
from aiohttp import WSCloseCode, WSMsgType, web

from sipresence.http.authorization import Handler, client_address, token_of
from sipresence.http.conversation import Conversation, WebsocketLimits
from sipresence.http.envelope import Envelopes, Refusal
from sipresence.http.kazoo_binding import AVAILABLE, MODULE

if TYPE_CHECKING:
    from sipresence.service import PresenceService
    from sipresence.session_service import SessionService

MAX_FRAME_BYTES = 64 * 1024
CHECK_S = 10.0  # between two looks at whether the token holds
CLOSE_S = 5.0  # that a client may take to answer our goodbye
SOCKETS_PER_TURN, EVENTS_PER_TURN = 4, 8  # how many sockets may send in a turn of the loop, and how many events each
THROTTLE_S = 0.1  # until the next frame is read of a client that sends too many

_log = structlog.get_logger()


class Blackhole:
    """All websockets of this process, on whichever listener they come in."""

    def __init__(self, service: "PresenceService", sessions: "SessionService", limits: WebsocketLimits) -> None:
        self.service = service
        self.sessions = sessions
        self.limits = limits
        self.turns = Turns()
        self._sockets: set[_Socket] = set()
        self._by_address: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._sockets)

    async def connect(self, request: web.Request) -> web.StreamResponse:
        """Take a client in, and serve it until either side closes. Raises Refusal."""
        address = client_address(request)
        self._refuse(request, address)
        socket = _Socket(self, peer=address)
        token = token_of(request)
        if token and not socket.conversation.show(token):
            raise Refusal(403, "forbidden", {"message": "forbidden"})
        self._sockets.add(socket)
        self._by_address[address] += 1
        try:
            return await socket.serve(request)
        finally:
            socket.end(WSCloseCode.OK)
            socket.conversation.end()
            self._sockets.discard(socket)
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]

    async def close(self, _: web.Application) -> None:
        """Say goodbye to all: the server stops."""
        for socket in self._sockets:
            socket.end(WSCloseCode.GOING_AWAY, "the server stops")

    def _refuse(self, request: web.Request, address: str) -> None:
        if not web.WebSocketResponse().can_prepare(request):
            # RFC 6455 section 4.4: the versions that we speak; RFC 9110 section 15.5.22: 426 names the protocol.
            headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
            raise Refusal(426, "upgrade_required", {"message": "this is a websocket"}, headers)
        if "Sec-WebSocket-Protocol" in request.headers:
            raise Refusal(400, "bad_request", {"message": "sub-protocols are not supported"})
        if self._by_address[address] >= self.limits.connections_per_address:
            raise Refusal(429, "too_many_requests", {"message": "too many connections"})
        if len(self._sockets) >= self.limits.connections:
            raise Refusal(503, "too_many_connections", {"message": "too many connections"}, {"Retry-After": "5"})


class Turns:
    """Who may go on: a few of those that ask in each turn of the loop, in the order in which they ask."""

    def __init__(self) -> None:
        self._asking: deque[Callable[[], None]] = deque()

    def ask(self, go_on: Callable[[], None]) -> None:
        """Call this when its turn has come."""
        self._asking.append(go_on)
        if len(self._asking) == 1:
            asyncio.get_running_loop().call_soon(self._give)

    def _give(self) -> None:
        for _ in range(min(SOCKETS_PER_TURN, len(self._asking))):
            self._asking.popleft()()
        if self._asking:
            asyncio.get_running_loop().call_soon(self._give)


class _Socket:
    """One client. Two tasks share it, one reads and answers, one sends events; `end` ends both."""

    def __init__(self, house: Blackhole, *, peer: str) -> None:
        self.conversation = Conversation(house.service, house.sessions, house.limits, peer=peer, woken=self._woken)
        self._turns = house.turns
        self._peer = peer
        self._socket = web.WebSocketResponse(
            timeout=CLOSE_S, heartbeat=house.limits.heartbeat, max_msg_size=MAX_FRAME_BYTES, compress=False
        )
        self._over: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        self._turn = asyncio.Event()

    def end(self, code: int, reason: str = "") -> None:
        """Close it, whatever it is doing; the first reason counts."""
        if not self._over.done():
            self._over.set_result((code, reason))

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Talk until either side closes."""
        await self._socket.prepare(request)
        asyncio.get_running_loop().call_later(CHECK_S, self._check)
        async with asyncio.TaskGroup() as tasks:
            talking = (tasks.create_task(self._send()), tasks.create_task(self._read()))
            code, reason = await self._over
            for task in talking:
                task.cancel()
        await self._close(request, code, reason)
        return self._socket

    def _woken(self) -> None:
        self._turns.ask(self._too_slow if self.conversation.overrun else self._turn.set)

    def _too_slow(self) -> None:
        self.end(WSCloseCode.TRY_AGAIN_LATER, "events are not read fast enough")

    async def _send(self) -> None:
        """Send events, as fast as the client takes them and its turns come."""
        with contextlib.suppress(ConnectionError):  # the reader sees it, too
            while await self._turn.wait():
                self._turn.clear()
                for _ in range(EVENTS_PER_TURN):
                    event = self.conversation.next_event()
                    if event is None:
                        break
                    await self._socket.send_str(event)
                else:
                    self._turns.ask(self._turn.set)

    async def _read(self) -> None:
        """Answer frames."""
        while not self._over.done():
            message = await self._socket.receive()
            if message.type is WSMsgType.TEXT:
                await self._answer(message.data)
            elif message.type is not WSMsgType.BINARY:  # which Kazoo does not look at, either
                self.end(self._socket.close_code or WSCloseCode.OK)

    async def _answer(self, frame: str) -> None:
        reply = self.conversation.answer(frame)
        with contextlib.suppress(ConnectionError):  # the next `receive` says that it is closed
            await self._socket.send_str(reply)
        if self.conversation.hopeless:
            self.end(WSCloseCode.POLICY_VIOLATION, "no valid token")
        elif self.conversation.throttled:
            await asyncio.sleep(THROTTLE_S)

    def _check(self) -> None:
        """See to it, now and then, that somebody is there who may listen."""
        if not self.conversation.token_holds():
            self.end(WSCloseCode.POLICY_VIOLATION, "the token has ended")
        elif self.conversation.idle:
            self.end(WSCloseCode.OK, "idle")
        if not self._over.done():
            asyncio.get_running_loop().call_later(CHECK_S, self._check)

    async def _close(self, request: web.Request, code: int, reason: str) -> None:
        """Say goodbye; one that does not read will not hear it, and is not waited for."""
        if request.transport is not None:
            asyncio.get_running_loop().call_later(CLOSE_S, request.transport.abort)
        await self._socket.close(code=code, message=reason.encode(), drain=False)
        _log.info("websocket closed", peer=self._peer, account=self.conversation.account, code=code, reason=reason)


def make_listing(envelopes: Envelopes) -> Handler:
    """Make what answers which bindings there are, to whoever asks."""

    async def listing(request: web.Request) -> web.Response:
        return envelopes.success(request, {MODULE: AVAILABLE})

    return listing
