"""NAT pinholes: which sources have to be kept open, and for how long."""

import pytest

from sipresence.names import ResourceId
from sipresence.sip.flow import Flow
from tests.builders import flow
from tests.events.desk import Desk, answered, notified

BEHIND_NAT = flow(host="198.51.100.9", port=40_000)
PRIVATE = "<sip:101@10.0.0.5:5060>"
OTHER = ResourceId("102@office.example.com")


def test_a_phone_with_a_private_contact_needs_its_source_kept_open() -> None:
    desk = Desk()
    desk.subscribed(way=BEHIND_NAT, contact=PRIVATE)
    assert desk.notifier.pinholes() == (BEHIND_NAT,)


def test_a_source_counts_once_however_many_keys_it_has() -> None:
    desk = Desk()
    first = notified(desk.subscribe(way=BEHIND_NAT, contact=PRIVATE, call_id="one"))
    second = notified(desk.subscribe(OTHER, way=BEHIND_NAT, contact=PRIVATE, call_id="two"))
    assert desk.notifier.pinholes() == (BEHIND_NAT,)
    desk.answer(first, 481)
    assert desk.notifier.pinholes() == (BEHIND_NAT,)
    desk.answer(second, 481)
    assert desk.notifier.pinholes() == ()


@pytest.mark.parametrize(
    ("way", "contact"),
    [
        (flow(), "<sip:101@192.0.2.7:5060>"),  # the Contact is the source
        (BEHIND_NAT, "<sip:101@8.8.8.8:5060>"),  # a public Contact
        (flow("TCP", host="198.51.100.9"), PRIVATE),  # the connection is the way
    ],
)
def test_no_pinhole_is_needed(way: Flow, contact: str) -> None:
    desk = Desk()
    desk.subscribed(way=way, contact=contact)
    assert desk.notifier.pinholes() == ()


def test_a_refresh_from_another_port_moves_the_pinhole() -> None:
    desk = Desk()
    tag = answered(desk.subscribe(way=BEHIND_NAT, contact=PRIVATE)).to_tag
    elsewhere = flow(host="198.51.100.9", port=40_001)
    desk.refresh(tag, way=elsewhere, contact=PRIVATE)
    assert desk.notifier.pinholes() == (elsewhere,)


def test_it_ends_with_the_subscription() -> None:
    desk = Desk()
    tag = answered(desk.subscribe(way=BEHIND_NAT, contact=PRIVATE)).to_tag
    desk.refresh(tag, way=BEHIND_NAT, contact=PRIVATE, expires=0)
    assert desk.notifier.pinholes() == ()


def test_a_fetch_needs_none() -> None:
    desk = Desk()
    desk.subscribe(way=BEHIND_NAT, contact=PRIVATE, expires=0)
    assert desk.notifier.pinholes() == ()
