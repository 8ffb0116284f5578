"""The numbers of the living subscriptions in rising order, so that a page of them can begin anywhere at once.

They rise by themselves, but for those that a restart finds, which are sorted when somebody asks. What is gone stays for
a while, and leaves together with as many others as live.
"""

from collections.abc import Sequence

from sipresence.names import SubscriptionId

FEWEST = 1024  # that leave together


class Numbers:
    """`add` costs an append, `remove` little more."""

    __slots__ = ("_gone", "_in_order", "_numbers")

    def __init__(self) -> None:
        self._numbers: list[SubscriptionId] = []
        self._gone: set[SubscriptionId] = set()
        self._in_order = True

    def add(self, ident: SubscriptionId) -> None:
        """It lives from now on."""
        if self._numbers and ident < self._numbers[-1]:
            self._in_order = False
        self._numbers.append(ident)

    def remove(self, ident: SubscriptionId) -> None:
        """It lives no more."""
        self._gone.add(ident)
        if len(self._gone) > max(FEWEST, len(self._numbers) // 2):
            gone = self._gone
            self._numbers = [number for number in self._numbers if number not in gone]
            self._gone = set()

    def rising(self) -> Sequence[SubscriptionId]:
        """All of them, and some that are gone. It only ever grows at its end while somebody looks at it."""
        if not self._in_order:
            self._numbers = sorted(self._numbers)
            self._in_order = True
        return self._numbers
