"""How the list of a subscription is written into a row, and read again."""

import json
from typing import TypeAlias

from sipresence.events.resource_lists import Entry, Listing
from sipresence.names import SubscriptionId

ListRow: TypeAlias = tuple[SubscriptionId, str | None]


def list_row(ident: SubscriptionId, listing: Listing) -> ListRow:
    return ident, None if listing.entries is None else json.dumps(listing.entries)


def listing(row: ListRow) -> tuple[SubscriptionId, Listing]:
    ident, entries = row
    return ident, Listing(None if entries is None else tuple(Entry(uri, label) for uri, label in json.loads(entries)))
