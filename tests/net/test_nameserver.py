"""What a name server on loopback says, and does not say."""

import time

import pytest
from dns.rdatatype import RdataType

from sipresence.net.nameserver import UNANSWERED, Nameservers, Reply
from tests.e2e.nameserver import NameServer

ZONE = "a 60 A 192.0.2.1\na 60 A 192.0.2.2\nb 7 AAAA 2001:db8::1"


def addresses(*servers: NameServer) -> list[tuple[str, int]]:
    return [(host, int(port)) for host, _, port in (server.address.partition(":") for server in servers)]


async def test_records_with_their_ttl() -> None:
    async with NameServer(ZONE) as names:
        reply = await Nameservers(addresses(names)).ask("a.example.com", RdataType.A)
        assert sorted(record.to_text() for record in reply.records) == ["192.0.2.1", "192.0.2.2"]
        assert (reply.ttl, reply.sure) == (60.0, True)


async def test_no_such_record_and_no_such_name_are_answers() -> None:
    async with NameServer(ZONE) as names:
        for name in ("b", "nobody"):
            reply = await Nameservers(addresses(names)).ask(f"{name}.example.com", RdataType.A)
            assert (reply.records, reply.sure) == ((), True)


@pytest.mark.parametrize("name", [f"{'x' * 64}.example.com", "a..example.com", ".".join(["x" * 60] * 5)])
async def test_what_is_no_domain_name_is_not_asked_for(name: str) -> None:
    async with NameServer(ZONE) as names:
        assert await Nameservers(addresses(names)).ask(name, RdataType.A) == UNANSWERED
        assert names.asked == []


async def test_the_second_server_answers_for_a_silent_first() -> None:
    async with NameServer(ZONE, silent={"b"}) as silent, NameServer(ZONE) as names:
        reply: Reply = await Nameservers(addresses(silent, names)).ask("b.example.com", RdataType.AAAA)
        assert [record.to_text() for record in reply.records] == ["2001:db8::1"]


async def test_silence_ends_after_some_attempts() -> None:
    async with NameServer(ZONE, silent={"a"}) as names:
        began = time.monotonic()
        assert await Nameservers(addresses(names)).ask("a.example.com", RdataType.A) == UNANSWERED
        assert time.monotonic() - began < 3
        assert names.asked == ["a A"] * 2
