"""Where the servers of a SIP URI are (RFC 3263): from a name to targets, each a transport, an address and a port.

    port written              A, AAAA
    only transport written    SRV of that transport; without one A, AAAA
    neither                   NAPTR and what it points to; without one SRV of our transports; without one A, AAAA

What was found is kept for its TTL, that there is nothing for half a minute at most, in a table of bounded size. Those
who ask the same at the same time wait for one look-up. A target that failed is put last for a while, so that the next
request goes to the next one (section 4.3; the growing pauses are those of RFC 5626 section 4.5).

An order among equals (SRV weights) is drawn at each look-up and holds as long as that is kept: a server is not changed
with every request.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple, TypeAlias

from dns.rdata import Rdata
from dns.rdatatype import RdataType
from dns.rdtypes.IN.NAPTR import NAPTR
from dns.rdtypes.IN.SRV import SRV

from sipresence.net.nameserver import Reply
from sipresence.sip.flow import DEFAULT_PORTS, Hop

LOOK_UP_TIME = 5.0  # s
MIN_TTL = 5.0  # s
MAX_TTL = 3600.0  # s
MAX_NEGATIVE_TTL = 30.0  # s
MAX_ANSWERS = 4096  # names kept
MAX_RECORDS = 8  # of a kind that are looked at: a zone must not make us ask for a thousand names
MAX_TARGETS = 16
FAILURE_MEMORY = 30.0  # s that a target is put last, doubled each time that it fails again right after
MAX_FAILURE_MEMORY = 240.0  # s
RELAPSE_TIME = 64.0  # s after that in which a failure is one more of the same: timer F and a retry
MAX_FAILURES = 4096  # targets remembered

_SRV_NAMES = {"UDP": "_sip._udp", "TCP": "_sip._tcp", "TLS": "_sips._tcp"}
_NAPTR_SERVICES = {"SIP+D2U": "UDP", "SIP+D2T": "TCP", "SIPS+D2T": "TLS"}


class Target(NamedTuple):
    """Where one server of a URI is: an IP address, and a port."""

    transport: str
    host: str
    port: int


Targets: TypeAlias = Sequence[Target]
Ask: TypeAlias = Callable[[str, RdataType], Awaitable[Reply]]


class Question(NamedTuple):
    """What of a hop decides where its servers are. Port 0 and transport "" are those that its URI leaves open."""

    host: str
    port: int
    transport: str
    secure: bool
    ipv6: bool  # whether the subscriber speaks IPv6: then this family comes first


class _Answer(NamedTuple):
    targets: tuple[Target, ...]
    expires_at: float


class Failures:
    """Targets that did not answer, for 30 s; for longer, where one fails again as soon as it is tried again."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._marks: dict[Target, tuple[float, float]] = {}  # until when, and how long that was

    def __bool__(self) -> bool:
        return bool(self._marks)

    def __contains__(self, target: Target) -> bool:
        mark = self._marks.get(target)
        return mark is not None and self._now() < mark[0]

    def add(self, target: Target) -> None:
        """Mark a target. That further requests under way to it fail as well prolongs nothing."""
        now = self._now()
        until, memory = self._marks.get(target, (0.0, 0.0))
        if now < until:
            return
        self._marks.pop(target, None)
        if len(self._marks) >= MAX_FAILURES:
            del self._marks[next(iter(self._marks))]  # the oldest
        memory = min(2 * memory, MAX_FAILURE_MEMORY) if now < until + RELAPSE_TIME else FAILURE_MEMORY
        self._marks[target] = (now + memory, memory)


