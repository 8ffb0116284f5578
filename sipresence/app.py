"""The composition root: a Config becomes the settings of each unit, the units become one server.

Start: store, then listeners, then NOTIFYs. Stop, at SIGTERM or SIGINT: the drain, if one is configured; then no more
requests are read, what was accepted is committed and answered, the exact numbers are written, subscriptions stay. A
second signal cuts the drain short. Every task belongs to one TaskGroup.
"""

import asyncio
import gc
import hashlib
import itertools
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version

import structlog
import uvloop

from sipresence import logs, settings
from sipresence.addressing import locate, subscriber_of
from sipresence.authentication import Authenticator
from sipresence.backends.memory import LocalBus, MemoryStore
from sipresence.backends.sqlite import SqliteStore
from sipresence.build import build
from sipresence.config.model import AccountConfig, Config, HttpConfig
from sipresence.config.values import join_host_port, split_host_port
from sipresence.directory import Directory
from sipresence.directory_service import DirectoryService
from sipresence.drain import drain
from sipresence.errors import ListenError, StoreError
from sipresence.events.lists import ListDirectory, Lists
from sipresence.events.notifier import Notifier
from sipresence.events.pacing import Pacing
from sipresence.events.presentation import Presenter
from sipresence.events.profile import Profiles
from sipresence.events.publication import PublicationCompositor
from sipresence.events.record import SubscriptionRecord
from sipresence.events.resources import Resources
from sipresence.events.timeline import Chronicle
from sipresence.http import server
from sipresence.http.blackhole import Blackhole
from sipresence.insight import Insight
from sipresence.logs import LevelFilter
from sipresence.net.address import WILDCARDS
from sipresence.net.clock import LoopClock
from sipresence.net.endpoint import SipEndpoint
from sipresence.net.keepalive import PinholeKeeper
from sipresence.net.nameserver import Nameservers
from sipresence.net.systemd import InheritedSockets, Supervisor
from sipresence.ports import Clock, Loaded, SubscriptionStore
from sipresence.reloading import Reloader
from sipresence.service import PresenceService
from sipresence.session_service import SessionService
from sipresence.sip.dialog import DialogKey
from sipresence.sip.digest import Nonces
from sipresence.sip.message import COMPACT_NAMES, LONG_NAMES

log = structlog.get_logger()

# The store's writer thread must get the interpreter lock soon, or a busy loop makes each commit 5 ms late.
SWITCH_INTERVAL = 0.0002  # s
# Nothing here makes cycles but a few libraries: to look through all objects each time their number has grown by a
# quarter, as by default, takes a sixth of a storm of SUBSCRIBEs. So each is looked at twice, when it is new, which is
# the cheaper the sooner: 1,000 take half a millisecond, 50,000 (no longer in the processor's caches) 60.
GC_THRESHOLDS = (1_000, 10, 10_000)
STDIN = 0
STOP_SECONDS = 60.0  # that a stop may take on top of the drain: the last answers, HTTP requests, a slow store
DEMO_TOKEN = "demo-token"  # noqa: S105 (of examples/office.toml; no other token is ever shown)


