"""Fuzzes the way of a datagram: parser, transactions, service, notifier, outbox, and back.

The invariants: nothing is raised; what is sent is well-formed; after three days without a phone nothing is left.
"""

from fuzz.house import House, fail_on_logged_errors


def one_input(data: bytes) -> None:
    """Play one script (see house.py)."""
    fail_on_logged_errors()
    House().play(data)
