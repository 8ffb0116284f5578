"""The message summary (RFC 3842): how many voice messages wait, for the lamp on the envelope."""

from sipresence.events.document import Document
from sipresence.events.resource import ResourceState

PACKAGE = "message-summary"
CONTENT_TYPE = "application/simple-message-summary"


class MessageSummary(Document):
    """A message summary, without the address of its mailbox."""

    __slots__ = ()

    def stamp(self, version: int, entity: str) -> bytes:
        """RFC 3842 has no version: CSeq orders the NOTIFYs."""
        return b"".join((self.head, entity.encode(), self.tail))


def render(resource: ResourceState) -> Document:
    """Render what the mailbox of a resource holds; of one that nobody spoke of: nothing."""
    messages = resource.messages
    # RFC 3842 section 5.2 has "no" where nothing is new, though old messages are there.
    head = f"Messages-Waiting: {'yes' if messages.new or messages.urgent_new else 'no'}\r\nMessage-Account: "
    tail = f"\r\nVoice-Message: {messages.new}/{messages.saved} ({messages.urgent_new}/{messages.urgent_saved})\r\n"
    return MessageSummary(
        resource.lamp.state,
        head.encode(),
        tail.encode(),
        revision=resource.revision,
        changed_at=resource.messages_changed_at,
    )