def run(config: Config, load: Callable[[], Config]) -> int:
    """Serve until told to stop; return the exit code. `load` reads the configuration again."""
    level = logs.set_up(config.log)
    sys.setswitchinterval(SWITCH_INTERVAL)
    try:
        uvloop.run(_serve(config, load, level))
    except (ListenError, StoreError) as error:
        print(f"sipresence: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(config: Config, load: Callable[[], Config], level: LevelFilter) -> None:
    clock = LoopClock(asyncio.get_running_loop())
    store = _store(config)
    gc.disable()  # what is restored is not garbage: looking through it again and again takes a third of the start
    loaded = await store.load()
    try:
        tag = _tagger(loaded.tag_key)
        directory = Directory(settings.accounts(config))
        profiles = Profiles(settings.profiles(config))
        nonces = Nonces(_derived(loaded.tag_key, b"digest nonces"), since=clock.now())
        authenticator = Authenticator(
            directory, nonces, understood_by=lambda agent: profiles.of(agent).digest_algorithms
        )
        pacing = Pacing(rate=config.sip.notify_rate, in_flight=config.sip.notify_window)
        resources = Resources(Chronicle(), settings.lamp_policies(config))
        presenter = _presenter(config, directory, profiles)
        lists = Lists(
            resources, presenter, directory=_list_directory(directory), settings=settings.list_settings(config.sip)
        )
        notifier = _notifier(config, presenter, lists, local_tag=tag, pacing=pacing, resources=resources)
        service = PresenceService(
            settings.service_settings(config),
            directory=directory,
            authenticator=authenticator,
            notifier=notifier,
            compositor=PublicationCompositor(resources, token=_publication_names),
            tag=tag,
            clock=clock,
        )
        endpoint = _endpoint(config, service, clock)
        bus = LocalBus(service.on_state_change)
        service.attach(store=store, bus=bus, endpoint=endpoint)
        directory_service, sessions = _directory_services(config, service, loaded, clock)
        service.restore(loaded)
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        gc.enable()
        insight = Insight(service, notifier=notifier, wire=endpoint.figures, bus=bus, clock=clock)
        reloader = Reloader(
            config,
            load,
            service=service,
            users=directory_service,
            notifier=notifier,
            resources=resources,
            profiles=profiles,
            lists=lists,
            pacing=pacing,
            transports=endpoint.transports,
            level=level,
        )
        services = server.Services(service, directory_service, sessions, insight)
        await _serve_until_told(config, reloader, services, endpoint=endpoint, clock=clock)
    finally:
        await store.close()


def _notifier(
    config: Config,
    presenter: Presenter,
    lists: Lists,
    *,
    local_tag: Callable[[DialogKey], str],
    pacing: Pacing,
    resources: Resources,
) -> Notifier:
    return Notifier(
        settings.notifier_limits(config),
        failures_allowed=config.sip.notify_failures,
        local_tag=local_tag,
        pacing=pacing,
        resources=resources,
        window=config.sip.coalesce_ms / 1000,
        presenter=presenter,
        lists=lists,
    )


def _endpoint(config: Config, service: PresenceService, clock: LoopClock) -> SipEndpoint:
    return SipEndpoint(
        service,
        settings.listen_addresses(config.sip),
        streams=settings.stream_settings(config),
        admission=service.admission,
        ask=Nameservers(settings.name_servers(config.sip)).ask,
        clock=clock,
        t1=config.sip.t1_ms / 1000,
        token=_branch_tokens(),
    )


class _Orders:
    """What signals say: SIGTERM and SIGINT to stop, a second one to hurry, SIGHUP to reload."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()
        self.reload = asyncio.Event()
        self._has_terminal = _is_terminal()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)

    def _stop(self) -> None:
        (self.hurry if self.stop.is_set() else self.stop).set()

    def _hang_up(self) -> None:
        """A terminal that closes ends what was started in it; the signal is the same."""
        if self._has_terminal and not _is_terminal():
            self._stop()
        else:
            self.reload.set()


def _is_terminal() -> bool:
    return os.isatty(STDIN)


async def _reload_until_told(orders: _Orders, reloader: Reloader, supervisor: Supervisor) -> None:
    async def reload() -> None:
        while True:
            await orders.reload.wait()
            orders.reload.clear()
            supervisor.reloading()
            await reloader.reload()
            supervisor.ready()

    async with asyncio.TaskGroup() as tasks:
        reloading = tasks.create_task(reload())
        await orders.stop.wait()
        reloading.cancel()


async def _serve_http(http: HttpConfig, services: server.Services) -> list[server.Listening]:
    """Serve the admin API, then Kazoo's websocket where it has a listener of its own."""
    release, service = version("sipresence"), services.presence
    blackhole = Blackhole(service, services.sessions, settings.websocket_limits(http))
    application = server.make_application(
        services,
        blackhole,
        version=release,
        limits=settings.request_limits(http),
        dialect=settings.dialect(http),
    )
    served = [(http.listen, application)]
    if http.websocket_listen:
        served.append((http.websocket_listen, server.make_websocket_application(service, blackhole, version=release)))
    listening = []
    for address, application in served:
        host, port = split_host_port(address)
        listening.append(await server.serve(application, host, port or 0))
    return listening


async def _serve_until_told(
    config: Config,
    reloader: Reloader,
    services: server.Services,
    *,
    endpoint: SipEndpoint,
    clock: LoopClock,
) -> None:
    service, insight = services.presence, services.insight
    orders = _Orders(asyncio.get_running_loop())
    keeper = PinholeKeeper(
        interval=config.sip.nat_keepalive,
        clock=clock,
        pinholes=service.pinholes,
        send=endpoint.transports.send,
    )
    supervisor = Supervisor(os.environ, clock=clock, healthy=insight.alive, status=insight.status)
    await endpoint.open(InheritedSockets.of(os.environ))
    try:
        http = await _serve_http(config.http, services)
        service.start()
        keeper.start()
        insight.pulse.start()
        _greet(config, endpoint, f"http://{config.http.listen}", http)
        supervisor.ready()
        await _reload_until_told(orders, reloader, supervisor)
        sip = reloader.config.sip
        supervisor.stopping(sip.drain_seconds + STOP_SECONDS)
        log.info("stopping", drain=sip.drain)
        await drain(service, settings.drain_settings(sip), hurried=orders.hurry)
        endpoint.stop_reading()
        keeper.stop()
        insight.pulse.stop()
        for listening in http:
            await listening.close()
        await service.stop()
        log.info("stopped", refusals=dict(service.refusals))
    finally:
        supervisor.close()
        endpoint.close()


def _directory_services(
    config: Config, service: PresenceService, loaded: Loaded, clock: Clock
) -> tuple[DirectoryService, SessionService]:
    """What was told over the API is in the directory before anybody is looked up there."""
    directory, outbox = service.directory, service.outbox
    users = DirectoryService(directory, clock=clock, ident=_object_id, secret=_sip_secret)
    sessions = SessionService(
        directory,
        key=_derived(loaded.tag_key, b"sessions"),
        ident=_object_id,
        lifetime=config.http.token_lifetime,
        clock=clock,
    )
    users.attach(outbox, changed=service.unregister_strangers)
    users.restore(loaded.objects)
    sessions.attach(outbox)
    sessions.restore(loaded.objects)
    return users, sessions


def _presenter(config: Config, directory: Directory, profiles: Profiles) -> Presenter:
    def withheld(record: SubscriptionRecord) -> bool:
        return directory.has_caller_rules and not directory.may_know_callers(subscriber_of(record), record.resource)

    return Presenter(
        profiles,
        names=COMPACT_NAMES if config.sip.compact_headers else LONG_NAMES,
        withheld=withheld,
        entity_tags=config.sip.entity_tags,
    )


def _list_directory(directory: Directory) -> ListDirectory:
    def may_watch(record: SubscriptionRecord) -> bool:
        return not directory.has_watch_rules or directory.may_watch(subscriber_of(record), record.resource)

    return ListDirectory(
        members=directory.list_members,
        locate=partial(locate, directory),
        knows=directory.knows,
        may_watch=may_watch,
    )


def _store(config: Config) -> SubscriptionStore:
    path = config.store.path
    return MemoryStore() if path is None else SqliteStore(path, synchronous=config.store.synchronous)


def _tagger(key: bytes) -> Callable[[DialogKey], str]:
    """Local tags are a keyed MAC of the dialog's name: the same after a restart, and not to be guessed."""

    def tag(dialog: DialogKey) -> str:
        name = "\0".join(dialog).encode(errors="surrogateescape")
        return hashlib.blake2b(name, key=key, digest_size=12).hexdigest()

    return tag


def _derived(key: bytes, purpose: bytes) -> bytes:
    """A key for another purpose: as lasting and as secret as that of local tags."""
    return hashlib.blake2b(purpose, key=key, digest_size=32).digest()


def _branch_tokens() -> Callable[[], str]:
    """Unique in space and time (RFC 3261 section 8.1.1.7): a random prefix per process, and a counter."""
    prefix, numbers = secrets.token_hex(8), itertools.count(1)
    return lambda: f"{prefix}{next(numbers):x}"


def _publication_names() -> str:
    return secrets.token_hex(8)


def _object_id() -> str:
    return secrets.token_hex(16)


def _sip_secret() -> str:
    return secrets.token_hex(12)


def _greet(config: Config, endpoint: SipEndpoint, url: str, http: Sequence[server.Listening]) -> None:
    """Say in a few lines what to type into a phone, and what to try."""
    port = http[0].port
    lines = [f"sipresence ({build()} build) serves:"]
    lines += [f"  SIP  {at.transport.lower()} {join_host_port(at.host, bound)}" for at, bound in endpoint.bound]
    lines.append(f"  API  {url.rpartition(':')[0]}:{port}/v2")
    if config.http.websocket_listen:
        lines.append(f"  WS   ws://{config.http.websocket_listen.rpartition(':')[0]}:{http[1].port}")
    open_to = [str(network) for network in config.sip.trusted_networks if not network.is_loopback]
    if open_to:
        lines.append(f"Phones in {', '.join(open_to)} may subscribe without a password.")
    for account in config.accounts[:1]:
        lines += _hints(account, endpoint, url=f"{url.rpartition(':')[0]}:{port}")
    print("\n".join(lines), flush=True)


def _hints(account: AccountConfig, endpoint: SipEndpoint, *, url: str) -> list[str]:
    tokens = [one.token.get_secret_value() for one in account.tokens]
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
