"""Reads the `application/dialog-info+xml` bodies that publishers send (RFC 4235 section 4).

What they write is taken as it is meant: `Trying`, no version or always the same one, no id, any prefix, `pvalue` for
`pval` (wire notes of Kamailio, OpenSIPS, Asterisk). Versions are ignored, since entity tags order the bodies. What
makes no sense is refused, what would harm is never looked at: a document type, and with it every entity, is refused
where it begins; size, depth, and the numbers of elements and dialogs are bounded while reading.

The parser is expat, which forgets all of a document at its end. libxml2, and so lxml, keeps every name of an element or
attribute for the life of the process: whoever may publish could fill the memory with names.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote
from xml.parsers import expat

from sipresence.errors import MalformedMessage
from sipresence.events.state import DialogInfo, DialogState

MAX_BODY_BYTES = 65_536
MAX_DEPTH = 16
MAX_ELEMENTS = 4096
MAX_DIALOGS = 64
MAX_NAME = 256  # characters of an id, a call-id or a tag
MAX_URI = 512
MAX_DISPLAY = 128  # a longer one is cut

NAMESPACE = "urn:ietf:params:xml:ns:dialog-info"
_STATES = {state.value: state for state in DialogState}
_DIRECTIONS = frozenset(("initiator", "recipient"))
_URI_CHARACTERS = "%-._~!$&'()*+,;=:@/?"  # besides letters and digits (RFC 3986 section 2)
_IPV6 = re.compile("%5B([0-9A-Fa-f:.]+)%5D")
_HEX = frozenset("0123456789abcdefABCDEF")


class PublishedBody(NamedTuple):
    """What a body says: all that its publisher knows of, or only what has changed (`partial`)."""

    partial: bool
    dialogs: tuple[DialogInfo, ...]


def read_dialog_info(body: bytes) -> PublishedBody:
    """Read a document. Raises MalformedMessage."""
    if len(body) > MAX_BODY_BYTES:
        raise MalformedMessage("a body too large")
    return _Reader().read(_utf8(body.strip(b" \t\r\n\0")))


def _utf8(body: bytes) -> bytes:
    """Old equipment declares UTF-8 and writes Latin-1."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return body.decode("latin-1").encode()
    return body


class _Reader:
    """One document. `_path` are the names of the open elements, "" for one of another namespace."""

    def __init__(self) -> None:
        self._path: list[str] = []
        self._elements = 0
        self._text: list[str] = []
        self._partial = False
        self._dialogs: list[DialogInfo] = []
        self._said: dict[str, str] = {}  # of the open dialog, by field of DialogInfo
        self._held = False

    def read(self, body: bytes) -> PublishedBody:
        parser = expat.ParserCreate("UTF-8", " ")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text.append
        try:
            parser.Parse(body, True)
        except expat.ExpatError as error:
            raise MalformedMessage(f"no XML: {error}") from None
        return PublishedBody(self._partial, tuple(self._dialogs))

    def _doctype(self, _name: str, _system: str | None, _public: str | None, _internal: int) -> None:
        raise MalformedMessage("a document type")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._elements += 1
        if self._elements > MAX_ELEMENTS or len(self._path) >= MAX_DEPTH:
            raise MalformedMessage("too many elements")
        namespace, _, local = name.rpartition(" ")
        self._path.append(local if namespace in ("", NAMESPACE) else "")
        self._text.clear()
        match self._path:
            case [root] if root != "dialog-info":
                raise MalformedMessage("no dialog-info document")
            case ["dialog-info"]:
                self._partial = _is_partial(attributes)
            case ["dialog-info", "dialog"]:
                self._said, self._held = _names(attributes), False
            case ["dialog-info", "dialog", "local" | "remote" as side, "identity"]:
                self._said[f"{side}_display"] = _display(attributes.get("display", ""))
            case ["dialog-info", "dialog", "local" | "remote" as side, "target"]:
                self._said[f"{side}_target"] = _uri(attributes.get("uri", ""))
                if not self._said.get(f"{side}_display"):  # Kamailio's attribute_display writes it here
                    self._said[f"{side}_display"] = _display(attributes.get("display", ""))
            case ["dialog-info", "dialog", "local", "target", "param"]:
                self._held |= _is_hold(attributes)

    def _end(self, _name: str) -> None:
        match self._path:
            case ["dialog-info", "dialog", "state"]:
                self._said["state"] = "".join(self._text).strip().lower()
            case ["dialog-info", "dialog", "local" | "remote" as side, "identity"]:
                self._said[f"{side}_identity"] = _uri("".join(self._text))
            case ["dialog-info", "dialog"]:
                if len(self._dialogs) >= MAX_DIALOGS:
                    raise MalformedMessage("too many dialogs")
                self._said["id"] = self._said["id"] or f"#{len(self._dialogs)}"
                self._dialogs.append(_dialog(self._said, self._held))
        self._path.pop()
        self._text.clear()


def _is_partial(attributes: Mapping[str, str]) -> bool:
    state = attributes.get("state", "full").strip().lower()
    if state not in ("full", "partial"):
        raise MalformedMessage("neither full nor partial")
    return state == "partial"


def _is_hold(attributes: Mapping[str, str]) -> bool:
    value = attributes.get("pval", attributes.get("pvalue", ""))
    return attributes.get("pname", "").strip().lower() == "+sip.rendering" and value.strip().lower() == "no"


def _names(attributes: Mapping[str, str]) -> dict[str, str]:
    """Read the attributes of a dialog. Where it has no id the call-id has to do, and without that its place."""
    call_id = _name(attributes.get("call-id", ""))
    direction = attributes.get("direction", "").strip().lower()
    return {
        "id": _name(attributes.get("id", "")) or call_id,
        "call_id": call_id,
        "local_tag": _name(attributes.get("local-tag", "")),
        "remote_tag": _name(attributes.get("remote-tag", "")),
        "direction": direction if direction in _DIRECTIONS else "",
    }


def _dialog(said: Mapping[str, str], held: bool) -> DialogInfo:
    state = _STATES.get(said.get("state", ""))
    if state is None:
        raise MalformedMessage("a dialog without a known state")
    return DialogInfo(
        id=said["id"], state=state, direction=said["direction"],
        local_identity=said.get("local_identity", ""), remote_identity=said.get("remote_identity", ""),
        call_id=said["call_id"], local_tag=said["local_tag"], remote_tag=said["remote_tag"],
        local_display=said.get("local_display", ""), remote_display=said.get("remote_display", ""),
        local_target=said.get("local_target", ""), remote_target=said.get("remote_target", ""), held=held,
    )  # fmt: skip


def _name(text: str) -> str:
    text = text.strip()
    if len(text) > MAX_NAME or not text.isprintable():
        raise MalformedMessage("an id that cannot be one")
    return text


def _display(text: str) -> str:
    """What people read: one line, without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:MAX_DISPLAY]


def _uri(text: str) -> str:
    """A URI that can stand in a document of ours, or "": some publishers write a name-addr here, or nothing at all."""
    _, bracket, rest = text.partition("<")
    text = (rest.partition(">")[0] if bracket else text).strip()
    scheme, colon, rest = text.partition(":")
    if not colon or not scheme.isascii() or not scheme.isalnum() or not scheme[0].isalpha():
        return ""
    if not rest or rest.startswith("//"):
        return ""
    text = quote(text, safe=_URI_CHARACTERS)
    escaped = all(len(part) >= 2 and _HEX.issuperset(part[:2]) for part in text.split("%")[1:])
    text = _IPV6.sub(r"[\1]", text)
    return text if escaped and len(text) <= MAX_URI else ""
