"""The configuration as it is once nothing in it is wrong: one class per table of the file, with defaults and units."""

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, IPvAnyAddress, SecretStr, model_validator

from sipresence.config.values import (
    DEFAULT_HTTP_PORT,
    Advertised,
    Extension,
    Id,
    Network,
    Realm,
    Seconds,
    Text,
    host_alias,
    length,
    listen_address,
    listen_url,
    split_store_url,
    store_url,
)


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
    trusted_networks: tuple[Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
    unknown_resources: Literal["allow", "reject"] = "allow"
    digest_algorithms: Annotated[tuple[Literal["SHA-256", "MD5"], ...], Field(min_length=1)] = ("SHA-256", "MD5")
    t1_ms: Annotated[int, Field(ge=100, le=4000)] = 500
    notify_failures: Annotated[int, Field(ge=1, le=100)] = 4
    restore_spread: Annotated[float, Field(ge=0, le=3600)] = 3.0
    nameservers: tuple[IPvAnyAddress, ...] = ()
    tls_certificate: Path | None = None
    tls_private_key: Path | None = None


class HttpConfig(_Section):
    """[http]: where the admin API listens, `host:port`."""

    listen: Annotated[str, AfterValidator(listen_address)] = f"127.0.0.1:{DEFAULT_HTTP_PORT}"


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


class UserConfig(_Section):
    """[[accounts.users]]"""

    id: Id
    username: Annotated[Text, length(1, 64)] | None = None
    password: Annotated[SecretStr, length(1, 128)] | None = None
    presence_id: Extension | None = None


class DeviceSipConfig(_Section):
    """The SIP credentials of a device."""

    username: Annotated[Extension, length(2, 32)]
    password: Annotated[SecretStr, length(5, 32)]


class DeviceConfig(_Section):
    """[[accounts.devices]]"""

    id: Id
    name: Text = ""
    owner_id: Id | None = None
    presence_id: Extension | None = None
    sip: DeviceSipConfig


class MemberConfig(_Section):
    """One member of a list."""

    resource: Extension
    label: Text = ""


class ListConfig(_Section):
    """[[accounts.lists]]"""

    name: Extension
    members: tuple[MemberConfig, ...] = ()


class AccountConfig(_Section):
    """[[accounts]]; ids, realm and aliases in lower case."""

    id: Id
    name: Text = ""
    realm: Realm
    aliases: tuple[Annotated[str, AfterValidator(host_alias)], ...] = ()
    api_key: Annotated[SecretStr, length(64, 64)] | None = None
    tokens: tuple[Annotated[SecretStr, length(8, 1024)], ...] = ()
    users: tuple[UserConfig, ...] = ()
    devices: tuple[DeviceConfig, ...] = ()
    lists: tuple[ListConfig, ...] = ()


class Config(_Section):
    """The whole configuration, as `load` makes it."""

    sip: SipConfig = SipConfig()
    http: HttpConfig = HttpConfig()
    store: StoreConfig = StoreConfig()
    log: LogConfig = LogConfig()
    accounts: tuple[AccountConfig, ...] = ()
