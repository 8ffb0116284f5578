"""The constant part of a dialog's NOTIFYs (RFC 6665 section 4.2.2), rendered once per dialog.

From and To are the dialog's own URIs, as the SUBSCRIBE wrote them (phones.md 35); the Event header repeats the id.
"""

from sipresence.events.record import SubscriptionRecord
from sipresence.sip.message import LONG_NAMES, HeaderNames

MAX_FORWARDS = 70


def render_head(
    record: SubscriptionRecord, *, contact: str, route: str, content_type: str, names: HeaderNames = LONG_NAMES
) -> bytes:
    """Render the constant header lines of a dialog's NOTIFYs, each ended by CRLF."""
    event = f"{record.event};id={record.event_id}" if record.event_id else record.event
    lines = [
        f"Max-Forwards: {MAX_FORWARDS}",
        f"{names.from_}: {record.local_address};tag={record.local_tag}",
        f"{names.to}: {record.remote_address}",
        f"{names.call_id}: {record.call_id}",
        f"{names.contact}: <{contact}>",
        f"{names.event}: {event}",
        f"{names.content_type}: {content_type}",
    ]
    if route:
        lines.insert(0, f"Route: {route}")
    return "".join(f"{line}\r\n" for line in lines).encode()
