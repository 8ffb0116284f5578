"""Asking a name server: one question, one reply, by way of dnspython.

Nothing is raised: who asks has to go on with something else anyway. That there is no such record is an answer; that
nobody answered in time, or only with an error, is a reply that is not `sure`, and is to be asked again soon.
"""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import dns.asyncresolver
import dns.exception
import dns.name
import dns.nameserver
import dns.resolver
import structlog
from dns.rdata import Rdata
from dns.rdatatype import RdataType

log = structlog.get_logger()

ATTEMPT_TIME = 0.8  # s that one name server has for its answer
QUERY_TIME = 1.4  # s for all attempts together (0.2 more with their pauses): a look-up asks up to three times in a row
NO_SUCH_NAME_TTL = 30.0  # s
MAX_QUERIES = 128  # at one time, each of them a socket


class Reply(NamedTuple):
    """What a name server says, and for how many seconds that is true."""

    records: Sequence[Rdata]
    ttl: float
    sure: bool = True


UNANSWERED = Reply((), 0.0, sure=False)


class Nameservers:
    """The name servers at `addresses`, asked in this order; without any, those of the system, as it has them now."""

    def __init__(self, addresses: Sequence[tuple[str, int]]) -> None:
        self._resolver = _system() if not addresses else dns.asyncresolver.Resolver(configure=False)
        if addresses:
            self._resolver.nameservers = [dns.nameserver.Do53Nameserver(host, port) for host, port in addresses]
        self._resolver.timeout = ATTEMPT_TIME
        self._resolver.retry_servfail = True
        self._places = asyncio.Semaphore(MAX_QUERIES)

    async def ask(self, name: str, kind: RdataType) -> Reply:
        """Ask for the records of this kind that a fully qualified name has; aliases are followed."""
        async with self._places:
            try:
                answer = await self._resolver.resolve(
                    dns.name.from_text(name), kind, raise_on_no_answer=False, lifetime=QUERY_TIME
                )
            except dns.resolver.NXDOMAIN:
                return Reply((), NO_SUCH_NAME_TTL)
            except (dns.exception.DNSException, OSError, ValueError) as error:
                log.debug("name not resolved", name=name, kind=kind.name, error=str(error))
                return UNANSWERED
        return Reply(tuple(answer), float(answer.chaining_result.minimum_ttl))


def _system() -> dns.asyncresolver.Resolver:
    try:
        return dns.asyncresolver.Resolver()
    except (dns.exception.DNSException, OSError, ValueError) as error:
        log.warning("the system has no name server: no name will be resolved", error=str(error))
        return dns.asyncresolver.Resolver(configure=False)
