"""What may be said of a resource: its dialogs (RFC 4235), presence (RFC 3863), voicemail (RFC 3842); who says so, and
until when.

A `StateChange` is all that one source says from now on: `set` over HTTP, the mailbox, the registrar, or one of the
publications (RFC 3903) of the resource. It is what the store keeps, a row for each, and what the bus delivers; how all
of them together make a lamp is the business of resource.py and published.py.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
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
    MAILBOX = "mailbox"  # how many messages wait; of `*98101` the lamp that this makes
    DO_NOT_DISTURB = "dnd"
    REGISTRAR = "registrar"  # that no phone of this extension is registered


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
class Presence:
    """What a presence document says (RFC 3863), as far as others show it.

    `open`: whether calls can reach it (`basic`), None where it does not say. `activities` are RPID elements (RFC 4480
    section 3.2) by their names, `note` is free text.
    """

    open: bool | None = None
    activities: tuple[str, ...] = ()
    note: str = ""
    do_not_disturb: bool = False


@dataclass(slots=True, frozen=True)
class Messages:
    """How many voice messages wait (RFC 3842 section 5.2): new, saved, and how many of each are urgent."""

    new: int = 0
    saved: int = 0
    urgent_new: int = 0
    urgent_saved: int = 0


NO_PRESENCE = Presence()
NO_MESSAGES = Messages()


@dataclass(slots=True, frozen=True)
class StateChange:
    """What one source says from now on about one resource; what is committed, and what the bus delivers.

    `source` None is a reset: all that any source said is forgotten, and every subscriber is told, changed or not; the
    publications stay, without a dialog. No dialogs means that this source knows of none. `at` and `expires_at` are Unix
    seconds. `by` is who asked for it, which is told and not stored: the account of an HTTP token, or the publisher.

    `presence` and `messages` are None where it does not speak of them; a publication of presence always does.

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
    presence: Presence | None = None
    messages: Messages | None = None

    @property
    def is_reset(self) -> bool:
        return self.source is None

    def says_the_same_as(self, other: "StateChange") -> bool:
        """Whether it tells nothing new after the other, of the same source."""
        return self.dialogs == other.dialogs and self.presence == other.presence and self.messages == other.messages

    @property
    def is_end(self) -> bool:
        """Whether a publication is over and has nothing left to say, so that its row goes."""
        return bool(self.publication) and not self.entity_tag and not self.dialogs


def resource_identity(resource: ResourceId) -> str:
    """The SIP URI of a resource, the user part escaped again."""
    return f"sip:{quote(extension_of(resource), safe=_UNESCAPED)}@{realm_of(resource)}"


@lru_cache(maxsize=4096)
def manual_dialog(resource: ResourceId, state: DialogState) -> DialogInfo:
    """The pseudo-dialog of `set`: id = hex md5 of `user@realm`, both ends the resource itself, as Kazoo has it."""
    return _pseudo_dialog(resource, state, resource)


def standing_dialog(resource: ResourceId, state: DialogState, source: Source) -> DialogInfo:
    """The pseudo-dialog that lights a lamp for what is no call, with an id of its own."""
    return _pseudo_dialog(resource, state, f"{source}\0{resource}")


def _pseudo_dialog(resource: ResourceId, state: DialogState, name: str) -> DialogInfo:
    identity = resource_identity(resource)
    digest = hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()
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


def set_messages(
    account: AccountId, resource: ResourceId, messages: Messages, *, at: float, by: str = ""
) -> StateChange:
    """The change that a mailbox makes: so many messages wait."""
    return StateChange(account, resource, Source.MAILBOX, (), at, by=by, messages=messages)


def light_voicemail(account: AccountId, resource: ResourceId, messages: Messages, *, at: float) -> StateChange:
    """The change of the lamp that watches a mailbox, `*98101` say: lit while new messages wait, as Kazoo has it."""
    waiting = standing_dialog(resource, DialogState.CONFIRMED, Source.MAILBOX)
    return StateChange(account, resource, Source.MAILBOX, (waiting,) if messages.new else (), at)


def set_do_not_disturb(account: AccountId, resource: ResourceId, *, on: bool, at: float, by: str = "") -> StateChange:
    """The change of somebody who wants no calls, or wants them again."""
    presence = Presence(do_not_disturb=True) if on else None
    return StateChange(account, resource, Source.DO_NOT_DISTURB, (), at, by=by, presence=presence)


def set_registered(account: AccountId, resource: ResourceId, *, registered: bool, at: float) -> StateChange:
    """The change that the registrar makes: some phone of this extension is registered, or none any more."""
    return StateChange(
        account, resource, Source.REGISTRAR, (), at, presence=None if registered else Presence(open=False)
    )


def reset(account: AccountId, resource: ResourceId, *, at: float, by: str = "") -> StateChange:
    """The change that a `reset` asks for: a flush."""
    return StateChange(account, resource, None, (), at, by=by)
