"""The roster of an account: its users, devices and lists, and what each is found by.

A lamp is a resource, `user@realm`. A device's lamp is its presence id, else its SIP user name, and never its owner's; a
user's lamps are its presence id, else those of all its devices. Of a presence id only the text before `@` counts: the
realm is the account's.

What is configured is entered when the configuration is read, and the rest as it comes and goes, each at the cost of a
few entries in dictionaries. Lists are configured only.
"""

from collections.abc import Iterator
from typing import NamedTuple

from sipresence.accounts import Account, Device, Members, User
from sipresence.names import ResourceId, resource_id
from sipresence.sip.digest import Algorithm


class Phone(NamedTuple):
    """A device and what follows from it: its lamp, its address of record, and HA1 by algorithm."""

    device: Device
    lamp: ResourceId
    address: ResourceId
    ha1: dict[Algorithm, str]


class Roster:
    """Everybody and everything of one account. Two devices with one id or SIP user name cannot be, nor two users with
    one id or user name."""

    __slots__ = (
        "_account", "_all_lamps", "_by_address", "_by_lamp", "_by_sip_name", "_by_user_name", "_lists", "_logins",
        "_member_lamps", "_owned", "_phones", "_user_lamps", "_users",
    )  # fmt: skip

    def __init__(self, account: Account) -> None:
        self._account = account
        self._phones: dict[str, Phone] = {}  # by id
        self._by_sip_name: dict[str, Phone] = {}
        self._by_address: dict[ResourceId, Phone] = {}
        self._by_lamp: dict[ResourceId, dict[str, Phone]] = {}  # and id
        self._owned: dict[str, dict[str, Phone]] = {}  # by owner and id
        self._users: dict[str, User] = {}  # by id
        self._by_user_name: dict[str, User] = {}  # in lower case
        self._logins: dict[str, User] = {}  # by what a log-in sends
        self._user_lamps: dict[ResourceId, set[str]] = {}  # whose presence id it is
        self._lists = dict(_lists(account))
        self._member_lamps = frozenset(lamp for members in self._lists.values() for lamp, _ in members)
        self._all_lamps: tuple[ResourceId, ...] | None = None
        for user in account.users:
            self._add_user(user)
        for device in account.devices:
            self._add_device(device)

    # What comes and goes

    def add(self, entry: Device | User) -> None:
        """Enter a device or user, unless its id or name is another's."""
        if isinstance(entry, Device):
            self._add_device(entry)
        else:
            self._add_user(entry)

    def remove(self, entry: Device | User) -> None:
        """Strike out a device or user, if it is this one that was entered. What a user owns stays."""
        if isinstance(entry, Device):
            self._remove_device(entry)
        else:
            self._remove_user(entry)

    def has(self, entry: Device | User) -> bool:
        """Whether this very device or user was entered."""
        if isinstance(entry, Device):
            phone = self._phones.get(entry.id)
            return phone is not None and phone.device is entry
        return self._users.get(entry.id) is entry

    def _add_device(self, device: Device) -> None:
        account = self._account
        lamp = self.lamp(device.presence_id or device.sip_username)
        phone = Phone(device, lamp, self.lamp(device.sip_username), dict(_ha1(account, device)))
        if device.id in self._phones or phone.address in self._by_address:
            return
        self._phones[device.id] = phone
        self._by_sip_name[device.sip_username] = phone
        self._by_address[phone.address] = phone
        self._by_lamp.setdefault(lamp, {})[device.id] = phone
        if device.owner_id:
            self._owned.setdefault(device.owner_id, {})[device.id] = phone
        self._all_lamps = None

    def _remove_device(self, device: Device) -> None:
        if not self.has(device):
            return
        phone = self._phones[device.id]
        del self._phones[device.id], self._by_sip_name[device.sip_username], self._by_address[phone.address]
        _discard(self._by_lamp, phone.lamp, device.id)
        if device.owner_id:
            _discard(self._owned, device.owner_id, device.id)
        self._all_lamps = None

    def _add_user(self, user: User) -> None:
        name = (user.username or "").lower()
        if user.id in self._users or name in self._by_user_name:
            return
        self._users[user.id] = user
        if name:
            self._by_user_name[name] = user
            self._logins.update(dict.fromkeys(user.logins, user))
        if user.presence_id:
            self._user_lamps.setdefault(self.lamp(user.presence_id), set()).add(user.id)
        self._all_lamps = None

    def _remove_user(self, user: User) -> None:
        if not self.has(user):
            return
        del self._users[user.id]
        if user.username:
            del self._by_user_name[user.username.lower()]
            for digest in user.logins:
                del self._logins[digest]
        if user.presence_id:
            lamp = self.lamp(user.presence_id)
            self._user_lamps[lamp].discard(user.id)
            if not self._user_lamps[lamp]:
                del self._user_lamps[lamp]
        self._all_lamps = None

    # What is found

    def phone(self, device_id: str) -> Phone | None:
        """The device of this id."""
        return self._phones.get(device_id)

    def phone_named(self, sip_username: str) -> Phone | None:
        """The device of this SIP user name, letter by letter."""
        return self._by_sip_name.get(sip_username)

    def phone_called(self, sip_username: str) -> Phone | None:
        """The device of this SIP user name, in any case."""
        return self._by_address.get(self.lamp(sip_username))

    def phone_at(self, address: ResourceId) -> Phone | None:
        """The device with this SIP user name, in any case, else the first with this lamp."""
        phone = self._by_address.get(address)
        return next(iter(self._by_lamp.get(address, {}).values()), None) if phone is None else phone

    def user(self, user_id: str) -> User | None:
        """The user of this id."""
        return self._users.get(user_id)

    def user_named(self, username: str) -> User | None:
        """The user of this name, in any case."""
        return self._by_user_name.get(username.lower())

    def login(self, digest: str) -> User | None:
        """The user whose name and password have this digest.

        It takes the same time whichever it is: a dictionary compares a keyed hash first, and text only where that is
        equal.
        """
        return self._logins.get(digest.lower())

    def user_lamps(self, user_id: str) -> tuple[ResourceId, ...]:
        """The lamps of a user; none where there is no such user."""
        user = self._users.get(user_id)
        if user is None:
            return ()
        if user.presence_id:
            return (self.lamp(user.presence_id),)
        return tuple(dict.fromkeys(phone.lamp for phone in self._owned.get(user_id, {}).values()))

    def sip_usernames(self, user_id: str) -> list[str]:
        """The SIP user names of the devices that a user owns."""
        return [phone.device.sip_username for phone in self._owned.get(user_id, {}).values()]

    def list_members(self, resource: ResourceId) -> Members | None:
        """The members of a list, each once, with its label; None for what is no list."""
        return self._lists.get(resource)

    def knows(self, resource: ResourceId) -> bool:
        """Whether this is the lamp of a device or user, a member of a list, or a list itself."""
        return (
            resource in self._by_lamp
            or resource in self._user_lamps
            or resource in self._member_lamps
            or resource in self._lists
        )

    def lamps(self) -> tuple[ResourceId, ...]:
        """Every lamp once: users', devices', members of lists."""
        if self._all_lamps is None:
            users = (lamp for user in self._users for lamp in self.user_lamps(user))
            members = (lamp for entries in self._lists.values() for lamp, _ in entries)
            self._all_lamps = tuple(dict.fromkeys((*users, *self._by_lamp, *members)))
        return self._all_lamps

    def lamp(self, text: str) -> ResourceId:
        """The resource that a presence id or SIP user name means."""
        return _lamp(text, self._account)


