"""What is known of one resource, merged from its sources (we are its state agent, RFC 6665 section 4.2).

A source says which dialogs (RFC 4235) it knows of; the state of the resource is the union over all sources, the most
important dialog first: the lamp. A change that alters nothing visible is no change: the revision, and with it every
rendered document, stays.

The manual source is `set` over HTTP: an ordered command, not a call. Its one pseudo-dialog has a constant id, so that
setting again replaces it and `terminated` removes it; it neither ends nor hides what publications say (published.py).
What is no call, as do-not-disturb, lights the lamp where the account wants that (policy.py).

Some phones match dialogs by their id. So what was visible and is no more is shown as `terminated` in the documents of
the revision that ends it, and of those that follow at once, which a phone may get in its place.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from sipresence.events.policy import DEFAULT, LampPolicy
from sipresence.events.published import Published, name_of
from sipresence.events.state import (
    NO_MESSAGES,
    NO_PRESENCE,
    DialogInfo,
    DialogState,
    Messages,
    Presence,
    Source,
    StateChange,
    manual_dialog,
    reset,
    resource_identity,
    set_manually,
    standing_dialog,
)
from sipresence.names import ResourceId

# Whoever has to do with a resource needs these, too.
__all__ = (
    "CONFIRMED_FIRST",
    "IMPORTANCE",
    "DialogInfo",
    "DialogState",
    "Lamp",
    "ResourceState",
    "Source",
    "StateChange",
    "manual_dialog",
    "reset",
    "resource_identity",
    "set_manually",
)

IMPORTANCE = {
    # A second, ringing call makes a busy lamp blink: somebody is calling now (Kazoo, Kamailio force_single_dialog).
    DialogState.EARLY: 0,
    DialogState.CONFIRMED: 1,
    DialogState.PROCEEDING: 2,
    DialogState.TRYING: 3,
    DialogState.TERMINATED: 4,
}
CONFIRMED_FIRST = IMPORTANCE | {DialogState.EARLY: 1, DialogState.CONFIRMED: 0}
"""For accounts where who is busy stays busy, whoever else calls."""
LINGER = 0.5  # s for which an ending is told along with what follows: longer than changes are held together


@dataclass(slots=True, frozen=True)
class Lamp:
    """What a lamp key of this resource should show, and since when (Unix seconds, 0 where nothing is known)."""

    state: DialogState
    since: float


class ResourceState:
    """The merged state of one resource. `revision` rises with every visible change.

    `calls` are the dialogs that live, `dialogs` what the account wants shown of them, or in their place, changed at
    `changed_at`; `ended` those whose ending has to be told still. `quiet`:
    the last change of the dialogs only leaves out endings that were told before, which is no news for anybody.
    `presence` and `messages` changed at times of their own. All times are Unix seconds.
    """

    __slots__ = (
        "_ended", "_published", "_said", "calls", "changed_at", "dialogs", "id", "messages", "messages_changed_at",
        "presence", "presence_changed_at", "quiet", "revision", "since",
    )  # fmt: skip

    def __init__(self, resource: ResourceId) -> None:
        self.id = resource
        self.revision = 0
        self.since = 0.0
        self.changed_at = self.presence_changed_at = self.messages_changed_at = 0.0
        self.quiet = False
        self.calls: tuple[DialogInfo, ...] = ()
        self.dialogs: tuple[DialogInfo, ...] = ()
        self.presence = NO_PRESENCE
        self.messages = NO_MESSAGES
        self._ended: tuple[tuple[float, DialogInfo], ...] = ()
        self._said: tuple[StateChange, ...] = ()  # by sources other than publications, one of each
        self._published: Published | None = None

    @property
    def blank(self) -> bool:
        """Whether nothing at all is known, so that the object need not be kept."""
        return not self._said and self._published is None

    @property
    def lamp(self) -> Lamp:
        return Lamp(self.dialogs[0].state if self.dialogs else DialogState.TERMINATED, self.since)

    @property
    def news_at(self) -> float:
        """When the dialogs came to be what they are, 0 where that is no news."""
        return 0.0 if self.quiet else self.changed_at

    @property
    def ended(self) -> tuple[DialogInfo, ...]:
        return tuple(dialog for _, dialog in self._ended)

    @property
    def said(self) -> tuple[StateChange, ...]:
        """What the sources other than publications say, one of each, the last word at the end."""
        return self._said

    @property
    def publications(self) -> dict[str, StateChange]:
        """What each publication says that still counts, by its name, the oldest first. Not to be changed."""
        return self._published.publications if self._published is not None else {}

    def has_ended(self, publisher: str, dialog: DialogInfo, now: float) -> bool:
        """Whether a word of this publisher on this dialog would come too late."""
        return self._published is not None and self._published.has_ended(name_of(publisher, dialog), now)

    def as_far_as_known(self, publisher: str, dialog: DialogInfo) -> DialogInfo:
        """The dialog in the state it has come to, where this word of its publisher on it comes late."""
        return self._published.as_far_as_known(publisher, dialog) if self._published is not None else dialog

    @property
    def expires_at(self) -> float | None:
        """When the first thing known expires by itself, or None."""
        times = [said.expires_at for said in self._said]
        if self._published is not None:
            times.append(self._published.expires_at)
        return min((when for when in times if when is not None), default=None)

    @property
    def due_at(self) -> float | None:
        """When `due` has something, or None. What a publication's row says too much is due at once."""
        if self._published is not None and self._published.overtaken:
            return 0.0
        return self.expires_at

    def due(self, now: float) -> list[StateChange]:
        """The changes that end what has expired by `now`, or make the stored rows say no more than what counts."""
        changes = [
            StateChange(said.account, said.resource, said.source, (), now)
            for said in self._said
            if said.expires_at is not None and said.expires_at <= now
        ]
        return changes + (self._published.due(now) if self._published is not None else [])

    def merge(self, change: StateChange, policy: LampPolicy = DEFAULT) -> bool:
        """Take in a committed change; return whether the subscribers have to be told."""
        if change.source is None:
            self._flush()
        elif change.source is Source.PUBLISHED:
            self._publish(change)
        else:
            self._hear(change)
        known, self.calls = self.calls, self._union(policy)
        dialogs = self.calls if policy is DEFAULT else self._wanted(policy)
        presence, messages = self._composed(), self._counted()
        if change.is_reset or dialogs != self.dialogs:
            self._show(dialogs, at=change.at)
        elif presence == self.presence and messages == self.messages and known == self.calls:
            if change.source is not Source.PUBLISHED or change.dialogs:
                self.since = self.since or change.at  # the first word on it, though it was idle already
            self._leave_out_endings(change.at)
            return False
        if presence != self.presence or known != self.calls:
            self.presence, self.presence_changed_at = presence, change.at
        if messages != self.messages:
            self.messages, self.messages_changed_at = messages, change.at
        self.revision += 1
        if change.is_reset:
            self.since = 0.0
        return True

    def _flush(self) -> None:
        """Forget what was said. Which phones are registered is a fact of ours, and stays."""
        self._said = tuple(said for said in self._said if said.source is Source.REGISTRAR)
        if self._published is not None:
            self._published.reset()

    def _publish(self, change: StateChange) -> None:
        published = self._published or Published(resource_identity(self.id))
        published.merge(change)
        self._published = published if published.publications else None

    def _hear(self, change: StateChange) -> None:
        """Of each source the last word counts."""
        known = self._by(change.source)
        if known is not None and change.says_the_same_as(known):
            change = replace(change, at=known.at)  # saying it again is no news: the lamp shows it since then
        others = tuple(said for said in self._said if said is not known)
        self._said = (*others, change) if _says_something(change) else others

    def _by(self, source: Source | None) -> StateChange | None:
        return next((said for said in self._said if said.source is source), None)

    # What all of them say together

    def _union(self, policy: LampPolicy) -> tuple[DialogInfo, ...]:
        published = self._published
        if published is None and len(self._said) == 1 and len(self._said[0].dialogs) < 2:
            return self._said[0].dialogs  # as mostly
        importance = CONFIRMED_FIRST if policy.confirmed_first else IMPORTANCE
        known = [(-said.at, dialog) for said in self._said for dialog in said.dialogs]
        if published is not None:
            known += [(-word.since, word.shown) for word in published.words]
        known.sort(key=lambda entry: (importance[entry[1].state], entry[0]))
        return tuple(dialog for _, dialog in known)

    def _wanted(self, policy: LampPolicy) -> tuple[DialogInfo, ...]:
        """The calls as the account wants them shown, or what its lamps show in their place."""
        if not self.calls:
            return tuple(self._standing(policy))
        importance = CONFIRMED_FIRST if policy.confirmed_first else IMPORTANCE
        shown = (_as_wanted(dialog, policy) for dialog in self.calls)
        return tuple(sorted(shown, key=lambda dialog: importance[dialog.state]))

    def _standing(self, policy: LampPolicy) -> Iterator[DialogInfo]:
        """What the lamp shows while there is no call."""
        for source, state in (
            (Source.DO_NOT_DISTURB, policy.do_not_disturb),
            (Source.REGISTRAR, policy.unregistered),
        ):
            if state is not DialogState.TERMINATED and self._says(source):
                yield standing_dialog(self.id, state, source)
                return

    def _says(self, source: Source) -> bool:
        if self._by(source) is not None:
            return True
        return source is Source.DO_NOT_DISTURB and self._composed().do_not_disturb

    def _composed(self) -> Presence:
        """The last word on presence counts, but nobody is reachable without a phone, or who wants no calls."""
        if not self._said and self._published is None:
            return NO_PRESENCE
        presence = self._published.presence if self._published is not None else NO_PRESENCE
        if self._by(Source.REGISTRAR) is not None:
            presence = replace(presence, open=False)
        if self._by(Source.DO_NOT_DISTURB) is not None:
            presence = replace(presence, do_not_disturb=True)
        return presence

    def _counted(self) -> Messages:
        mailbox = self._by(Source.MAILBOX)
        return NO_MESSAGES if mailbox is None or mailbox.messages is None else mailbox.messages

    # What is seen of it

    def _show(self, dialogs: tuple[DialogInfo, ...], *, at: float) -> None:
        """Make this visible, and with it the end of what is visible no more."""
        if self.dialogs or self._ended:
            living = {dialog.id for dialog in dialogs}
            gone = [(at, _ended(dialog)) for dialog in self.dialogs if dialog.id not in living]
            just_told = [told for told in self._ended if at - told[0] < LINGER and told[1].id not in living]
            self._ended = (*gone, *just_told)
        before = self.lamp.state
        self.dialogs = dialogs
        if self.lamp.state is not before or not self.since:
            self.since = at
        self.changed_at = at
        self.quiet = False

    def _leave_out_endings(self, at: float) -> None:
        """What ended a while ago was told. Whoever subscribes later need not know of it."""
        if self._ended and all(at - told_at >= LINGER for told_at, _ in self._ended):
            self._ended = ()
            self.quiet = True
            self.revision += 1


def _says_something(change: StateChange) -> bool:
    """Whether a word has to be remembered; that of `set` always, since when a lamp is dark."""
    return bool(change.source is Source.MANUAL or change.dialogs or change.presence or change.messages)


def _as_wanted(dialog: DialogInfo, policy: LampPolicy) -> DialogInfo:
    """A call as the account wants it shown."""
    if dialog.state is DialogState.EARLY and dialog.direction == "initiator":
        return replace(dialog, state=policy.caller_early)
    if dialog.state is DialogState.CONFIRMED and dialog.held:
        return replace(dialog, state=policy.held)
    return dialog


def _ended(dialog: DialogInfo) -> DialogInfo:
    return replace(dialog, state=DialogState.TERMINATED, held=False)
