"""Answers to requests (RFC 3261 section 8.2.6), written: headers back to bytes.

What the request said is repeated as it was said, bytes that are no UTF-8 included.
"""

from typing import Final

from sipresence.sip.message import Request

REASONS: Final = {
    100: "Trying", 200: "OK", 204: "No Notification", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden",
    404: "Not Found", 405: "Method Not Allowed", 406: "Not Acceptable", 415: "Unsupported Media Type",
    416: "Unsupported URI Scheme", 420: "Bad Extension", 421: "Extension Required", 423: "Interval Too Brief",
    481: "Call/Transaction Does Not Exist", 482: "Loop Detected", 483: "Too Many Hops", 489: "Bad Event",
    500: "Server Internal Error", 501: "Not Implemented", 503: "Service Unavailable", 505: "Version Not Supported",
    513: "Message Too Large",
}  # fmt: skip


def response(request: Request, status: int, *, to_tag: str, headers: str = "", reason: str = "") -> bytes:
    """Write a response without a body. `headers` are complete lines, each ended by CRLF."""
    lines = [f"SIP/2.0 {status} {reason or REASONS.get(status, '')}"]
    lines += [f"Via: {via}" for via in request.all("via")]
    origin, to = request.get("from"), request.get("to")
    if origin is not None:
        lines.append(f"From: {origin}")
    if to is not None:
        lines.append(f"To: {to}" if request.to_tag else f"To: {to};tag={to_tag}")
    call_id, cseq = request.get("call-id"), request.get("cseq")
    if call_id is not None:
        lines.append(f"Call-ID: {call_id}")
    if cseq is not None:
        lines.append(f"CSeq: {cseq}")
    lines.append(f"{headers}Content-Length: 0\r\n\r\n")
    return "\r\n".join(lines).encode(errors="surrogateescape")
