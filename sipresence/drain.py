"""Draining: what a server that was told to stop does before it stops reading.

    hold     nothing: phones repeat what is not answered for 32 s, and find the next process
    refuse   503 with Retry-After to whatever is new, so that it goes to another server; refreshes are served
    goodbye  the same, and every subscription is ended, for a server that will not come back

Who is told again to stop does not wait any longer.
"""

import asyncio
import contextlib
from dataclasses import dataclass
from enum import StrEnum
from math import ceil

import structlog

from sipresence.service import PresenceService

log = structlog.get_logger()

ANSWERS_PATIENCE = 10.0  # s after the last goodbye was due, or would be if its phone took them faster
LOOK = 0.05  # s


class Manner(StrEnum):
    HOLD = "hold"
    REFUSE = "refuse"
    GOODBYE = "goodbye"


@dataclass(slots=True, frozen=True)
class DrainSettings:
    manner: Manner
    seconds: float


async def drain(service: PresenceService, settings: DrainSettings, *, hurried: asyncio.Event) -> None:
    """Do what `settings` say, until that is done, its time is over, or `hurried` is set."""
    if settings.manner is Manner.HOLD:
        return
    service.turn_away(max(ceil(settings.seconds), 1))
    if settings.manner is Manner.REFUSE:
        await _wait(settings.seconds, hurried)
        return
    ended = service.deactivate_all(spread=settings.seconds)
    until = service.now() + settings.seconds + ANSWERS_PATIENCE
    while service.unanswered and service.now() < until and not hurried.is_set():
        await _wait(LOOK, hurried)
    log.info("said goodbye", subscriptions=ended, unanswered=service.unanswered)


async def _wait(seconds: float, hurried: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await hurried.wait()
