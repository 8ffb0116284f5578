"""The dialog-info document (RFC 4235 section 4): rendered once per change, stamped per subscription.

Always `state="full"`, always with at least one `<dialog>` that has an id: an empty document leaves lamps lit on Bria,
Aastra and Yealink (phones.md 8, 9). Always with `<local>` and `<remote>`, which Snom wants for pickup (phones.md 13);
call-id and tags are there where they are known, which pickup needs, too (phones.md 12).
"""

from functools import lru_cache
from xml.sax.saxutils import escape, quoteattr

from sipresence.events.resource import DialogInfo, DialogState, ResourceState, manual_dialog

CONTENT_TYPE = "application/dialog-info+xml"
SHOWN = 16  # dialogs of a document at most: it should fit into a datagram or two

_OPENING = (
    b'<?xml version="1.0" encoding="UTF-8"?>\r\n<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="'
)
_AFTER_VERSION = b'" state="full" entity='
_CODES = {state: code for code, state in enumerate(DialogState)}


class Document:
    """One rendered state of one resource, shared by all its subscriptions.

    `changed_at` is when the resource came into this state, 0 where nobody has ever spoken of it or this is no news.
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
    """Render the dialogs of a resource, those that have just ended behind them, or its idle document."""
    dialogs = (*resource.dialogs, *resource.ended)[:SHOWN] or (manual_dialog(resource.id, DialogState.TERMINATED),)
    body = "".join(map(_dialog, dialogs))
    tail = f">\r\n{body}</dialog-info>\r\n".encode()
    changed_at = 0.0 if resource.quiet else resource.changed_at
    return Document(dialogs[0].state, tail, revision=resource.revision, changed_at=changed_at)


@lru_cache(maxsize=65536)
def _attribute(text: str) -> bytes:
    return quoteattr(text).encode()


def _dialog(dialog: DialogInfo) -> str:
    # The schema of RFC 4235 spells it pval; Asterisk and FreeSWITCH write pvalue.
    rendering = '<param pname="+sip.rendering" pval="no"/>' if dialog.held else ""
    local = _participant(dialog.local_identity, dialog.local_display, dialog.local_target, rendering)
    remote = _participant(dialog.remote_identity, dialog.remote_display, dialog.remote_target)
    return (
        f"<dialog id={quoteattr(dialog.id)}{_optional('call-id', dialog.call_id)}"
        f"{_optional('local-tag', dialog.local_tag)}{_optional('remote-tag', dialog.remote_tag)}"
        f"{_optional('direction', dialog.direction)}>\r\n"
        f"<state>{dialog.state}</state>\r\n"
        f"<local>{local}</local>\r\n"
        f"<remote>{remote}</remote>\r\n"
        "</dialog>\r\n"
    )


def _participant(identity: str, display: str, target: str, params: str = "") -> str:
    name = f"<identity{_optional('display', display)}>{escape(identity)}</identity>"
    uri = quoteattr(target or identity)
    return f"{name}<target uri={uri}>{params}</target>" if params else f"{name}<target uri={uri}/>"


def _optional(name: str, value: str) -> str:
    return f" {name}={quoteattr(value)}" if value else ""
