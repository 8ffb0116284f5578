"""What is known of one resource, merged from its sources (we are its state agent, RFC 6665 section 4.2).

A source says which dialogs (RFC 4235) it knows of; the state of the resource is the union over all sources, the most
important dialog first: the lamp. A change that alters nothing visible is no change: the revision, and with it every
rendered document, stays.

The manual source is `set` over HTTP: an ordered command, not a call. Its one pseudo-dialog has a constant id, so that
setting again replaces it and `terminated` removes it.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote

from sipresence.names import AccountId, ResourceId, extension_of, realm_of

_UNESCAPED = "&=+$,;?/!*'()"  # with letters, digits and -_.~ what a user part may hold (RFC 3261 section 25.1)


class DialogState(StrEnum):
    """The states of an observed dialog (RFC 4235 section 3.7.1)."""

    TRYING = "trying"
    PROCEEDING = "proceeding"
    EARLY = "early"
    CONFIRMED = "confirmed"
    TERMINATED = "terminated"


class Source(StrEnum):
    """Who may say something about a resource."""

    MANUAL = "manual"


IMPORTANCE = {
    # A second, ringing call makes a busy lamp blink: somebody is calling now (Kazoo, Kamailio force_single_dialog).
    DialogState.EARLY: 0,
    DialogState.CONFIRMED: 1,
    DialogState.PROCEEDING: 2,
    DialogState.TRYING: 3,
    DialogState.TERMINATED: 4,
}


@dataclass(slots=True, frozen=True)
class DialogInfo:
    """One observed dialog as a document shows it (RFC 4235 section 4.1). Identities are SIP URIs."""

    id: str
    state: DialogState
    direction: str
    local_identity: str
    remote_identity: str


@dataclass(slots=True, frozen=True)
class StateChange:
    """What one source says from now on about one resource; what is committed, and what the bus delivers.

    `source` None is a reset: all that any source said is forgotten, and every subscriber is told, changed or not.
    No dialogs means that this source knows of none. `at` and `expires_at` are Unix seconds. `by` is who asked for it,
    which is told and not stored: the account of an HTTP token.
    """

    account: AccountId
    resource: ResourceId
    source: Source | None
    dialogs: tuple[DialogInfo, ...]
    at: float
    expires_at: float | None = None
    by: str = ""

    @property
    def is_reset(self) -> bool:
        return self.source is None


def manual_dialog(resource: ResourceId, state: DialogState) -> DialogInfo:
    """The pseudo-dialog of `set`: id = hex md5 of `user@realm`, both ends the resource itself, as Kazoo has it."""
    identity = f"sip:{quote(extension_of(resource), safe=_UNESCAPED)}@{realm_of(resource)}"
    digest = hashlib.md5(resource.encode(), usedforsecurity=False).hexdigest()
    return DialogInfo(digest, state, "recipient", identity, identity)


def set_manually(
    account: AccountId,
    resource: ResourceId,
    *,
    state: DialogState,
    at: float,
    expires_at: float | None = None,
    by: str = "",
) -> StateChange:
    """The change that a `set` over HTTP asks for."""
    dialogs = () if state is DialogState.TERMINATED else (manual_dialog(resource, state),)
    return StateChange(account, resource, Source.MANUAL, dialogs, at, expires_at if dialogs else None, by)


def reset(account: AccountId, resource: ResourceId, *, at: float, by: str = "") -> StateChange:
    """The change that a `reset` asks for: a flush."""
    return StateChange(account, resource, None, (), at, by=by)


@dataclass(slots=True, frozen=True)
class Lamp:
    """What a lamp key of this resource should show, and since when (Unix seconds, 0 where nothing is known)."""

    state: DialogState
    since: float


class ResourceState:
    """The merged state of one resource. `revision` rises with every visible change, which was made `changed_at`."""

    __slots__ = ("_known", "changed_at", "dialogs", "id", "revision", "since")

    def __init__(self, resource: ResourceId) -> None:
        self.id = resource
        self.revision = 0
        self.since = 0.0
        self.changed_at = 0.0
        self.dialogs: tuple[DialogInfo, ...] = ()
        self._known: dict[Source, StateChange] = {}

    @property
    def blank(self) -> bool:
        """Whether nothing at all is known, so that the object need not be kept."""
        return not self._known

    @property
    def lamp(self) -> Lamp:
        return Lamp(self.dialogs[0].state if self.dialogs else DialogState.TERMINATED, self.since)

    @property
    def expires_at(self) -> float | None:
        """When the first thing known expires by itself, or None."""
        return min((c.expires_at for c in self._known.values() if c.expires_at is not None), default=None)

    def merge(self, change: StateChange) -> bool:
        """Take in a committed change; return whether the subscribers have to be told."""
        if change.source is None:
            self._known.clear()
            self._show((), since=0.0, at=change.at)
            return True
        self._known[change.source] = change
        dialogs = self._union()
        if dialogs == self.dialogs:
            self.since = self.since or change.at  # the first word on it, though it was idle already
            return False
        self._show(dialogs, since=change.at, at=change.at)
        return True

    def expired(self, now: float) -> list[StateChange]:
        """The changes that end what has expired by `now`."""
        return [
            StateChange(known.account, known.resource, source, (), now)
            for source, known in self._known.items()
            if known.expires_at is not None and known.expires_at <= now
        ]

    def _union(self) -> tuple[DialogInfo, ...]:
        said = [(change.at, dialog) for change in self._known.values() for dialog in change.dialogs]
        said.sort(key=lambda pair: (IMPORTANCE[pair[1].state], -pair[0]))
        return tuple(dialog for _, dialog in said)

    def _show(self, dialogs: tuple[DialogInfo, ...], *, since: float, at: float) -> None:
        self.dialogs = dialogs
        self.since = since
        self.changed_at = at
        self.revision += 1
