"""What the publications of one resource say together: of each dialog the latest word, whichever of them brought it.

A dialog is known by its publisher, its id and its call-id; tags tell two dialogs apart only where both have them and
they differ: Kamailio's `confirmed` and `terminated` carry none. A word on a dialog replaces the word before, also where
another publication said that: Kamailio leaves orphaned publications behind in ordinary calls, goes on to refresh them,
and ends only the last. A publication whose word was overtaken contributes nothing until its next body.

A dialog ends in all publications at once: with `terminated`, or when the publication that spoke of it last does not
name it any more (another body, a removal, an expiry). After `terminated` a dialog with a call-id is remembered for a
while, so that a late `early` or `confirmed` does not light it again. One without call-id is a state, not a call
(Asterisk publishes one per extension, under the extension's name, for ever): it may come back at any time.

Changes are merged in the order of their commits. A publication's bodies have rising times (`StateChange.at`), which
tells a body from a refresh; saying a change again does nothing.

The store must not keep what was overtaken: read again after the overtaking publication is gone, it would light the
lamp. Publications whose row says more than counts are in `overtaken`, until the row is written anew (see `due`).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from sipresence.events.state import NO_PRESENCE, DialogInfo, DialogState, Presence, StateChange

TOMBSTONE = 64.0  # s for which an ended dialog is remembered: a PUBLISH is retransmitted for 32 s
MAX_TOMBSTONES = 1024  # of one resource, then the oldest goes: 16 endings a second
MAX_DIALOGS = 256  # of one resource at a time; what goes beyond is not taken in


_PROGRESS = tuple(DialogState)  # in the order in which a call goes through them


class DialogName(NamedTuple):
    """What a dialog is known by within a resource."""

    publisher: str
    id: str
    call_id: str
    local_tag: str
    remote_tag: str

    def means(self, other: "DialogName") -> bool:
        """Whether both are the same dialog, as far as one can tell."""
        return (
            self.id == other.id
            and self.call_id == other.call_id
            and self.publisher == other.publisher
            and not (self.local_tag and other.local_tag and self.local_tag != other.local_tag)
            and not (self.remote_tag and other.remote_tag and self.remote_tag != other.remote_tag)
        )


def name_of(publisher: str, dialog: DialogInfo) -> DialogName:
    return DialogName(publisher, dialog.id, dialog.call_id, dialog.local_tag, dialog.remote_tag)


@dataclass(slots=True)
class Word:
    """The latest word on a living dialog: as its publisher said it, and as our documents show it."""

    name: DialogName
    said: DialogInfo
    shown: DialogInfo
    publication: str  # that spoke last
    at: float  # when it did
    since: float  # when the dialog came into this state


class _Ended(NamedTuple):
    name: DialogName
    until: float


class Published:
    """The publications of one resource, by name, and the living dialogs, the oldest first.

    `identity` stands for each side of a dialog of which a publisher says nothing.
    """

    __slots__ = ("_ended", "_identity", "overtaken", "publications", "words")

    def __init__(self, identity: str) -> None:
        self._identity = identity
        self.publications: dict[str, StateChange] = {}  # with those dialogs only that count
        # Of most resources these are empty, which then costs nothing.
        self.overtaken: frozenset[str] = frozenset()
        self.words: list[Word] = []
        self._ended: tuple[_Ended, ...] = ()

    @property
    def expires_at(self) -> float | None:
        """When the first publication expires, or None."""
        return min((p.expires_at for p in self.publications.values() if p.expires_at is not None), default=None)

    @property
    def presence(self) -> Presence:
        """The last word on presence: can calls reach anything of it, and what is its owner doing (RFC 3856).

        It is open if one of its devices is; what it does is what the last one that is open says, else the last one.
        """
        said = [p.presence for p in sorted(self.publications.values(), key=_last_first) if p.presence is not None]
        if len(said) < 2:
            return said[0] if said else NO_PRESENCE
        return next((presence for presence in said if presence.open), said[0])

    def merge(self, change: StateChange) -> None:
        """Take in what one publication says from now on."""
        known = self.publications.get(change.publication)
        heard = self._hear(change) if known is None or known.at != change.at or change.is_end else change
        self._keep(change, heard)

    def reset(self) -> None:
        """Forget what lives. The publications stay, and what has ended; their next bodies tell the truth anew.

        The store does the same to their rows.
        """
        self.publications = {name: emptied(said) for name, said in self.publications.items()}
        self.overtaken = frozenset()
        self.words = []

    def due(self, now: float) -> list[StateChange]:
        """The changes that end what has expired by `now`, and those that write down what still counts of the others."""
        changes = []
        for name, said in self.publications.items():
            if said.expires_at is not None and said.expires_at <= now:
                changes.append(over(said, at=now))
            elif name in self.overtaken:
                changes.append(replace(said, by=""))
        return changes

    def has_ended(self, name: DialogName, now: float) -> bool:
        """Whether a word on this dialog comes too late."""
        return any(ended.until > now and ended.name.means(name) for ended in self._ended) and not self._on(name)

    def as_far_as_known(self, publisher: str, dialog: DialogInfo) -> DialogInfo:
        """What a word on a dialog means by now."""
        return _as_far(dialog, self._on(name_of(publisher, dialog)))

    # What a body says

    def _on(self, name: DialogName) -> list[Word]:
        """The words on this dialog: several where it stands for branches of one call."""
        return [word for word in self.words if word.name.means(name)]

    def _hear(self, change: StateChange) -> StateChange:
        if self._ended and self._ended[0].until <= change.at:
            self._ended = tuple(ended for ended in self._ended if ended.until > change.at)
        named: list[Word] = []
        heard: list[DialogInfo] = []
        for said in change.dialogs:
            name = name_of(change.publisher, said)
            same = self._on(name)
            dialog = _as_far(said, same)
            heard.append(dialog)
            if dialog.state is not DialogState.TERMINATED:
                named += self._speak(name, dialog, change, same)
                continue
            others = tuple(ended for ended in self._ended if ended.name != name)
            said_again = len(others) < len(self._ended)
            for word in same:
                if not said_again or word.name == name:  # a branch that lives does not end with one that ended before
                    self._silence(word, change.publication)
            if dialog.call_id:
                self._ended = (*others, _Ended(name, change.at + TOMBSTONE))[-MAX_TOMBSTONES:]
        # What this publication spoke of last, and does not name any more, has ended.
        self.words = [word for word in self.words if word.publication != change.publication or word in named]
        return replace(change, dialogs=tuple(heard))

    def _speak(self, name: DialogName, dialog: DialogInfo, change: StateChange, same: Sequence[Word]) -> Sequence[Word]:
        """Take a word on a living dialog, unless it comes too late; `same` are the words on it so far."""
        if not same:
            if len(self.words) >= MAX_DIALOGS or self.has_ended(name, change.at):
                return ()
            shown = self._shown(dialog, self._new_id(name))
            word = Word(name, dialog, shown, change.publication, change.at, change.at)
            self.words.append(word)
            return (word,)
        word, *others = same
        for other in others:  # branches of one call that this word does not tell apart
            self._silence(other, change.publication)
        self._overtake(word, change.publication)
        if dialog.state is not word.said.state:
            word.since = change.at
        # Once known, tags still tell it from another branch, though a later word leaves them out.
        word.name = name if others else _with_tags_of(word.name, name)
        word.said, word.shown = dialog, self._shown(dialog, word.shown.id)
        word.publication, word.at = change.publication, change.at
        return (word,)

    def _silence(self, word: Word, publication: str) -> None:
        self._overtake(word, publication)
        self.words.remove(word)

    def _overtake(self, word: Word, publication: str) -> None:
        """`publication` speaks of this dialog now; what another one said of it counts no more."""
        before = self.publications.get(word.publication)
        if before is None or word.publication == publication:
            return
        left = tuple(dialog for dialog in before.dialogs if dialog != word.said)
        self.publications[word.publication] = replace(before, dialogs=left)
        self.overtaken |= {word.publication}

    def _keep(self, change: StateChange, heard: StateChange) -> None:
        """Remember the publication, with what counts of it."""
        if change.is_end:
            self.publications.pop(change.publication, None)
            self.overtaken -= {change.publication}
            return
        counts = tuple(dialog for dialog in heard.dialogs if self._counts(dialog, change.publication))
        if counts == change.dialogs:
            self.overtaken -= {change.publication}
        else:
            change = replace(change, dialogs=counts)
            self.overtaken |= {change.publication}
        self.publications[change.publication] = change

    def _counts(self, dialog: DialogInfo, publication: str) -> bool:
        if dialog.state is DialogState.TERMINATED:
            return True
        return any(word.publication == publication and word.said == dialog for word in self.words)

    # What documents show

    def _new_id(self, name: DialogName) -> str:
        """An id of ours, since publishers may choose the same ones; of branches of one call the first has this one."""
        taken = {word.shown.id for word in self.words}
        ident = _digest(name.publisher, name.id, name.call_id)
        while ident in taken:
            ident = _digest(ident, *name)
        return ident

    def _shown(self, dialog: DialogInfo, ident: str) -> DialogInfo:
        return replace(
            dialog,
            id=ident,
            local_identity=dialog.local_identity or self._identity,
            remote_identity=dialog.remote_identity or self._identity,
        )


def _last_first(change: StateChange) -> float:
    return -change.at


def emptied(change: StateChange) -> StateChange:
    """What a reset leaves of a publication: the dialogs that have ended, which must not come to life again."""
    return replace(change, dialogs=endings(change), presence=change.presence and NO_PRESENCE)


def over(change: StateChange, *, at: float) -> StateChange:
    """The end of a publication, of which nothing has to be remembered."""
    return replace(change, dialogs=(), at=at, expires_at=None, by="", entity_tag="", presence=None)


def _as_far(dialog: DialogInfo, known: Sequence[Word]) -> DialogInfo:
    """No word takes a call back to a state before (RFC 4235 section 3.7.1): an `early` after `confirmed` comes late."""
    if not dialog.call_id or not known:
        return dialog
    return replace(dialog, state=max((dialog.state, *(word.said.state for word in known)), key=_PROGRESS.index))


def endings(change: StateChange) -> tuple[DialogInfo, ...]:
    """The dialogs that have ended, of those a publication speaks of: what a reset leaves of it."""
    return tuple(dialog for dialog in change.dialogs if dialog.state is DialogState.TERMINATED)


def _with_tags_of(before: DialogName, name: DialogName) -> DialogName:
    return name._replace(local_tag=name.local_tag or before.local_tag, remote_tag=name.remote_tag or before.remote_tag)


def _digest(*parts: str) -> str:
    return hashlib.md5("\0".join(parts).encode(), usedforsecurity=False).hexdigest()
