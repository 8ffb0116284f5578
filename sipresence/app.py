"""The composition root: a Config becomes the settings of each unit, the units become one server.

Start: store, then listeners, then NOTIFYs. Stop, at SIGTERM or SIGINT: no more requests are read, what was accepted is
committed and answered, the exact numbers are written, subscriptions stay. Every task belongs to one TaskGroup.
"""

import asyncio
import hashlib
import itertools
import secrets
import signal
import socket
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Literal

import structlog
import uvloop

from sipresence.authentication import Authenticator
from sipresence.backends.memory import LocalBus, MemoryStore
from sipresence.backends.sqlite import SqliteStore
from sipresence.config.model import AccountConfig, Config, DeviceConfig, LimitsConfig, LogConfig, SipConfig
from sipresence.config.values import DNS_PORT, join_host_port, split_host_port, split_listen_url
from sipresence.directory import Account, Device, Directory, ListMember, ResourceList, User, WatchRule
from sipresence.errors import ListenError, StoreError
from sipresence.events.notifier import Notifier
from sipresence.events.pacing import Pacing
from sipresence.events.subscribe import Limits
from sipresence.http import server
from sipresence.insight import Insight
from sipresence.names import AccountId
from sipresence.net.address import WILDCARDS, ListenAddress
from sipresence.net.certificates import CertificateFiles, TlsSettings
from sipresence.net.clock import LoopClock
from sipresence.net.endpoint import SipEndpoint
from sipresence.net.keepalive import PinholeKeeper
from sipresence.net.nameserver import Nameservers
from sipresence.net.stream import ConnectionLimits
from sipresence.net.transports import StreamSettings
from sipresence.ports import SubscriptionStore
from sipresence.service import PresenceService, ServiceSettings
from sipresence.sip.admission import RateLimits
from sipresence.sip.dialog import DialogKey
from sipresence.sip.digest import Algorithm, Nonces
from sipresence.sip.message import COMPACT_NAMES, LONG_NAMES

log = structlog.get_logger()

# The store's writer thread must get the interpreter lock soon, or a busy loop makes each commit 5 ms late.
SWITCH_INTERVAL = 0.0002  # s
DEMO_TOKEN = "demo-token"  # noqa: S105 (of examples/office.toml; no other token is ever shown)


def run(config: Config) -> int:
    """Serve until told to stop; return the exit code."""
    _set_up_log(config.log)
    sys.setswitchinterval(SWITCH_INTERVAL)
    try:
        uvloop.run(_serve(config))
    except (ListenError, StoreError) as error:
        print(f"sipresence: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(config: Config) -> None:
    clock = LoopClock(asyncio.get_running_loop())
    store = _store(config)
    loaded = await store.load()
    try:
        tag = _tagger(loaded.tag_key)
        directory = Directory([_account(account, config.sip) for account in config.accounts])
        authenticator = Authenticator(directory, Nonces(_nonce_key(loaded.tag_key), since=clock.now()))
        limits = _limits(config)
        pacing = Pacing(rate=config.sip.notify_rate, in_flight=config.sip.notify_window)
        names = COMPACT_NAMES if config.sip.compact_headers else LONG_NAMES
        notifier = Notifier(
            limits, failures_allowed=config.sip.notify_failures, local_tag=tag, names=names, pacing=pacing
        )
        service = PresenceService(
            _service_settings(config.sip, config.limits, debug=config.log.level == "debug"),
            directory=directory,
            authenticator=authenticator,
            notifier=notifier,
            tag=tag,
            clock=clock,
        )
        endpoint = SipEndpoint(
            service,
            _addresses(config.sip),
            streams=_stream_settings(config.sip, config.limits),
            admission=service.admission,
            ask=Nameservers(_name_servers(config.sip)).ask,
            clock=clock,
            t1=config.sip.t1_ms / 1000,
            token=_branch_tokens(),
        )
        bus = LocalBus(service.on_state_change)
        service.attach(store=store, bus=bus, endpoint=endpoint)
        service.restore(loaded)
        insight = Insight(service, notifier=notifier, wire=endpoint.figures, bus=bus, clock=clock)
        await _serve_until_told(config, service, insight, endpoint, clock)
    finally:
        await store.close()


async def _serve_until_told(
    config: Config, service: PresenceService, insight: Insight, endpoint: SipEndpoint, clock: LoopClock
) -> None:
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    keeper = PinholeKeeper(
        interval=config.sip.nat_keepalive,
        clock=clock,
        pinholes=service.pinholes,
        send=endpoint.transports.send,
    )
    await endpoint.open()
    if config.sip.tls_certificate is not None:  # else a terminal that closes ends the server, as ever
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, endpoint.transports.reload_certificates)
    try:
        application = server.make_application(service, insight, version=version("sipresence"))
        host, port = split_host_port(config.http.listen)
        api = await server.serve(application, host, port or 0)
        service.start()
        keeper.start()
        insight.pulse.start()
        _greet(config, endpoint, f"http://{config.http.listen}", api.port)
        await told.wait()
        log.info("stopping")
        endpoint.stop_reading()
        keeper.stop()
        insight.pulse.stop()
        await api.close()
        await service.stop()
        log.info("stopped", refusals=dict(service.refusals))
    finally:
        endpoint.close()


