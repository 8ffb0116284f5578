"""The presence document: PIDF (RFC 3863) with a person (RFC 4479) and what it is doing (RPID, RFC 4480).

The tuple is what calls can reach, the person who would take them. Who calls whom does not appear, so that there is no
private form of it. Phones understand little of all this, and each something else; the same is said in three ways:
- `basic`: an extension without a phone is closed, though not while it has a call.
- One activity, at the person: of several Linphone shows the last, PJSIP the first, and baresip takes an `away` for
  offline whatever stands beside it. It is `on-the-phone` once a call is confirmed. RFC 4480 has none for ringing, and
  its `on-the-phone` is for who is talking; so ringing is `busy`, which all three show as such. So is do-not-disturb.
- A note, in the words of Asterisk, by which alone MicroSIP and Browser-Phone know ringing and hold. It stands at the
  tuple for Browser-Phone, and at the person for PJSIP.

baresip compares text: the prefix has to be `rpid`, the default namespace that of PIDF, and an activity one empty tag.
The contact is the watched address itself (phones.md 36).
"""

from xml.sax.saxutils import escape

from sipresence.events.document import Document, attribute
from sipresence.events.resource import DialogState, ResourceState, resource_identity

PACKAGE = "presence"
CONTENT_TYPE = "application/pidf+xml"

ON_THE_PHONE = "on-the-phone"
BUSY = "busy"

_HEAD = (
    b'<?xml version="1.0" encoding="UTF-8"?>\r\n'
    b'<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" '
    b'xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" entity='
)


class PidfDocument(Document):
    """A presence document, without its entity."""

    __slots__ = ()

    def stamp(self, version: int, entity: str) -> bytes:
        """PIDF has no version: CSeq orders the NOTIFYs."""
        return b"".join((self.head, attribute(entity), self.tail))


def render(resource: ResourceState) -> Document:
    """Render the presence of a resource."""
    note = escape(_note(resource))
    doing = activity(resource)
    activities = f"<rpid:activities><rpid:{doing}/></rpid:activities>" if doing else ""
    tail = (
        ">\r\n"
        '<tuple id="calls">\r\n'
        f"<status><basic>{'open' if is_open(resource) else 'closed'}</basic></status>\r\n"
        f"<contact>{escape(resource_identity(resource.id))}</contact>\r\n"
        f"<note>{note}</note>\r\n"
        "</tuple>\r\n"
        f'<dm:person id="person">{activities}<dm:note>{note}</dm:note></dm:person>\r\n'
        "</presence>\r\n"
    )
    return PidfDocument(
        resource.lamp.state, _HEAD, tail.encode(), revision=resource.revision, changed_at=changed_at(resource)
    )


def changed_at(resource: ResourceState) -> float:
    """When the calls or the presence of a resource came to be what they are."""
    return max(resource.news_at, resource.presence_changed_at)


def is_open(resource: ResourceState) -> bool:
    """Whether calls can reach it: nobody says that they cannot, or one has."""
    return resource.presence.open is not False or bool(resource.calls)


def activity(resource: ResourceState) -> str:
    """The most important of all that its owner is doing, by its name in RPID, "" where nothing is known of that."""
    alive = resource.calls  # not what lamps show in their place: presence has words for that
    if any(call.state is DialogState.CONFIRMED for call in alive):
        return ON_THE_PHONE
    if alive or resource.presence.do_not_disturb:
        return BUSY
    published = resource.presence.activities
    return next((name for name in (ON_THE_PHONE, BUSY, *published) if name in published), "")


def _note(resource: ResourceState) -> str:
    """What people read: how the call is, else what was published, else the most important of the rest.

    Of a call nothing else will do, since there are phones that know it by these words alone.
    """
    if alive := resource.calls:
        if alive[0].state is not DialogState.CONFIRMED:
            return "Ringing"
        return "On hold" if alive[0].held else "On the phone"
    presence = resource.presence
    if presence.note:
        return presence.note
    if presence.do_not_disturb:
        return "Do not disturb"
    if presence.open is False:
        return "Unavailable"
    return activity(resource).replace("-", " ").capitalize() or "Ready"
