"""Reads the NOTIFY of a resource list as a strict phone would: part by part, every reference followed, every document
valid by its schema."""

from dataclasses import dataclass
from email import policy
from email.message import EmailMessage, MIMEPart
from email.parser import BytesParser

from lxml import etree

from sipresence.events.effects import Notify
from tests.events.test_dialog_info import OFFLINE, SCHEMAS
from tests.events.test_dialog_info import SCHEMA as DIALOG_INFO

RLMI = "{urn:ietf:params:xml:ns:rlmi}"
SCHEMA = etree.XMLSchema(etree.parse(SCHEMAS / "rlmi.xsd", OFFLINE))


@dataclass
class Told:
    """What is said of one member: of `instance` the state and the reason, "" for a member that is only named."""

    name: str | None
    instance: str = ""
    reason: str | None = None
    document: etree._Element | None = None

    @property
    def version(self) -> int:
        assert self.document is not None
        return int(self.document.get("version", "-1"))

    @property
    def lamp(self) -> str | None:
        """The state of the first dialog."""
        assert self.document is not None
        return self.document.findtext("{*}dialog/{*}state")


@dataclass
class Rlmi:
    """One NOTIFY."""

    uri: str
    version: int
    full: bool
    members: dict[str, Told]

    @property
    def lamps(self) -> dict[str, str | None]:
        """Of the members that have a document, by user: what it shows."""
        return {_user(uri): told.lamp for uri, told in self.members.items() if told.document is not None}

    @property
    def names(self) -> list[str | None]:
        return [told.name for told in self.members.values()]


def read(content_type: str, body: bytes) -> Rlmi:
    """Read a body. AssertionError where it is not as it has to be."""
    message = BytesParser(policy=policy.HTTP).parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    assert message.get_content_type() == "multipart/related"
    assert message.get_param("type") == "application/rlmi+xml"
    parts = list(message.iter_parts())
    by_id = {str(part["content-id"]): part for part in parts}
    assert len(by_id) == len(parts), "two parts of one Content-ID"
    assert all(part["content-transfer-encoding"] == "binary" for part in parts)
    root_id = str(message.get_param("start"))
    assert str(parts[0]["content-id"]) == root_id
    root = _xml(by_id.pop(root_id))
    SCHEMA.assertValid(root)
    uris = [element.get("uri", "") for element in root.iterfind(f"{RLMI}resource")]
    assert len(uris) == len(set(uris))
    members = {element.get("uri", ""): _told(element, by_id) for element in root.iterfind(f"{RLMI}resource")}
    assert not by_id, "a part that nobody refers to"
    return Rlmi(root.get("uri", ""), int(root.get("version", "")), root.get("fullState") == "true", members)


def read_notify(notify: Notify) -> Rlmi:
    """Read a NOTIFY that was decided."""
    lines = notify.head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines if line)
    assert headers["Require"] == "eventlist"
    rlmi = read(headers["Content-Type"], notify.document.stamp(notify.version, notify.entity))
    assert (rlmi.version, rlmi.uri) == (notify.version, notify.entity)
    return rlmi


def _told(element: etree._Element, parts: dict[str, MIMEPart]) -> Told:
    name, instance = element.findtext(f"{RLMI}name"), element.find(f"{RLMI}instance")
    if instance is None:
        return Told(name)
    cid, document = instance.get("cid"), None
    if cid is not None:
        part = parts.pop(f"<{cid}>")
        document = _xml(part)
        if part.get_content_type() == "application/dialog-info+xml":
            DIALOG_INFO.assertValid(document)
        assert document.get("entity") == element.get("uri")
    return Told(name, instance.get("state", ""), instance.get("reason"), document)


def _xml(part: MIMEPart) -> etree._Element:
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return etree.fromstring(payload, OFFLINE)


def _user(uri: str) -> str:
    return uri.removeprefix("sip:").partition("@")[0]
