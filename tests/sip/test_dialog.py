"""Where the requests of a dialog go: one row per phone, NAT or proxy that once got none."""

import pytest

from sipresence.errors import MalformedMessage
from sipresence.sip.dialog import Targeting, is_direct, remote_target, route_set, targeting
from sipresence.sip.flow import Flow, Hop
from tests.builders import PHONE, flow, parsed, subscribe

UDP, TCP = flow(), flow("TCP", port=49152)
VIA = f"SIP/2.0/UDP {PHONE};branch=z9hG4bK1"
PUBLIC = "203.0.114.9"


@pytest.mark.parametrize(
    ("contact", "target"),
    [
        pytest.param(None, "", id="RFC 6665 4.1.2.2: a refresh may have none"),
        pytest.param("<sip:102@192.0.2.7:5062;ob>", "sip:102@192.0.2.7:5062;ob", id="RFC 5626: kept unchanged"),
        pytest.param("sip:102@192.0.2.7;q=1", "sip:102@192.0.2.7", id="RFC 3261 20: parameters outside <>"),
        pytest.param('"A, B" <sip:a@b>', "sip:a@b", id="a comma in the display name"),
        pytest.param("<sip:a@b>, <sip:c@d>", "sip:a@b", id="RFC 3261 8.1.1.8: exactly one; the first counts"),
        pytest.param("<sips:a@b>", "sips:a@b", id="sips"),
    ],
)
def test_remote_target(contact: str | None, target: str) -> None:
    assert remote_target(parsed(subscribe(contact=contact))) == target


@pytest.mark.parametrize("contact", ["", ",", "*", "<>", "<sip:a@b", "<sip:a@>", "sip:a@b c"])
def test_malformed_remote_target(contact: str) -> None:
    with pytest.raises(MalformedMessage):
        remote_target(parsed(subscribe(contact=contact)))


def test_remote_target_of_another_scheme() -> None:
    """RFC 3261 section 21.4.17: 416 is about the Request-URI."""
    with pytest.raises(MalformedMessage):
        remote_target(parsed(subscribe(contact="<tel:101>")))


@pytest.mark.parametrize(
    ("values", "routes"),
    [
        pytest.param([], "", id="none"),
        pytest.param(["<sip:p1;lr>", "<sip:p2;lr>"], "<sip:p1;lr>, <sip:p2;lr>", id="RFC 3261 12.1.1: in order"),
        pytest.param(["<sip:p1;lr>,<sip:p2;lr>"], "<sip:p1;lr>, <sip:p2;lr>", id="RFC 3261 7.3.1: in one header"),
        pytest.param(['"P, 1" <sip:p1;lr>;x=y'], '"P, 1" <sip:p1;lr>;x=y', id="RFC 3261 12.1.1: with all parameters"),
        pytest.param([""], "", id="an empty one"),
    ],
)
def test_route_set(values: list[str], routes: str) -> None:
    request = parsed(subscribe(headers=[("Record-Route", value) for value in values]))
    assert route_set(request) == routes


def test_a_route_of_another_scheme() -> None:
    """PJSIP aborts the whole process on this one."""
    with pytest.raises(MalformedMessage):
        route_set(parsed(subscribe(headers={"Record-Route": "<tel:1>"})))


@pytest.mark.parametrize(
    ("via", "headers", "direct"),
    [
        pytest.param([VIA], {}, True, id="the phone itself"),
        pytest.param([VIA, "SIP/2.0/UDP 10.0.0.5;branch=z9hG4bK0"], {}, False, id="a proxy between"),
        pytest.param([f"{VIA}, SIP/2.0/UDP 10.0.0.5;branch=z9hG4bK0"], {}, False, id="RFC 3261 7.3.1: in one header"),
        pytest.param([VIA], {"Record-Route": "<sip:p1;lr>"}, False, id="a proxy that hides its Via"),
    ],
)
def test_direct(via: list[str], headers: dict[str, str], direct: bool) -> None:
    assert is_direct(parsed(subscribe(via=via, headers=headers))) is direct


def aim(contact: str, *, routes: str = "", way: Flow = UDP, direct: bool = True) -> Targeting:
    return targeting(contact=contact, routes=routes, flow=way, direct=direct)


