"""What is answered about accounts, users and devices; see answers.py."""

from typing import Annotated, Literal

from pydantic import Field

from sipresence.http.openapi.answers import MAYBE, Answer, Open


class ReadOnly(Answer):
    """Why it cannot be changed here."""

    source: Literal["configuration"] = MAYBE
    deleted: bool = MAYBE


class _Marked(Answer):
    read_only: Annotated[ReadOnly, Field(alias="_read_only")] = MAYBE
    """Of what the configuration file says, and of what was deleted."""


class AccountInShort(Answer):
    """An account."""

    id: str
    name: str
    realm: str
    parent_id: str = MAYBE


class Account(AccountInShort, _Marked):
    """An account, with what it is known by."""

    aliases: list[str]
    enabled: bool


class ApiKey(Answer):
    """The key of an account, if it has one."""

    api_key: str = MAYBE


class Credentials(Open):
    """What a phone logs in with."""

    username: str
    password: str = MAYBE
    """For admins only."""


class Device(Open, _Marked):
    """A device, as it was told."""

    id: str
    name: str
    enabled: bool
    sip: Credentials
    owner_id: str | None = MAYBE
    presence_id: str | int | None = MAYBE


class DeviceInShort(_Marked):
    """A device in a list."""

    id: str
    name: str
    enabled: bool
    username: str
    """That of `sip`."""
    owner_id: str | None = MAYBE
    presence_id: str | int | None = MAYBE
    device_type: object = MAYBE
    mac_address: object = MAYBE


class User(Open, _Marked):
    """A user, as she was told."""

    id: str
    first_name: str
    last_name: str
    enabled: bool
    priv_level: Literal["user", "admin"]
    username: str | None = MAYBE
    presence_id: str | int | None = MAYBE


class UserInShort(_Marked):
    """A user in a list."""

    id: str
    first_name: str
    last_name: str
    enabled: bool
    priv_level: Literal["user", "admin"]
    username: str | None = MAYBE
    presence_id: str | int | None = MAYBE
    email: object = MAYBE
    timezone: object = MAYBE
