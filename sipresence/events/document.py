"""A document: one rendered state of one resource in one form, shared by all who watch the resource in that form.

A form is an event package with a content type, and the shape that its subscriber needs it in. A document is rendered
once per change; what differs from subscriber to subscriber is stamped on it when it is sent.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from xml.sax.saxutils import quoteattr

from sipresence.events.resource import DialogState, ResourceState

ETAG_BYTES = 6
_CODES = {state: code for code, state in enumerate(DialogState)}


class Document:
    """The bytes of a document, in two parts: the address as its subscriber wrote it comes between them.

    `state` is that of the lamp. `revision` is that of the resource when it was rendered, `changed_at` when the resource
    came into this state, 0 where nobody has ever spoken of it or this is no news.
    """

    __slots__ = ("_etag_line", "changed_at", "code", "head", "revision", "state", "tail")

    def __init__(self, state: DialogState, head: bytes, tail: bytes, *, revision: int, changed_at: float) -> None:
        self.state = state
        self.code = _CODES[state]
        self.revision = revision
        self.changed_at = changed_at
        self.head = head
        self.tail = tail
        self._etag_line = b""

    @property
    def etag_line(self) -> bytes:
        """The header that has its entity tag (RFC 5839 section 4): another for each other document, the same after a
        restart. One that is put together for each subscriber, as that of a list is, has none. Hot: once per NOTIFY."""
        if not self._etag_line and self.tail:
            tag = blake2b(self.head + self.tail, digest_size=ETAG_BYTES).hexdigest()
            self._etag_line = b"SIP-ETag: %b\r\n" % tag.encode()
        return self._etag_line

    @property
    def etag(self) -> str:
        """Its entity tag, "" without."""
        return self.etag_line[10:-2].decode()

    def stamp(self, version: int, entity: str) -> bytes:
        """Return the document for one subscriber: its version, and the address as it wrote it."""
        raise NotImplementedError

    def says_the_same_as(self, other: "Document") -> bool:
        """Whether nobody could tell the two apart."""
        return self.tail == other.tail and self.head == other.head


class Unsaid(Document):
    """Stands for a document that its subscriber has already: nothing is written."""

    __slots__ = ("document",)

    def __init__(self, document: Document) -> None:
        super().__init__(
            document.state, document.head, document.tail, revision=document.revision, changed_at=document.changed_at
        )
        self.document = document

    def stamp(self, version: int, entity: str) -> bytes:
        return b""


@dataclass(slots=True, frozen=True, eq=False)
class Form:
    """How a resource is shown to a subscriber. There is one object of each, so that forms are compared by identity."""

    package: str
    content_type: str
    render: Callable[[ResourceState], Document]


@lru_cache(maxsize=65536)
def attribute(text: str) -> bytes:
    """An XML attribute value with its quotes: all who watch one extension write its address in one or two ways."""
    return quoteattr(text).encode()
