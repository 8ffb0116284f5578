"""What a subscriber has asked for of how it is told, beyond what everybody gets. Nearly all have no terms.

Rates are RFC 6446 (rates.py). Entity tags are RFC 5839: each NOTIFY says in SIP-ETag which version of the state it
tells, and a SUBSCRIBE says in Suppress-If-Match which one its subscriber has. As long as that is the current one it is
told nothing; what has to be told of the subscription itself goes without a document.

The tag of a document follows from its bytes, so that a restart, and every node, gives it the same one. A list has none
(RlmiDocument): what one of its NOTIFYs tells is not the state of the list.
"""

from typing import NamedTuple

from sipresence.events.document import Document, Unsaid
from sipresence.events.effects import Notify
from sipresence.events.notify import bare
from sipresence.events.rates import Rates

ANY = "*"
"""Instead of a tag: whatever the state is. "Such a wildcard condition effectively quenches a subscription" (RFC 5839
section 5.2)."""


class Terms(NamedTuple):
    """`condition` is the entity tag that it has, or ANY, "" where it says nothing. Whoever has terms is told tags:
    who knows of the one RFC may know of the other, and nothing else tells him that we do."""

    rates: Rates | None = None
    condition: str = ""

    def suppress(self, document: Document) -> bool:
        """Whether its subscriber has this document already."""
        etag = document.etag
        return bool(etag) and self.condition in (ANY, etag)

    def applied(self, notify: Notify) -> Notify:
        """Write a new NOTIFY so. Hot for those who have terms."""
        if self.condition and self.suppress(notify.document):
            notify.document, notify.head = Unsaid(notify.document), bare(notify.head)
        notify.head += notify.document.etag_line
        if self.rates is not None and notify.subscription_state.startswith("active"):
            notify.subscription_state += self.rates.params
        return notify


TAGGED = Terms()
