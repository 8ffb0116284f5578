"""Reads the `application/dialog-info+xml` bodies that publishers send (RFC 4235 section 4).

What they write is taken as it is meant: `Trying`, no version or always the same one, no id, any prefix, `pvalue` for
`pval` (wire notes of Kamailio, OpenSIPS, Asterisk). Versions are ignored, since entity tags order the bodies. What
makes no sense is refused, what would harm is never looked at (xml_reader.py), and the number of dialogs is bounded.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote

from sipresence.errors import MalformedMessage
from sipresence.events.state import DialogInfo, DialogState
from sipresence.events.xml_reader import XmlReader, one_line

MAX_DIALOGS = 64
MAX_NAME = 256  # characters of an id, a call-id or a tag
MAX_URI = 512
MAX_DISPLAY = 128  # a longer one is cut

_PREFIXES = {"": "", "urn:ietf:params:xml:ns:dialog-info": ""}
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
    reader = _Reader()
    reader.parse(body)
    return PublishedBody(reader.partial, tuple(reader.dialogs))


class _Reader(XmlReader):
    """What a document says: whether it is `partial`, and its `dialogs`."""

    def __init__(self) -> None:
        super().__init__(_PREFIXES)
        self.partial = False
        self.dialogs: list[DialogInfo] = []
        self._said: dict[str, str] = {}  # of the open dialog, by field of DialogInfo
        self._held = False

    def opened(self, attributes: Mapping[str, str]) -> None:
        match self.path:
            case [root] if root != "dialog-info":
                raise MalformedMessage("no dialog-info document")
            case ["dialog-info"]:
                self.partial = _is_partial(attributes)
            case ["dialog-info", "dialog"]:
                self._said, self._held = _names(attributes), False
            case ["dialog-info", "dialog", "local" | "remote" as side, "identity"]:
                self._said[f"{side}_display"] = _display(attributes)
            case ["dialog-info", "dialog", "local" | "remote" as side, "target"]:
                self._said[f"{side}_target"] = _uri(attributes.get("uri", ""))
                if not self._said.get(f"{side}_display"):  # Kamailio's attribute_display writes it here
                    self._said[f"{side}_display"] = _display(attributes)
            case ["dialog-info", "dialog", "local", "target", "param"]:
                self._held |= _is_hold(attributes)

    def closed(self, text: str) -> None:
        match self.path:
            case ["dialog-info", "dialog", "state"]:
                self._said["state"] = text.strip().lower()
            case ["dialog-info", "dialog", "local" | "remote" as side, "identity"]:
                self._said[f"{side}_identity"] = _uri(text)
            case ["dialog-info", "dialog"]:
                if len(self.dialogs) >= MAX_DIALOGS:
                    raise MalformedMessage("too many dialogs")
                self._said["id"] = self._said["id"] or f"#{len(self.dialogs)}"
                self.dialogs.append(_dialog(self._said, self._held))


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


def _display(attributes: Mapping[str, str]) -> str:
    return one_line(attributes.get("display", ""), at_most=MAX_DISPLAY)


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
