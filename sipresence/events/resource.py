"""What is known of one resource, merged from its sources (we are its state agent, RFC 6665 section 4.2).

A source says which dialogs (RFC 4235) it knows of; the state of the resource is the union over all sources, the most
important dialog first: the lamp. A change that alters nothing visible is no change: the revision, and with it every
rendered document, stays.

The manual source is `set` over HTTP: an ordered command, not a call. Its one pseudo-dialog has a constant id, so that
setting again replaces it and `terminated` removes it; it neither ends nor hides what publications say (published.py).

Some phones match dialogs by their id. So what was visible and is no more is shown as `terminated` in the documents of
the revision that ends it, and of those that follow at once, which a phone may get in its place.
"""

from dataclasses import dataclass, replace

from sipresence.events.published import Published, name_of
from sipresence.events.state import (
    DialogInfo,
    DialogState,
    Source,
    StateChange,
    manual_dialog,
    reset,
    resource_identity,
    set_manually,
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
    """The merged state of one resource. `revision` rises with every visible change, which was made `changed_at`.

    `dialogs` are those that live, `ended` those whose ending has to be told still. `quiet`: this revision only leaves
    out endings that were told before, which is no news for anybody.
    """

    __slots__ = ("_ended", "_manual", "_published", "changed_at", "dialogs", "id", "quiet", "revision", "since")

    def __init__(self, resource: ResourceId) -> None:
        self.id = resource
        self.revision = 0
        self.since = 0.0
        self.changed_at = 0.0
        self.quiet = False
        self.dialogs: tuple[DialogInfo, ...] = ()
        self._ended: tuple[tuple[float, DialogInfo], ...] = ()
        self._manual: StateChange | None = None
        self._published: Published | None = None

    @property
    def blank(self) -> bool:
        """Whether nothing at all is known, so that the object need not be kept."""
        return self._manual is None and self._published is None

    @property
    def lamp(self) -> Lamp:
        return Lamp(self.dialogs[0].state if self.dialogs else DialogState.TERMINATED, self.since)

    @property
    def ended(self) -> tuple[DialogInfo, ...]:
        return tuple(dialog for _, dialog in self._ended)

    @property
    def publications(self) -> dict[str, StateChange]:
        """What each publication says that still counts, by its name, the oldest first. Not to be changed."""
        return self._published.publications if self._published is not None else {}

    def has_ended(self, publisher: str, dialog: DialogInfo, now: float) -> bool:
        """Whether a word of this publisher on this dialog would come too late."""
        return self._published is not None and self._published.has_ended(name_of(publisher, dialog), now)

    @property
    def expires_at(self) -> float | None:
        """When the first thing known expires by itself, or None."""
        manual = self._manual.expires_at if self._manual is not None else None
        if self._published is None:
            return manual
        published = self._published.expires_at
        return min((when for when in (manual, published) if when is not None), default=None)

    @property
    def due_at(self) -> float | None:
        """When `due` has something, or None. What a publication's row says too much is due at once."""
        if self._published is not None and self._published.overtaken:
            return 0.0
        return self.expires_at

    def due(self, now: float) -> list[StateChange]:
        """The changes that end what has expired by `now`, or make the stored rows say no more than what counts."""
        changes = self._published.due(now) if self._published is not None else []
        manual = self._manual
        if manual is not None and manual.expires_at is not None and manual.expires_at <= now:
            changes.insert(0, StateChange(manual.account, manual.resource, Source.MANUAL, (), now))
        return changes

    def merge(self, change: StateChange, *, confirmed_first: bool = False) -> bool:
        """Take in a committed change; return whether the subscribers have to be told."""
        if change.source is None:
            self._flush(change.at)
            return True
        if change.source is Source.MANUAL:
            known = self._manual
            if known is not None and known.dialogs == change.dialogs:
                change = replace(change, at=known.at)  # saying it again is no news: the lamp shows it since then
            self._manual = change
        else:
            self._publish(change)
        dialogs = self._union(CONFIRMED_FIRST if confirmed_first else IMPORTANCE)
        if dialogs == self.dialogs:
            if change.source is Source.MANUAL or change.dialogs:
                self.since = self.since or change.at  # the first word on it, though it was idle already
            self._leave_out_endings(change.at)
            return False
        self._show(dialogs, at=change.at)
        return True

    def _flush(self, at: float) -> None:
        self._manual = None
        if self._published is not None:
            self._published.reset()
        self._show((), at=at)
        self.since = 0.0

    def _publish(self, change: StateChange) -> None:
        published = self._published or Published(resource_identity(self.id))
        published.merge(change)
        self._published = published if published.publications else None

    def _union(self, importance: dict[DialogState, int]) -> tuple[DialogInfo, ...]:
        manual = self._manual
        published = self._published
        if published is None and manual is not None and len(manual.dialogs) < 2:
            return manual.dialogs  # as mostly
        said = [] if manual is None else [(importance[d.state], -manual.at, d) for d in manual.dialogs]
        if published is not None:
            said += [(importance[word.shown.state], -word.since, word.shown) for word in published.words]
        said.sort(key=lambda entry: entry[:2])
        return tuple(dialog for _, _, dialog in said)

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
        self.revision += 1

    def _leave_out_endings(self, at: float) -> None:
        """What ended a while ago was told. Whoever subscribes later need not know of it."""
        if self._ended and all(at - told_at >= LINGER for told_at, _ in self._ended):
            self._ended = ()
            self.quiet = True
            self.revision += 1


def _ended(dialog: DialogInfo) -> DialogInfo:
    return replace(dialog, state=DialogState.TERMINATED, held=False)
