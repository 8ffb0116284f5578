"""What a SUBSCRIBE asks for, what is refused of it, the row it makes and the answer it gets."""

import pytest

from sipresence.errors import SipError
from sipresence.events.effects import Respond
from sipresence.events.package import ALLOW_EVENTS, read_package
from sipresence.events.record import SubscriptionRecord
from sipresence.events.subscribe import (
    Asked,
    Limits,
    Watched,
    entity_of,
    granted,
    new_record,
    read,
    renewed_record,
    same_dialog,
)
from sipresence.events.subscription import BLOCK, Subscription
from sipresence.names import SubscriptionId
from sipresence.sip.dialog import remote_target
from sipresence.sip.headers import Event
from sipresence.sip.message import Request
from tests.builders import flow, parsed, subscribe
from tests.events.desk import LAMP, NOW, OFFICE

LIMITS = Limits(min_expires=60, default_expires=1800, max_expires=7200)


def refusal(request: Request, limits: Limits = LIMITS) -> SipError:
    with pytest.raises(SipError) as caught:
        read(request, limits, "dialog")
    return caught.value


def row(ident: int = 7, request: Request | None = None) -> SubscriptionRecord:
    request = request or parsed(subscribe())
    asked, event = read(request, LIMITS, "dialog"), read_package(request)
    watched = Watched(OFFICE, LAMP, entity_of(request))
    return new_record(SubscriptionId(ident), request, watched, asked, event=event, tag="ours", now=NOW)


# Event


@pytest.mark.parametrize(
    ("value", "event"),
    [
        ("dialog", Event("dialog", "")),
        ("dialog;id=7", Event("dialog", "7")),
        ("dialog;sla", Event("dialog", "")),  # SPA9000 (phones.md 32)
        ("dialog ; include-session-description ; id=x", Event("dialog", "x")),
    ],
)
def test_the_package_is_read_whatever_follows_it(value: str, event: Event) -> None:
    assert read_package(parsed(subscribe(event=value))) == event


@pytest.mark.parametrize("value", [None, "", "presence.winfo", "dialog.winfo", "as-feature-event", ";dialog"])
def test_another_package_gets_489_with_ours(value: str | None) -> None:
    with pytest.raises(SipError) as caught:
        read_package(parsed(subscribe(event=value)))
    assert (caught.value.status, caught.value.headers) == (489, ALLOW_EVENTS)


# Expires


@pytest.mark.parametrize(
    ("value", "asked"),
    [(None, 1800), (0, 0), (60, 60), (3600, 3600), (7200, 7200), (7201, 7200), (2**32, 7200), ("9" * 40, 7200)],
)
def test_expires_is_lowered_never_raised(value: int | str | None, asked: int) -> None:
    assert read(parsed(subscribe(expires=value)), LIMITS, "dialog").expires == asked


@pytest.mark.parametrize("value", [1, 59])
def test_a_brief_one_gets_423_with_min_expires(value: int) -> None:
    error = refusal(parsed(subscribe(expires=value)))
    assert (error.status, error.headers) == (423, "Min-Expires: 60\r\n")


@pytest.mark.parametrize("value", ["-1", "soon", "1.5", "0x10", ""])
def test_an_expires_that_is_no_number_gets_400(value: str) -> None:
    assert refusal(parsed(subscribe(expires=value))).status == 400


# Accept, Contact, Record-Route


@pytest.mark.parametrize(
    "value",
    [None, "application/dialog-info+xml", "text/plain, application/*;q=0.5", "*/*", "Application/Dialog-Info+XML"],
)
def test_an_accept_that_admits_ours(value: str | None) -> None:
    assert read(parsed(subscribe(accept=value)), LIMITS, "dialog").expires == 3600


@pytest.mark.parametrize("value", ["application/pidf+xml", "text/*", "", "*/*, application/dialog-info+xml;q=0"])
def test_one_that_excludes_it_gets_406_with_ours(value: str) -> None:
    error = refusal(parsed(subscribe(accept=value)))
    assert (error.status, error.headers) == (406, "Accept: application/dialog-info+xml\r\n")


@pytest.mark.parametrize("contact", ["<tel:+1>", "<sip:>", "<sip:a@b", "*"])
def test_a_contact_that_leads_nowhere(contact: str) -> None:
    assert refusal(parsed(subscribe(contact=contact))).status == 400


