"""SUBSCRIBEs to lists, and bodies that bring them."""

from collections.abc import Mapping
from xml.sax.saxutils import escape, quoteattr

from sipresence.names import ResourceId

LISTED_TYPE = "application/resource-lists+xml"
LIST = ResourceId("reception@office.example.com")
LIST_URI = "sip:reception@office.example.com"
UNDERSTOOD = (("Supported", "eventlist"),)
BROUGHT = (("Supported", "eventlist"), ("Require", "recipient-list-subscribe"), ("Content-Type", LISTED_TYPE))


def list_body(*uris: str, names: Mapping[str, str] | None = None) -> bytes:
    """A resource list of these addresses (RFC 4826)."""
    names = names or {}
    entries = "".join(
        f"<entry uri={quoteattr(uri)}><display-name>{escape(names[uri])}</display-name></entry>"
        if uri in names
        else f"<entry uri={quoteattr(uri)}/>"
        for uri in uris
    )
    namespace = "urn:ietf:params:xml:ns:resource-lists"
    return f'<?xml version="1.0"?><resource-lists xmlns="{namespace}"><list>{entries}</list></resource-lists>'.encode()
