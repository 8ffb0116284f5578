"""A document: one rendered state of one resource in one form, shared by all who watch the resource in that form.

A form is an event package with a content type, and the shape that its subscriber needs it in. A document is rendered
once per change; what differs from subscriber to subscriber is stamped on it when it is sent.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from xml.sax.saxutils import quoteattr

from sipresence.events.resource import DialogState, ResourceState

_CODES = {state: code for code, state in enumerate(DialogState)}


class Document:
    """The bytes of a document, in two parts: the address as its subscriber wrote it comes between them.

    `state` is that of the lamp. `revision` is that of the resource when it was rendered, `changed_at` when the resource
    came into this state, 0 where nobody has ever spoken of it or this is no news.
    """

    __slots__ = ("changed_at", "code", "head", "revision", "state", "tail")

    def __init__(self, state: DialogState, head: bytes, tail: bytes, *, revision: int, changed_at: float) -> None:
        self.state = state
        self.code = _CODES[state]
        self.revision = revision
        self.changed_at = changed_at
        self.head = head
        self.tail = tail

    def stamp(self, version: int, entity: str) -> bytes:
        """Return the document for one subscriber: its version, and the address as it wrote it."""
        raise NotImplementedError

    def says_the_same_as(self, other: "Document") -> bool:
        """Whether nobody could tell the two apart."""
        return self.tail == other.tail and self.head == other.head


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
