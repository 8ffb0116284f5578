"""Reads the `application/pidf+xml` bodies that phones and PBXs publish (RFC 3863, RFC 4479, RFC 4480).

What they write is taken as it is meant. Activities may be empty elements or words, at the person, a tuple or a device,
in the namespace of RFC 4480, of one of its drafts (Asterisk, eyeBeam, eXosip) or of Cisco. `basic` may say `unknown`
(baresip). That somebody wants no calls has no element in RFC 4480: Cisco has one of its own, Linphone writes it into
`busy`, others into a note. The time for which an activity holds (`from`, `until`) is ignored, as is all that nobody
would be shown.
"""

from collections.abc import Mapping

from sipresence.errors import MalformedMessage
from sipresence.events.state import Presence
from sipresence.events.xml_reader import XmlReader, one_line

MAX_ACTIVITIES = 16
MAX_NOTE = 128  # characters; a longer one is cut

ACTIVITIES = frozenset((
    "appointment", "away", "breakfast", "busy", "dinner", "holiday", "in-transit", "looking-for-work", "meal",
    "meeting", "on-the-phone", "performance", "permanent-absence", "playing", "presentation", "shopping", "sleeping",
    "spectator", "steering", "travel", "tv", "vacation", "working", "worship",
))  # fmt: skip
"""The activities of RFC 4480 section 3.2, but for `unknown` and `other`, which name none."""

_PIDF = "urn:ietf:params:xml:ns:pidf"
_PREFIXES = {
    "": "",
    _PIDF: "",
    f"{_PIDF}:data-model": "dm:",
    f"{_PIDF}:person": "dm:",
    f"{_PIDF}:rpid": "rpid:",
    f"{_PIDF}:rpid-status": "rpid:",
    f"{_PIDF}:status:rpid": "rpid:",
    f"{_PIDF}:status:rpid-status": "rpid:",
    f"{_PIDF}:rpid:status:rpid-status": "rpid:",
    f"{_PIDF}:rpid:rpid-person": "rpid:",
    "urn:cisco:params:xml:ns:pidf:rpid": "rpid:",
}
_MEANT = {"lunch": "meal"}  # Linphone
_DO_NOT_DISTURB = frozenset(("dnd", "do-not-disturb", "donotdisturb", "do not disturb"))
_NO = frozenset(("false", "no", "off", "0"))
_NOTES = frozenset(("note", "dm:note", "rpid:note"))
_OWNERS = ("dm:person", "tuple", "dm:device", "")  # of notes, "" for the document; the first that has one counts
_BETWEEN: tuple[list[str], ...] = ([], ["status"], ["rpid:activities"])  # an owner and its note


def read_pidf(body: bytes) -> Presence:
    """Read a document. Raises MalformedMessage."""
    reader = _Reader()
    reader.parse(body)
    return reader.presence()


class _Reader(XmlReader):
    def __init__(self) -> None:
        super().__init__(_PREFIXES)
        self._basic: set[str] = set()
        self._activities: dict[str, None] = {}  # a set that keeps its order
        self._notes: dict[str, str] = {}  # the first of each owner
        self._do_not_disturb = False

    def presence(self) -> Presence:
        """What the document says: open if one of its tuples is, by which calls reach it then."""
        reachable = True if "open" in self._basic else False if "closed" in self._basic else None
        note = next((self._notes[owner] for owner in _OWNERS if owner in self._notes), "")
        return Presence(reachable, tuple(self._activities)[:MAX_ACTIVITIES], note, self._do_not_disturb)

    def opened(self, attributes: Mapping[str, str]) -> None:
        if self.path[0] != "presence":
            raise MalformedMessage("no presence document")

    def closed(self, text: str) -> None:
        text = one_line(text, at_most=MAX_NOTE)
        self._do_not_disturb |= _wants_no_calls(self.path, text)
        match self.path:
            case ["presence", "tuple" | "dm:device", "status", "basic"]:
                self._basic.add(text.lower())
            case ["presence", *inside, "note" | "dm:note" | "rpid:note"]:
                self._note(inside, text)
            case [*_, "rpid:activities", "rpid:activity"]:  # as a draft had it
                self._activity(text)
            case [*_, "rpid:activities", element]:
                self._activity(element.removeprefix("rpid:"))
            case [*_, "rpid:activities"]:
                self._activity(text.removeprefix("ep:"))  # Asterisk once wrote the text `ep:busy` for an element

    def _activity(self, name: str) -> None:
        name = name.lower()
        name = _MEANT.get(name, name)
        if name in ACTIVITIES:
            self._activities[name] = None

    def _note(self, inside: list[str], text: str) -> None:
        """Take a note on its owner; one on a mood, or on a place, is about something else."""
        if text and inside[1:] in _BETWEEN:
            self._notes.setdefault(inside[0] if inside else "", text)


def _wants_no_calls(path: list[str], text: str) -> bool:
    text = text.lower()
    if path[-1].rpartition(":")[2].lower() in _DO_NOT_DISTURB:
        return text not in _NO
    return text in _DO_NOT_DISTURB and (path[-1] in _NOTES or "rpid:activities" in path)
