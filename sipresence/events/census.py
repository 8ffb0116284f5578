"""The census: how many subscriptions there are of each kind, counted as they come, change and go.

Nobody walks through a million subscriptions to count them. User-Agent headers are anybody's free text, so they are
counted by family: a short list of names, and `other`.
"""

from collections import Counter
from functools import lru_cache

from sipresence.events.record import SubscriptionRecord
from sipresence.figures import Kind

FAMILIES = (
    "3cx", "acrobits", "aastra", "alcatel", "asterisk", "audc", "avaya", "baresip", "bria", "cisco", "fanvil",
    "freeswitch", "gigaset", "grandstream", "htek", "jitsi", "jssip", "kamailio", "kazoo", "linksys", "linphone",
    "microsip", "mitel", "obihai", "opensips", "panasonic", "pjsua", "polycom", "poly", "sip.js", "sipp", "snom",
    "unify", "vtech", "yealink", "zoiper",
)  # fmt: skip
"""How the products' User-Agent headers begin, in lower case; a longer name before one that it begins with."""

NONE, OTHER = "none", "other"


@lru_cache(maxsize=4096)
def family(user_agent: str) -> str:
    """The family that a User-Agent header belongs to: its first word, if that begins with a known name."""
    if not user_agent:
        return NONE
    word = user_agent.lower().replace("/", " ", 1).split(" ", 1)[0]
    return next((name for name in FAMILIES if word.startswith(name)), OTHER)


class Census:
    """Counts of the living subscriptions."""

    def __init__(self) -> None:
        self.counts: Counter[Kind] = Counter()

    def move(self, old: SubscriptionRecord | None, new: SubscriptionRecord | None) -> None:
        """A subscription has the row `new` from now on instead of `old`; None: it begins, or has ended."""
        if (
            old is not None
            and new is not None
            and old.transport == new.transport
            and old.user_agent == new.user_agent  # nothing else of its kind ever changes
        ):
            return
        if old is not None:
            kind = _kind(old)
            self.counts[kind] -= 1
            if not self.counts[kind]:
                del self.counts[kind]
        if new is not None:
            self.counts[_kind(new)] += 1


def _kind(record: SubscriptionRecord) -> Kind:
    return Kind(record.account, record.event, record.transport, family(record.user_agent))
