"""Many desk phones in a process of their own, which subscribe and then only listen.

    python -m tests.e2e.crowd HOST:PORT OWN-ADDRESS PHONES

At first they all subscribe, ten lamp keys to a port. Then each line on standard input asks for one line of JSON: how
many phones were told something since the last `mark`, and what none should ever see.
"""

import asyncio
import json
import resource
import sys
import time
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address

from tests.e2e.fleet import Fleet, Phone

RESOURCES = 10_000
AT_ONCE = 200


@dataclass(slots=True)
class Report:
    """What a crowd says. `last_at` is on the clock of `time.monotonic`, which all processes share."""

    phones: int
    refused: int  # SUBSCRIBEs that did not get 200
    told: int  # phones that got a NOTIFY since the mark
    last_at: float  # when the last of them got its first one
    retransmissions: int
    faults: list[str]


class Crowd(Fleet):
    """A fleet that knows when each phone was first told something since the mark."""

    def __init__(self, server: tuple[str, int], *, host: str) -> None:
        super().__init__(server, host=host, seed=int(IPv4Address(host)))
        self.gaps_allowed = True
        self._told: set[str] = set()
        self._last_at = 0.0

    def mark(self) -> None:
        self._told.clear()

    def report(self) -> Report:
        refused = sum(phone.status != 200 for phone in self.phones.values())
        faults = self.faults[:20]
        return Report(len(self.phones), refused, len(self._told), self._last_at, self.retransmissions, faults)

    def _take(self, phone: Phone, cseq: int, subscription_state: str, body: bytes) -> None:
        super()._take(phone, cseq, subscription_state, body)
        if phone.call_id not in self._told:
            self._told.add(phone.call_id)
            self._last_at = time.monotonic()


async def _obey(server: tuple[str, int], *, host: str, count: int) -> None:
    async with Crowd(server, host=host) as crowd:
        phones = [crowd.add(str(10_000 + number % RESOURCES)) for number in range(count)]
        await crowd.subscribe_all(phones, at_once=AT_ONCE)
        await crowd.settled(lambda: all(phone.notifies for phone in phones), within=60)
        loop = asyncio.get_running_loop()
        while True:
            print(json.dumps(asdict(crowd.report())), flush=True)
            line = await loop.run_in_executor(None, sys.stdin.readline)
            if not line:
                return
            if line.strip() == "mark":
                crowd.mark()


if __name__ == "__main__":
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    address, own, number = sys.argv[1:]
    at, _, port = address.rpartition(":")
    asyncio.run(_obey((at, int(port)), host=own, count=int(number)))