def test_a_refresh_may_have_no_contact() -> None:
    assert read(parsed(subscribe(contact=None)), LIMITS, "dialog") == Asked("", "", 3600)


def test_the_route_set_is_taken_in_order() -> None:
    request = parsed(subscribe(headers=[("Record-Route", "<sip:a;lr>, <sip:b;lr>"), ("Record-Route", "<sip:c;lr>")]))
    assert read(request, LIMITS, "dialog").routes == "<sip:a;lr>, <sip:b;lr>, <sip:c;lr>"


@pytest.mark.parametrize("route", ["<tel:1>", "<sip:a"])
def test_a_record_route_that_is_no_sip_uri_is_refused(route: str) -> None:
    assert refusal(parsed(subscribe(headers={"Record-Route": route}))).status == 400


def test_refusals_come_in_order() -> None:
    """400, 406, 423."""
    assert refusal(parsed(subscribe(expires="x", accept="text/plain"))).status == 400
    assert refusal(parsed(subscribe(expires=1, accept="text/plain"))).status == 406


# The dialog


def test_a_request_of_the_same_dialog_and_subscription() -> None:
    record = row()
    assert same_dialog(record, parsed(subscribe(cseq=2, to_tag="ours")))
    assert same_dialog(record, parsed(subscribe(cseq=2, to_tag="ours", event="dialog;sla")))


@pytest.mark.parametrize(
    "fields",
    [{"call_id": "CALL-1@192.0.2.7"}, {"from_tag": "x"}, {"event": "presence"}, {"event": "dialog;id=2"}],
    ids=str,
)
def test_a_request_of_another(fields: dict[str, str]) -> None:
    assert not same_dialog(row(), parsed(subscribe(cseq=2, to_tag="ours", **fields)))  # type: ignore[arg-type]


# The row


def test_the_row_holds_all_that_a_restart_needs() -> None:
    request = parsed(
        subscribe(
            event="dialog;id=9;sla",
            cseq=41,
            expires=120,
            headers=[("User-Agent", "Phone/1.0"), ("Record-Route", "<sip:p.example.com;lr>"), ("Accept", "text/plain")],
        ),
        flow("TCP", port=40123),
    )
    assert row(130, request) == SubscriptionRecord(
        id=SubscriptionId(130),
        account=OFFICE,
        resource=LAMP,
        event="dialog",
        event_id="9",
        call_id=request.call_id,  # type: ignore[arg-type]
        local_tag="ours",
        remote_tag="phone-1",
        local_address="<sip:101@office.example.com>",
        remote_address="<sip:102@office.example.com>;tag=phone-1",
        entity="sip:101@office.example.com",
        contact="sip:102@192.0.2.7:5060",
        route_set="<sip:p.example.com;lr>",
        transport="TCP",
        listener="tcp://0.0.0.0:5060",
        source_host="192.0.2.7",
        source_port=40123,
        local="192.0.2.1:5060",
        direct=0,
        accept="application/dialog-info+xml, text/plain",
        user_agent="Phone/1.0",
        authenticated_user="",
        subscribe_cseq=41,
        subscribe_event="dialog;id=9;sla",
        expires=120,
        subscribed_at=NOW,
        expires_at=NOW + 120,
        cseq_ceiling=BLOCK + 2,
        version_ceiling=BLOCK + 2,
    )


def renewed(
    record: SubscriptionRecord, request: Request, *, initial: bool = False, sent: int = 1
) -> SubscriptionRecord:
    subscription = Subscription(record, flow=flow())
    subscription.cseq, subscription.version = sent, sent - 1
    return renewed_record(subscription, request, read(request, LIMITS, "dialog"), initial=initial, now=NOW + 30)


def test_a_refresh_moves_the_target_and_keeps_the_dialog() -> None:
    old = row()
    way = flow(host="192.0.2.8", port=5999)
    request = parsed(
        subscribe(
            cseq=2, to_tag="ours", expires=600, contact="<sip:102@192.0.2.8>", headers={"User-Agent": "Phone/2.0"}
        ),
        way,
    )
    assert renewed(old, request) == old._replace(
        contact="sip:102@192.0.2.8",
        source_host="192.0.2.8",
        source_port=5999,
        user_agent="Phone/2.0",
        subscribe_cseq=2,
        expires=600,
        subscribed_at=NOW + 30,
        expires_at=NOW + 630,
        cseq_ceiling=1 + BLOCK + 7,
        version_ceiling=BLOCK + 7,
    )


