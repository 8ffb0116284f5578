"""The configuration as it is once nothing in it is wrong: one class per table of the file, with defaults and units."""

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from sipresence.config.values import (
    DEFAULT_HTTP_PORT,
    MAX_SECONDS,
    Advertised,
    Count,
    Extension,
    Id,
    Network,
    Pattern,
    Rate,
    Realm,
    Seconds,
    Text,
    Timeout,
    hex_digests,
    host_alias,
    length,
    listen_address,
    listen_url,
    name_server,
    server_name,
    split_store_url,
    store_url,
    websocket_address,
)

DigestAlgorithm: TypeAlias = Literal["SHA-256", "MD5"]
ListBytes: TypeAlias = Annotated[int, Field(ge=500, le=60_000)]
DigestAlgorithms: TypeAlias = Annotated[tuple[DigestAlgorithm, ...], Field(min_length=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class ListenerConfig(_Section):
    """One listener; in the file a URL, or a table with the address to advertise for this listener alone."""

    url: Annotated[str, AfterValidator(listen_url)]
    advertise: Advertised | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_url(cls, value: object) -> object:
        return {"url": value} if isinstance(value, str) else value


class TlsHostConfig(_Section):
    """A further certificate, for clients that ask for `name` (SNI)."""

    name: Annotated[str, AfterValidator(server_name)]
    certificate: Path
    private_key: Path


class SipConfig(_Section):
    """[sip]: times are seconds unless their name says ms."""

    listen: Annotated[tuple[ListenerConfig, ...], Field(min_length=1)] = (
        ListenerConfig(url="udp://0.0.0.0:5060"),
        ListenerConfig(url="tcp://0.0.0.0:5060"),
    )
    advertise: Advertised | None = None
    min_expires: Seconds = 60
    default_expires: Seconds = 3600
    max_expires: Seconds = 7200
    registrar: bool = True
    register_min_expires: Annotated[Seconds, Field(le=3600)] = 60
    register_default_expires: Seconds = 3600
    register_max_expires: Seconds = 7200
    trusted_networks: tuple[Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
    unknown_resources: Literal["allow", "reject"] = "allow"
    digest_algorithms: DigestAlgorithms = ("SHA-256", "MD5")
    t1_ms: Annotated[int, Field(ge=100, le=4000)] = 500
    notify_failures: Annotated[int, Field(ge=1, le=100)] = 4
    restore_spread: Annotated[float, Field(ge=0, le=3600)] = 3.0
    drain: Literal["hold", "refuse", "goodbye"] = "hold"
    drain_seconds: Annotated[float, Field(ge=0, le=3600)] = 5.0
    notify_rate: Annotated[int, Field(ge=0, le=10_000)] = 10
    notify_window: Annotated[int, Field(ge=0, le=10_000)] = 10
    coalesce_ms: Annotated[int, Field(ge=0, le=10_000)] = 50
    list_notify_bytes: ListBytes = 16_384
    list_datagram_bytes: ListBytes = 3_000
    compact_headers: bool = False
    entity_tags: bool = False
    nat_keepalive: Annotated[int, Field(ge=0, le=3600)] = 30
    nameservers: tuple[Annotated[str, AfterValidator(name_server)], ...] = ()
    tls_certificate: Path | None = None
    tls_private_key: Path | None = None
    tls_hosts: tuple[TlsHostConfig, ...] = ()
    tls_client_ca: Path | None = None
    ws_origins: tuple[Annotated[Text, length(1, 255)], ...] = ()

    def anchored(self, folder: Path) -> "SipConfig":
        """Take relative paths as relative to `folder`."""

        def absolute(path: Path | None) -> Path | None:
            return path and (folder / path).resolve()

        hosts = (
            host.model_copy(
                update={"certificate": absolute(host.certificate), "private_key": absolute(host.private_key)}
            )
            for host in self.tls_hosts
        )
        keys = ("tls_certificate", "tls_private_key", "tls_client_ca")
        return self.model_copy(
            update={**{key: absolute(getattr(self, key)) for key in keys}, "tls_hosts": tuple(hosts)}
        )


class HttpConfig(_Section):
    """[http]: where the admin API listens, `host:port`, and Kazoo's websocket by itself, "" for nowhere; limits."""

    listen: Annotated[str, AfterValidator(listen_address)] = f"127.0.0.1:{DEFAULT_HTTP_PORT}"
    token_lifetime: Annotated[int, Field(ge=60, le=MAX_SECONDS)] = 3600
    request_rate: Rate = 10.0
    request_burst: Annotated[int, Field(ge=35, le=MAX_SECONDS)] = 100
    limit_static_tokens: bool = False
    list_format: Literal["records", "counts", "detail"] = "records"
    accepted_status: Literal[200, 202] = 202
    kazoo_exact: bool = False
    websocket_listen: Annotated[str, AfterValidator(websocket_address)] = ""
    websocket_connections: Count = 5000
    websocket_connections_per_address: Count = 1000
    websocket_bindings: Annotated[int, Field(ge=1, le=10_000)] = 100
    websocket_queue: Annotated[int, Field(ge=1, le=100_000)] = 500
    websocket_heartbeat: Timeout = 30.0
    websocket_idle_timeout: Timeout = 300.0


class StoreConfig(_Section):
    """[store]: after `load`, the path in `url` is absolute."""

    url: Annotated[str, AfterValidator(store_url)] = "sqlite:///var/lib/sipresence/presence.db"
    synchronous: Literal["normal", "full"] = "normal"

    @property
    def path(self) -> Path | None:
        """The database file; None keeps nothing."""
        return split_store_url(self.url)

    def anchored(self, folder: Path) -> "StoreConfig":
        """Take a relative path as relative to `folder`."""
        if self.path is None:
            return self
        return self.model_copy(update={"url": f"sqlite://{(folder / self.path).resolve()}"})


class LogConfig(_Section):
    """[log]: what is written, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class LimitsConfig(_Section):
    """[limits]: what one sender may ask. Rates are per second, a burst is how many may come at once, times are seconds.

    The last five are of stream connections: TCP, TLS, WS and WSS together.
    """

    source_rate: Rate = 10.0
    source_burst: Count = 150
    host_rate: Rate = 500.0
    host_burst: Count = 8000
    subscriber_rate: Rate = 50.0
    subscriber_burst: Count = 600
    subscriptions_per_subscriber: Count = 1000
    max_subscriptions: Count = 2_000_000
    contacts_per_device: Count = 10
    max_contacts: Count = 1_000_000
    max_connections: Count = 20_000
    max_connections_per_source: Count = 1000
    handshake_deadline: Timeout = 10.0
    message_deadline: Timeout = 10.0
    idle_timeout: Timeout = 300.0


class TokenConfig(_Section):
    """A static token; in the file its text, for an admin, or a table with the role."""

    token: Annotated[SecretStr, length(8, 1024)]
    role: Literal["read", "admin"] = "admin"

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        return {"token": value} if isinstance(value, str) else value


class UserConfig(_Section):
    """[[accounts.users]]: one with `priv_level` "user" may only look."""

    id: Id
    username: Annotated[Text, length(1, 64)] | None = None
    password: Annotated[SecretStr, length(1, 128)] | None = None
    presence_id: Extension | None = None
    first_name: Annotated[Text, length(0, 128)] = ""
    last_name: Annotated[Text, length(0, 128)] = ""
    priv_level: Literal["user", "admin"] = "user"
    enabled: bool = True


class DeviceSipConfig(_Section):
    """The SIP credentials of a device: the password, or for each algorithm what a server may keep in its place."""

    username: Annotated[Extension, length(2, 32)]
    password: Annotated[SecretStr, length(5, 32)] | None = None
    ha1: Annotated[dict[DigestAlgorithm, SecretStr], Field(min_length=1), AfterValidator(hex_digests)] | None = None

    @model_validator(mode="after")
    def _one_secret(self) -> "DeviceSipConfig":
        if (self.password is None) == (self.ha1 is None):
            raise ValueError("needs either password or ha1")
        return self


class DeviceConfig(_Section):
    """[[accounts.devices]]"""

    id: Id
    name: Text = ""
    owner_id: Id | None = None
    presence_id: Extension | None = None
    enabled: bool = True
    sip: DeviceSipConfig


class MemberConfig(_Section):
    """One member of a list."""

    resource: Extension
    label: Text = ""


class ListConfig(_Section):
    """[[accounts.lists]]"""

    name: Extension
    members: Annotated[tuple[MemberConfig, ...], Field(max_length=256)] = ()


class WatchRuleConfig(_Section):
    """[[accounts.watch_rules]]: both patterns have to match in whole, in any case."""

    subscriber: Pattern
    resource: Pattern
    action: Literal["allow", "deny"]


class CallerRuleConfig(_Section):
    """[[accounts.caller_rules]]: likewise."""

    subscriber: Pattern
    resource: Pattern
    action: Literal["show", "withhold"]


class LampsConfig(_Section):
    """[accounts.lamps]: what lamps show, `terminated` for nothing."""

    caller_early: Literal["early", "confirmed", "trying"] = "early"
    held: Literal["confirmed", "early"] = "confirmed"
    do_not_disturb: Literal["terminated", "early", "confirmed"] = "terminated"
    unregistered: Literal["terminated", "early", "confirmed"] = "terminated"
    voicemail_prefix: Annotated[str, Field(max_length=16)] = "*98"


class AccountConfig(_Section):
    """[[accounts]]; ids, realm and aliases in lower case."""

    id: Id
    name: Text = ""
    realm: Realm
    aliases: tuple[Annotated[str, AfterValidator(host_alias)], ...] = ()
    api_key: Annotated[SecretStr, length(64, 64)] | None = None
    tokens: tuple[TokenConfig, ...] = ()
    parent_id: Id | None = None
    users: tuple[UserConfig, ...] = ()
    devices: tuple[DeviceConfig, ...] = ()
    lists: tuple[ListConfig, ...] = ()
    digest_algorithms: DigestAlgorithms | None = None
    watch_rules: tuple[WatchRuleConfig, ...] = ()
    publishers: tuple[Text, ...] = ()
    strict_publications: bool = False
    confirmed_first: bool = False
    lamps: LampsConfig = LampsConfig()
    withhold_callers: bool = False
    caller_rules: tuple[CallerRuleConfig, ...] = ()


class ProfileConfig(_Section):
    """[[profiles]]: what one kind of phone needs (config/profiles.toml has the known ones)."""

    name: Annotated[Text, length(1, 32)]
    user_agent: Pattern
    single_dialog: bool = False
    caller_early_confirmed: bool = False
    callers: bool = True
    participants: bool = True
    hold_pvalue: bool = False
    final_notify: bool = True
    notify_rate: Annotated[int, Field(ge=0, le=10_000)] | None = None
    notify_window: Annotated[int, Field(ge=0, le=10_000)] | None = None
    compact_headers: bool | None = None
    min_expires: Seconds | None = None
    digest_algorithms: DigestAlgorithms | None = None
    lists_unasked: bool = False


class Config(_Section):
    """The whole configuration, as `load` makes it."""

    sip: SipConfig = SipConfig()
    http: HttpConfig = HttpConfig()
    store: StoreConfig = StoreConfig()
    log: LogConfig = LogConfig()
    limits: LimitsConfig = LimitsConfig()
    accounts: tuple[AccountConfig, ...] = ()
    profiles: tuple[ProfileConfig, ...] = ()
