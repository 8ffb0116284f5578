"""systemd, without its library: sockets that it passes in, and what it is told (sd_listen_fds(3), sd_notify(3)).

A socket that systemd has bound outlives the process: what arrives between two of them waits in its buffer. Under any
other supervisor, or none, the variables are not there, and nothing here does anything.
"""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address
from typing import NamedTuple

from sipresence.net.address import ListenAddress
from sipresence.ports import Clock
from sipresence.sip.uri import join_host_port

FIRST_DESCRIPTOR = 3  # SD_LISTEN_FDS_START
STATUS_INTERVAL = 10.0  # s
SEND_PATIENCE = 1.0  # s


class _Inherited(NamedTuple):
    name: str
    socket: socket.socket


class InheritedSockets:
    """The sockets that were passed in. Each listener takes its own."""

    def __init__(self, sockets: Iterable[tuple[str, socket.socket]] = ()) -> None:
        self._left = [_Inherited(*one) for one in sockets]

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "InheritedSockets":
        """Take over what LISTEN_FDS says, if it is meant for this process."""
        if environ.get("LISTEN_PID") != str(os.getpid()):
            return cls()
        count = int(environ.get("LISTEN_FDS", "0"))
        names = environ.get("LISTEN_FDNAMES", "").split(":")
        names += ["unknown"] * (count - len(names))
        descriptors = range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + count)
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        sockets = (socket.socket(fileno=descriptor) for descriptor in descriptors)
        return cls(zip(names, sockets, strict=False))

    def take(self, listen: ListenAddress) -> socket.socket | None:
        """Return the socket that is bound to this very address, None where there is none."""
        for one in self._left:
            if _matches(one.socket, listen):
                self._left.remove(one)
                return one.socket
        return None

    def close_others(self) -> list[str]:
        """Close what no listener has taken; return what that was, for people."""
        others, self._left = self._left, []
        names = [_described(one) for one in others]
        for one in others:
            one.socket.close()
        return names


def _matches(sock: socket.socket, listen: ListenAddress) -> bool:
    kind = socket.SOCK_DGRAM if listen.transport == "UDP" else socket.SOCK_STREAM
    if (sock.family, sock.type) != (listen.family, kind):
        return False
    host, port = sock.getsockname()[:2]
    return (ip_address(host), port) == (ip_address(listen.host), listen.port)


def _described(one: _Inherited) -> str:
    sock = one.socket
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return f"{one.name}: {sock.family.name}"
    host, port = sock.getsockname()[:2]
    scheme = "udp" if sock.type == socket.SOCK_DGRAM else "tcp"
    return f"{one.name}: {scheme}://{join_host_port(host, port)}"


class Supervisor:
    """Whoever NOTIFY_SOCKET leads to, and what it wants to know: it restarts a process whose watchdog is not heard.

    `healthy` says whether this process should go on, `status` how it is, in a line.
    """

    def __init__(
        self, environ: Mapping[str, str], *, clock: Clock, healthy: Callable[[], bool], status: Callable[[], str]
    ) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._clock = clock
        self._healthy = healthy
        self._status = status
        self._watchdog = _watchdog_interval(environ) / 2  # s; 0: nobody listens for it
        self._stop_beating: Callable[[], None] = lambda: None

    def ready(self) -> None:
        """It serves, for the first time or after a reload."""
        self._tell("READY=1", f"STATUS={self._status()}")
        if self._address:
            self._stop_beating()
            self._beat()

    def reloading(self) -> None:
        """It reads its configuration, until `ready`."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, within: float) -> None:
        """It is about to end, and may take that many seconds."""
        self._tell("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int(within * 1_000_000)}")

    def close(self) -> None:
        """Say nothing any more."""
        self._stop_beating()

    def _beat(self) -> None:
        lines = [f"STATUS={self._status()}"]
        if self._watchdog and self._healthy():
            lines.append("WATCHDOG=1")
        self._tell(*lines)
        interval = min(self._watchdog, STATUS_INTERVAL) if self._watchdog else STATUS_INTERVAL
        self._stop_beating = self._clock.call_at(self._clock.now() + interval, self._beat)

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        # "@" stands for the zero byte of a name in the abstract namespace.
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
            sock.settimeout(SEND_PATIENCE)
            sock.sendto("\n".join(lines).encode(), address)


def _watchdog_interval(environ: Mapping[str, str]) -> float:
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    return int(environ.get("WATCHDOG_USEC", "0")) / 1_000_000
