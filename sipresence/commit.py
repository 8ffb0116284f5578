"""Commit: how a verb that HTTP asks for waits until what it has decided is kept."""

import asyncio
from collections.abc import Callable, Sequence

from sipresence.errors import StoreError
from sipresence.events.effects import Effect
from sipresence.outbox import Outbox


async def commit(outbox: Outbox, effects: Sequence[Effect], *, then: Callable[[bool], None] = lambda _: None) -> None:
    """Execute effects and return once they are committed. Raises StoreError.

    `then` is told whether they were, before anything that was decided later leaves; also where nobody waits any more.
    """
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def finish(error: StoreError | None) -> None:
        then(error is None)
        if done.cancelled():
            return  # the caller went away; what it asked for is done all the same
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    outbox.add(effects)
    outbox.when_committed(finish)
    outbox.flush()
    await asyncio.sleep(0)  # phones before the answer: where the store commits at once, NOTIFYs leave in this turn
    await done
