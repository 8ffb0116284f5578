"""Settings: what the configuration means to each unit. Here, and nowhere below, it is read."""

import socket

from sipresence.accounts import Account, Device, ListMember, ResourceList, Role, User, WatchRule
from sipresence.config.model import (
    AccountConfig,
    Config,
    DeviceConfig,
    HttpConfig,
    LimitsConfig,
    ProfileConfig,
    SipConfig,
    UserConfig,
)
from sipresence.config.values import DNS_PORT, split_host_port, split_listen_url
from sipresence.drain import DrainSettings, Manner
from sipresence.events.lists import ListSettings
from sipresence.events.policy import DEFAULT, LampPolicy
from sipresence.events.profile import PLAIN, UNSAID, Pace, Profile, Shape
from sipresence.events.register import RegistrarLimits
from sipresence.events.state import DialogState
from sipresence.events.subscribe import Limits
from sipresence.http.authorization import RequestLimits
from sipresence.http.conversation import WebsocketLimits
from sipresence.http.dialect import Dialect, ListFormat
from sipresence.names import AccountId
from sipresence.net.address import ListenAddress
from sipresence.net.certificates import CertificateFiles, TlsSettings
from sipresence.net.stream import ConnectionLimits
from sipresence.net.transports import StreamSettings
from sipresence.service import ServiceSettings
from sipresence.sip.admission import RateLimits
from sipresence.sip.digest import Algorithm


def notifier_limits(config: Config) -> Limits:
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


def service_settings(config: Config) -> ServiceSettings:
    sip = config.sip
    hosts = {split_host_port(listener.advertise or sip.advertise or "-")[0] for listener in sip.listen}
    return ServiceSettings(
        node=socket.gethostname(),
        trusted_networks=sip.trusted_networks,
        unknown_resources_allowed=sip.unknown_resources == "allow",
        local_hosts=frozenset(hosts - {"-"}),
        restore_spread=sip.restore_spread,
        rates=_rates(config.limits),
        registrar=_registrar(config) if sip.registrar else None,
        debug=config.log.level == "debug",
    )


def _registrar(config: Config) -> RegistrarLimits:
    sip, limits = config.sip, config.limits
    return RegistrarLimits(
        min_expires=sip.register_min_expires,
        default_expires=sip.register_default_expires,
        max_expires=sip.register_max_expires,
        contacts_per_device=limits.contacts_per_device,
        max_contacts=limits.max_contacts,
    )


def list_settings(sip: SipConfig) -> ListSettings:
    return ListSettings(
        stream_bytes=sip.list_notify_bytes,
        datagram_bytes=sip.list_datagram_bytes,
        unknown_resources_allowed=sip.unknown_resources == "allow",
    )


def request_limits(http: HttpConfig) -> RequestLimits:
    return RequestLimits(http.request_rate, http.request_burst, static_tokens_too=http.limit_static_tokens)


def dialect(http: HttpConfig) -> Dialect:
    return Dialect(ListFormat(http.list_format), http.accepted_status, http.kazoo_exact)


def websocket_limits(http: HttpConfig) -> WebsocketLimits:
    return WebsocketLimits(
        connections=http.websocket_connections,
        connections_per_address=http.websocket_connections_per_address,
        bindings=http.websocket_bindings,
        queue=http.websocket_queue,
        heartbeat=http.websocket_heartbeat,
        idle_timeout=http.websocket_idle_timeout,
    )


def name_servers(sip: SipConfig) -> list[tuple[str, int]]:
    return [(host, port or DNS_PORT) for host, port in map(split_host_port, sip.nameservers)]


def listen_addresses(sip: SipConfig) -> list[ListenAddress]:
    addresses: list[ListenAddress] = []
    for listener in sip.listen:
        transport, host, port = split_listen_url(listener.url)
        advertise = listener.advertise or sip.advertise or ""
        addresses.append(ListenAddress(listener.url, transport.upper(), host, port, advertise))
    return addresses


