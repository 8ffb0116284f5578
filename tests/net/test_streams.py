"""Stream connections on loopback: their bounds, their ends, TLS and certificates, and the way to a phone."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from dns.rdatatype import RdataType

from sipresence.errors import ListenError
from sipresence.net.address import ListenAddress
from sipresence.net.certificates import CertificateFiles, Certificates, TlsSettings
from sipresence.net.clock import LoopClock
from sipresence.net.nameserver import Reply
from sipresence.net.stream import ConnectionLimits
from sipresence.net.transports import StreamSettings, Transports, Way
from sipresence.sip.flow import Flow, Hop
from sipresence.sip.transaction import Transmit
from tests.builders import options
from tests.certificates import Authority, Pair

MESSAGE = options()
HOST = "127.0.0.1"
SHORT = 0.3  # s


async def no_names(name: str, kind: RdataType) -> Reply:
    raise AssertionError(f"{name} is looked up")


class Edge:
    """Transports with one listener per transport, and what they reported."""

    def __init__(self, streams: StreamSettings, transports: tuple[str, ...]) -> None:
        self.received: list[tuple[bytes, Flow]] = []
        self.refused: list[str] = []
        self.lost: list[Flow] = []
        self.trusted: set[str] = set()
        self.excessive: set[str] = set()
        self.carrying: set[Flow] = set()
        addresses = [ListenAddress(f"{name.lower()}://{HOST}", name, HOST, 0, "") for name in transports]
        self.transports = Transports(
            addresses,
            streams,
            ask=no_names,
            clock=LoopClock(asyncio.get_running_loop()),
            receive=self._receive,
            turn_end=lambda: None,
            saturated=lambda: None,
            lost=self.lost.append,
            refused=lambda reason, flow, count: self.refused.append(reason),
            payer=lambda host: "" if host in self.trusted else host,
            carries=lambda flow: flow in self.carrying,
        )

    def _receive(self, data: bytes, flow: Flow) -> bool:
        self.received.append((data, flow))
        return flow.host not in self.excessive

    def port(self, transport: str) -> int:
        return next(port for listen, port in self.transports.bound if listen.transport == transport)

    async def connect(
        self, transport: str = "TCP", context: ssl.SSLContext | None = None, name: str | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(HOST, self.port(transport), ssl=context, server_hostname=name)

    async def message(self) -> tuple[bytes, Flow]:
        """Wait for the next message."""
        await until(lambda: bool(self.received))
        return self.received.pop(0)

    async def way(self, hop: Hop) -> Way | None:
        found: asyncio.Future[Way | None] = asyncio.get_running_loop().create_future()
        self.transports.seek(hop, found.set_result)
        return await found


@asynccontextmanager
async def opened(
    *transports: str, limits: ConnectionLimits | None = None, tls: TlsSettings | None = None
) -> AsyncIterator[Edge]:
    edge = Edge(StreamSettings(limits or ConnectionLimits(), tls), transports or ("TCP",))
    await edge.transports.open()
    try:
        yield edge
    finally:
        edge.transports.close()
        await asyncio.sleep(0.01)  # so that aborted connections are gone before the loop is


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 (what holds is not one event)
            await asyncio.sleep(0.01)


async def closed(reader: asyncio.StreamReader) -> bytes:
    """Wait until the other side closes; return what it said before."""
    async with asyncio.timeout(5):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Pair:
    return authority.issue("office", "DNS:office.example.com", f"IP:{HOST}")


def settings(*pairs: Pair | tuple[Pair, str], client_ca: Path | None = None) -> TlsSettings:
    named = [one if isinstance(one, tuple) else (one, "") for one in pairs]
    return TlsSettings(tuple(CertificateFiles(p.certificate, p.private_key, name) for p, name in named), client_ca)


def client(authority: Authority, own: Pair | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.pair.certificate)
    if own is not None:
        context.load_cert_chain(own.certificate, own.private_key)
    return context


# --- bounds -----------------------------------------------------------------------------------------------------------


async def test_a_source_has_so_many_connections_and_no_more() -> None:
    async with opened(limits=ConnectionLimits(per_source=2)) as edge:
        pairs = [await edge.connect() for _ in range(3)]
        assert await closed(pairs[2][0]) == b""
        assert edge.refused == ["source_connections_full"]
        pairs[0][1].close()
        await until(lambda: len(edge.transports.connections) == 1)
        await edge.connect()
        await until(lambda: len(edge.transports.connections) == 2)


async def test_a_trusted_source_is_bounded_only_by_the_limit_for_all() -> None:
    async with opened(limits=ConnectionLimits(connections=3, per_source=1)) as edge:
        edge.trusted.add(HOST)
        pairs = [await edge.connect() for _ in range(4)]
        assert await closed(pairs[3][0]) == b""
        assert edge.refused == ["connections_full"]


@pytest.mark.parametrize("drip", [False, True])
async def test_a_slow_sender_is_closed(drip: bool) -> None:
    async with opened(limits=ConnectionLimits(message_deadline=SHORT)) as edge:
        reader, writer = await edge.connect()
        writer.write(MESSAGE + MESSAGE[:30])
        for byte in MESSAGE[30:40] if drip else b"":
            writer.write(bytes([byte]))
            await asyncio.sleep(SHORT / 5)
        await closed(reader)
        assert edge.refused == ["message_late"]
        assert len(edge.received) == 1


@pytest.mark.parametrize("transport", ["TCP", "TLS"])
async def test_a_connection_that_asks_too_much_is_not_read_for_a_while(
    authority: Authority, pair: Pair, transport: str
) -> None:
    async with opened(transport, limits=ConnectionLimits(message_deadline=4 * SHORT), tls=settings(pair)) as edge:
        edge.excessive.add(HOST)
        _, writer = await edge.connect(transport, client(authority) if transport == "TLS" else None)
        writer.write(20 * MESSAGE)
        await asyncio.sleep(2.5 * SHORT)  # it is looked at every SHORT seconds
        assert 1 <= len(edge.received) <= 4
        edge.excessive.clear()
        await until(lambda: len(edge.received) == 20)
        assert edge.refused == []


async def test_a_busy_connection_is_not_slow() -> None:
    """Always half a message under way, but each of them is complete in time."""
    async with opened(limits=ConnectionLimits(message_deadline=SHORT)) as edge:
        _, writer = await edge.connect()
        writer.write(MESSAGE[:30])
        for _ in range(6):
            await asyncio.sleep(SHORT / 2)
            writer.write(MESSAGE[30:] + MESSAGE[:30])
        await until(lambda: len(edge.received) == 6)
        assert edge.refused == []


async def test_an_idle_connection_is_closed_unless_it_carries_a_subscription() -> None:
    async with opened(limits=ConnectionLimits(idle_timeout=SHORT)) as edge:
        _, phone = await edge.connect()
        phone.write(MESSAGE)
        edge.carrying.add((await edge.message())[1])
        idler, _ = await edge.connect()
        pinging, pinger = await edge.connect()
        began = time.monotonic()
        while time.monotonic() - began < 3 * SHORT:
            pinger.write(b"\r\n\r\n")
            await asyncio.sleep(SHORT / 4)
        await closed(idler)
        assert edge.refused == ["idle"]
        assert len(edge.transports.connections) == 2
        assert await pinging.read(2) == b"\r\n"
        edge.carrying.clear()
        await until(lambda: edge.refused == ["idle", "idle", "idle"])
        assert edge.transports.connections.keepalives >= 10


@pytest.mark.parametrize("transport", ["TLS", "WS", "WSS"])
async def test_a_handshake_has_a_deadline(pair: Pair, transport: str) -> None:
    limits = ConnectionLimits(handshake_deadline=SHORT)
    async with opened(transport, limits=limits, tls=settings(pair)) as edge:
        reader, _ = await edge.connect(transport)
        await closed(reader)
        assert edge.refused == ["handshake_late"]


@pytest.mark.parametrize(
    ("transport", "data", "reason"),
    [
        ("TCP", b"\x16\x03\x01", "unreadable"),
        ("TCP", b"\0\0\0\0", "unreadable"),
        ("TLS", MESSAGE, "tls_failed"),
        ("WS", MESSAGE, "upgrade_refused"),
        ("WS", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "upgrade_refused"),
    ],
)
async def test_another_protocol(pair: Pair, transport: str, data: bytes, reason: str) -> None:
    async with opened(transport, tls=settings(pair)) as edge:
        reader, writer = await edge.connect(transport)
        writer.write(data)
        await closed(reader)
        assert edge.refused == [reason]
        await until(lambda: not len(edge.transports.connections))


async def test_a_phone_that_does_not_read_is_given_up() -> None:
    async with opened() as edge:
        _, writer = await edge.connect()
        writer.write(MESSAGE)
        _, flow = await edge.message()
        while edge.transports.is_alive(flow):
            edge.transports.send(Transmit(b"x" * 65_536, flow, (flow.host, flow.port)))
            await asyncio.sleep(0)
        assert edge.refused == ["unread"]


async def test_a_connection_that_ends_is_reported_once() -> None:
    async with opened() as edge:
        _, writer = await edge.connect()
        writer.write(MESSAGE)
        _, flow = await edge.message()
        writer.close()
        await until(lambda: edge.lost == [flow])
        assert edge.transports.way(Hop(flow, "TCP", flow.host, flow.port, prefer_flow=True)) is None


async def test_an_answer_and_its_notify_leave_together() -> None:
    async with opened() as edge:
        reader, writer = await edge.connect()
        writer.write(MESSAGE)
        _, flow = await edge.message()
        edge.transports.send(Transmit(b"the answer, ", flow, (flow.host, flow.port)))
        await asyncio.sleep(0)  # the turn of the loop in which NOTIFYs are sent
        edge.transports.send(Transmit(b"the NOTIFY", flow, (flow.host, flow.port)))
        assert await reader.read(100) == b"the answer, the NOTIFY"


async def test_what_waits_to_leave_precedes_the_end() -> None:
    async with opened() as edge:
        reader, writer = await edge.connect()
        writer.write(MESSAGE)
        _, flow = await edge.message()
        edge.transports.send(Transmit(b"the last answer", flow, (flow.host, flow.port)))
        edge.transports.close()
        assert await closed(reader) == b"the last answer"


# --- TLS --------------------------------------------------------------------------------------------------------------


async def test_messages_both_ways_over_tls(authority: Authority, pair: Pair) -> None:
    async with opened("TLS", tls=settings(pair)) as edge:
        reader, writer = await edge.connect("TLS", client(authority), "office.example.com")
        long = MESSAGE.replace(b"Content-Length: 0", b"Content-Length: 40000") + b"x" * 40_000
        writer.write(MESSAGE + long)
        assert [(await edge.message())[0] for _ in range(2)] == [MESSAGE, long]
        writer.write(MESSAGE)
        _, flow = await edge.message()
        assert (flow.transport, flow.contact()) == ("TLS", f"sip:{HOST}:{edge.port('TLS')};transport=tls")
        edge.transports.send(Transmit(long, flow, (flow.host, flow.port)))
        assert await reader.readexactly(len(long)) == long


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("office.example.com", "office"),
        ("net.example.net", "net"),
        ("x.example.org", "wild"),
        ("x.y.example.org", "office"),
    ],
)
async def test_the_certificate_of_the_name_that_was_asked_for(
    authority: Authority, pair: Pair, asked: str, shown: str
) -> None:
    net = authority.issue("net", "DNS:net.example.net")
    wild = authority.issue("wild", "DNS:*.example.org")
    async with opened("TLS", tls=settings(pair, (net, "net.example.net"), (wild, "*.example.org"))) as edge:
        assert await subject(edge, authority, asked) == shown


async def subject(edge: Edge, authority: Authority, asked: str) -> str:
    """The common name of the certificate that is shown to who asks for this name."""
    context = client(authority)
    context.check_hostname = False
    _, writer = await edge.connect("TLS", context, asked)
    names = dict(name for names in writer.get_extra_info("peercert")["subject"] for name in names)
    writer.close()
    return str(names["commonName"])


async def test_a_client_must_show_a_certificate_where_an_authority_is_named(authority: Authority, pair: Pair) -> None:
    phone = authority.issue("phone")
    async with opened("TLS", tls=settings(pair, client_ca=authority.pair.certificate)) as edge:
        reader, writer = await edge.connect("TLS", client(authority), "office.example.com")
        writer.write(MESSAGE)
        with pytest.raises(ssl.SSLError, match=r"certificate required|CERTIFICATE_REQUIRED"):
            await reader.read()
        assert edge.refused == ["tls_failed"]
        _, writer = await edge.connect("TLS", client(authority, phone), "office.example.com")
        writer.write(MESSAGE)
        assert (await edge.message())[0] == MESSAGE


async def test_a_renewed_certificate_is_taken_in_and_a_broken_one_is_not(authority: Authority) -> None:
    own = authority.issue("own", f"IP:{HOST}")
    limits = ConnectionLimits(message_deadline=SHORT)  # which is how often the files are looked at
    async with opened("TLS", tls=settings(own), limits=limits) as edge:
        _, old = await edge.connect("TLS", client(authority), HOST)
        assert await subject(edge, authority, HOST) == "own"
        authority.issue("renewed", f"IP:{HOST}").take_place_of(own)
        async with asyncio.timeout(5):
            while await subject(edge, authority, HOST) != "renewed":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        own.private_key.write_text("no key")
        with pytest.raises(ListenError):
            edge.transports.configure(StreamSettings(limits, settings(own)))
        assert await subject(edge, authority, HOST) == "renewed"
        old.write(MESSAGE)  # a connection from before stands
        assert (await edge.message())[0] == MESSAGE


def test_a_certificate_that_is_wrong_at_the_start(tmp_path: Path, pair: Pair, authority: Authority) -> None:
    other = authority.issue("other")
    locked = tmp_path / "locked.pem"
    locked.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n")
    for key in (tmp_path / "missing.pem", other.private_key, locked):
        with pytest.raises(ListenError, match=r"cannot use .*office.pem for TLS: "):
            Certificates(settings(Pair(pair.certificate, key)))
    with pytest.raises(ListenError, match=r"ca.pem for TLS: No such file"):
        Certificates(settings(pair, client_ca=tmp_path / "ca.pem"))


# --- the way to a phone -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["WS", "WSS"])
async def test_a_browser_without_its_connection_is_unreachable_at_once(pair: Pair, transport: str) -> None:
    async with opened(transport, tls=settings(pair)) as edge:
        stored = Flow(transport, f"{transport.lower()}://{HOST}", HOST, 4711, HOST)
        for host in ("abc.invalid", HOST):
            hop = Hop(stored, transport, host, edge.port(transport), prefer_flow=True)
            assert edge.transports.way(hop) is None
            assert await edge.way(hop) is None
        assert len(edge.transports.connections) == 0


@pytest.mark.parametrize(("name", "reached"), [("127.0.0.1", True), ("other", False)])
async def test_a_tls_connection_of_our_own_is_verified(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, name: str, reached: bool
) -> None:
    """The peer must have a certificate of the name that we call, by an authority that the system trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.pair.certificate))
    peer = authority.issue(f"peer-{name}", f"IP:{HOST}" if reached else "DNS:other.example.com")
    async with opened("TLS", tls=settings(peer)) as edge:
        hop = Hop(Flow("UDP", "", HOST, 1, ""), "TLS", HOST, edge.port("TLS"))
        way = await edge.way(hop)
        assert (way is not None) == reached
        if way is None:
            assert "tls_failed" in edge.refused
            return
        assert edge.transports.way(hop) == way, "it is used again"
        edge.transports.send(Transmit(MESSAGE, way.flow, way.address))
        assert (await edge.message())[0] == MESSAGE  # we have called ourselves


async def test_an_authority_that_the_system_does_not_trust(pair: Pair) -> None:
    async with opened("TLS", tls=settings(pair)) as edge:
        assert await edge.way(Hop(Flow("UDP", "", HOST, 1, ""), "TLS", HOST, edge.port("TLS"))) is None


async def test_a_tcp_connection_of_our_own() -> None:
    async with opened() as edge:
        way = await edge.way(Hop(Flow("UDP", "", HOST, 1, ""), "TCP", HOST, edge.port("TCP")))
        assert way is not None
        edge.transports.send(Transmit(MESSAGE, way.flow, way.address))
        assert (await edge.message())[0] == MESSAGE


async def test_tls_is_not_reached_over_tcp() -> None:
    async with opened() as edge:
        _, writer = await edge.connect()
        writer.write(MESSAGE)
        _, flow = await edge.message()
        hop = Hop(flow, "TLS", flow.host, flow.port)
        assert edge.transports.way(hop) is None
        assert await edge.way(hop) is None
