"""The dialog-info document (RFC 4235 section 4): rendered once per change, stamped per subscription.

Always `state="full"`, always with at least one `<dialog>` that has an id: an empty document leaves lamps lit on Bria,
Aastra and Yealink (phones.md 8, 9). Always with `<local>` and `<remote>`, which Snom wants for pickup (phones.md 13).
"""

from functools import lru_cache
from xml.sax.saxutils import escape, quoteattr

from sipresence.events.resource import DialogInfo, DialogState, ResourceState, manual_dialog

CONTENT_TYPE = "application/dialog-info+xml"

_OPENING = (
    b'<?xml version="1.0" encoding="UTF-8"?>\r\n<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="'
)
_AFTER_VERSION = b'" state="full" entity='
_CODES = {state: code for code, state in enumerate(DialogState)}


class Document:
    """One rendered state of one resource, shared by all its subscriptions.

    `changed_at` is when the resource came into this state, 0 where nobody has ever spoken of it.
    """

    __slots__ = ("_tail", "changed_at", "code", "revision", "state")

    def __init__(self, state: DialogState, tail: bytes, *, revision: int = 0, changed_at: float = 0.0) -> None:
        self.state = state
        self.code = _CODES[state]
        self.revision = revision
        self.changed_at = changed_at
        self._tail = tail

    def stamp(self, version: int, entity: str) -> bytes:
        """Return the document for one subscriber: its version, and the address as it wrote it."""
        return b"".join((_OPENING, b"%d" % version, _AFTER_VERSION, _attribute(entity), self._tail))


def render(resource: ResourceState) -> Document:
    """Render the dialogs of a resource, or its idle document."""
    dialogs = resource.dialogs or (manual_dialog(resource.id, DialogState.TERMINATED),)
    body = "".join(map(_dialog, dialogs))
    tail = f">\r\n{body}</dialog-info>\r\n".encode()
    return Document(dialogs[0].state, tail, revision=resource.revision, changed_at=resource.changed_at)


@lru_cache(maxsize=65536)
def _attribute(text: str) -> bytes:
    return quoteattr(text).encode()


def _dialog(dialog: DialogInfo) -> str:
    return (
        f'<dialog id={quoteattr(dialog.id)} direction="{dialog.direction}">\r\n'
        f"<state>{dialog.state}</state>\r\n"
        f"<local>{_participant(dialog.local_identity)}</local>\r\n"
        f"<remote>{_participant(dialog.remote_identity)}</remote>\r\n"
        "</dialog>\r\n"
    )


def _participant(identity: str) -> str:
    return f"<identity>{escape(identity)}</identity><target uri={quoteattr(identity)}/>"
