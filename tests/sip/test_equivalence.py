"""Whether two URIs are equivalent: the examples of RFC 3261 section 19.1.4, and what phones write."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipresence.errors import MalformedMessage
from sipresence.sip.equivalence import equivalent

EQUIVALENT = [
    ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtlanTa.CoM;Transport=tcp"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
    ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;newparam=5"),
    (
        "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
        "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
    ),
    (
        "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
        "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
    ),
    ("sip:a%2fb@example.com", "sip:a%2Fb@example.com"),
    ("sip:a@example.com;ob", "sip:a@example.com;ob;lr"),
    ("sip:[2001:DB8::7]:5060", "sip:[2001:db8::7]:5060"),
]

DIFFERENT = [
    ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
    ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
    ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
    ("sip:a@example.com", "sips:a@example.com"),
    ("sip:a@example.com", "sip:a:secret@example.com"),
    ("sip:a@example.com", "sip:example.com"),
    ("sip:a/b@example.com", "sip:a%2Fb@example.com"),
    ("sip:a@example.com;user=phone", "sip:a@example.com"),
    ("sip:a@example.com;maddr=192.0.2.4", "sip:a@example.com"),
    ("sip:a@example.com?x=a", "sip:a@example.com?x=b"),
    ("tel:+15551234", "sip:+15551234@example.com"),
    ("tel:+15551234", "tel:+1-555-1234"),
]


@pytest.mark.parametrize(("one", "other"), EQUIVALENT)
def test_equivalent(one: str, other: str) -> None:
    assert equivalent(one, other)
    assert equivalent(other, one)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different(one: str, other: str) -> None:
    assert not equivalent(one, other)
    assert not equivalent(other, one)


def test_a_uri_of_another_scheme_is_itself() -> None:
    assert equivalent("tel:+15551234", "tel:+15551234")


def test_what_is_no_uri_is_refused() -> None:
    with pytest.raises(MalformedMessage):
        equivalent("sip:a@b@c", "sip:a@b")


@given(st.text("abcABC019-_.!~*'()", min_size=1), st.sets(st.integers(0, 20)))
def test_an_escape_that_need_not_be_is_none(user: str, escaped: set[int]) -> None:
    other = "".join(f"%{ord(char):02x}" if index in escaped else char for index, char in enumerate(user))
    assert equivalent(f"sip:{user}@example.com", f"sip:{other}@example.com")
