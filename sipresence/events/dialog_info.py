"""The dialog-info document (RFC 4235 section 4): rendered once per change, stamped per subscription.

Always `state="full"`, always with at least one `<dialog>` that has an id: an empty document leaves lamps lit on Bria,
Aastra and Yealink (phones.md 8, 9). Always with `<local>` and `<remote>`, which Snom wants for pickup (phones.md 13);
call-id and tags are there where they are known, which pickup needs, too (phones.md 12).
"""

from collections.abc import Sequence
from dataclasses import replace
from xml.sax.saxutils import escape, quoteattr

from sipresence.events.document import Document, attribute
from sipresence.events.profile import PLAIN, Shape
from sipresence.events.resource import DialogInfo, DialogState, ResourceState, manual_dialog, resource_identity

PACKAGE = "dialog"
CONTENT_TYPE = "application/dialog-info+xml"
SHOWN = 16  # dialogs of a document at most: it should fit into a datagram or two

_OPENING = (
    b'<?xml version="1.0" encoding="UTF-8"?>\r\n<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="'
)
_AFTER_VERSION = b'" state="full" entity='


class DialogInfoDocument(Document):
    """A dialog-info document, without its version and entity."""

    __slots__ = ()

    def stamp(self, version: int, entity: str) -> bytes:
        """Hot: once per NOTIFY."""
        return b"".join((self.head, b"%d" % version, _AFTER_VERSION, attribute(entity), self.tail))


def render(resource: ResourceState, shape: Shape = PLAIN) -> Document:
    """Render the dialogs of a resource, those that have just ended behind them, or its idle document."""
    dialogs = _dialogs(resource)
    if shape is not PLAIN:
        dialogs = [_shaped(dialog, shape, resource) for dialog in dialogs[: 1 if shape.single_dialog else SHOWN]]
    body = "".join(_dialog(dialog, shape) for dialog in dialogs)
    tail = f">\r\n{body}</dialog-info>\r\n".encode()
    return DialogInfoDocument(dialogs[0].state, _OPENING, tail, revision=resource.revision, changed_at=resource.news_at)


def _dialogs(resource: ResourceState) -> Sequence[DialogInfo]:
    return (*resource.dialogs, *resource.ended)[:SHOWN] or (manual_dialog(resource.id, DialogState.TERMINATED),)


def _shaped(dialog: DialogInfo, shape: Shape, resource: ResourceState) -> DialogInfo:
    if shape.caller_confirmed and dialog.state is DialogState.EARLY and dialog.direction == "initiator":
        dialog = replace(dialog, state=DialogState.CONFIRMED)
    return _without_caller(dialog, resource_identity(resource.id)) if shape.private else dialog


def _without_caller(dialog: DialogInfo, identity: str) -> DialogInfo:
    """For those who may not know who calls: both ends are the resource itself.

    Call-id and tags stay, without which the call cannot be picked up; a call-id may hold a host, but no number.
    """
    return replace(
        dialog, local_identity=identity, local_display="", local_target="", remote_identity=identity, remote_display="",
        remote_target="",
    )  # fmt: skip


def _dialog(dialog: DialogInfo, shape: Shape) -> str:
    return (
        f"<dialog id={quoteattr(dialog.id)}{_optional('call-id', dialog.call_id)}"
        f"{_optional('local-tag', dialog.local_tag)}{_optional('remote-tag', dialog.remote_tag)}"
        f"{_optional('direction', dialog.direction)}>\r\n"
        f"<state>{dialog.state}</state>\r\n"
        f"{_participants(dialog, shape)}"
        "</dialog>\r\n"
    )


def _participants(dialog: DialogInfo, shape: Shape) -> str:
    if not shape.participants:
        return ""
    # The schema of RFC 4235 spells it pval; Asterisk and FreeSWITCH write pvalue.
    rendering = f'<param pname="+sip.rendering" {"pvalue" if shape.pvalue else "pval"}="no"/>' if dialog.held else ""
    local = _participant(dialog.local_identity, dialog.local_display, dialog.local_target, rendering)
    remote = _participant(dialog.remote_identity, dialog.remote_display, dialog.remote_target)
    return f"<local>{local}</local>\r\n<remote>{remote}</remote>\r\n"


def _participant(identity: str, display: str, target: str, params: str = "") -> str:
    name = f"<identity{_optional('display', display)}>{escape(identity)}</identity>"
    uri = quoteattr(target or identity)
    return f"{name}<target uri={uri}>{params}</target>" if params else f"{name}<target uri={uri}/>"


def _optional(name: str, value: str) -> str:
    return f" {name}={quoteattr(value)}" if value else ""
