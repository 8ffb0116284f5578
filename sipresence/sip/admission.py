"""Admission: how much of a stranger's traffic is looked at, decided before a message is parsed.

Whoever authenticates pays with a bucket of his own. Everything else (malformed messages, requests without credentials
or with wrong ones, answers nobody waits for) is paid by where it comes from: by a bucket for each address and port, and
by a ceiling for each address, high enough for an office behind one NAT that comes back all at once. Above the ceiling
an address is served still at those ports whose phones have authenticated before. In IPv6 the ceiling is that of the
/64, in which a sender chooses addresses freely (RFC 4862).

    admits ──> parse ──> malformed, or not authenticated ──> charge
                     └─> authenticated ──> known_good, allows

Tables are bounded and need no timer: each is two generations of a dictionary, the older of which is dropped as a whole.
A bucket that nobody drew from for a generation is full again, so that forgetting it forgives nothing.

A source address can be forged over UDP, so that one phone may be kept from being heard by somebody who knows its
address and port. What is kept safe is everybody else.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Generic, TypeVar

MAX_SOURCES = 65_536  # addresses and ports that one generation holds, and hosts, and subscribers
MAX_KNOWN_GOOD = 131_072
KNOWN_GOOD_FOR = 3600.0  # s at least: half of what a subscription may last, when phones refresh

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


@dataclass(slots=True, frozen=True)
class RateLimits:
    """Messages per second, and how many may come at once: without authentication per address and port (source) and per
    address (host), authenticated per subscriber."""

    source_rate: float = 10.0
    source_burst: int = 150
    host_rate: float = 500.0
    host_burst: int = 8000
    subscriber_rate: float = 50.0
    subscriber_burst: int = 600


class Generations(Generic[Key, Value]):
    """A dictionary that forgets what was not written for a `period`, sooner when there are too many; 2·`most` at most.

    It forgets only when it is written to, so that nothing has to be timed.
    """

    __slots__ = ("_ends_at", "_most", "_old", "_period", "_young")

    def __init__(self, *, period: float, most: int) -> None:
        self._period = period
        self._most = most
        self._ends_at = 0.0
        self._young: dict[Key, Value] = {}
        self._old: dict[Key, Value] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, key: Key) -> Value | None:
        value = self._young.get(key)
        return self._old.get(key) if value is None else value

    def set(self, key: Key, value: Value, now: float) -> None:
        if now >= self._ends_at or len(self._young) >= self._most:
            self._old, self._young = self._young, {}
            self._ends_at = now + self._period
        self._young[key] = value


class Buckets(Generic[Key]):
    """A token bucket per key, filled at `rate` up to `burst`; kept as the one time when it is full again.

    Time is counted in Unix seconds, whose last bit is 0.2 µs: rates up to some 10,000 per second are exact enough.
    """

    __slots__ = ("_cost", "_depth", "_full_at")

    def __init__(self, rate: float, burst: int, *, most: int = MAX_SOURCES) -> None:
        self._cost = 1 / rate  # s until a token has come back
        self._depth = burst / rate  # s until an empty bucket is full
        self._full_at: Generations[Key, float] = Generations(period=self._depth + self._cost, most=most)

    def __len__(self) -> int:
        return len(self._full_at)

    def overdrawn(self, key: Key, now: float) -> bool:
        """Whether not one token is left."""
        full_at = self._full_at.get(key)
        return full_at is not None and full_at - now > self._depth - self._cost / 2

    def left(self, key: Key, now: float) -> float:
        """How many tokens are left."""
        until_full = (self._full_at.get(key) or now) - now
        return max(0.0, (self._depth - max(0.0, until_full)) / self._cost)

    def charge(self, key: Key, now: float, tokens: float = 1) -> None:
        """Take tokens; the debt is one at most, so that the bucket is full again after (burst + 1) / rate."""
        full_at = max(self._full_at.get(key) or now, now) + tokens * self._cost
        self._full_at.set(key, min(full_at, now + self._depth + self._cost), now)

    def refund(self, key: Key, now: float) -> None:
        """Give back a token that was taken too soon."""
        full_at = self._full_at.get(key)
        if full_at is not None:
            self._full_at.set(key, full_at - self._cost, now)


class Admission:
    """Whom to hear, and how often. Sources in `trusted_networks` have no limit here."""

    def __init__(self, limits: RateLimits, trusted_networks: Sequence[IPv4Network | IPv6Network] = ()) -> None:
        self._trusted_networks = tuple(trusted_networks)
        self._payers: dict[str, str] = {}  # host -> whose ceiling counts; "" for a trusted one
        self._known_good: Generations[tuple[str, int], bool] = Generations(period=KNOWN_GOOD_FOR, most=MAX_KNOWN_GOOD)
        self._fill(limits)

    def configure(self, limits: RateLimits, trusted_networks: Sequence[IPv4Network | IPv6Network]) -> None:
        """Go on with other limits, for which all buckets are full, and other networks."""
        self._trusted_networks = tuple(trusted_networks)
        self._payers.clear()
        if limits != self._limits:
            self._fill(limits)

    def _fill(self, limits: RateLimits) -> None:
        self._limits = limits
        self._sources: Buckets[tuple[str, int]] = Buckets(limits.source_rate, limits.source_burst)
        self._hosts: Buckets[str] = Buckets(limits.host_rate, limits.host_burst)
        self._subscribers: Buckets[tuple[str, str]] = Buckets(limits.subscriber_rate, limits.subscriber_burst)

    def trusts(self, host: str) -> bool:
        """Whether this address needs no authentication and has no limit."""
        return not self.payer(host)

    def admits(self, host: str, port: int, now: float) -> bool:
        """Whether a message from here is looked at. Hot: asked for each datagram of a flood."""
        payer = self.payer(host)
        if not payer:
            return True
        source = (host, port)
        if self._sources.overdrawn(source, now):
            return False
        return not self._hosts.overdrawn(payer, now) or self._known_good.get(source) is not None

    def charge(self, host: str, port: int, now: float, tokens: float = 1) -> None:
        """A message from here was malformed, or was nobody's: it is paid for by its source."""
        payer = self.payer(host)
        if payer:
            self._sources.charge((host, port), now, tokens)
            self._hosts.charge(payer, now, tokens)

    def refund(self, host: str, port: int, now: float) -> None:
        """It was paid for in advance, while it waited to be looked at: now that will show what it costs."""
        payer = self.payer(host)
        if payer:
            self._sources.refund((host, port), now)
            self._hosts.refund(payer, now)

    def known_good(self, host: str, port: int, now: float) -> None:
        """A message from here was authenticated: what is wrong with its neighbours is no fault of this phone."""
        if self.payer(host):
            self._known_good.set((host, port), True, now)

    def allows(self, account: str, user: str, now: float) -> bool:
        """Whether an authenticated subscriber may ask once more; if so, that is counted."""
        subscriber = (account, user)
        if self._subscribers.overdrawn(subscriber, now):
            return False
        self._subscribers.charge(subscriber, now)
        return True

    def payer(self, host: str) -> str:
        """Whose ceiling a message or connection from here counts to: "" for a trusted one, which has none."""
        payer = self._payers.get(host)
        if payer is None:
            if len(self._payers) >= MAX_SOURCES:
                self._payers.clear()
            payer = self._payers[host] = self._find_payer(host)
        return payer

    def _find_payer(self, host: str) -> str:
        address = ip_address(host.partition("%")[0])
        address = getattr(address, "ipv4_mapped", None) or address
        if any(address in network for network in self._trusted_networks):
            return ""
        return address.exploded[:19] if isinstance(address, IPv6Address) else str(address)