def _store(config: Config) -> SubscriptionStore:
    path = config.store.path
    return MemoryStore() if path is None else SqliteStore(path, synchronous=config.store.synchronous)


def _tagger(key: bytes) -> Callable[[DialogKey], str]:
    """Local tags are a keyed MAC of the dialog's name: the same after a restart, and not to be guessed."""

    def tag(dialog: DialogKey) -> str:
        name = "\0".join(dialog).encode(errors="surrogateescape")
        return hashlib.blake2b(name, key=key, digest_size=12).hexdigest()

    return tag


def _nonce_key(key: bytes) -> bytes:
    """The key of digest nonces: as lasting and as secret as that of local tags, and another one."""
    return hashlib.blake2b(b"digest nonces", key=key, digest_size=32).digest()


def _branch_tokens() -> Callable[[], str]:
    """Unique in space and time (RFC 3261 section 8.1.1.7): a random prefix per process, and a counter."""
    prefix, numbers = secrets.token_hex(8), itertools.count(1)
    return lambda: f"{prefix}{next(numbers):x}"


def _limits(config: Config) -> Limits:
    sip, limits = config.sip, config.limits
    return Limits(
        min_expires=sip.min_expires,
        default_expires=sip.default_expires,
        max_expires=sip.max_expires,
        max_subscriptions=limits.max_subscriptions,
        subscriptions_per_subscriber=limits.subscriptions_per_subscriber,
    )


def _rates(limits: LimitsConfig) -> RateLimits:
    return RateLimits(
        source_rate=limits.source_rate,
        source_burst=limits.source_burst,
        host_rate=limits.host_rate,
        host_burst=limits.host_burst,
        subscriber_rate=limits.subscriber_rate,
        subscriber_burst=limits.subscriber_burst,
    )


def _service_settings(sip: SipConfig, limits: LimitsConfig, *, debug: bool) -> ServiceSettings:
    hosts = {split_host_port(listener.advertise or sip.advertise or "-")[0] for listener in sip.listen}
    return ServiceSettings(
        node=socket.gethostname(),
        trusted_networks=sip.trusted_networks,
        unknown_resources_allowed=sip.unknown_resources == "allow",
        local_hosts=frozenset(hosts - {"-"}),
        restore_spread=sip.restore_spread,
        rates=_rates(limits),
        debug=debug,
    )


def _name_servers(sip: SipConfig) -> list[tuple[str, int]]:
    return [(host, port or DNS_PORT) for host, port in map(split_host_port, sip.nameservers)]


def _addresses(sip: SipConfig) -> list[ListenAddress]:
    addresses: list[ListenAddress] = []
    for listener in sip.listen:
        transport, host, port = split_listen_url(listener.url)
        advertise = listener.advertise or sip.advertise or ""
        addresses.append(ListenAddress(listener.url, transport.upper(), host, port, advertise))
    return addresses