def test_a_refresh_without_contact_keeps_the_old_one() -> None:
    assert renewed(row(), parsed(subscribe(cseq=2, contact=None))).contact == "sip:102@192.0.2.7:5060"


def test_only_an_initial_request_changes_the_route_set() -> None:
    """RFC 3261 section 12.2: "the route set of a dialog is never changed by a request within it"."""
    request = parsed(subscribe(cseq=2, headers={"Record-Route": "<sip:new;lr>"}))
    assert renewed(row(), request).route_set == ""
    assert renewed(row(), request, initial=True).route_set == "<sip:new;lr>"


def test_a_refresh_raises_the_ceilings_for_free_and_never_lowers_them() -> None:
    request = parsed(subscribe(cseq=2))
    old = row()
    raised = renewed(old, request, sent=50)
    assert (raised.cseq_ceiling, raised.version_ceiling) == (50 + BLOCK + 7, 49 + BLOCK + 7)
    high = old._replace(cseq_ceiling=9999, version_ceiling=9998)
    assert renewed(high, request).cseq_ceiling == 9999
    assert renewed(high, request).version_ceiling == 9998


# The answer


def test_the_200_of_a_subscribe() -> None:
    request = parsed(subscribe(headers=[("Record-Route", "<sip:a;lr>"), ("Record-Route", "<sip:b;lr>")]), flow("TCP"))
    headers = (
        "Record-Route: <sip:a;lr>\r\nRecord-Route: <sip:b;lr>\r\n"
        f"Contact: <sip:192.0.2.1:5060;transport=tcp>\r\nExpires: 77\r\n{ALLOW_EVENTS}"
    )
    assert granted(request, Asked(remote_target(request), "", 77), tag="ours") == Respond(request, 200, "ours", headers)


@pytest.mark.parametrize(
    ("uri", "contact", "ours"),
    [
        ("sip:101@office.example.com", "<sip:102@192.0.2.7>", "sip:192.0.2.1:5060;transport=tls"),
        ("sips:101@office.example.com", "<sip:102@192.0.2.7>", "sips:192.0.2.1:5060;transport=tls"),
        ("sip:101@office.example.com", "<SIPS:102@192.0.2.7>", "sips:192.0.2.1:5060;transport=tls"),
    ],
)
def test_our_contact_is_as_secure_as_theirs(uri: str, contact: str, ours: str) -> None:
    """RFC 3261 section 12.1.1."""
    request = parsed(subscribe(uri=uri, contact=contact), flow("TLS"))
    assert f"Contact: <{ours}>\r\n" in granted(request, Asked(remote_target(request), "", 77), tag="ours").headers


@pytest.mark.parametrize(
    ("uri", "to", "entity"),
    [
        ("sip:101@office.example.com:5070;transport=tcp", "<sip:101@office.example.com>", "sip:101@office.example.com"),
        ("sip:101@192.0.2.1:5060", "<sip:101@Office.example.com:5070;user=phone>", "sip:101@office.example.com"),
        ("sip:101@192.0.2.1", "<sip:102@office.example.com>", "sip:101@192.0.2.1"),
        ("sip:101@192.0.2.1", "<tel:101>", "sip:101@192.0.2.1"),
        ("sip:%2A3101@192.0.2.1", "<sip:%2a3101@office.example.com>", "sip:%2a3101@office.example.com"),
        ("sip:101:secret@192.0.2.1", "<sip:101:secret@192.0.2.1>", "sip:101@192.0.2.1"),
        ("sip:101;ext=9@192.0.2.1", "<sip:101@office.example.com>", "sip:101@office.example.com"),
        ("sip:101@192.0.2.1", "<sip:101;ext=9:secret@office.example.com>", "sip:101@office.example.com"),
        ("sip:101@[2001:db8::1]:5060", "<sip:101@[2001:db8::1]:5060>", "sip:101@[2001:db8::1]"),
    ],
)
def test_the_entity_is_the_address_as_the_subscriber_wrote_it(uri: str, to: str, entity: str) -> None:
    """A proxy may have rewritten the Request-URI; a lamp key knows what was typed into it (phones.md 36)."""
    assert entity_of(parsed(subscribe(uri=uri, to=to))) == entity