def _lamp(text: str, account: Account) -> ResourceId:
    return resource_id(text.partition("@")[0], account.realm)


def _discard(index: dict[str, dict[str, Phone]] | dict[ResourceId, dict[str, Phone]], key: str, ident: str) -> None:
    entries = index[ResourceId(key)]
    del entries[ident]
    if not entries:
        del index[ResourceId(key)]


def _ha1(account: Account, device: Device) -> Iterator[tuple[Algorithm, str]]:
    if not device.enabled:
        return
    for algorithm in account.digest_algorithms:
        if device.sip_password is not None:
            yield algorithm, algorithm.ha1(device.sip_username, account.realm, device.sip_password)
        elif algorithm in device.sip_ha1:
            yield algorithm, device.sip_ha1[algorithm]


def _lists(account: Account) -> Iterator[tuple[ResourceId, Members]]:
    """Each list with all that are in it: in place of a list inside it stand that one's members.

    No list is entered twice, so that none has itself for a member, and a few lines do not make a list of millions.
    """
    lists = {_lamp(one.name, account): one.members for one in account.lists}

    def inside(name: ResourceId, entered: set[ResourceId]) -> Iterator[tuple[ResourceId, str]]:
        entered.add(name)
        for member in lists[name]:
            resource = _lamp(member.resource, account)
            if resource not in lists:
                yield resource, member.label
            elif resource not in entered:
                yield from inside(resource, entered)

    for name in lists:
        first: dict[ResourceId, str] = {}
        for resource, label in inside(name, set()):
            first.setdefault(resource, label)
        yield name, tuple(first.items())
