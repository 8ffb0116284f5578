"""The kinds of value that a configuration holds, each with its check: it raises ValueError in the operator's words."""

import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, TypeAlias, TypeVar
from unicodedata import category

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

SIP_PORTS = {"udp": 5060, "tcp": 5060, "tls": 5061, "ws": 80, "wss": 443}  # RFC 3261 section 19.1.2, RFC 6455 section 3
DEFAULT_HTTP_PORT = 8000
WEBSOCKET_PORT = 5555  # Kazoo's
DNS_PORT = 53
MAX_SECONDS = 2**31 - 1

_HOST_PORT = re.compile(
    r"(?:\[(?P<ipv6>[^\[\]]+)\]|(?P<name>(?=[0-9]*[A-Za-z._-])[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?"
)
_HA1_DIGITS = {"MD5": 32, "SHA-256": 64}
_NAME = re.compile(r"[a-z0-9._-]{1,253}")

Sized = TypeVar("Sized", str, SecretStr)


def split_host_port(text: str) -> tuple[str, int | None]:
    """Split `host[:port]`, an IPv6 host in brackets; a mere number is a forgotten host. Raises ValueError."""
    match = _HOST_PORT.fullmatch(text)
    if match is None or (match["ipv6"] and not is_address(match["ipv6"])) or int(match["port"] or 0) > 65535:
        raise ValueError(f"'{text}' is no host or host:port")
    return match["ipv6"] or match["name"].lower(), int(match["port"]) if match["port"] else None


def split_listen_url(url: str) -> tuple[str, str, int]:
    """Split a listener's URL into scheme, IP address and port (0: the kernel chooses). Raises ValueError."""
    scheme, mark, authority = url.partition("://")
    scheme = scheme.lower()
    if not mark or scheme not in SIP_PORTS:
        raise ValueError(f"'{url}' is no listener such as udp://0.0.0.0:5060 or tcp://[::]:5060 (or tls, ws, wss)")
    host, port = split_host_port(authority)
    if not is_address(host):
        raise ValueError(f"'{host}' is no IP address of this machine, nor 0.0.0.0 or [::] for all")
    return scheme, host, SIP_PORTS[scheme] if port is None else port


def split_store_url(url: str) -> Path | None:
    """Return the database file of a store's URL, None for `memory:`. Raises ValueError."""
    scheme, _, rest = url.partition(":")
    if scheme == "redis":
        raise ValueError("redis:// is not in this version; sqlite: and memory: are")
    if url == "memory:":
        return None
    if scheme != "sqlite" or not rest or (rest.startswith("//") and not rest.startswith("///")):
        raise ValueError("must be sqlite:///absolute/path, sqlite:relative/path or memory:")
    if rest.endswith(":memory:"):
        raise ValueError("a store that keeps nothing is memory:")
    return Path(rest.removeprefix("//"))


def is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def bare_host(text: str) -> str:
    return text.lower().removeprefix("[").removesuffix("]")


def join_host_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def listen_url(url: str) -> str:
    scheme, host, port = split_listen_url(url)
    return f"{scheme}://{join_host_port(host, port)}"


def listen_address(text: str) -> str:
    host, port = split_host_port(text)
    return join_host_port(host, DEFAULT_HTTP_PORT if port is None else port)


def websocket_address(text: str) -> str:
    if not text:
        return ""
    host, port = split_host_port(text)
    return join_host_port(host, WEBSOCKET_PORT if port is None else port)


def name_server(text: str) -> str:
    host, port = (text, None) if is_address(text) else split_host_port(text)
    if not is_address(host) or port == 0:
        raise ValueError(f"'{text}' is no IP address or address:port")
    return join_host_port(host, port or DNS_PORT)


def server_name(text: str) -> str:
    if not _NAME.fullmatch(text.lower().removeprefix("*.")):
        raise ValueError(f"'{text}' is no host name, nor *.domain for all names one label below")
    return text.lower()


def _advertised(text: str) -> str:
    host, port = split_host_port(text)
    if port == 0 or (is_address(host) and ip_address(host).is_unspecified):
        raise ValueError(f"'{text}' is nowhere a phone could send to")
    return text


def _network(text: object) -> IPv4Network | IPv6Network:
    try:
        if isinstance(text, str):
            return ip_network(text, strict=False)
    except ValueError:
        pass
    raise ValueError(f"'{text}' is no network such as 192.168.0.0/16 or 2001:db8::/32")


def store_url(url: str) -> str:
    split_store_url(url)
    return url


def _lower(pattern: str, wanted: str) -> AfterValidator:
    """Lower the case, and demand the pattern."""
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if not compiled.fullmatch(text.lower()):
            raise ValueError(f"must be {wanted}")
        return text.lower()

    return AfterValidator(check)


def host_alias(text: str) -> str:
    host = bare_host(text)
    if not _NAME.fullmatch(host) and not is_address(host):
        raise ValueError(f"'{text}' is no host name or IP address (without port)")
    return host


def _text(text: str) -> str:
    # Lone surrogates come from JSON in the environment; neither they nor control characters fit into SIP and XML.
    if any(category(char) in ("Cc", "Cs") for char in text):
        raise ValueError("must not contain control characters")
    return text


def _extension(text: str) -> str:
    if not text.partition("@")[0].strip():
        raise ValueError("must name an extension, such as 101 or *3101")
    return _text(text)


def length(shortest: int, longest: int) -> AfterValidator:
    def check(text: Sized) -> Sized:
        if shortest <= len(text) <= longest:
            return text
        wanted = f"{shortest}" if shortest == longest else f"{shortest} to {longest}"
        raise ValueError(f"must have {wanted} characters")

    return AfterValidator(check)


def hex_digests(secrets: dict[str, SecretStr]) -> dict[str, SecretStr]:
    for algorithm, secret in secrets.items():
        digits = _HA1_DIGITS[algorithm]
        if not re.fullmatch(f"[0-9a-fA-F]{{{digits}}}", secret.get_secret_value()):
            raise ValueError(f"{algorithm} must have {digits} hex digits")
    return secrets


def _pattern(text: object) -> re.Pattern[str]:
    try:
        if isinstance(text, str):
            return re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None
    raise ValueError("must be a regular expression in quotes")


Id: TypeAlias = Annotated[str, _lower(r"[0-9a-f]{32}", "32 hex digits")]
Realm: TypeAlias = Annotated[str, _lower(r"[a-z0-9._-]{4,253}", "a domain: 4 to 253 letters, digits and . _ -")]
Text: TypeAlias = Annotated[str, AfterValidator(_text)]
Extension: TypeAlias = Annotated[str, AfterValidator(_extension)]
Advertised: TypeAlias = Annotated[str, AfterValidator(_advertised)]
Pattern: TypeAlias = Annotated[re.Pattern[str], BeforeValidator(_pattern)]
Network: TypeAlias = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]
Seconds: TypeAlias = Annotated[int, Field(ge=1, le=MAX_SECONDS)]
Rate: TypeAlias = Annotated[float, Field(gt=0, le=10_000)]
Timeout: TypeAlias = Annotated[float, Field(gt=0, le=86_400)]
Count: TypeAlias = Annotated[int, Field(ge=1, le=MAX_SECONDS)]
