"""A name server on loopback: authoritative for example.com, over UDP, in the loop of the test."""

import asyncio
from collections.abc import Set

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rrset
import dns.zone
from dns.rdatatype import RdataType

ORIGIN = "example.com."


class NameServer(asyncio.DatagramProtocol):
    """Answers from `zone`, the text of a zone file; questions for a name in `silent` get no answer.

    Use as an async context manager; `address` is then its host:port. `asked` has a line, `name KIND`, per question.
    """

    def __init__(self, zone: str, *, silent: Set[str] = frozenset()) -> None:
        self.load(zone)
        self.silent = silent
        self.asked: list[str] = []
        self.address = ""

    def load(self, zone: str) -> None:
        """Answer from another zone from now on."""
        self._zone = dns.zone.from_text(zone, ORIGIN, relativize=False, check_origin=False)

    async def __aenter__(self) -> "NameServer":
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        host, port = self._transport.get_extra_info("sockname")
        self.address = f"{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).removesuffix(".example.com")
        self.asked.append(f"{name} {RdataType(question.rdtype).name}")
        if name not in self.silent:
            self._transport.sendto(self._answer(query, question.name, question.rdtype), addr)

    def _answer(self, query: dns.message.Message, name: dns.name.Name, kind: RdataType) -> bytes:
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.AA
        records = self._zone.get_rdataset(name, kind)
        if records is not None:
            answer.answer.append(dns.rrset.from_rdata_list(name, records.ttl, list(records)))
        elif self._zone.get_node(name) is None:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        return answer.to_wire()
