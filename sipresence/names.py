"""The names by which things are known, as types, so that one cannot be passed for another."""

from sys import intern
from typing import NewType

AccountId = NewType("AccountId", str)
"""32 hex digits, as Kazoo writes account ids."""

ResourceId = NewType("ResourceId", str)
"""One watched address, `user@realm`: the user part unescaped and in lower case, the realm of its account."""

SubscriptionId = NewType("SubscriptionId", int)
"""Counted up by the notifier; the primary key of the stored row."""

CallId = NewType("CallId", str)
"""The Call-ID of a SIP dialog, compared byte by byte (RFC 3261 section 8.1.1.4)."""


def resource_id(user: str, realm: str) -> ResourceId:
    """Name the resource of an unescaped `user` part in `realm`."""
    return ResourceId(intern(f"{user}@{realm}".lower()))  # each of its subscriptions holds the name


def extension_of(resource: ResourceId) -> str:
    """Return the user part: the extension by which the admin API knows the resource."""
    return resource.rpartition("@")[0]


def realm_of(resource: ResourceId) -> str:
    """Return the realm part, which names the account."""
    return resource.rpartition("@")[2]
