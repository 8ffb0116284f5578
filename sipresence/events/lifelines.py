"""Lifelines: the flows by which living subscriptions are reached, and that must not break.

That is a connection, which must not be closed for being idle, or the UDP source of a phone behind a NAT: a NAT forgets
a mapping that carries nothing for some 30 to 180 s, and with it every lamp of the phone behind it. One flow counts
once, however many keys the phone has.
"""

from collections import Counter
from collections.abc import Sequence

from sipresence.sip.flow import Flow


class Lifelines:
    """How many subscriptions each flow carries."""

    def __init__(self) -> None:
        self._carried: Counter[Flow] = Counter()

    def __len__(self) -> int:
        return len(self._carried)

    def __contains__(self, flow: Flow) -> bool:
        return flow in self._carried

    def pinholes(self) -> Sequence[Flow]:
        """Every datagram flow that has to be kept open, once."""
        return tuple(flow for flow in self._carried if not flow.reliable)

    def move(self, old: Flow | None, new: Flow | None) -> None:
        """A subscription is reached by `new` from now on instead of `old`; None is no lifeline."""
        if old is not None:
            self._carried[old] -= 1
            if not self._carried[old]:
                del self._carried[old]
        if new is not None:
            self._carried[new] += 1
