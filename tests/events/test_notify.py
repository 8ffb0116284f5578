"""The header lines of a NOTIFY that never change within its dialog."""

from sipresence.events.notify import render_head
from sipresence.events.record import SubscriptionRecord
from tests.events.desk import Desk, saved


def head(record: SubscriptionRecord, *, route: str = "") -> list[str]:
    text = render_head(record, contact="sip:192.0.2.1:5060", route=route, content_type="application/dialog-info+xml")
    *lines, end = text.decode().split("\r\n")
    assert end == ""
    return lines


def row() -> SubscriptionRecord:
    return saved(Desk().subscribe()).record


def test_from_and_to_are_the_addresses_of_the_dialog_not_the_contact() -> None:
    record = row()._replace(local_tag="ours")
    assert head(record) == [
        "Max-Forwards: 70",
        "From: <sip:101@office.example.com>;tag=ours",
        "To: <sip:102@office.example.com>;tag=phone-1",
        "Call-ID: call-1@192.0.2.7",
        "Contact: <sip:192.0.2.1:5060>",
        "Event: dialog",
        "Content-Type: application/dialog-info+xml",
    ]


def test_the_event_id_is_repeated() -> None:
    assert "Event: dialog;id=7" in head(row()._replace(event_id="7"))


def test_the_route_set_goes_along() -> None:
    assert head(row(), route="<sip:a;lr>, <sip:b;lr>")[0] == "Route: <sip:a;lr>, <sip:b;lr>"


def test_text_outside_ascii_survives() -> None:
    record = row()._replace(remote_address='"Jürgen" <sip:102@office.example.com>;tag=phone-1')
    assert 'To: "Jürgen" <sip:102@office.example.com>;tag=phone-1' in head(record)
