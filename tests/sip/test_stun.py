"""STUN binding requests: what they are answered, byte by byte."""

import pytest

from sipresence.errors import MalformedMessage
from sipresence.sip.stun import MAX_BYTES, answer, is_stun
from tests.builders import options, subscribe

TRANSACTION = bytes.fromhex("b7e7a701bc34d686fa87dfae")  # of RFC 5769
HEAD = "2112a442" + TRANSACTION.hex()
USERNAME = "00060009 6576746a3a6836765920202 0".replace(" ", "")


def stun(attributes: str = "", *, kind: str = "0001") -> bytes:
    """A message with attributes in hex."""
    body = bytes.fromhex(attributes)
    return bytes.fromhex(f"{kind}{len(body):04x}{HEAD}") + body


@pytest.mark.parametrize(
    ("host", "mapped"),
    [
        pytest.param("192.0.2.1", "0001a147e112a643", id="RFC 5769 2.2"),
        pytest.param(
            "2001:db8:1234:5678:11:2233:4455:6677", "0002a1470113a9faa5d3f179bc25f4b5bed2b9d9", id="RFC 5769 2.3"
        ),
    ],
)
def test_the_source_comes_back(host: str, mapped: str) -> None:
    attribute = f"0020{len(mapped) // 2:04x}{mapped}"
    assert answer(stun(), host, 32853) == bytes.fromhex(f"0101{len(attribute) // 2:04x}{HEAD}{attribute}")


def test_a_fingerprint_is_answered_with_one() -> None:
    sent = answer(stun("80280004e57b3bcf"), "192.0.2.1", 32853)
    assert sent[:20] == bytes.fromhex(f"01010014{HEAD}")
    assert sent[-8:-4] == bytes.fromhex("80280004")


def test_the_fingerprint_is_that_of_the_rfc() -> None:
    """RFC 5769 section 2.1 has no comprehension-required attribute that we know but USERNAME; its sum is known."""
    message = bytes.fromhex(
        f"00010058{HEAD}80220010{b'STUN test client'.hex()}002400046e0001ff80290008932ff9b151263b36"
        f"{USERNAME}000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57b3bcf"
    )
    sent = answer(message, "192.0.2.1", 32853)
    assert sent[:2] == b"\x01\x11"  # PRIORITY is unknown to us
    assert sent.endswith(bytes.fromhex("000a00020024000080280004") + sent[-4:])


def test_credentials_are_not_looked_at() -> None:
    assert answer(stun(USERNAME), "192.0.2.1", 1)[:2] == b"\x01\x01"


def test_unknown_attributes_are_named() -> None:
    sent = answer(stun("7fff0000" + "7ffe000161000000"), "192.0.2.1", 1)
    assert sent[:2] == b"\x01\x11"
    assert b"\0\0\x04\x14Unknown Attribute" in sent
    assert sent.endswith(bytes.fromhex("000a00047fff7ffe"))


@pytest.mark.parametrize("kind", ["0011", "0101", "0111", "0003"])
def test_only_binding_requests_are_answered(kind: str) -> None:
    assert answer(stun(kind=kind), "192.0.2.1", 1) == b""


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(stun() + b"\0\0\0\0", id="longer than it says"),
        pytest.param(stun("80280004e57b3bcf")[:-4], id="shorter than it says"),
        pytest.param(stun("80280008e57b3bcf"), id="an attribute beyond the end"),
        pytest.param(stun("80280004e57b3bcf0000"), id="not padded"),
        pytest.param(stun("80220000" * (MAX_BYTES // 4)), id="longer than any packet"),
    ],
)
def test_malformed(message: bytes) -> None:
    with pytest.raises(MalformedMessage):
        answer(message, "192.0.2.1", 1)


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"\0" * 20, stun()[:19], subscribe(), options(), b"\x16\x03\x01" + b"\0" * 20]
)
def test_what_is_no_stun(data: bytes) -> None:
    assert not is_stun(data)


def test_what_is() -> None:
    assert is_stun(stun())
