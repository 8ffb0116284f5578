"""The directory: accounts with their users, devices and lists, and which lamp belongs to whom.

A lamp is a resource, `user@realm`. A device's lamp is its presence id, else its SIP user name, and never its owner's; a
user's lamps are its presence id, else those of all its devices. Of a presence id only the text before `@` counts: the
realm is the account's.

All of it is configuration: the look-ups are dictionaries, built when it is read and replaced as a whole. Who may say
that something is his (digest, sessions) is decided elsewhere; here are only the secrets and rules to decide it with,
and secrets do not appear in a `repr`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hmac import compare_digest

from sipresence.errors import UnknownAccount, UnknownDevice, UnknownUser
from sipresence.names import AccountId, ResourceId, extension_of, realm_of, resource_id
from sipresence.sip.digest import Algorithm


@dataclass(slots=True, frozen=True)
class Device:
    """A phone. `owner_id` is the id of a user of the same account.

    Its SIP password is there as plain text, or only as HA1 (RFC 7616 section 3.4.2) for some algorithms.
    """

    id: str
    name: str
    owner_id: str | None
    presence_id: str | None
    sip_username: str
    sip_password: str | None = field(repr=False)
    sip_ha1: Mapping[Algorithm, str] = field(default_factory=dict, repr=False)


@dataclass(slots=True, frozen=True)
class User:
    """A person. With `username` and `password` she can log in to the admin API."""

    id: str
    username: str | None
    password: str | None = field(repr=False)
    presence_id: str | None


@dataclass(slots=True, frozen=True)
class ListMember:
    """One lamp of a list, and the text beside it."""

    resource: str
    label: str


@dataclass(slots=True, frozen=True)
class ResourceList:
    """A resource list (RFC 4662): many lamps under one address."""

    name: str
    members: tuple[ListMember, ...]


@dataclass(slots=True, frozen=True)
class WatchRule:
    """Whether a subscriber (SIP user name) may watch a resource (extension), or know who calls it, where both patterns
    match in whole."""

    subscriber: re.Pattern[str]
    resource: re.Pattern[str]
    allow: bool


@dataclass(slots=True, frozen=True)
class Account:
    """A tenant. `realm` is its SIP domain, in lower case; `aliases` are further host parts that mean it.

    Of `watch_rules` the first that matches counts. `publishers` are the SIP user names of those that may publish for
    all its extensions. `strict_publications`: PUBLISH is answered as RFC 3903 has it. `withhold_callers`: who watches
    an extension is not told who calls it, unless the first of `caller_rules` that matches allows it; the other way
    round without. `digest_algorithms` are those its phones may use, the best first.
    """

    id: AccountId
    name: str
    realm: str
    aliases: tuple[str, ...]
    api_key: str | None = field(repr=False)
    tokens: tuple[str, ...] = field(repr=False)
    users: tuple[User, ...]
    devices: tuple[Device, ...]
    lists: tuple[ResourceList, ...]
    digest_algorithms: tuple[Algorithm, ...] = tuple(Algorithm)
    watch_rules: tuple[WatchRule, ...] = ()
    publishers: frozenset[str] = frozenset()
    strict_publications: bool = False
    withhold_callers: bool = False
    caller_rules: tuple[WatchRule, ...] = ()


class Directory:
    """Who and what there is, by id, by host and by token."""

    __slots__ = (
        "_accounts", "_by_host", "_by_id", "_by_realm", "_device_lamps", "_ha1", "_known", "_lamps", "_own_lamps",
        "_tokens", "_user_lamps", "has_caller_rules", "has_watch_rules",
    )  # fmt: skip

    def __init__(self, accounts: Sequence[Account]) -> None:
        self.replace(accounts)

    def replace(self, accounts: Sequence[Account]) -> None:
        """Hold these accounts, and no others."""
        self._accounts = tuple(accounts)
        self.has_watch_rules = any(account.watch_rules for account in accounts)
        self.has_caller_rules = any(account.withhold_callers or account.caller_rules for account in accounts)
        self._by_id = {account.id: account for account in accounts}
        self._by_host = {host.lower(): account for account in accounts for host in (account.realm, *account.aliases)}
        self._by_realm = {account.realm: account for account in accounts}
        self._ha1 = {
            (account.id, device.sip_username, algorithm): ha1
            for account in accounts
            for device in account.devices
            for algorithm, ha1 in _ha1(account, device)
        }
        self._tokens = tuple((_comparable(token), account.id) for account in accounts for token in account.tokens)
        self._device_lamps = {
            (account.id, device.id): _device_lamp(account, device) for account in accounts for device in account.devices
        }
        self._user_lamps = {
            (account.id, user.id): _user_lamps(account, user) for account in accounts for user in account.users
        }
        self._own_lamps = frozenset(
            (account.id, device.sip_username, lamp)
            for account in accounts
            for device in account.devices
            for lamp in (_device_lamp(account, device), _lamp(device.sip_username, account))
        )
        self._lamps = {account.id: tuple(dict.fromkeys(_all_lamps(account))) for account in accounts}
        self._known = frozenset(lamp for lamps in self._lamps.values() for lamp in lamps) | frozenset(
            _lamp(entry.name, account) for account in accounts for entry in account.lists
        )

    @property
    def accounts(self) -> tuple[Account, ...]:
        """All accounts, in the order of the configuration."""
        return self._accounts

    @property
    def sole_account(self) -> Account | None:
        """The account, where there is exactly one: any host is then this one's."""
        return self._accounts[0] if len(self._accounts) == 1 else None

    def account(self, account_id: AccountId) -> Account:
        """Return the account of this id. Raises UnknownAccount."""
        try:
            return self._by_id[account_id]
        except KeyError:
            raise UnknownAccount(account_id) from None

    def find(self, account_id: AccountId) -> Account | None:
        """Return the account of this id, None for one that the configuration has no more."""
        return self._by_id.get(account_id)

    def account_by_host(self, host: str) -> Account | None:
        """Return the account that the host part of a URI means: its realm or an alias, in any case, without port."""
        return self._by_host.get(host.lower())

    def account_by_realm(self, realm: str) -> Account | None:
        """Return the account whose realm this is, exactly."""
        return self._by_realm.get(realm)

    def ha1(self, account_id: AccountId, username: str, algorithm: Algorithm) -> str | None:
        """Return the HA1 of a device, None where there is no such device, or it may not use this algorithm."""
        return self._ha1.get((account_id, username, algorithm))

    def may_watch(self, subscriber: str, resource: ResourceId) -> bool:
        """Whether the rules of the resource's account let a subscriber of that account watch it.

        `subscriber` is a SIP user name. Without a rule that matches, whoever is of the account may.
        """
        account = self._by_realm.get(realm_of(resource))
        return account is None or _allowed(account.watch_rules, subscriber, resource, otherwise=True)

    def may_know_callers(self, subscriber: str, resource: ResourceId) -> bool:
        """Whether a subscriber, a SIP user name, is told who calls this resource and whom it calls."""
        account = self._by_realm.get(realm_of(resource))
        if account is None:
            return True
        return _allowed(account.caller_rules, subscriber, resource, otherwise=not account.withhold_callers)

    def may_publish(self, account_id: AccountId, user: str, resource: ResourceId) -> bool:
        """Whether a device of this account may say how the resource is: its own extensions, or as a publisher all."""
        account = self._by_id.get(account_id)
        if account is None or account.realm != realm_of(resource):
            return False
        return user in account.publishers or (account_id, user, resource) in self._own_lamps

    def account_by_token(self, token: str) -> AccountId | None:
        """Return the account that a static admin token opens.

        Every token of every account is compared, in constant time, whichever matches: how long the answer takes tells
        a guesser nothing of the tokens but their number and lengths.
        """
        offered = _comparable(token)
        found = None
        for known, account_id in self._tokens:
            if compare_digest(known, offered):
                found = account_id
        return found

    def device_lamp(self, account_id: AccountId, device_id: str) -> ResourceId:
        """Return the lamp of a device. Raises UnknownDevice, also where there is no such account."""
        try:
            return self._device_lamps[account_id, device_id]
        except KeyError:
            raise UnknownDevice(device_id) from None

    def user_lamps(self, account_id: AccountId, user_id: str) -> tuple[ResourceId, ...]:
        """Return the lamps of a user, at least one. Raises UnknownUser, also for a user that owns none."""
        lamps = self._user_lamps.get((account_id, user_id))
        if not lamps:
            raise UnknownUser(user_id)
        return lamps

    def knows(self, resource: ResourceId) -> bool:
        """Whether the resource is the lamp of a device or user, a member of a list, or a list itself."""
        return resource in self._known

    def lamps(self, account_id: AccountId) -> tuple[ResourceId, ...]:
        """Return every lamp of the account once: users', devices', members of lists, as configured.

        Raises UnknownAccount.
        """
        try:
            return self._lamps[account_id]
        except KeyError:
            raise UnknownAccount(account_id) from None


