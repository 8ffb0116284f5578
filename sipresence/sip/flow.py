"""Where a message came from, and the way back.

A flow (RFC 5626 section 2) is a listener of ours and the address at its other end; for a stream, one connection. It is
a value: the transports make one per connection or per source address, never per message.
"""

from dataclasses import dataclass

DEFAULT_PORTS = {"UDP": 5060, "TCP": 5060, "TLS": 5061, "WS": 80, "WSS": 443}
"""Of a URI that names none (RFC 3261 section 19.1.2, RFC 6455 section 3)."""

SECURE = frozenset(("TLS", "WSS"))
WEBSOCKETS = frozenset(("WS", "WSS"))
"""Transports whose connections only the other side can open."""


@dataclass(slots=True, frozen=True)
class Flow:
    """`local` is the `host[:port]` by which that peer can reach us, as Via and Contact say it.

    `connection` numbers a stream connection within this process; 0 is a datagram flow, or a stored flow whose
    connection is gone.
    """

    transport: str  # "UDP", "TCP", "TLS", "WS" or "WSS", as in Via
    listener: str  # the listener's URL, as configured
    host: str
    port: int
    local: str
    connection: int = 0

    def contact(self, *, secure: bool = False) -> str:
        """Our own Contact URI towards this peer, SIPS where the dialog is `secure`."""
        uri = f"{'sips' if secure else 'sip'}:{self.local}"
        if self.transport == "UDP":
            return uri
        # WSS has no word of its own in a URI (RFC 7118 section 5.2).
        return f"{uri};transport={'ws' if self.transport == 'WSS' else self.transport.lower()}"

    @property
    def reliable(self) -> bool:
        return self.transport != "UDP"


@dataclass(slots=True, init=False)  # one per SUBSCRIBE: not frozen, and an __init__ that can be compiled
class Hop:
    """The next hop of a request that we send: `host` (a literal or a name) and `port`, over `transport`.

    `flow` is the way back to where the SUBSCRIBE came from. It says which listener to send from, and is the way itself
    where there is no host, where `prefer_flow` says so and its connection lives, and where `fallback` says so and the
    host is a name without an address. Where the host is a name, transport "" and port 0 are left to RFC 3263, which may
    choose no transport but a `secure` one for a SIPS URI.
    """

    flow: Flow
    transport: str
    host: str
    port: int
    prefer_flow: bool
    fallback: bool
    secure: bool

    def __init__(
        self,
        flow: Flow,
        transport: str,
        host: str = "",
        port: int = 0,
        prefer_flow: bool = False,
        fallback: bool = False,
        secure: bool = False,
    ) -> None:
        self.flow = flow
        self.transport = transport
        self.host = host
        self.port = port
        self.prefer_flow = prefer_flow
        self.fallback = fallback
        self.secure = secure