def stream_settings(config: Config) -> StreamSettings:
    sip, limits = config.sip, config.limits
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


def accounts(config: Config) -> list[Account]:
    return [_account(account, config.sip) for account in config.accounts]


def profiles(config: Config) -> list[Profile]:
    return [_profile(profile) for profile in config.profiles]


def _profile(profile: ProfileConfig) -> Profile:
    shape = Shape(
        private=not profile.callers,
        single_dialog=profile.single_dialog,
        caller_confirmed=profile.caller_early_confirmed,
        participants=profile.participants,
        pvalue=profile.hold_pvalue,
    )
    pace = Pace(profile.notify_rate, profile.notify_window)
    return Profile(
        name=profile.name,
        user_agent=profile.user_agent,
        shape=PLAIN if shape == PLAIN else shape,  # these very objects, which are cheaper
        pace=UNSAID if pace == UNSAID else pace,
        final_notify=profile.final_notify,
        compact_headers=profile.compact_headers,
        min_expires=profile.min_expires,
        digest_algorithms=profile.digest_algorithms or (),
        lists_unasked=profile.lists_unasked,
    )


def lamp_policies(config: Config) -> dict[AccountId, LampPolicy]:
    return {AccountId(account.id): _lamp_policy(account) for account in config.accounts}


def _lamp_policy(account: AccountConfig) -> LampPolicy:
    lamps = account.lamps
    policy = LampPolicy(
        confirmed_first=account.confirmed_first,
        caller_early=DialogState(lamps.caller_early),
        held=DialogState(lamps.held),
        do_not_disturb=DialogState(lamps.do_not_disturb),
        unregistered=DialogState(lamps.unregistered),
        voicemail_prefix=lamps.voicemail_prefix,
    )
    return DEFAULT if policy == DEFAULT else policy  # most accounts have it, and it is cheaper


def drain_settings(sip: SipConfig) -> DrainSettings:
    return DrainSettings(Manner(sip.drain), sip.drain_seconds)


def _account(account: AccountConfig, sip: SipConfig) -> Account:
    rules = tuple(WatchRule(rule.subscriber, rule.resource, rule.action == "allow") for rule in account.watch_rules)
    lists = tuple(
        ResourceList(one.name, tuple(ListMember(m.resource, m.label) for m in one.members)) for one in account.lists
    )
    return Account(
        AccountId(account.id), account.name, account.realm, account.aliases,
        account.api_key.get_secret_value() if account.api_key else None,
        _tokens(account, Role.ADMIN), tuple(map(_user, account.users)), tuple(map(_device, account.devices)), lists,
        tuple(map(Algorithm, account.digest_algorithms or sip.digest_algorithms)), rules,
        frozenset(account.publishers), account.strict_publications, account.withhold_callers,
        tuple(WatchRule(rule.subscriber, rule.resource, rule.action == "show") for rule in account.caller_rules),
        _tokens(account, Role.READ), AccountId(account.parent_id) if account.parent_id else None,
    )  # fmt: skip


def _tokens(account: AccountConfig, role: Role) -> tuple[str, ...]:
    return tuple(one.token.get_secret_value() for one in account.tokens if one.role == role)


def _user(user: UserConfig) -> User:
    return User(
        user.id, user.username, user.password.get_secret_value() if user.password else None, user.presence_id,
        role=Role.ADMIN if user.priv_level == "admin" else Role.READ, enabled=user.enabled,
        first_name=user.first_name, last_name=user.last_name,
    )  # fmt: skip


def _device(device: DeviceConfig) -> Device:
    sip = device.sip
    password = sip.password.get_secret_value() if sip.password else None
    ha1 = {Algorithm(name): secret.get_secret_value().lower() for name, secret in (sip.ha1 or {}).items()}
    return Device(
        device.id, device.name, device.owner_id, device.presence_id, sip.username, password, ha1, device.enabled
    )
