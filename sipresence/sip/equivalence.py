"""Whether two URIs mean the same address (RFC 3261 section 19.1.4), as a registrar has to know of two contacts.

Scheme and host are compared without regard to case, user part and password with it; a character that need not be
escaped is the same escaped or not. What is left out is not its default: `sip:a@b` is not `sip:a@b:5060`. Parameters
that only one of them has do not count, but for those that change where a request goes. Header components count all,
in any order.

Less than the RFC has: a host name and its address are never one, IPv6 addresses are compared as text, and URIs of other
schemes (`tel:`, `mailto:`) only character by character.
"""

import re

from sipresence.errors import SipError
from sipresence.sip.uri import parse_uri

_ALWAYS_COUNT = frozenset(("user", "ttl", "method", "maddr", "transport"))
"""The last one by the RFC's example: `sip:bob@biloxi.com` is not `sip:bob@biloxi.com;transport=udp`."""

_ESCAPED = re.compile("%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.!~*'()")


def equivalent(one: str, other: str) -> bool:
    """Whether these URIs are equivalent. Raises MalformedMessage for a SIP URI that is none."""
    if one == other:
        return True
    try:
        first, second = parse_uri(one), parse_uri(other)
    except SipError:  # one of them is of another scheme
        return False
    return (
        (first.scheme, first.host, first.port) == (second.scheme, second.host, second.port)
        and _unescaped(first.user) == _unescaped(second.user)
        and _same_parameters(_parameters(first.params), _parameters(second.params))
        and _headers(one) == _headers(other)
    )


def _unescaped(text: str) -> str:
    """Write each character in one way: escaped only where it has to be."""

    def plain(escape: re.Match[str]) -> str:
        char = chr(int(escape[1], 16))
        return char if char in _UNRESERVED else escape[0].upper()

    return _ESCAPED.sub(plain, text)


def _parameters(text: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in _unescaped(text).lower().split(";") if part.strip())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _same_parameters(first: dict[str, str], second: dict[str, str]) -> bool:
    """RFC 3261 section 19.1.4: "Any uri-parameter appearing in both URIs must match." """
    common = first.keys() & second.keys()
    return all(first[name] == second[name] for name in common) and _ALWAYS_COUNT.isdisjoint(
        first.keys() ^ second.keys()
    )


def _headers(uri: str) -> list[tuple[str, str]]:
    """RFC 3261 section 19.1.4: "URI header components are never ignored." """
    pairs = (part.partition("=") for part in _unescaped(uri.partition("?")[2]).split("&") if part)
    return sorted((name.lower(), value) for name, _, value in pairs)