@pytest.mark.parametrize(
    ("aimed", "hop"),
    [
        pytest.param(
            aim(f"sip:102@{PHONE}:5062"),
            Hop(UDP, "UDP", PHONE, 5062, fallback=True),
            id="RFC 3261 12.2.1.1: the Contact",
        ),
        pytest.param(
            aim(f"sip:102@{PHONE}"), Hop(UDP, "UDP", PHONE, 5060, fallback=True), id="RFC 3263 4.2: port 5060"
        ),
        pytest.param(
            aim("sip:102@192.168.1.9:5060"), Hop(UDP, "UDP"), id="Yealink behind NAT, no STUN: back to the source"
        ),
        pytest.param(aim("sip:102@df7jal.invalid"), Hop(UDP, "UDP"), id="RFC 7118: .invalid reaches nobody"),
        pytest.param(
            aim("sip:102@192.168.1.9:5060", direct=False),
            Hop(UDP, "UDP", "192.168.1.9", 5060),
            id="behind a proxy the source is the proxy's: the Contact it is",
        ),
        pytest.param(
            aim("sip:102@10.0.0.9:5062", way=flow(host="10.0.0.9")),
            Hop(flow(host="10.0.0.9"), "UDP", "10.0.0.9", 5062, fallback=True),
            id="in one private network the Contact is the source",
        ),
        pytest.param(
            aim("sip:102@phone.example.com;transport=tcp"),
            Hop(UDP, "TCP", "phone.example.com", fallback=True),
            id="RFC 3263 4.1: transport parameter; a name that may not resolve",
        ),
        pytest.param(
            aim("sip:102@phone.example.com"),
            Hop(UDP, "", "phone.example.com", fallback=True),
            id="RFC 3263 4.1: neither transport nor port: both are looked up",
        ),
        pytest.param(
            aim("sips:102@phone.example.com;transport=tcp"),
            Hop(UDP, "TLS", "phone.example.com", fallback=True, secure=True),
            id="RFC 3261 26.2.2: transport=tcp in a SIPS URI means TLS",
        ),
        pytest.param(
            aim(f"sips:102@{PHONE}"),
            Hop(UDP, "TLS", PHONE, 5061, fallback=True, secure=True),
            id="RFC 3263 4.1: SIPS to an address is TLS",
        ),
        pytest.param(
            aim(f"sip:102@phone.example.com;maddr={PUBLIC}"),
            Hop(UDP, "UDP", PUBLIC, 5060, fallback=True),
            id="RFC 3261 19.1.1: maddr",
        ),
        pytest.param(
            aim(f"sip:102@{PHONE}:5060;transport=udp", way=TCP),
            Hop(TCP, "TCP", PHONE, 5060, prefer_flow=True),
            id="OpenSIPS 2280: a TCP phone with a UDP Contact stays on its connection",
        ),
        pytest.param(
            aim("sip:102@192.168.1.9", way=TCP),
            Hop(TCP, "TCP", "192.168.1.9", 5060, prefer_flow=True),
            id="RFC 5923: and so does one behind a NAT",
        ),
    ],
)
def test_without_routes_the_request_uri_is_the_contact(aimed: Targeting, hop: Hop) -> None:
    assert aimed.hop == hop
    assert aimed.route == ""


@pytest.mark.parametrize("contact", ["sip:102@192.168.1.9;ob", f"sip:102@{PHONE}:5060", "sip:102@x.invalid"])
def test_the_contact_is_never_rewritten(contact: str) -> None:
    assert aim(contact).request_uri == contact
    assert aim(contact, way=TCP).request_uri == contact


def test_loose_routing() -> None:
    """RFC 3261 section 12.2.1.1: the Contact as Request-URI, the route set as Route, its first URI as next hop."""
    routes = f"<sip:{PUBLIC};lr>, <sip:p2.example.com:5070;lr=on>"
    hop = Hop(UDP, "UDP", PUBLIC, 5060)
    assert aim("sip:102@192.168.1.9", routes=routes) == Targeting("sip:102@192.168.1.9", routes, hop)


def test_loose_routing_over_another_transport() -> None:
    """OpenSIPS 2280: the route set decides, even where the SUBSCRIBE came over TCP and the Contact says UDP."""
    aimed = aim("sip:102@192.168.1.9;transport=udp", routes=f"<sip:{PUBLIC}:5080;transport=tcp;lr>", way=TCP)
    assert aimed.hop == Hop(TCP, "TCP", PUBLIC, 5080)


def test_strict_routing() -> None:
    """RFC 3261 section 12.2.1.1: a first URI without lr becomes the Request-URI, the Contact the last Route."""
    aimed = aim("sip:102@192.168.1.9", routes=f"<sip:{PUBLIC}>, <sip:p2;lr>")
    assert aimed == Targeting(f"sip:{PUBLIC}", "<sip:p2;lr>, <sip:102@192.168.1.9>", Hop(UDP, "UDP", PUBLIC, 5060))


def test_strict_routing_with_one_route() -> None:
    aimed = aim("sip:102@192.168.1.9", routes=f"<sip:{PUBLIC}>")
    assert aimed.route == "<sip:102@192.168.1.9>"


def test_no_contact_no_target() -> None:
    with pytest.raises(MalformedMessage):
        aim("")


@pytest.mark.parametrize(
    ("way", "contact", "reliable"),
    [
        (UDP, "sip:192.0.2.1:5060", False),
        (TCP, "sip:192.0.2.1:5060;transport=tcp", True),
        (flow("TLS"), "sip:192.0.2.1:5060;transport=tls", True),
        (flow("WS"), "sip:192.0.2.1:5060;transport=ws", True),
        (flow("WSS"), "sip:192.0.2.1:5060;transport=ws", True),  # RFC 7118 section 5.2
    ],
)
def test_our_contact_names_the_transport(way: Flow, contact: str, reliable: bool) -> None:
    """RFC 3261 section 12.1.1: the phone's refresh comes back the same way."""
    assert (way.contact(), way.reliable) == (contact, reliable)
