"""Keeping NAT pinholes open: a CRLF to each source address, once an interval, spread over it.

Phones behind a NAT keep their own mapping alive as a rule, not all of them and not always often enough. CRLF is what
every SIP phone takes for nothing at all (RFC 3261 section 7.5).
"""

from collections import deque
from collections.abc import Callable, Sequence
from math import ceil

from sipresence.ports import Clock
from sipresence.sip.flow import Flow
from sipresence.sip.transaction import Transmit

KEEPALIVE = b"\r\n"
TICK = 1.0  # s


class PinholeKeeper:
    """Pings what `pinholes` names, every `interval` seconds (0: never)."""

    def __init__(
        self,
        *,
        interval: int,
        clock: Clock,
        pinholes: Callable[[], Sequence[Flow]],
        send: Callable[[Transmit], None],
    ) -> None:
        self._interval = interval
        self._clock = clock
        self._pinholes = pinholes
        self._send = send
        self._round: deque[Flow] = deque()
        self._share = 0
        self._ticks = 0
        self._cancel: Callable[[], None] = lambda: None
        self.sent = 0

    def start(self) -> None:
        if self._interval:
            self._cancel = self._clock.call_at(self._clock.now() + TICK, self._tick)

    def stop(self) -> None:
        self._cancel()

    def _tick(self) -> None:
        """Send one second's share of the round; a new round begins when the interval is over."""
        self._ticks -= 1
        if self._ticks < 0:
            self._round = deque(self._pinholes())
            self._ticks = self._interval - 1
            self._share = ceil(len(self._round) / self._interval)
        for _ in range(min(self._share, len(self._round))):
            flow = self._round.popleft()
            self._send(Transmit(KEEPALIVE, flow, (flow.host, flow.port)))
            self.sent += 1
        self.start()
