"""A notifier with its phones in front of it, in virtual time: each verb returns the effects, for the test to match."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Unpack

from sipresence.events.effects import Effect, Notify, Respond, Save, SaveList, SendNotify
from sipresence.events.lists import ListDirectory, Lists, ListSettings
from sipresence.events.notifier import Notifier
from sipresence.events.pacing import Pacing
from sipresence.events.presentation import Presenter
from sipresence.events.profile import Profile, Profiles
from sipresence.events.record import SubscriptionRecord
from sipresence.events.resource import DialogState, StateChange, reset, set_manually
from sipresence.events.resources import Resources
from sipresence.events.subscribe import Limits, Watched, entity_of
from sipresence.events.timeline import Chronicle
from sipresence.names import AccountId, ResourceId, SubscriptionId
from sipresence.sip.dialog import DialogKey
from sipresence.sip.flow import Flow
from tests.builders import Fields, parsed, subscribe

NOW = 1_700_000_000.0
OFFICE = AccountId("0123456789abcdef0123456789abcdef")
LAMP = ResourceId("101@office.example.com")
OTHER_LAMP = ResourceId("102@office.example.com")


def local_tag(key: DialogKey) -> str:
    """The same name for the same dialog, as the real one."""
    return hashlib.md5("\0".join(key).encode(), usedforsecurity=False).hexdigest()


def _locate(_account: AccountId, uri: str, host: str) -> ResourceId | None:
    user, _, at = uri.removeprefix("sip:").partition("@")
    return ResourceId(f"{user}@office.example.com") if at in ("office.example.com", host) else None


class Desk:
    """`now` is the time; `notifier` may be replaced, as by a restart."""

    def __init__(
        self,
        *,
        failures_allowed: int = 4,
        limits: Limits | None = None,
        rate: int = 0,
        window: int = 0,
        coalesce: float = 0.0,
        entity_tags: bool = False,
        profiles: Sequence[Profile] = (),
        lists: Mapping[ResourceId, Sequence[tuple[ResourceId, str]]] | None = None,
        list_settings: ListSettings | None = None,
    ) -> None:
        self.profiles = Profiles(profiles)
        self.now = NOW
        self.private: set[str] = set()  # From of those who may not know callers
        self.lists = dict(lists or {})
        self.unwatchable: set[ResourceId] = set()
        self._list_settings = list_settings
        self._rate, self._window, self._coalesce = rate, window, coalesce
        self._entity_tags = entity_tags
        self._limits = limits or Limits()
        self._failures_allowed = failures_allowed
        self.notifier = self._new()

    def _new(self) -> Notifier:
        self.pacing = Pacing(rate=self._rate, in_flight=self._window)
        resources = Resources(Chronicle())
        presenter = Presenter(
            self.profiles,
            withheld=lambda record: any(name in record.remote_address for name in self.private),
            entity_tags=self._entity_tags,
        )
        directory = ListDirectory(
            members=self.lists.get,
            locate=_locate,
            knows=lambda name: name in (LAMP, OTHER_LAMP),
            may_watch=lambda record: record.resource not in self.unwatchable,
        )
        return Notifier(
            self._limits,
            failures_allowed=self._failures_allowed,
            local_tag=local_tag,
            pacing=self.pacing,
            window=self._coalesce,
            resources=resources,
            presenter=presenter,
            lists=Lists(resources, presenter, directory=directory, settings=self._list_settings),
        )

    def subscribe(self, resource: ResourceId = LAMP, way: Flow | None = None, **fields: Unpack[Fields]) -> list[Effect]:
        """An initial SUBSCRIBE."""
        request = parsed(subscribe(**fields), way)
        return self.notifier.subscribe(request, Watched(OFFICE, resource, entity_of(request)), now=self.now)

    def refresh(self, tag: str, way: Flow | None = None, **fields: Unpack[Fields]) -> list[Effect]:
        """A SUBSCRIBE inside the dialog, the second one unless told otherwise."""
        told: Fields = {"cseq": 2, "to_tag": tag}
        told.update(fields)
        return self.notifier.refresh(parsed(subscribe(**told), way), now=self.now)

    def subscribed(self, resource: ResourceId = LAMP, way: Flow | None = None, **fields: Unpack[Fields]) -> Notify:
        """A subscription whose first NOTIFY, returned, is answered."""
        notify = notified(self.subscribe(resource, way, **fields))
        assert self.answer(notify) == []
        return notify

    def answer(
        self, notify: Notify, status: int = 200, *, retry_after: int | None = None, took: float = 0.0
    ) -> list[Effect]:
        """The final answer to a NOTIFY, which was sent `took` seconds ago."""
        return self.notifier.notify_answered(
            notify.id, status=status, retry_after=retry_after, now=self.now, sent_at=self.now - took
        )

    def set(self, state: DialogState, resource: ResourceId = LAMP, *, expires_at: float | None = None) -> list[Effect]:
        """A committed `set` arrives."""
        return self.deliver(set_manually(OFFICE, resource, state=state, at=self.now, expires_at=expires_at))

    def reset(self, resource: ResourceId = LAMP) -> list[Effect]:
        """A committed `reset` arrives."""
        return self.deliver(reset(OFFICE, resource, at=self.now))

    def deliver(self, change: StateChange) -> list[Effect]:
        return self.notifier.resource_changed(change, now=self.now)

    def wait(self, seconds: float) -> list[Effect]:
        """Let time pass, and see what is due."""
        self.now += seconds
        return self.notifier.expire(now=self.now)

    def restart(
        self, *saves: Save, states: Sequence[StateChange] = (), spread: float = 3.0, lists: Sequence[SaveList] = ()
    ) -> None:
        """A new notifier that finds the rows of these saves."""
        self.notifier = self._new()
        listings = {kept.id: kept.listing for kept in lists}
        self.notifier.restore([save.record for save in saves], states, now=self.now, spread=spread, listings=listings)

    def restart_after_failure(self, record: SubscriptionRecord, times: int = 1) -> list[Effect]:
        """A restart of a node whose store failed when it ended."""
        self.notifier = self._new()
        return self.notifier.restore([record], [], now=self.now, spread=0.5, numbers_passed=times)


def notified(effects: Sequence[Effect]) -> Notify:
    """The one NOTIFY among the effects."""
    (notify,) = (effect.notify for effect in effects if isinstance(effect, SendNotify))
    return notify


def answered(effects: Sequence[Effect]) -> Respond:
    """The one answer among the effects."""
    (answer,) = (effect for effect in effects if isinstance(effect, Respond))
    return answer


def saved(effects: Sequence[Effect]) -> Save:
    """The one row among the effects."""
    (save,) = (effect for effect in effects if isinstance(effect, Save))
    return save


def numbers(notify: Notify) -> tuple[SubscriptionId, int, int]:
    """Which subscription, CSeq, version."""
    return notify.id, notify.cseq, notify.version
