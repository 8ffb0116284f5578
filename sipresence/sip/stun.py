"""STUN binding requests (RFC 8489, RFC 5389), which phones send to keep a NAT's pinhole open (RFC 5626 section 4.4.2).

On one port with SIP, a STUN message is told apart by its first two bits, which are 0, and by its magic cookie. The
answer says from which address the request came, and no more than is asked: FINGERPRINT comes back only where the
request had one, credentials are not looked at, and nothing is remembered. Requests of RFC 3489, which have no cookie,
are not known here.
"""

import struct
from binascii import crc32
from collections.abc import Iterator
from ipaddress import ip_address

from sipresence.errors import MalformedMessage

MAX_BYTES = 548
"""The largest message that fits into any IPv4 packet (RFC 8489 section 6.1)."""

_COOKIE = 0x2112A442
_HEADER = struct.Struct("!HHI12s")
_ATTRIBUTE = struct.Struct("!HH")
_REQUEST, _SUCCESS, _ERROR = 0x0001, 0x0101, 0x0111
_ERROR_CODE, _UNKNOWN_ATTRIBUTES, _XOR_MAPPED_ADDRESS, _FINGERPRINT = 0x0009, 0x000A, 0x0020, 0x8028
# USERNAME, MESSAGE-INTEGRITY, MESSAGE-INTEGRITY-SHA256, REALM, NONCE, PASSWORD-ALGORITHM, USERHASH: known, not needed
# since it is the usage that says whether there is authentication (section 9).
_TOLERATED = frozenset((0x0006, 0x0008, 0x001C, 0x0014, 0x0015, 0x001D, 0x001E))
_OPTIONAL = 0x8000  # attributes from here on may be ignored
_FINGERPRINT_XOR = 0x5354554E


def is_stun(data: bytes) -> bool:
    """Whether a datagram is a STUN message; no SIP message looks like one."""
    return len(data) >= _HEADER.size and data[0] < 0x40 and data[4:8] == b"\x21\x12\xa4\x42"


def answer(data: bytes, host: str, port: int) -> bytes:
    """Answer a STUN message from this address; b"" for an indication or a response, which get none.

    Raises MalformedMessage.
    """
    kind, length, _, transaction = _HEADER.unpack_from(data)
    if len(data) > MAX_BYTES or length != len(data) - _HEADER.size or length % 4:
        raise MalformedMessage("a STUN message of a wrong length")
    attributes = list(_attributes(data))
    if kind != _REQUEST:
        return b""
    unknown = [name for name in attributes if name < _OPTIONAL and name not in _TOLERATED]
    if unknown:
        # "If the request contains one or more unknown comprehension-required attributes, the server replies with an
        # error response with an error code of 420" (section 6.3.1).
        names = b"".join(struct.pack("!H", name) for name in unknown)
        body = _attribute(_ERROR_CODE, b"\0\0\x04\x14Unknown Attribute") + _attribute(_UNKNOWN_ATTRIBUTES, names)
        return _message(_ERROR, transaction, body, fingerprint=_FINGERPRINT in attributes)
    body = _attribute(_XOR_MAPPED_ADDRESS, _xor_mapped(host, port, transaction))
    return _message(_SUCCESS, transaction, body, fingerprint=_FINGERPRINT in attributes)


def _attributes(data: bytes) -> Iterator[int]:
    """The types of the attributes; raises MalformedMessage where one ends beyond the message."""
    at = _HEADER.size
    while at < len(data):
        name, length = _ATTRIBUTE.unpack_from(data, at)
        at += _ATTRIBUTE.size + (length + 3) // 4 * 4
        if at > len(data):
            raise MalformedMessage("a STUN attribute beyond the end")
        yield name


def _xor_mapped(host: str, port: int, transaction: bytes) -> bytes:
    """The address, XORed with cookie and transaction, so that no NAT rewrites it on the way (section 14.2)."""
    address = ip_address(host.partition("%")[0]).packed
    mask = struct.pack("!I", _COOKIE) + transaction
    family = 1 if len(address) == 4 else 2
    return struct.pack("!BBH", 0, family, port ^ (_COOKIE >> 16)) + bytes(
        a ^ m for a, m in zip(address, mask, strict=False)
    )


def _attribute(name: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(name, len(value)) + value + bytes(-len(value) % 4)


def _message(kind: int, transaction: bytes, body: bytes, *, fingerprint: bool) -> bytes:
    if not fingerprint:
        return _HEADER.pack(kind, len(body), _COOKIE, transaction) + body
    # "the length field must … include the FINGERPRINT attribute" in what the sum is over (section 14.7).
    head = _HEADER.pack(kind, len(body) + 8, _COOKIE, transaction) + body
    return head + _attribute(_FINGERPRINT, struct.pack("!I", crc32(head) ^ _FINGERPRINT_XOR))
