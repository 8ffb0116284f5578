"""The only caller of the loop's timers, and of the machine's clocks."""

import asyncio
import time
from collections.abc import Callable


class LoopClock:
    """Unix time at start + monotonic time since: a clock step ends no subscription."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        return self._offset + time.monotonic()

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._loop.call_soon(callback)

    def call_at(self, when: float, callback: Callable[[], None]) -> Callable[[], None]:
        return self._loop.call_later(max(when - self.now(), 0.0), callback).cancel
