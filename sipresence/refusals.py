"""Refusals: each one counted by its reason, few of them logged.

Whoever floods us must not fill the disk as well: at most ten lines a second are written, and the next line says how
many were left out. The shell logs; this only says when.
"""

from collections import Counter

LINES_PER_SECOND = 10

# What is refused without, or before, a status of its own.
CHALLENGED = "challenged"  # asked for its password: every authentication begins so, and it is never logged
MALFORMED = "malformed"  # no answer is possible
SOURCE_RATE = "source_rate"  # too much that is not authenticated from one address and port, or one address
SUBSCRIBER_RATE = "subscriber_rate"  # too many authenticated requests
NEW_WORK = "new_work"  # too many initial requests wait to be decided
COMMITS_LATE = "commits_late"  # the store is behind
DRAINING = "draining"  # the server is about to stop
SUBSCRIBER_FULL = "subscriber_full"  # one subscriber has all the subscriptions he may have
FULL = "full"  # all subscribers together

# Stream connections that are not taken, or are closed by us.
CONNECTIONS_FULL = "connections_full"
SOURCE_CONNECTIONS_FULL = "source_connections_full"
HANDSHAKE_LATE = "handshake_late"  # TLS or WebSocket not agreed on in time
MESSAGE_LATE = "message_late"  # a message has begun and did not end in time
IDLE = "idle"  # nothing came for long, and no subscription is carried
TLS_FAILED = "tls_failed"
UPGRADE_REFUSED = "upgrade_refused"  # no WebSocket with the subprotocol sip
UNREADABLE = "unreadable"  # what comes cannot be cut into messages
UNREAD = "unread"  # the other side does not read what we send

BY_STATUS = {
    400: "bad_request", 401: "not_authenticated", 403: "forbidden", 404: "unknown_resource", 405: "method",
    406: "accept", 416: "scheme", 420: "extension", 423: "interval_too_brief", 481: "unknown_dialog", 482: "merged",
    483: "too_many_hops", 489: "event", 500: "out_of_order", 501: "unknown_method", 505: "version", 513: "too_large",
}  # fmt: skip


class LineLimit:
    """So many lines a second."""

    def __init__(self) -> None:
        self._second_ends_at = 0.0
        self._lines = 0
        self._suppressed = 0

    def suppressed(self, now: float, count: int = 1) -> int | None:
        """Return None where nothing is to be logged, else how many of those before were not."""
        if now >= self._second_ends_at:
            self._second_ends_at = now + 1.0
            self._lines = 0
        if self._lines >= LINES_PER_SECOND:
            self._suppressed += count
            return None
        self._lines += 1
        suppressed, self._suppressed = self._suppressed + count - 1, 0
        return suppressed


class Refusals:
    """`counts` by reason is what a metrics page reads; reasons are few and fixed."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._limit = LineLimit()

    def count(self, reason: str, now: float, count: int = 1) -> int | None:
        """Count some. Return None where nothing is to be logged, else how many were not since the last that was."""
        self.counts[reason] += count
        return None if reason == CHALLENGED else self._limit.suppressed(now, count)
