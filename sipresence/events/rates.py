"""How often a subscriber wants to be told (RFC 6446): `max-rate` and `min-rate` of the Event header, NOTIFYs a second.

What comes sooner after the last NOTIFY than `max-rate` allows waits, and is then told by the state of that moment;
after 1/`min-rate` seconds without one the state is told once more. What the phone asks for itself, and the last NOTIFY,
are exempt. Subscription-State repeats both as they are applied here: that is how a phone sees that they are.

`adaptive-min-rate` is not supported, and so never repeated. Neither is an Event header in the answer to a NOTIFY: what
the last SUBSCRIBE says holds, which its row keeps over a restart.
"""

import re
from functools import lru_cache
from math import ceil
from typing import NamedTuple

from sipresence.sip.headers import parameter

MOST_UNASKED = 0.1
"""NOTIFYs a second that somebody may want though nothing changes: "The notifier MAY decide to increase or decrease the
proposed "min-rate" value by the subscriber based on its local policy" (section 6.3)."""
CACHED_LENGTH = 256  # characters: what is longer is not kept, so that the cache is bounded in bytes, too
_DIGITS = 10  # after the point, at most
_RATE = re.compile(rf"\d{{1,2}}(\.\d{{1,{_DIGITS}}})?", re.ASCII)


class Rates(NamedTuple):
    """Seconds between two NOTIFYs, at least and at most; 0 for either: it does not matter.

    `params` is how Subscription-State says it, each parameter with its semicolon.
    """

    shortest: float
    longest: float
    params: str


def read_rates(event: str, expires: int) -> Rates | None:
    """The rates of an Event header, applied to a subscription of `expires` seconds; None where it has none.

    A value that the grammar does not allow is as none (section 9.2). Hot: once per SUBSCRIBE.
    """
    if "-rate" not in event.lower():
        return None
    return _cached(event, expires) if len(event) <= CACHED_LENGTH else _read(event, expires)


def _read(event: str, expires: int) -> Rates | None:
    params = event.partition(";")[2]
    most, least = _value(params, "max-rate"), _value(params, "min-rate")
    if most:
        # Section 5.3: a rate "that would result in no notification before the subscription expiration" is raised.
        most = max(most, ceil(10**_DIGITS / max(expires, 1)) / 10**_DIGITS)
    if least:
        # Section 8: "the notifier MUST adjust the subscriber provided "min-rate" value to a value equal to or lower
        # than the "max-rate" value".
        least = min(least, most or least, MOST_UNASKED)
    if not most and not least:
        return None
    return Rates(
        1 / most if most else 0.0, 1 / least if least else 0.0, _param("max-rate", most) + _param("min-rate", least)
    )


_cached = lru_cache(maxsize=256)(_read)  # those that ask for it at all ask for the same


def _value(params: str, name: str) -> float:
    text = parameter(params, name) or ""
    return float(text) if _RATE.fullmatch(text) else 0.0


def _param(name: str, rate: float) -> str:
    return f";{name}={f'{rate:.{_DIGITS}f}'.rstrip('0').rstrip('.')}" if rate else ""
