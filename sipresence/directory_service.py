"""DirectoryService: every verb on the users and devices of accounts, over what the configuration says of them.

An object is what somebody has told of a user or device over the API, kept as it was told, with fields that mean nothing
here. What is configured is shown in the same form and changed in the file only; it comes first: where the file has a
device or user with the id or name of a stored one, that one is of no effect until the file gives way.

Changes are made one after the other, each when the one before is committed. They take effect, in digest, lamps and who
may publish, when they are committed themselves, before they are answered. So what is checked against, that names are
unique and owners exist, is what is kept.
"""

import asyncio
import json
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import structlog

from sipresence.accounts import Account, Device, Role
from sipresence.commit import commit
from sipresence.directory import Directory, Entry
from sipresence.errors import ConfiguredObject, InvalidObject, UnknownDevice, UnknownUser
from sipresence.events.effects import ForgetObject, SaveObject
from sipresence.names import AccountId
from sipresence.objects import Json, JsonObject, Kind, ObjectKey, ObjectRecord
from sipresence.outbox import Outbox
from sipresence.ports import Clock
from sipresence.vetting import Vetting, merged, public, read

log = structlog.get_logger()


class DirectoryObject(NamedTuple):
    """A user or device as it is told; a user's password never is. `configured`: by the file, which alone changes it."""

    id: str
    body: JsonObject
    configured: bool


class Page(NamedTuple):
    """Some objects in the order of their ids, and the id of the next one, if there are more."""

    objects: Sequence[DirectoryObject]
    next_start_key: str | None


class _Stored(NamedTuple):
    body: JsonObject
    entry: Entry


class _Decision(NamedTuple):
    write: SaveObject | ForgetObject
    take_effect: Callable[[], None]
    object: DirectoryObject


