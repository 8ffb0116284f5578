"""What may be said of a resource: which dialogs (RFC 4235) somebody knows of, who says so, and until when.

A `StateChange` is all that one source says from now on: the one manual source (`set` over HTTP), or one of the
publications (RFC 3903) of the resource. It is what the store keeps, a row for each, and what the bus delivers; how all
of them together make a lamp is the business of resource.py and published.py.
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
    PUBLISHED = "published"


@dataclass(slots=True, frozen=True)
class DialogInfo:
    """One observed dialog (RFC 4235 section 4.1), with "" for what is not known of it.

    `direction` is "initiator" or "recipient"; identities and targets are URIs. `held`: the local side renders no media.
    """

    id: str
    state: DialogState
    direction: str
    local_identity: str
    remote_identity: str
    call_id: str = ""
    local_tag: str = ""
    remote_tag: str = ""
    local_display: str = ""
    remote_display: str = ""
    local_target: str = ""
    remote_target: str = ""
    held: bool = False


@dataclass(slots=True, frozen=True)
class StateChange:
    """What one source says from now on about one resource; what is committed, and what the bus delivers.

    `source` None is a reset: all that any source said is forgotten, and every subscriber is told, changed or not; the
    publications stay, without a dialog. No dialogs means that this source knows of none. `at` and `expires_at` are Unix
    seconds. `by` is who asked for it, which is told and not stored: the account of an HTTP token, or the publisher.

    Of a publication: `publication` is its name within the resource, never given again; `publisher` whose it is (the
    authenticated identity, else the source address); `entity_tag` the tag that is valid now, "" once it was removed;
    `at` the time of its last body: a refresh has that of the body before, and so says nothing anew.
    """

    account: AccountId
    resource: ResourceId
    source: Source | None
    dialogs: tuple[DialogInfo, ...]
    at: float
    expires_at: float | None = None
    by: str = ""
    publication: str = ""
    publisher: str = ""
    entity_tag: str = ""

    @property
    def is_reset(self) -> bool:
        return self.source is None

    @property
    def is_end(self) -> bool:
        """Whether a publication is over and has nothing left to say, so that its row goes."""
        return bool(self.publication) and not self.entity_tag and not self.dialogs


def resource_identity(resource: ResourceId) -> str:
    """The SIP URI of a resource, the user part escaped again."""
    return f"sip:{quote(extension_of(resource), safe=_UNESCAPED)}@{realm_of(resource)}"


def manual_dialog(resource: ResourceId, state: DialogState) -> DialogInfo:
    """The pseudo-dialog of `set`: id = hex md5 of `user@realm`, both ends the resource itself, as Kazoo has it."""
    identity = resource_identity(resource)
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
