"""The presence document before there was PIDF, for Polycom phones (phones.md 23).

It comes from an Internet draft that never became an RFC, with words that Windows Messenger put into it; in this form
Asterisk and FreeSWITCH send it. It knows three statuses: `open`, `inuse`, `closed`.
"""

from xml.sax.saxutils import quoteattr

from sipresence.events import pidf
from sipresence.events.document import Document, attribute
from sipresence.events.resource import ResourceState, resource_identity
from sipresence.names import extension_of

CONTENT_TYPE = "application/xpidf+xml"

_HEAD = b'<?xml version="1.0" encoding="UTF-8"?>\r\n<presence>\r\n<presentity uri='


class XpidfDocument(Document):
    """An xpidf document, without the address of its presentity."""

    __slots__ = ()

    def stamp(self, version: int, entity: str) -> bytes:
        """It has no version: CSeq orders the NOTIFYs."""
        return b"".join((self.head, attribute(f"{entity};method=SUBSCRIBE"), self.tail))


def render(resource: ResourceState) -> Document:
    """Render the presence of a resource."""
    status, substatus = _status(resource)
    tail = (
        "/>\r\n"
        f"<atom id={quoteattr(extension_of(resource.id))}>\r\n"
        f'<address uri={quoteattr(resource_identity(resource.id) + ";user=ip")} priority="0.800000">\r\n'
        f'<status status="{status}"/>\r\n'
        f'<msnsubstatus substatus="{substatus}"/>\r\n'
        "</address>\r\n"
        "</atom>\r\n"
        "</presence>\r\n"
    )
    return XpidfDocument(
        resource.lamp.state, _HEAD, tail.encode(), revision=resource.revision, changed_at=pidf.changed_at(resource)
    )


def _status(resource: ResourceState) -> tuple[str, str]:
    """The status and its refinement. It has no word for ringing, so that this is a call as well."""
    if not pidf.is_open(resource):
        return "closed", "offline"
    doing = pidf.activity(resource)
    if resource.calls or doing == pidf.ON_THE_PHONE:
        return "inuse", "onthephone"
    if doing == pidf.BUSY:
        return "inuse", "busy"
    return "open", "away" if doing == "away" else "online"