def _allowed(rules: Sequence[WatchRule], subscriber: str, resource: ResourceId, *, otherwise: bool) -> bool:
    if not rules:
        return otherwise
    extension = extension_of(resource)
    matching = (
        rule.allow for rule in rules if rule.subscriber.fullmatch(subscriber) and rule.resource.fullmatch(extension)
    )
    return next(matching, otherwise)


def _lamp(text: str, account: Account) -> ResourceId:
    return resource_id(text.partition("@")[0], account.realm)


def _device_lamp(account: Account, device: Device) -> ResourceId:
    return _lamp(device.presence_id or device.sip_username, account)


def _ha1(account: Account, device: Device) -> Iterator[tuple[Algorithm, str]]:
    for algorithm in account.digest_algorithms:
        if device.sip_password is not None:
            yield algorithm, algorithm.ha1(device.sip_username, account.realm, device.sip_password)
        elif algorithm in device.sip_ha1:
            yield algorithm, device.sip_ha1[algorithm]


def _user_lamps(account: Account, user: User) -> tuple[ResourceId, ...]:
    if user.presence_id:
        return (_lamp(user.presence_id, account),)
    owned = (_device_lamp(account, device) for device in account.devices if device.owner_id == user.id)
    return tuple(dict.fromkeys(owned))


def _all_lamps(account: Account) -> Iterator[ResourceId]:
    for user in account.users:
        yield from _user_lamps(account, user)
    for device in account.devices:
        yield _device_lamp(account, device)
    for entry in account.lists:
        for member in entry.members:
            yield _lamp(member.resource, account)


def _comparable(token: str) -> bytes:
    # compare_digest takes only ASCII as str; a header that was no UTF-8 arrives with surrogates, which must not raise.
    return token.encode(errors="surrogatepass")