class Resolver:
    """Finds the targets of named hops.

    `reach` are the transports that we send by, the preferred one first, each with the address families of its
    listeners. `ask` asks a name server; `random` draws from [0, 1).
    """

    def __init__(
        self,
        ask: Ask,
        *,
        reach: Mapping[str, Sequence[socket.AddressFamily]],
        now: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._ask = ask
        self._reach = reach
        self._now = now
        self._random = random
        self._answers: dict[Question, _Answer] = {}
        self._searches: dict[Question, asyncio.Task[_Answer]] = {}
        self.failures = Failures(now)

    def cached(self, hop: Hop) -> Targets | None:
        """The targets of a hop whose host is a name, the one to use first, or none; None: they must be looked up."""
        answer = self._answers.get(question(hop))
        if answer is None or answer.expires_at <= self._now():
            return None
        return self._failed_last(answer.targets)

    async def targets(self, hop: Hop) -> Targets:
        """The same, looked up if need be, within 5 s; no failure of a name server is raised."""
        known = self.cached(hop)
        if known is not None:
            return known
        asked = question(hop)
        search = self._searches.get(asked)
        if search is None:
            search = self._searches[asked] = asyncio.create_task(self._search(asked))
            search.add_done_callback(lambda _: self._searches.pop(asked, None))
        # Who gives up must not take the answer from the others.
        return self._failed_last((await asyncio.shield(search)).targets)

    def failed(self, target: Target) -> None:
        """A target did not answer, refused the connection or said 503 (section 4.3): it comes last for a while."""
        self.failures.add(target)

    def close(self) -> None:
        for search in self._searches.values():
            search.cancel()

    def _failed_last(self, targets: Targets) -> Targets:
        return sorted(targets, key=self.failures.__contains__) if self.failures else targets

    async def _search(self, asked: Question) -> _Answer:
        search = _Search(asked, ask=self._ask, reach=self._reach, random=self._random)
        try:
            async with asyncio.timeout(LOOK_UP_TIME):
                targets = (await search.targets())[:MAX_TARGETS]
        except TimeoutError:
            targets = []
        answer = _Answer(tuple(targets), self._now() + search.ttl(found=bool(targets)))
        self._answers.pop(asked, None)
        if len(self._answers) >= MAX_ANSWERS:
            del self._answers[next(iter(self._answers))]
        self._answers[asked] = answer
        return answer


class _Search:
    """One look-up, which remembers for how long its replies are true."""

    def __init__(
        self,
        asked: Question,
        *,
        ask: Ask,
        reach: Mapping[str, Sequence[socket.AddressFamily]],
        random: Callable[[], float],
    ) -> None:
        self._asked = asked
        self._ask = ask
        self._random = random
        self._reach = {transport: reach[transport] for transport in reach if transport == "TLS" or not asked.secure}
        self._found_ttl = MAX_TTL
        self._missed_ttl = MAX_NEGATIVE_TTL

    def ttl(self, *, found: bool) -> float:
        """How long the outcome may be kept: no longer than any record that it stands on."""
        return max(MIN_TTL, self._found_ttl if found else min(self._found_ttl, self._missed_ttl))

    async def targets(self) -> list[Target]:
        """The targets in the order in which they are to be tried (sections 4.1 and 4.2)."""
        host, port, transport, secure, _ = self._asked
        # "the client SHOULD use UDP for a SIP URI, and TCP for a SIPS URI" (section 4.1), which is TLS over it.
        default = "TLS" if secure else "UDP"
        if port:
            return await self._at_host(transport or default, host, port)
        if transport:
            found = await self._by_service(transport, _srv_name(transport, host))
        else:
            found = await self._by_pointers(host) or await self._by_services(host)
        if found is not None:
            return found
        transport = transport or default
        return await self._at_host(transport, host, DEFAULT_PORTS.get(transport, 0))

    async def _by_pointers(self, host: str) -> list[Target]:
        """By NAPTR: those for transports that we have, and for a SIPS URI those that keep it secure."""
        pointers = [
            record
            for record in await self._records(host, RdataType.NAPTR)
            if isinstance(record, NAPTR)
            and record.flags.lower() == b"s"
            and _NAPTR_SERVICES.get(record.service.decode(errors="replace").upper()) in self._reach
        ]
        pointers.sort(key=lambda record: (record.order, record.preference))
        return await self._each(
            self._by_service(_NAPTR_SERVICES[record.service.decode().upper()], record.replacement.to_text())
            for record in pointers[:MAX_RECORDS]
        )

    async def _by_services(self, host: str) -> list[Target] | None:
        """By the SRV records of each transport that we have: "does a query for each" (section 4.1)."""
        # TLS has no name of its own among the services of a SIP URI: only NAPTR, or the URI itself, leads to it.
        transports = [transport for transport in self._reach if self._asked.secure or transport != "TLS"]
        found = await asyncio.gather(*(self._by_service(t, _srv_name(t, host)) for t in transports))
        known = [targets for targets in found if targets is not None]
        return [target for targets in known for target in targets] if known else None

    async def _by_service(self, transport: str, name: str) -> list[Target] | None:
        """By SRV, in the order of RFC 2782; None where there is no such record."""
        if transport not in self._reach:
            return []
        records = [record for record in await self._records(name, RdataType.SRV) if isinstance(record, SRV)]
        if not records:
            return None
        # "A Target of "." means that the service is decidedly not available at this domain."
        servers = [record for record in self._in_order(records) if len(record.target) > 1]
        return await self._each(
            self._at_host(transport, record.target.to_text(), record.port) for record in servers[:MAX_RECORDS]
        )

    def _in_order(self, records: Sequence[SRV]) -> list[SRV]:
        """By priority; those of one priority by lot, each with the chance that its weight gives it (RFC 2782)."""
        ordered: list[SRV] = []
        for _, group in groupby(sorted(records, key=lambda r: (r.priority, r.weight)), lambda r: r.priority):
            left = list(group)  # those of weight 0 first: they have a very small chance
            while left:
                lot = int(self._random() * (sum(record.weight for record in left) + 1))
                for record in left:
                    lot -= record.weight
                    if lot <= 0:
                        break
                ordered.append(record)
                left.remove(record)
        return ordered

    async def _at_host(self, transport: str, host: str, port: int) -> list[Target]:
        """By A and AAAA, of the families that we can send from; the subscriber's own family first."""
        wanted = socket.AF_INET6 if self._asked.ipv6 else socket.AF_INET
        families = sorted(self._reach.get(transport, ()), key=lambda family: family != wanted)
        kinds = [RdataType.AAAA if family == socket.AF_INET6 else RdataType.A for family in families]
        replies = await asyncio.gather(*(self._records(host, kind) for kind in kinds))
        return [Target(transport, record.to_text(), port) for records in replies for record in records[:MAX_RECORDS]]

    async def _each(self, steps: Iterable[Awaitable[list[Target] | None]]) -> list[Target]:
        """What several steps find, all taken at once, in their order."""
        return [target for targets in await asyncio.gather(*steps) for target in targets or ()]

    async def _records(self, name: str, kind: RdataType) -> Sequence[Rdata]:
        reply = await self._ask(name, kind)
        if reply.records:
            self._found_ttl = min(self._found_ttl, reply.ttl)
        elif reply.sure:
            self._missed_ttl = min(self._missed_ttl, reply.ttl)
        else:  # something may be missing: not for long
            self._missed_ttl = MIN_TTL
            self._found_ttl = min(self._found_ttl, MAX_NEGATIVE_TTL)
        return reply.records


def question(hop: Hop) -> Question:
    """What to ask for a hop: hops that ask the same have the same servers."""
    return Question(hop.host, hop.port, hop.transport, hop.secure, ":" in hop.flow.host)


def _srv_name(transport: str, host: str) -> str:
    return f"{_SRV_NAMES.get(transport, '')}.{host}"
