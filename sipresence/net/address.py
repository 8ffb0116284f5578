"""Listener addresses, and by which address a peer can reach us."""

import socket
from typing import NamedTuple

from sipresence.sip.uri import join_host_port

MAX_PEERS = 65_536
WILDCARDS = ("0.0.0.0", "::", "")  # noqa: S104


class ListenAddress(NamedTuple):
    """One listener: its URL, what that says, and what to advertise for it ("" for nothing). Port 0: any free one."""

    url: str
    transport: str  # "UDP" or "TCP"
    host: str
    port: int
    advertise: str

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET


class LocalAddress:
    """By which `host:port` a peer reaches this listener: what is advertised, else what it is bound to, else the address
    by which the kernel reaches that peer. Never 0.0.0.0 or [::]."""

    def __init__(self, listen: ListenAddress, port: int) -> None:
        self._family = listen.family
        self._port = port
        self._towards: dict[str, str] = {}
        bound = "" if listen.host in WILDCARDS else join_host_port(listen.host, port)
        self._constant = listen.advertise or bound

    def towards(self, host: str) -> str:
        """Return `host[:port]` as the peer at this address can use it."""
        if self._constant:
            return self._constant
        known = self._towards.get(host)
        if known is None:
            if len(self._towards) >= MAX_PEERS:
                self._towards.clear()
            known = self._towards[host] = join_host_port(self._ask_kernel(host), self._port)
        return known

    def _ask_kernel(self, host: str) -> str:
        with socket.socket(self._family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((host, 9))  # sends nothing: only routes
            except OSError:
                return "::1" if self._family == socket.AF_INET6 else "127.0.0.1"
            return str(probe.getsockname()[0])
