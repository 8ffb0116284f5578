"""Receipts: how the phones took what was commanded.

Whoever has given a command may wait for the phones. What he waits for is, of each subscription that is told of it, the
answer to one NOTIFY, known by its CSeq: the one in flight if that tells the state of now already, else the next. The
first final answer counts, also where a refused NOTIFY goes again later.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import NamedTuple

from sipresence.names import SubscriptionId


class Receipt(NamedTuple):
    """How many subscriptions acknowledged, refused, or did not answer in time; `unchanged` had nothing to learn."""

    acknowledged: int = 0
    refused: int = 0
    silent: int = 0
    unchanged: int = 0


class Waiting:
    """Somebody waits for these answers: by subscription the CSeq of the NOTIFY, 0 where none is needed."""

    def __init__(self, due: Mapping[SubscriptionId, int]) -> None:
        self._due = {ident: cseq for ident, cseq in due.items() if cseq}
        self._unchanged = len(due) - len(self._due)
        self._acknowledged = self._refused = self._unreachable = 0
        self._over = asyncio.Event()
        if not self._due:
            self._over.set()

    def answered(self, ident: SubscriptionId, cseq: int, status: int) -> None:
        """A NOTIFY has its final answer; 408: it never will, 0: there was no way to send it."""
        if cseq < self._due.get(ident, cseq + 1):
            return
        del self._due[ident]
        if 200 <= status < 300:
            self._acknowledged += 1
        elif status in (0, 408):
            self._unreachable += 1
        else:
            self._refused += 1
        if not self._due:
            self._over.set()

    async def receipt(self, patience: float, *, has_learnt: Callable[[SubscriptionId], bool]) -> Receipt:
        """Wait for the last answer, or so many seconds. `has_learnt`: there is nothing more to tell it after all."""
        try:
            async with asyncio.timeout(patience):
                await self._over.wait()
        except TimeoutError:
            pass
        told_otherwise = sum(map(has_learnt, self._due))
        silent = self._unreachable + len(self._due) - told_otherwise
        return Receipt(self._acknowledged, self._refused, silent, self._unchanged + told_otherwise)
