"""The document of a resource list (RFC 4662 section 5): which members the list has, and the documents of some of them.

It is a `multipart/related` body. Its root, `application/rlmi+xml`, names members and says by Content-ID which part has
the document of each. A member that is named without an instance is one whose document comes with another NOTIFY.

The boundary and the Content-ID of the root follow from the dialog's local tag: the Content-Type header, which repeats
both, never changes within a dialog. Who could put the boundary into a part does not know the tags of other people.
"""

from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

from sipresence.events.document import Document, Form, attribute
from sipresence.events.resource import IMPORTANCE, DialogState, ResourceState

OPTION = "eventlist"
CONTENT_TYPE = "application/rlmi+xml"
MULTIPART = "multipart/related"
REJECTED = "rejected"
REQUIRE = f"Require: {OPTION}\r\n"
"""RFC 4662 section 4.1: the answer to a SUBSCRIBE for a list, and each of its NOTIFYs, has it."""

ROOT_BYTES, BOUNDARY_BYTES = 400, 36
"""What a document takes beside its members and their parts, and what is between two parts; roughly."""

_PART = b"Content-Transfer-Encoding: binary\r\nContent-ID: <%b>\r\nContent-Type: %b\r\n\r\n"
_OPENING = b'<?xml version="1.0" encoding="UTF-8"?>\r\n<list xmlns="urn:ietf:params:xml:ns:rlmi" uri='
_INSTANCE = "1"  # each address has one instance: its state agent
_IMPORTANCE = IMPORTANCE.__getitem__


class Line(NamedTuple):
    """What is said of one member: its `document`, or why there never is one (`reason`), or neither: it is only named.

    `number` is its place in the list, `version` that of its document.
    """

    uri: str
    label: str
    document: Document | None = None
    content_type: str = ""
    number: int = 0
    version: int = 0
    reason: str = ""

    def element(self, tag: str) -> bytes:
        """The `<resource>` of the root."""
        return b"<resource uri=%b>%b%b</resource>\r\n" % (attribute(self.uri), _name(self.label), self._instance(tag))

    def part(self, tag: str) -> bytes:
        """The part that holds its document, from its first header on; nothing without one."""
        if self.document is None:
            return b""
        head = _PART % (self._cid(tag), self.content_type.encode())
        return head + self.document.stamp(self.version, self.uri)

    def _instance(self, tag: str) -> bytes:
        if self.reason:
            return f'<instance id="{_INSTANCE}" state="terminated" reason="{self.reason}"/>'.encode()
        if self.document is None:
            return b""
        return b'<instance id="%b" state="active" cid="%b"/>' % (_INSTANCE.encode(), self._cid(tag))

    def _cid(self, tag: str) -> bytes:
        return f"{self.number}.{self.version}@{tag}".encode()


class RlmiDocument(Document):
    """One NOTIFY's worth. `full`: every member is named. `tag` is a short one (see `shortened`), `number` counts such
    documents in the dialog."""

    __slots__ = ("full", "lines", "tag")

    def __init__(self, lines: Sequence[Line], *, full: bool, tag: str, number: int, changed_at: float) -> None:
        states = (line.document.state for line in lines if line.document is not None)
        state = min(states, key=_IMPORTANCE, default=DialogState.TERMINATED)
        super().__init__(state, b"", b"", revision=number, changed_at=changed_at)
        self.lines = tuple(lines)
        self.full = full
        self.tag = tag

    def stamp(self, version: int, entity: str) -> bytes:
        """`version` is that of the list, `entity` its address as the subscriber wrote it."""
        tag, lines = self.tag, self.lines
        full = b"true" if self.full else b"false"
        elements = b"".join([line.element(tag) for line in lines])
        root = b'%b%b version="%d" fullState="%b">\r\n%b</list>\r\n' % (
            _OPENING, attribute(entity), version, full, elements,
        )  # fmt: skip
        parts = [_PART % (_root_cid(tag).encode(), f'{CONTENT_TYPE};charset="UTF-8"'.encode()) + root]
        parts += [line.part(tag) for line in lines if line.document is not None]
        boundary = f"--{_boundary(tag)}".encode()
        return b"%b\r\n%b\r\n%b--\r\n" % (boundary, (b"\r\n%b\r\n" % boundary).join(parts), boundary)


def shortened(local_tag: str) -> str:
    """So much of a dialog's local tag as nobody guesses: it is written eight times or more, and a datagram is short."""
    return local_tag[:8]


def content_type(tag: str) -> str:
    """The Content-Type of a dialog's NOTIFYs. The boundary is a token: Linphone 5 crashes at quotes (phones.md 19)."""
    return f'{MULTIPART};type="{CONTENT_TYPE}";start="<{_root_cid(tag)}>";boundary={_boundary(tag)}'


def _root_cid(tag: str) -> str:
    return f"list@{tag}"


def _boundary(tag: str) -> str:
    return f"list-{tag}"


def _name(label: str) -> bytes:
    return f"<name>{escape(label)}</name>".encode() if label else b""


class _Unseen(Document):
    """What there is to see of a list's name as a resource of its own: nothing."""

    __slots__ = ()

    def stamp(self, version: int, entity: str) -> bytes:
        return b""


def _see_nothing(_: ResourceState) -> Document:
    return _Unseen(DialogState.TERMINATED, b"", b"", revision=-1, changed_at=0.0)


LISTED = Form("", MULTIPART, _see_nothing)
"""The form of every list subscription: what its list's own name is said to do is nothing to its members."""
