"""Farewells: when the subscriptions that we end ourselves are told so (RFC 6665 section 4.1.3, "deactivated").

Each phone subscribes anew as soon as it is told, here or elsewhere, so they are spread; and a phone with 60 keys that
takes ten NOTIFYs a second is told no faster than that.
"""

from collections.abc import Sequence

from sipresence.events.pacing import Target


def farewell_times(targets: Sequence[Target], *, now: float, spread: float, rate: int) -> list[float]:
    """Return when to tell each: evenly over `spread` seconds, but at most `rate` a second (0: any) to one target."""
    gap = spread / max(len(targets), 1)
    interval = 1 / rate if rate else 0.0
    free_at: dict[Target, float] = {}
    times = []
    for index, target in enumerate(targets):
        when = max(now + index * gap, free_at.get(target, now))
        free_at[target] = when + interval
        times.append(when)
    return times
