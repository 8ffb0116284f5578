"""What listeners of the websocket cost those who have phones: the steady state, without and with them.

    chrt --rr 1 .venv/bin/python -m benchmarks.listeners

500 changes a second of 1,000 lamps, each with ten phones, while so many listeners hear one lamp each, or all of them.
They read what comes and look at none of it. At real-time priority what else runs on the machine does not count.
"""

import json
import os
import select
import socket
import struct
import threading
from types import TracebackType
from typing import Self

from benchmarks.load import Load
from benchmarks.processes import LOAD_CORE
from benchmarks.servers import ACCOUNT, TOKEN, Contender, Sipresence
from benchmarks.workloads import CHANGES_PER_S, WINDOW

SECONDS = 10
FIRST_EXTENSION = 10_000  # as benchmarks/load/changes.c has it
CASES = ((0, False), (1000, False), (50, True), (1000, True))  # how many listeners, and whether they hear all lamps

_UPGRADE = (
    b"GET /v2/websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Listeners:
    """So many of them between `with` and its end; `events` counts what they heard, `closed` those that were dropped."""

    def __init__(self, server: Contender, count: int, *, all_lamps: bool) -> None:
        self.events = self.closed = 0
        self._port = server.http_port
        names = ("*" if all_lamps else str(FIRST_EXTENSION + number) for number in range(count))
        self._bindings = [f"presence.extension.{name}" for name in names]
        self._over = threading.Event()

    def __enter__(self) -> Self:
        sockets = [self._listen(binding) for binding in self._bindings]
        self._reader = threading.Thread(target=self._read, args=(sockets,))
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._reader.join()

    def _listen(self, binding: str) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self._port))
        client.sendall(_UPGRADE)
        if not client.recv(4096).startswith(b"HTTP/1.1 101 "):
            raise RuntimeError("no websocket")
        data = {"account_id": ACCOUNT, "binding": binding}
        client.sendall(_frame(json.dumps({"action": "subscribe", "auth_token": TOKEN, "data": data}).encode()))
        if b'"success"' not in client.recv(4096):
            raise RuntimeError("not subscribed")
        return client

    def _read(self, sockets: list[socket.socket]) -> None:
        reading = {client.fileno(): client for client in sockets}
        with select.epoll() as poll:
            for number in reading:
                poll.register(number, select.EPOLLIN)
            while not self._over.is_set():
                for number, _ in poll.poll(0.1):
                    data = reading[number].recv(1 << 17)
                    self.events += data.count(b'"action": "event"')
                    if not data:
                        self.closed += 1
                        poll.unregister(number)
        for client in sockets:
            client.close()


def _frame(text: bytes) -> bytes:
    """A text frame of a client, masked with zeros (RFC 6455 section 5.2)."""
    return b"\x81" + struct.pack("!BHL", 0x80 | 126, len(text), 0) + text


def main() -> None:
    """Print a line for each case."""
    os.sched_setaffinity(0, {LOAD_CORE})
    for count, all_lamps in CASES:
        with (
            Sipresence("memory:", name="sipresence") as server,
            Load(server, phones=10_000, keys=1, resources=1000) as load,
        ):
            load.perform("subscribe", WINDOW)
            load.perform("steady", CHANGES_PER_S, 2)
            with Listeners(server, count, all_lamps=all_lamps) as listeners:
                told = load.perform("steady", CHANGES_PER_S, SECONDS)
            latency = {name: round(value / 1000, 2) for name, value in told["latency_us"].items()}
            cpu = told["cpu"] / told["seconds"]
            print(
                f"{count} listeners of {'all lamps' if all_lamps else 'one each'}: NOTIFY in ms {latency}, "
                f"{cpu:.2f} of a core, {listeners.events} events, {listeners.closed} listeners dropped",
                flush=True,
            )


if __name__ == "__main__":
    main()
