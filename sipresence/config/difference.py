"""What is different between two configurations, and what of it can be taken in while the server runs.

Keys are `section.key`; `accounts` and `profiles` are one key each, with all that is in it.
"""

from sipresence.config.model import Config

RELOADED = frozenset(
    (
        "accounts", "log.level", "profiles", "sip.coalesce_ms", "sip.list_datagram_bytes", "sip.list_notify_bytes",
        "sip.default_expires", "sip.digest_algorithms", "sip.drain", "sip.drain_seconds", "sip.max_expires",
        "sip.min_expires", "sip.notify_failures", "sip.notify_rate", "sip.notify_window",
        "sip.register_default_expires", "sip.register_max_expires", "sip.register_min_expires", "sip.tls_certificate",
        "sip.tls_client_ca", "sip.tls_hosts", "sip.tls_private_key", "sip.trusted_networks", "sip.unknown_resources",
        "limits.contacts_per_device", "limits.handshake_deadline", "limits.host_burst", "limits.host_rate",
        "limits.idle_timeout", "limits.max_connections", "limits.max_connections_per_source", "limits.max_contacts",
        "limits.max_subscriptions",
        "limits.message_deadline", "limits.source_burst", "limits.source_rate", "limits.subscriber_burst",
        "limits.subscriber_rate", "limits.subscriptions_per_subscriber",
    )
)  # fmt: skip

NEEDS_RESTART = frozenset(
    (
        "http.accepted_status", "http.kazoo_exact", "http.limit_static_tokens", "http.list_format", "http.listen",
        "http.request_burst", "http.request_rate", "http.token_lifetime",
        "http.websocket_bindings", "http.websocket_connections",
        "http.websocket_connections_per_address", "http.websocket_heartbeat", "http.websocket_idle_timeout",
        "http.websocket_listen", "http.websocket_queue", "log.format",
        "sip.advertise", "sip.compact_headers", "sip.entity_tags", "sip.listen", "sip.nameservers", "sip.nat_keepalive",
        "sip.registrar", "sip.restore_spread", "sip.t1_ms", "sip.ws_origins",
        "store.synchronous", "store.url",
    )
)  # fmt: skip
"""What is bound, opened or rendered once, or counts at a start only."""


def changed(old: Config, new: Config) -> list[str]:
    """Return the keys that differ, in the order of the model."""
    keys = []
    for section in Config.model_fields:
        before, after = getattr(old, section), getattr(new, section)
        if section in ("accounts", "profiles"):
            keys += [section] * (before != after)
        else:
            fields = type(before).model_fields
            keys += [f"{section}.{name}" for name in fields if getattr(before, name) != getattr(after, name)]
    return keys
