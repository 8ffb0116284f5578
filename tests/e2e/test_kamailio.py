"""NOTIFYs through a real Kamailio that record-routes: UDP towards the phone, TCP towards us, and the other way round.

The phone is a socket that knows only the proxy. What it sees is what RFC 3261 section 12 and 16 promise it: its own
Contact as Request-URI, its own tag in To, no Route left, and the Vias tell over what each hop went.
"""

import contextlib
import itertools
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import Request, urlopen

import pytest

from tests.e2e import wire
from tests.e2e.conftest import StartServer
from tests.e2e.kamailio import FORKED, Kamailio
from tests.e2e.server import ACCOUNT, REALM, TOKEN, Server
from tests.e2e.wire import Message

PATIENCE_S = 5.0
QUIET_S = 0.5
PRIVATE_CONTACT = "sip:201@192.168.99.9:5060"

pytestmark = pytest.mark.e2e


class Phone:
    """A phone behind the proxy: one socket, one dialog at a time."""

    def __init__(self, transport: str, proxy: int, *, contact: str = "") -> None:
        kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
        self._socket = socket.socket(socket.AF_INET, kind)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.connect(("127.0.0.1", proxy))
        self._socket.settimeout(PATIENCE_S)
        self._transport = transport
        self._buffer = bytearray()
        self._inbox: list[Message] = []
        self._branches = itertools.count(1)
        self.port = self._socket.getsockname()[1]
        self.contact = contact or f"sip:201@127.0.0.1:{self.port};transport={transport}"
        self.call_id = f"kamailio-{self.port}"

    def close(self) -> None:
        self._socket.close()

    def subscribe(self, extension: str, *, expires: int = 600) -> Message:
        """Send an initial SUBSCRIBE; return its final answer."""
        uri = f"sip:{extension}@{REALM}"
        return self._ask(uri, cseq=1, to=f"<{uri}>", routes=[], expires=expires)

    def refresh(self, accepted: Message, *, cseq: int, expires: int = 600) -> Message:
        """SUBSCRIBE inside the dialog that `accepted` made: to the notifier's Contact, along the route set."""
        routes = accepted.all("record-route")[::-1]  # "taken in reverse order" (RFC 3261 section 12.1.2)
        target = accepted.get("contact").strip("<>")
        return self._ask(target, cseq=cseq, to=accepted.get("to"), routes=routes, expires=expires)

    def notified(self) -> Message:
        """The next NOTIFY; it was answered as it came."""
        return self._next(lambda message: message.method == "NOTIFY")

    def hears_no_more(self) -> bool:
        """Whether no further NOTIFY comes within a moment."""
        self._socket.settimeout(QUIET_S)
        try:
            self.notified()
        except TimeoutError:
            return True
        finally:
            self._socket.settimeout(PATIENCE_S)
        return False

    def _ask(self, uri: str, *, cseq: int, to: str, routes: list[str], expires: int) -> Message:
        lines = [
            f"SUBSCRIBE {uri} SIP/2.0",
            f"Via: SIP/2.0/{self._transport.upper()} 127.0.0.1:{self.port};rport;branch=z9hG4bKk{next(self._branches)}",
            *(f"Route: {route}" for route in routes),
            f"From: <sip:201@{REALM}>;tag=phone-tag",
            f"To: {to}",
            f"Call-ID: {self.call_id}",
            f"CSeq: {cseq} SUBSCRIBE",
            f"Contact: <{self.contact}>",
            "Max-Forwards: 70",
            "Event: dialog",
            f"Expires: {expires}",
            "Content-Length: 0",
        ]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        return self._next(lambda message: message.status >= 200 and message.cseq == cseq)

    def _next(self, wanted: Callable[[Message], bool]) -> Message:
        """Take the next such message; what comes before it waits for its turn."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            for number, message in enumerate(self._inbox):
                if wanted(message):
                    return self._inbox.pop(number)
            self._receive()
        raise TimeoutError

    def _receive(self) -> None:
        data = self._socket.recv(65535)
        assert data, "the proxy closed the connection"
        self._buffer += data
        while (message := wire.cut(self._buffer)) is not None:
            if message.method:
                self._socket.sendall(wire.answer(message))
            self._inbox.append(message)


class Office(NamedTuple):
    """A server, the Kamailio before it, and over what the phone and the proxy each speak."""

    server: Server
    proxy: Kamailio
    phone_side: str
    server_side: str

    def phone(self, *, contact: str = "") -> Phone:
        return Phone(self.phone_side, self.proxy.port(self.phone_side), contact=contact)

    def subscriptions(self, extension: str) -> dict[str, dict[str, object]]:
        """What the admin API lists of an extension, by Call-ID."""
        by_event = self._ask(extension)["data"]["subscriptions"].get(extension, {})
        listed: dict[str, dict[str, object]] = by_event.get("dialog", {})
        return listed

    def set(self, extension: str, state: str) -> None:
        self._ask(extension, json.dumps({"data": {"action": "set", "state": state}}).encode())

    def _ask(self, extension: str, body: bytes | None = None) -> Any:
        url = f"{self.server.url}/v2/accounts/{ACCOUNT}/presence/{extension}"
        with urlopen(Request(url, body, {"X-Auth-Token": TOKEN})) as answered:
            return json.load(answered)


@pytest.fixture(params=[("udp", "tcp"), ("tcp", "udp")], ids=["udp-to-tcp", "tcp-to-udp"])
def office(request: pytest.FixtureRequest, start_server: StartServer, tmp_path: Path) -> Iterator[Office]:
    phone_side, server_side = request.param
    server = start_server()
    proxy = Kamailio(tmp_path, server=server.sip_port, transport=server_side)
    with proxy.running():
        yield Office(server, proxy, phone_side, server_side)
        assert "ERROR:" not in proxy.log, proxy.log


def check_notify(notify: Message, *, phone: Phone, accepted: Message, office: Office) -> None:
    """What every NOTIFY of the dialog looks like at the phone, and over what it came."""
    assert notify.request_uri == phone.contact
    assert notify.all("route") == []
    assert (notify.tag("to"), notify.tag("from")) == ("phone-tag", accepted.tag("to"))
    assert notify.get("call-id") == phone.call_id
    assert [via.split()[0] for via in notify.all("via")] == [
        f"SIP/2.0/{office.phone_side.upper()}",
        f"SIP/2.0/{office.server_side.upper()}",
    ]
    # The proxy record-routed the NOTIFY too, so the phone sees the same two legs, its own first.
    assert ["transport=tcp" in route for route in notify.all("record-route")] == [
        office.phone_side == "tcp",
        office.server_side == "tcp",
    ]


@pytest.mark.parametrize("contact", ["", PRIVATE_CONTACT], ids=["reachable-contact", "private-contact"])
def test_a_dialog_through_the_proxy(office: Office, contact: str) -> None:
    """Subscribe, first NOTIFY, refresh, a change, unsubscribe: all of it along the record-route set."""
    with contextlib.closing(office.phone(contact=contact)) as phone:
        accepted = phone.subscribe("101")
        assert accepted.status == 200, accepted
        assert len(accepted.all("record-route")) == 2, "double Record-Route, one for each side"
        notifies = [phone.notified()]

        refreshed = phone.refresh(accepted, cseq=2)
        assert (refreshed.status, refreshed.tag("to")) == (200, accepted.tag("to"))
        notifies.append(phone.notified())

        office.set("101", "early")
        notifies.append(phone.notified())

        assert phone.refresh(accepted, cseq=3, expires=0).status == 200
        notifies.append(phone.notified())

        assert [notify.cseq for notify in notifies] == [1, 2, 3, 4]
        assert [notify.version for notify in notifies] == [0, 1, 2, 3]
        assert [notify.lamp for notify in notifies] == ["terminated", "terminated", "early", "early"]
        states = [notify.get("subscription-state").partition(";")[0] for notify in notifies]
        assert states == ["active", "active", "active", "terminated"]
        for notify in notifies:
            check_notify(notify, phone=phone, accepted=accepted, office=office)
        check_route(office, accepted, contact=phone.contact, count=len(notifies))
        assert office.subscriptions("101") == {}
        office.set("101", "terminated")
        assert phone.hears_no_more()


def check_route(office: Office, accepted: Message, *, contact: str, count: int) -> None:
    """What the proxy saw come from us: NOTIFYs over its side of the pair, addressed to the Contact, routed in order."""
    seen = office.proxy.seen("NOTIFY")
    assert len(seen) == count, "each NOTIFY was sent once"
    for request in seen:
        assert request.transport == office.server_side
        assert request.uri.partition(";alias=")[0] == contact
        assert [route.strip() for route in request.route.split(",")] == accepted.all("record-route")


def test_a_forked_subscribe_makes_one_subscription(office: Office) -> None:
    """The proxy forks the SUBSCRIBE over two branches that both end here.

    The second is a merged request (RFC 3261 section 8.2.2.2): the phone gets one 200, one dialog and one lamp.
    """
    with contextlib.closing(office.phone()) as phone:
        accepted = phone.subscribe(FORKED)
        assert accepted.status == 200, accepted
        first = phone.notified()
        check_notify(first, phone=phone, accepted=accepted, office=office)
        assert list(office.subscriptions(FORKED)) == [phone.call_id]
        office.set(FORKED, "confirmed")
        assert phone.notified().lamp == "confirmed"
        assert phone.hears_no_more()
