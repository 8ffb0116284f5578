"""Reads the XML that strangers publish without coming to harm: what every reader of a body has in common.

A document type, and with it every entity, is refused where it begins; size, depth and the number of elements are
bounded while reading.

The parser is expat, which forgets all of a document at its end. libxml2, and so lxml, keeps every name of an element or
attribute for the life of the process: whoever may publish could fill the memory with names.
"""

from collections.abc import Mapping
from xml.parsers import expat

from sipresence.errors import MalformedMessage

MAX_BODY_BYTES = 65_536
MAX_DEPTH = 16
MAX_ELEMENTS = 4096


class XmlReader:
    """One document, read once from its beginning to its end. A subclass understands it, in `opened` and `closed`.

    `path` are the names of the open elements. A name begins with what `prefixes` has for its namespace, whatever the
    document calls it, and with "other:" where that is none of those.
    """

    def __init__(self, prefixes: Mapping[str, str]) -> None:
        self.path: list[str] = []
        self._prefixes = prefixes
        self._elements = 0
        self._text: list[str] = []

    def opened(self, attributes: Mapping[str, str]) -> None:
        """The last element of `path` begins."""
        raise NotImplementedError

    def closed(self, text: str) -> None:
        """The last element of `path` ends; `text` is what stands between its last child, if any, and this end."""
        raise NotImplementedError

    def parse(self, body: bytes) -> None:
        """Read a document. Raises MalformedMessage."""
        if len(body) > MAX_BODY_BYTES:
            raise MalformedMessage("a body too large")
        parser = expat.ParserCreate("UTF-8", " ")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text.append
        try:
            parser.Parse(_utf8(body.strip(b" \t\r\n\0")), True)
        except expat.ExpatError as error:
            raise MalformedMessage(f"no XML: {error}") from None

    def _doctype(self, _name: str, _system: str | None, _public: str | None, _internal: int) -> None:
        raise MalformedMessage("a document type")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._elements += 1
        if self._elements > MAX_ELEMENTS or len(self.path) >= MAX_DEPTH:
            raise MalformedMessage("too many elements")
        namespace, _, local = name.rpartition(" ")
        self.path.append(self._prefixes.get(namespace, "other:") + local)
        self._text.clear()
        self.opened(attributes)

    def _end(self, _name: str) -> None:
        self.closed("".join(self._text))
        self.path.pop()
        self._text.clear()


def one_line(text: str, *, at_most: int) -> str:
    """What people read: one line of so many characters, without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:at_most]


def _utf8(body: bytes) -> bytes:
    """Old equipment declares UTF-8 and writes Latin-1."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return body.decode("latin-1").encode()
    return body
