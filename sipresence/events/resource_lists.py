"""Lists that come with a SUBSCRIBE (RFC 5367): its body names the addresses to watch.

The body is an `application/resource-lists+xml` document (RFC 4826 section 3). Of it the entries count, each with its
address and display name, in their order, those of lists inside lists too; what would have to be fetched from elsewhere
(`external`, `entry-ref`) is passed over. Linphone sends it deflated (phones.md 19).
"""

import zlib
from collections.abc import Mapping
from typing import NamedTuple

from sipresence.errors import MalformedMessage, SipError
from sipresence.events.xml_reader import MAX_BODY_BYTES, XmlReader, one_line
from sipresence.sip.headers import split_list
from sipresence.sip.message import Request

OPTION = "recipient-list-subscribe"
CONTENT_TYPE = "application/resource-lists+xml"
ENCODING = "deflate"
MAX_MEMBERS = 256
"""Of any list: all of them have to be named in one NOTIFY, which has to fit a datagram."""
MAX_URI = 256  # characters
MAX_LABEL = 64  # characters; a longer one is cut

_PREFIXES = {"urn:ietf:params:xml:ns:resource-lists": "", "": ""}


class Entry(NamedTuple):
    """One address as a SUBSCRIBE lists it."""

    uri: str
    label: str


class Listing(NamedTuple):
    """What a subscription to a list is about: the entries that came with its SUBSCRIBE, or None: the list that is
    configured under its resource."""

    entries: tuple[Entry, ...] | None


def brings_list(request: Request) -> bool:
    """Whether a SUBSCRIBE is for a list that comes with it. Hot: once for each."""
    return request.get("require") is not None and has_option(request, OPTION, "require")


def has_option(request: Request, option: str, *headers: str) -> bool:
    """Whether one of these headers has the option tag."""
    values = (value for header in headers for value in request.all(header))
    return any(tag.lower() == option for value in values for tag in split_list(value))


def read_list(request: Request) -> tuple[Entry, ...]:
    """Read the list in the body of a request. Raises SipError 400, 413 and 415."""
    if (request.get("content-type") or "").partition(";")[0].strip().lower() != CONTENT_TYPE:
        raise SipError(415, f"Accept: {CONTENT_TYPE}\r\n")
    reader = _Reader()
    try:
        reader.parse(_decoded(request))
    except MalformedMessage as error:
        raise SipError(400, reason=f"Malformed: {error}") from None
    entries = tuple(dict.fromkeys(reader.entries))
    if len(entries) > MAX_MEMBERS:
        raise SipError(413, reason="Too many members")
    return entries


def _decoded(request: Request) -> bytes:
    """The body without its encoding. It is inflated no further than a body may be long."""
    encoding = (request.get("content-encoding") or "identity").strip().lower()
    if encoding == "identity":
        return request.body
    if encoding != ENCODING:
        raise SipError(415, f"Accept-Encoding: {ENCODING}\r\n")
    inflator = zlib.decompressobj()
    try:
        body = inflator.decompress(request.body, MAX_BODY_BYTES)
    except zlib.error:
        raise MalformedMessage("not deflated") from None
    if not inflator.eof:
        raise SipError(413, reason="Too large a list") if inflator.unconsumed_tail else MalformedMessage("no end")
    return body


class _Reader(XmlReader):
    def __init__(self) -> None:
        super().__init__(_PREFIXES)
        self.entries: list[Entry] = []
        self._uri = ""
        self._label = ""

    def opened(self, attributes: Mapping[str, str]) -> None:
        if self.path[0] != "resource-lists":
            raise MalformedMessage("no resource list")
        if self.path[-1] == "entry":
            self._uri, self._label = attributes.get("uri", ""), ""
            if not 0 < len(self._uri) <= MAX_URI:
                raise MalformedMessage("an entry without an address")

    def closed(self, text: str) -> None:
        match self.path:
            case [*_, "entry", "display-name"]:
                self._label = one_line(text, at_most=MAX_LABEL)
            case [*_, "entry"]:
                self.entries.append(Entry(self._uri, self._label))
