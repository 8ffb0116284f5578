"""The constant part of a dialog's NOTIFYs (RFC 6665 section 4.2.2), rendered once per dialog.

From and To are the dialog's own URIs, as the SUBSCRIBE wrote them (phones.md 35); the Event header repeats the id.
"""

from sipresence.events.record import SubscriptionRecord

MAX_FORWARDS = 70


def render_head(record: SubscriptionRecord, *, contact: str, route: str, content_type: str) -> bytes:
    """Render the constant header lines of a dialog's NOTIFYs, each ended by CRLF."""
    event = f"{record.event};id={record.event_id}" if record.event_id else record.event
    lines = [
        f"Max-Forwards: {MAX_FORWARDS}",
        f"From: {record.local_address};tag={record.local_tag}",
        f"To: {record.remote_address}",
        f"Call-ID: {record.call_id}",
        f"Contact: <{contact}>",
        f"Event: {event}",
        f"Content-Type: {content_type}",
    ]
    if route:
        lines.insert(0, f"Route: {route}")
    return "".join(f"{line}\r\n" for line in lines).encode()
