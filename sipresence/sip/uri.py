"""SIP and SIPS URIs (RFC 3261 section 19.1), read only as far as a presence server needs them.

The user part is kept as written; `unescaped_user` gives what it means (`%2A3101` is `*3101`, and so is `*3101;x=y`).
Host names compare in lower case. Parameters and headers are kept as text and looked into only when asked.
"""

from functools import lru_cache
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from sipresence.errors import MalformedMessage, SipError

_HOST = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_")
_MAX_HOST = 253  # characters of a domain name (RFC 1035)
_CACHED = 32_768  # texts: the Contacts of so many phones come again and again
_CACHED_LENGTH = 256  # longer ones are parsed each time: the cache stays bounded in bytes as well


class Uri(NamedTuple):
    """A parsed SIP URI. `port` is 0 where none is written; `params` starts with `;` or is empty."""

    scheme: str
    user: str
    host: str
    port: int
    params: str

    def param(self, name: str) -> str | None:
        """Return a parameter's value (`""` for a flag), or None; the name in lower case."""
        for part in self.params.split(";"):
            key, _, value = part.partition("=")
            if key.strip().lower() == name:
                return value.strip()
        return None

    @property
    def transport(self) -> str:
        """The transport that the URI names, as Via writes it, or "" for none."""
        return (self.param("transport") or "").upper()

    @property
    def bare_user(self) -> str:
        """The user part as written, without password and without parameters.

        In the grammar `;` is a character like others there, but what gateways and phones write behind it are the
        parameters of a telephone number (section 19.1.6, RFC 3966), and who presses a lamp key means the number.
        """
        return self.user.partition(":")[0].partition(";")[0]

    @property
    def unescaped_user(self) -> str:
        """The bare user part, percent-decoded. Raises MalformedMessage for what is no UTF-8 text."""
        user = self.bare_user
        if "%" not in user:
            return user
        try:
            return unquote_to_bytes(user).decode()
        except UnicodeDecodeError:
            raise MalformedMessage("the user part is not UTF-8") from None


def parse_uri(text: str) -> Uri:
    """Parse a SIP or SIPS URI.

    Raises SipError 416 for another scheme (RFC 3261 section 8.2.2.1) and MalformedMessage for text that is no URI.
    """
    return _parse_cached(text) if len(text) <= _CACHED_LENGTH else _parse(text)


def _parse(text: str) -> Uri:
    scheme, colon, rest = text.partition(":")
    if not colon or not scheme or not scheme[0].isalpha():
        raise MalformedMessage("not a URI")
    scheme = scheme.lower()
    if scheme not in ("sip", "sips"):
        raise SipError(416, reason="Unsupported URI Scheme")
    if not text.isprintable() or " " in text or "<" in text or ">" in text or '"' in text:
        raise MalformedMessage("a URI holds a character that it must escape")
    user, at, host_part = rest.partition("@")
    if not at:
        user, host_part = "", rest
    elif "@" in host_part:
        raise MalformedMessage("a URI with two @")
    host_part = host_part.partition("?")[0]
    host_port, semicolon, params = host_part.partition(";")
    host, port = split_host_port(host_port)
    return Uri(scheme, user, host, port, f";{params}" if semicolon else "")


_parse_cached = lru_cache(maxsize=_CACHED)(_parse)


def split_host_port(text: str) -> tuple[str, int]:
    """Split `host[:port]`; an IPv6 host keeps its brackets off. Port 0 means none. Raises MalformedMessage."""
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if len(host) > _MAX_HOST or not is_address(host) or not bracket or (port and not port.startswith(":")):
            raise MalformedMessage("a malformed IPv6 reference")
        port = port[1:]
    else:
        host, _, port = text.partition(":")
        if not 0 < len(host) <= _MAX_HOST or not _HOST.issuperset(host):
            raise MalformedMessage("a malformed host")
    if not port:
        return host.lower(), 0
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) <= 65535):
        raise MalformedMessage("a malformed port")
    return host.lower(), int(port)


def join_host_port(host: str, port: int) -> str:
    """Write `host:port`, an IPv6 address in brackets; port 0 is left out."""
    written = f"[{host}]" if ":" in host else host
    return f"{written}:{port}" if port else written


@lru_cache(maxsize=_CACHED)
def is_address(host: str) -> bool:
    """Whether `host` is an IPv4 or IPv6 literal (without brackets), as opposed to a name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=_CACHED)
def is_private(host: str) -> bool:
    """Whether `host` can only be reached from its own network: a private address, or a name under `.invalid`."""
    if not is_address(host):
        return host.endswith(".invalid")
    return not ip_address(host).is_global
