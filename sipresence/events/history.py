"""The history of one subscription: its last SUBSCRIBEs and NOTIFYs, small enough to be kept for a million of them.

A log is a bytes object of fixed-size entries, the newest last: 15 bytes for a NOTIFY where a tuple takes 200, and
nothing for the garbage collector to look at. An entry costs 0.3 µs. CSeq and version need no room, since both rise by
one with each NOTIFY; a document is known by its state and its revision, by which its resource still has the last few.
"""

from collections.abc import Iterator
from enum import IntEnum
from struct import Struct
from typing import NamedTuple

from sipresence.events.document import Document
from sipresence.events.resource import DialogState

NOTIFIES, SUBSCRIBES, MOVES = 8, 3, 3  # that are kept of each

_NOTIFY = Struct("<deHHB")  # at, round-trip time, status, revision, state and flags
_SUBSCRIBE = Struct("<dIB")  # at, expires, what
_NOTIFIES_BUT_ONE = -(NOTIFIES - 1) * _NOTIFY.size
_SUBSCRIBES_BUT_ONE = -(SUBSCRIBES - 1) * _SUBSCRIBE.size
_LONGEST = 65_504.0  # s, that a half-precision number can hold
_STATES = tuple(DialogState)
_STATE, _NEWS, _FINAL = 0x0F, 0x10, 0x20


class Asked(IntEnum):
    """What a SUBSCRIBE did, or what stands where one would."""

    SUBSCRIBED = 0
    REFRESHED = 1
    RESUBSCRIBED = 2  # an initial one, for a subscription that lived
    UNSUBSCRIBED = 3
    RESTORED = 4  # found in the store at a start
    UNDONE = 5  # the store could not keep the one before, which was refused for that


class Notified(NamedTuple):
    """A NOTIFY: when it was decided, or sent once it was answered; status 0 while there is no answer."""

    at: float
    cseq: int
    version: int
    state: DialogState
    revision: int  # of the resource, its last 16 bits
    news: bool  # the document is another than the one before
    final: bool  # the subscription was terminated by it
    status: int
    rtt: float  # s, to three digits


class Subscribed(NamedTuple):
    """A SUBSCRIBE that was accepted; `expires` seconds are what was granted."""

    at: float
    asked: Asked
    expires: int


class Moved(NamedTuple):
    """From now on its NOTIFYs go elsewhere than to `address`."""

    at: float
    address: str


class History:
    """What was asked and told. `believed` is the document that the phone answered last with success."""

    __slots__ = ("_in_flight", "_notifies", "_subscribes", "believed", "moves")

    def __init__(self) -> None:
        self._notifies = b""
        self._subscribes = b""
        self._in_flight: tuple[float, Document, int] | None = None  # when it was decided, what it carries, flags
        self.moves: tuple[Moved, ...] = ()
        self.believed: Document | None = None

    @property
    def told_at(self) -> float:
        """When the last NOTIFY but one in flight was sent. Where there is none since a restart, it may have been right
        before that."""
        if self._notifies:
            last: tuple[float, float, int, int, int] = _NOTIFY.unpack(self._notifies[-_NOTIFY.size :])
            return last[0]
        asked: tuple[float, int, int] = _SUBSCRIBE.unpack(self._subscribes[-_SUBSCRIBE.size :])
        return asked[0]

    @property
    def answered_at(self) -> float:
        """When the last answer came, or was given up; 0 where none has since a restart."""
        if not self._notifies:
            return 0.0
        at, rtt, status, _, _ = _NOTIFY.unpack(self._notifies[-_NOTIFY.size :])
        return float(at + rtt) if status else 0.0

    def asked(self, what: Asked, now: float, *, expires: int) -> None:
        """A SUBSCRIBE was accepted."""
        self._subscribes = self._subscribes[_SUBSCRIBES_BUT_ONE:] + _SUBSCRIBE.pack(now, expires, what)

    def moved(self, address: str, now: float) -> None:
        """Its NOTIFYs went to `address` until now."""
        self.moves = (*self.moves[1 - MOVES :], Moved(now, address))

    def notified(self, document: Document, now: float, *, news: bool, final: bool) -> None:
        """A NOTIFY was decided; one in flight is abandoned. Hot."""
        if self._in_flight is not None:
            at, abandoned, flags = self._in_flight
            self._add(at, abandoned, flags, 0, 0.0)
        self._in_flight = (now, document, (_NEWS if news else 0) | (_FINAL if final else 0))

    def answered(self, status: int, now: float, *, sent_at: float) -> Document | None:
        """The NOTIFY in flight has its final answer; return what it told, if that was news and was heard. Hot."""
        if self._in_flight is None:
            return None
        _, document, flags = self._in_flight
        self._in_flight = None
        rtt = now - sent_at
        self._add(sent_at, document, flags, status, rtt if rtt < _LONGEST else _LONGEST)
        if not 200 <= status < 300:
            return None
        self.believed = document
        return document if flags & _NEWS else None

    def notifies(self, *, cseq: int, version: int) -> Iterator[Notified]:
        """The last NOTIFYs, the oldest first; `cseq` and `version` are those of the newest."""
        entries = list(_NOTIFY.iter_unpack(self._notifies))
        if self._in_flight is not None:
            at, document, flags = self._in_flight
            entries.append((at, 0.0, 0, document.revision & 0xFFFF, flags | document.code))
        for back, (at, rtt, status, revision, flags) in enumerate(entries, 1 - len(entries)):
            yield Notified(
                at, cseq + back, version + back, _STATES[flags & _STATE], revision,
                news=bool(flags & _NEWS), final=bool(flags & _FINAL), status=status, rtt=rtt,
            )  # fmt: skip

    def subscribes(self) -> Iterator[Subscribed]:
        """The last SUBSCRIBEs, the oldest first."""
        for at, expires, what in _SUBSCRIBE.iter_unpack(self._subscribes):
            yield Subscribed(at, Asked(what), expires)

    def _add(self, at: float, document: Document, flags: int, status: int, rtt: float) -> None:
        entry = _NOTIFY.pack(at, rtt, status, document.revision & 0xFFFF, flags | document.code)
        self._notifies = self._notifies[_NOTIFIES_BUT_ONE:] + entry
