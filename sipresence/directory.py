"""The directory: which accounts there are, who and what belongs to them, and whom a host, a token or a name means.

Accounts are configuration: their look-ups are dictionaries, built when it is read and replaced as a whole. Their users
and devices are configuration too, or were added over the admin API; those come and go one by one, and stay when the
configuration is replaced, unless it has now one of the same id or name: that one counts (see Roster). Who may say that
something is his (digest, sessions) is decided elsewhere; here are only the secrets and rules to decide it with.
"""

from collections.abc import Iterator, Sequence
from hmac import compare_digest
from itertools import chain
from typing import NamedTuple, TypeAlias

from sipresence.accounts import Account, Device, Members, Role, User, WatchRule
from sipresence.errors import UnknownAccount, UnknownDevice, UnknownUser
from sipresence.names import AccountId, ResourceId, extension_of, realm_of
from sipresence.roster import Phone, Roster
from sipresence.sip.digest import Algorithm

Entry: TypeAlias = Device | User
"""What may be added to an account."""


class Access(NamedTuple):
    """What a token opens."""

    account: AccountId
    role: Role


class Directory:
    """Who and what there is, by id, by host and by token."""

    __slots__ = (
        "_accounts", "_added", "_api_keys", "_by_host", "_by_id", "_by_realm", "_rosters", "_tokens",
        "has_caller_rules", "has_watch_rules",
    )  # fmt: skip

    def __init__(self, accounts: Sequence[Account]) -> None:
        self._added: dict[AccountId, dict[tuple[type[Entry], str], Entry]] = {}
        self.replace(accounts)

    def replace(self, accounts: Sequence[Account]) -> None:
        """Hold these accounts, and no others, with what was added to each."""
        self._accounts = tuple(accounts)
        self.has_watch_rules = any(account.watch_rules for account in accounts)
        self.has_caller_rules = any(account.withhold_callers or account.caller_rules for account in accounts)
        self._by_id = {account.id: account for account in accounts}
        self._by_host = {host.lower(): account for account in accounts for host in (account.realm, *account.aliases)}
        self._by_realm = {account.realm: account for account in accounts}
        self._tokens = tuple(chain.from_iterable(map(_tokens, accounts)))
        self._api_keys = tuple((_comparable(one.api_key), one.id) for one in accounts if one.api_key is not None)
        self._rosters = {account.id: Roster(account) for account in accounts}
        for account in accounts:
            for entry in self._added.get(account.id, {}).values():
                self._rosters[account.id].add(entry)

    def overruled(self) -> list[str]:
        """The ids of what was added and is of no effect, since the configuration has the same id or name."""
        return [
            entry.id
            for account in self._accounts
            for entry in self._added.get(account.id, {}).values()
            if not self._rosters[account.id].has(entry)
        ]

    def add(self, account_id: AccountId, entry: Entry) -> None:
        """Add a user or device, in place of the one of the same id that was added before."""
        self.remove(account_id, type(entry), entry.id)
        self._added.setdefault(account_id, {})[type(entry), entry.id] = entry
        if account_id in self._rosters:
            self._rosters[account_id].add(entry)

    def remove(self, account_id: AccountId, kind: type[Entry], ident: str) -> None:
        """Take away a user or device that was added."""
        entry = self._added.get(account_id, {}).pop((kind, ident), None)
        if entry is not None and account_id in self._rosters:
            self._rosters[account_id].remove(entry)

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
        phone = self._phone_named(account_id, username)
        return None if phone is None else phone.ha1.get(algorithm)

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
        return user in account.publishers or self.is_own(account_id, user, resource)

    def is_own(self, account_id: AccountId, user: str, resource: ResourceId) -> bool:
        """Whether this is the lamp, or the SIP user name, of the device `user` itself."""
        phone = self._phone_named(account_id, user)
        return phone is not None and resource in (phone.lamp, phone.address)

    def device_at(self, address: ResourceId) -> Device | None:
        """Return the device whose address of record this is: its SIP user name, else its presence id.

        A presence id that several devices have is that of the first one here; their lamp is the same.
        """
        roster = self._roster_of(address)
        phone = None if roster is None else roster.phone_at(address)
        return None if phone is None else phone.device

    def device(self, account_id: AccountId, device_id: str) -> Device | None:
        """Return the device of this id, if there is one."""
        roster = self._rosters.get(account_id)
        phone = None if roster is None else roster.phone(device_id)
        return None if phone is None else phone.device

    def user(self, account_id: AccountId, user_id: str) -> User | None:
        """Return the user of this id, if there is one."""
        roster = self._rosters.get(account_id)
        return None if roster is None else roster.user(user_id)

    def device_called(self, account_id: AccountId, sip_username: str) -> Device | None:
        """Return the device that has this SIP user name, in any case."""
        phone = self._rosters[account_id].phone_called(sip_username)
        return None if phone is None else phone.device

    def user_called(self, account_id: AccountId, username: str) -> User | None:
        """Return the user who has this user name, in any case."""
        return self._rosters[account_id].user_named(username)

    def user_by_login(self, account_id: AccountId, digest: str) -> User | None:
        """Return the enabled user whose name and password have this digest (see `login_digests`)."""
        user = self._rosters[account_id].login(digest)
        return user if user is not None and user.enabled else None

    def access(self, token: str) -> Access | None:
        """Return what a static token opens.

        Every token of every account is compared, in constant time, whichever matches: how long the answer takes tells
        a guesser nothing of the tokens but their number and lengths.
        """
        offered = _comparable(token)
        found = None
        for known, access in self._tokens:
            if compare_digest(known, offered):
                found = access
        return found

    def account_by_api_key(self, api_key: str) -> AccountId | None:
        """Return the account that an API key opens; each is compared, likewise."""
        offered = _comparable(api_key)
        found = None
        for known, account_id in self._api_keys:
            if compare_digest(known, offered):
                found = account_id
        return found

    def account_by_name(self, name: str) -> Account | None:
        """Return the account of this name, of which letters and digits count, as in Kazoo; None also for several."""
        wanted = _folded(name)
        named = [account for account in self._accounts if wanted and _folded(account.name) == wanted]
        return named[0] if len(named) == 1 else None

    def may_act_for(self, actor: AccountId, account_id: AccountId) -> bool:
        """Whether an account may act for another: for itself, and for all below it in the tree."""
        account = self._by_id.get(account_id)
        while account is not None and account.id != actor:
            account = None if account.parent_id is None else self._by_id.get(account.parent_id)
        return account is not None

    def children(self, account_id: AccountId) -> list[Account]:
        """Return the accounts just below this one."""
        return [account for account in self._accounts if account.parent_id == account_id]

    def device_lamp(self, account_id: AccountId, device_id: str) -> ResourceId:
        """Return the lamp of a device. Raises UnknownDevice, also where there is no such account."""
        roster = self._rosters.get(account_id)
        phone = None if roster is None else roster.phone(device_id)
        if phone is None:
            raise UnknownDevice(device_id)
        return phone.lamp

    def user_lamps(self, account_id: AccountId, user_id: str) -> tuple[ResourceId, ...]:
        """Return the lamps of a user, at least one. Raises UnknownUser, also for a user that owns none."""
        roster = self._rosters.get(account_id)
        lamps = () if roster is None else roster.user_lamps(user_id)
        if not lamps:
            raise UnknownUser(user_id)
        return lamps

    def sip_usernames(self, account_id: AccountId, user_id: str) -> list[str]:
        """Return the SIP user names of the devices that a user owns."""
        roster = self._rosters.get(account_id)
        return [] if roster is None else roster.sip_usernames(user_id)

    def knows(self, resource: ResourceId) -> bool:
        """Whether the resource is the lamp of a device or user, a member of a list, or a list itself."""
        roster = self._roster_of(resource)
        return roster is not None and roster.knows(resource)

    def list_members(self, resource: ResourceId) -> Members | None:
        """Return the members of a list, each once, with its label; None for what is no list."""
        roster = self._roster_of(resource)
        return None if roster is None else roster.list_members(resource)

    def lamps(self, account_id: AccountId) -> tuple[ResourceId, ...]:
        """Return every lamp of the account once: users', devices', members of lists. Raises UnknownAccount."""
        try:
            return self._rosters[account_id].lamps()
        except KeyError:
            raise UnknownAccount(account_id) from None

    def _roster_of(self, resource: ResourceId) -> Roster | None:
        account = self._by_realm.get(realm_of(resource))
        return None if account is None else self._rosters[account.id]

    def _phone_named(self, account_id: AccountId, sip_username: str) -> Phone | None:
        roster = self._rosters.get(account_id)
        return None if roster is None else roster.phone_named(sip_username)


def _allowed(rules: Sequence[WatchRule], subscriber: str, resource: ResourceId, *, otherwise: bool) -> bool:
    if not rules:
        return otherwise
    extension = extension_of(resource)
    matching = (
        rule.allow for rule in rules if rule.subscriber.fullmatch(subscriber) and rule.resource.fullmatch(extension)
    )
    return next(matching, otherwise)


def _tokens(account: Account) -> Iterator[tuple[bytes, Access]]:
    for role, tokens in ((Role.ADMIN, account.tokens), (Role.READ, account.read_tokens)):
        for token in tokens:
            yield _comparable(token), Access(account.id, role)


def _folded(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))


def _comparable(token: str) -> bytes:
    # compare_digest takes only ASCII as str; a header that was no UTF-8 arrives with surrogates, which must not raise.
    return token.encode(errors="surrogatepass")