def _stream_settings(sip: SipConfig, limits: LimitsConfig) -> StreamSettings:
    bounds = ConnectionLimits(
        connections=limits.max_connections,
        per_source=limits.max_connections_per_source,
        handshake_deadline=limits.handshake_deadline,
        message_deadline=limits.message_deadline,
        idle_timeout=limits.idle_timeout,
    )
    if sip.tls_certificate is None or sip.tls_private_key is None:
        return StreamSettings(bounds, ws_origins=sip.ws_origins)
    own = CertificateFiles(sip.tls_certificate, sip.tls_private_key)
    others = (CertificateFiles(host.certificate, host.private_key, host.name) for host in sip.tls_hosts)
    return StreamSettings(bounds, TlsSettings((own, *others), sip.tls_client_ca), sip.ws_origins)


def _account(account: AccountConfig, sip: SipConfig) -> Account:
    users = tuple(
        User(user.id, user.username, user.password.get_secret_value() if user.password else None, user.presence_id)
        for user in account.users
    )
    rules = tuple(WatchRule(rule.subscriber, rule.resource, rule.action == "allow") for rule in account.watch_rules)
    lists = tuple(
        ResourceList(one.name, tuple(ListMember(m.resource, m.label) for m in one.members)) for one in account.lists
    )
    return Account(
        AccountId(account.id), account.name, account.realm, account.aliases,
        account.api_key.get_secret_value() if account.api_key else None,
        tuple(token.get_secret_value() for token in account.tokens), users, tuple(map(_device, account.devices)), lists,
        tuple(map(Algorithm, account.digest_algorithms or sip.digest_algorithms)), rules,
    )  # fmt: skip


def _device(device: DeviceConfig) -> Device:
    sip = device.sip
    password = sip.password.get_secret_value() if sip.password else None
    ha1 = {Algorithm(name): secret.get_secret_value().lower() for name, secret in (sip.ha1 or {}).items()}
    return Device(device.id, device.name, device.owner_id, device.presence_id, sip.username, password, ha1)


def _set_up_log(config: LogConfig) -> None:
    level: dict[Literal["debug", "info", "warning", "error"], int] = {
        "debug": 10, "info": 20, "warning": 30, "error": 40,
    }  # fmt: skip
    renderer = (
        structlog.processors.JSONRenderer()
        if config.format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level[config.level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _greet(config: Config, endpoint: SipEndpoint, url: str, port: int) -> None:
    """Say in a few lines what to type into a phone, and what to try."""
    lines = ["sipresence serves:"]
    lines += [f"  SIP  {at.transport.lower()} {join_host_port(at.host, bound)}" for at, bound in endpoint.bound]
    lines.append(f"  API  {url.rpartition(':')[0]}:{port}/v2")
    open_to = [str(network) for network in config.sip.trusted_networks if not network.is_loopback]
    if open_to:
        lines.append(f"Phones in {', '.join(open_to)} may subscribe without a password.")
    for account in config.accounts[:1]:
        lines += _hints(account, endpoint, url=f"{url.rpartition(':')[0]}:{port}")
    print("\n".join(lines), flush=True)


def _hints(account: AccountConfig, endpoint: SipEndpoint, *, url: str) -> list[str]:
    tokens = [token.get_secret_value() for token in account.tokens]
    token = DEMO_TOKEN if DEMO_TOKEN in tokens else "YOUR-TOKEN"
    address, port = endpoint.bound[0]
    host = _own_address() if address.host in WILDCARDS else address.host
    presence = f"{url}/v2/accounts/{account.id}/presence"
    return [
        f"Point a phone at SIP server {host}:{port}, domain {account.realm}, and give it a BLF key, say for *3101.",
        "Then, from another terminal:",
        f"  curl -H 'X-Auth-Token: {token}' {presence}",
        f'  curl -H \'X-Auth-Token: {token}\' -d \'{{"data":{{"action":"set","state":"early"}}}}\' {presence}/*3101',
        f'  curl -H \'X-Auth-Token: {token}\' -d \'{{"data":{{"action":"reset"}}}}\' {presence}/*3101',
        "  sipresence list    sipresence watch    sipresence phone sip:*3101@127.0.0.1",
    ]


def _own_address() -> str:
    """The address by which this machine reaches others: the one to type into a phone."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: only routes (TEST-NET-1)
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
