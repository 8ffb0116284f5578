"""Where a message came from, and the way back.

A flow (RFC 5626 section 2) is a listener of ours and the address at its other end; for a stream, one connection. It is
a value: the transports make one per connection or per source address, never per message.
"""

from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class Flow:
    """`local` is the `host[:port]` by which that peer can reach us, as Via and Contact say it.

    `connection` numbers a stream connection within this process; 0 is a datagram flow, or a stored flow whose
    connection is gone.
    """

    transport: str  # "UDP" or "TCP", as in Via
    listener: str  # the listener's URL, as configured
    host: str
    port: int
    local: str
    connection: int = 0

    @property
    def contact(self) -> str:
        """Our own Contact URI towards this peer."""
        return (
            f"sip:{self.local}" if self.transport == "UDP" else f"sip:{self.local};transport={self.transport.lower()}"
        )

    @property
    def reliable(self) -> bool:
        return self.transport != "UDP"


@dataclass(slots=True, frozen=True)
class Hop:
    """The next hop of a request that we send: `host` (a literal or a name) and `port`, over `transport`.

    `flow` is the way back to where the SUBSCRIBE came from. It says which listener to send from, and is the way itself
    where there is no host, where `prefer_flow` says so and its connection lives, and where `fallback` says so and the
    host is a name without an address.
    """

    flow: Flow
    transport: str
    host: str = ""
    port: int = 0
    prefer_flow: bool = False
    fallback: bool = False