class DirectoryService:
    """The verbs. `ident` makes ids, `secret` SIP user names and passwords for devices that come without."""

    def __init__(
        self, directory: Directory, *, clock: Clock, ident: Callable[[], str], secret: Callable[[], str]
    ) -> None:
        self.directory = directory
        self._vetting = Vetting(directory, secret)
        self._clock = clock
        self._ident = ident
        self._stored: dict[tuple[AccountId, Kind], dict[str, _Stored]] = {}
        self._ids: dict[tuple[AccountId, Kind], tuple[Account, list[str]]] = {}  # sorted; made when they are asked for
        self._turn = asyncio.Lock()

    def attach(self, outbox: Outbox, *, changed: Callable[[], None] = lambda: None) -> None:
        """Connect what carries out effects; `changed` is called once a change is committed and in force."""
        self._outbox = outbox
        self._changed = changed

    def restore(self, records: Iterable[ObjectRecord]) -> None:
        """Take over what the store remembers."""
        for record in records:
            if record.kind is Kind.REVOCATION:
                continue
            body = json.loads(record.body)
            try:
                self._take_in(record.key, _Stored(body, read(record.key, body)))
            except InvalidObject as error:  # a version with other rules has let it pass
                log.error(
                    "object of no effect", account=record.account, kind=record.kind, id=record.id, wrong=str(error)
                )

        self.tell_overruled()

    def tell_overruled(self) -> None:
        """Log which objects the configuration file leaves no room for: after a start, and when it has changed."""
        overruled = self.directory.overruled()
        if overruled:
            log.warning("of no effect beside the configuration: the same id or name", objects=overruled)

    # What edges may see

    def page(self, account_id: AccountId, kind: Kind, *, start_key: str = "", size: int | None = None) -> Page:
        """So many objects from an id on, all without a size. Raises UnknownAccount."""
        ids = self._sorted_ids(account_id, kind)
        start = bisect_left(ids, start_key)
        end = len(ids) if size is None else min(len(ids), start + size)
        objects = [self.find(ObjectKey(account_id, kind, ident)) for ident in ids[start:end]]
        return Page(objects, ids[end] if end < len(ids) else None)

    def find(self, key: ObjectKey) -> DirectoryObject:
        """Return an object. Raises UnknownDevice, UnknownUser."""
        entry, stored = self._entry(key), self._of(key).get(key.id)
        if stored is not None and (entry is None or entry is stored.entry):
            return DirectoryObject(key.id, public(stored.body), configured=False)
        if entry is None:
            raise UnknownUser(key.id) if key.kind is Kind.USER else UnknownDevice(key.id)
        return DirectoryObject(key.id, _told(entry), configured=True)

    # What HTTP asks for

    async def create(self, account_id: AccountId, kind: Kind, told: JsonObject, *, by: str) -> DirectoryObject:
        """Make a new object. Raises UnknownAccount, InvalidObject, StoreError."""
        key = ObjectKey(account_id, kind, self._ident())

        def decide() -> _Decision:
            self.directory.account(account_id)
            return self._save(key, merged({}, told))

        return await self._change(key, decide, by=by)

    async def replace(self, key: ObjectKey, told: JsonObject, *, by: str) -> DirectoryObject:
        """Put another in its place; credentials that are not told stay.

        Raises UnknownDevice, UnknownUser, ConfiguredObject, InvalidObject, StoreError, as `amend` does.
        """

        def decide() -> _Decision:
            self._changeable(key)
            return self._save(key, merged({}, told))

        return await self._change(key, decide, by=by)

    async def amend(self, key: ObjectKey, told: JsonObject, *, by: str) -> DirectoryObject:
        """Change what is told, inside inner objects too; null takes a field away."""
        return await self._change(key, lambda: self._save(key, merged(self._changeable(key).body, told)), by=by)

    async def delete(self, key: ObjectKey, *, by: str) -> DirectoryObject:
        """Delete the object and return what it was. Raises UnknownDevice, UnknownUser, ConfiguredObject, StoreError."""

        def decide() -> _Decision:
            return _Decision(ForgetObject(key), lambda: self._forget(key), self._changeable(key))

        return await self._change(key, decide, by=by)

    async def _change(self, key: ObjectKey, decide: Callable[[], _Decision], *, by: str) -> DirectoryObject:
        """Decide when all changes before are committed, and let this one take effect when it is."""
        await self._turn.acquire()
        try:
            decision = decide()
        except BaseException:
            self._turn.release()
            raise

        def finish(committed: bool) -> None:
            if committed:
                decision.take_effect()
                self._changed()
                what = "object saved" if isinstance(decision.write, SaveObject) else "object deleted"
                log.info(what, account=key.account, kind=key.kind, id=key.id, by=by)
            self._turn.release()

        await commit(self._outbox, [decision.write], then=finish)
        return decision.object

    def _save(self, key: ObjectKey, told: JsonObject) -> _Decision:
        before = self._of(key).get(key.id)
        stored = _Stored(*self._vetting.vet(key, told, None if before is None else before.body))
        record = ObjectRecord(*key, json.dumps(stored.body), self._clock.now())
        shown = DirectoryObject(key.id, public(stored.body), configured=False)
        return _Decision(SaveObject(record), lambda: self._take_in(key, stored), shown)

    def _changeable(self, key: ObjectKey) -> DirectoryObject:
        found = self.find(key)
        if found.configured:
            raise ConfiguredObject(key.id)
        return found

    # What there is

    def _of(self, key: ObjectKey) -> dict[str, _Stored]:
        return self._stored.get((key.account, key.kind), {})

    def _entry(self, key: ObjectKey) -> Entry | None:
        """The user or device that is in force under this id."""
        if key.kind is Kind.USER:
            return self.directory.user(key.account, key.id)
        return self.directory.device(key.account, key.id)

    def _take_in(self, key: ObjectKey, stored: _Stored) -> None:
        self._forget(key)
        self._stored.setdefault((key.account, key.kind), {})[key.id] = stored
        self.directory.add(key.account, stored.entry)

    def _forget(self, key: ObjectKey) -> None:
        stored = self._of(key).pop(key.id, None)
        if stored is not None:
            self.directory.remove(key.account, type(stored.entry), key.id)
        self._ids.pop((key.account, key.kind), None)

    def _sorted_ids(self, account_id: AccountId, kind: Kind) -> list[str]:
        account = self.directory.account(account_id)
        known = self._ids.get((account_id, kind))
        if known is not None and known[0] is account:  # else the configuration is another one
            return known[1]
        configured: Sequence[Entry] = account.users if kind is Kind.USER else account.devices
        ids = sorted({*(entry.id for entry in configured), *self._stored.get((account_id, kind), {})})
        self._ids[account_id, kind] = account, ids
        return ids


def _told(entry: Entry) -> JsonObject:
    """What somebody would have told of what is configured."""
    optional: JsonObject
    if isinstance(entry, Device):
        sip = {"username": entry.sip_username, "password": entry.sip_password}
        optional = {"owner_id": entry.owner_id, "presence_id": entry.presence_id}
        told: JsonObject = {"name": entry.name, "enabled": entry.enabled, "sip": _without_none(sip)}
    else:
        level = "admin" if entry.role is Role.ADMIN else "user"
        optional = {"username": entry.username, "presence_id": entry.presence_id}
        names: JsonObject = {"first_name": entry.first_name, "last_name": entry.last_name}
        told = {**names, "enabled": entry.enabled, "priv_level": level}
    return {**told, **_without_none(optional)}


def _without_none(fields: Mapping[str, Json]) -> JsonObject:
    return {name: value for name, value in fields.items() if value is not None}
