"""The constant part of a dialog's NOTIFYs (RFC 6665 section 4.2.2), rendered once per dialog.

From and To are the dialog's own URIs, as the SUBSCRIBE wrote them (phones.md 35); the Event header repeats the id.
"""

from sipresence.events.record import SubscriptionRecord
from sipresence.sip.message import LONG_NAMES, HeaderNames

MAX_FORWARDS = 70


def render_head(
    record: SubscriptionRecord,
    *,
    contact: str,
    route: str,
    content_type: str,
    required: str = "",
    names: HeaderNames = LONG_NAMES,
) -> bytes:
    """Render the constant header lines of a dialog's NOTIFYs, each ended by CRLF, as is `required`."""
    event = f"{record.event};id={record.event_id}" if record.event_id else record.event
    head = (
        f"Max-Forwards: {MAX_FORWARDS}\r\n"
        f"{names.from_}: {record.local_address};tag={record.local_tag}\r\n"
        f"{names.to}: {record.remote_address}\r\n"
        f"{names.call_id}: {record.call_id}\r\n"
        f"{names.contact}: <{contact}>\r\n"
        f"{names.event}: {event}\r\n"
        f"{required}{names.content_type}: {content_type}\r\n"
    )
    return (f"Route: {route}\r\n{head}" if route else head).encode()


def bare(head: bytes) -> bytes:
    """The head of a NOTIFY without a body: it "contains no Content-Type header field" (RFC 5839 section 6.2)."""
    return head[: head.rindex(b"\r\n", 0, -2) + 2]  # that is the last line
