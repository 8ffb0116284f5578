"""Resource lists over real sockets: a phone that subscribes to one, and reads what it is told part by part."""

import contextlib
import socket
import time
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.builders import subscribe
from tests.e2e.conftest import StartServer
from tests.e2e.server import DEVICES, Server
from tests.e2e.wire import Message, answer, read
from tests.events.listed import BROUGHT, LIST_URI, UNDERSTOOD, list_body
from tests.rlmi import Rlmi
from tests.rlmi import read as read_rlmi

PATIENCE = 5.0  # s
KEYS = 40
LISTS = f"""
[[accounts.lists]]
name = "reception"
members = [
    {{ resource = "front", label = "Front desk" }},
    {", ".join(f'{{ resource = "{200 + key}", label = "Key {key}" }}' for key in range(KEYS))}
]

[[accounts.lists]]
name = "front"
members = [{{ resource = "101", label = "Alice <&>" }}, {{ resource = "reception" }}, {{ resource = "102" }}]

[[accounts.lists]]
name = "nobody"
"""

pytestmark = pytest.mark.e2e


class Phone:
    """A UDP phone with a list of lamps: `lamps` is what it shows, `told` every NOTIFY it has read."""

    def __init__(self, sock: socket.socket, server: Server) -> None:
        self._socket = sock
        self._server = ("127.0.0.1", server.sip_port)
        self._contact = f"<sip:102@127.0.0.1:{sock.getsockname()[1]}>"
        self._cseq = 0
        self.tag = ""
        self.lamps: dict[str, str | None] = {}
        self.told: list[Rlmi] = []

    def subscribe(self, **fields: Any) -> Message:
        """Ask, and return the answer; the NOTIFYs that come before it are read, too."""
        self._cseq += 1
        via = f"SIP/2.0/UDP 127.0.0.1;rport;branch=z9hG4bK{self._cseq}-{id(self)}"
        told = {"uri": LIST_URI, "to": f"<{LIST_URI}>", "headers": UNDERSTOOD, "call_id": f"list-{id(self)}", **fields}
        sent = subscribe(via=via, contact=self._contact, cseq=self._cseq, to_tag=self.tag, **told)
        self._socket.sendto(sent, self._server)
        while not (message := read(self._socket.recv(65_536))).status:
            self._take(message)
        self.tag = message.tag("to")
        return message

    def until(self, **lamps: str) -> None:
        """Read NOTIFYs until these lamps show that."""
        give_up = time.monotonic() + PATIENCE
        while any(self.lamps.get(user) != state for user, state in lamps.items()):
            assert time.monotonic() < give_up, self.lamps
            self._take(read(self._socket.recv(65_536)))

    def quiet(self) -> bool:
        """Whether nothing more comes for a while."""
        self._socket.settimeout(0.3)
        try:
            self._socket.recv(65_536)
        except TimeoutError:
            return True
        finally:
            self._socket.settimeout(PATIENCE)
        return False

    def _take(self, notify: Message) -> None:
        assert notify.get("require") == "eventlist"
        rlmi = read_rlmi(notify.get("content-type"), notify.body.encode())
        self._socket.sendto(answer(notify), self._server)
        if self.told and self.told[-1].version == rlmi.version:
            return  # sent again
        assert rlmi.version == (self.told[-1].version + 1 if self.told else 0)
        self.told.append(rlmi)
        self.lamps |= rlmi.lamps


@contextlib.contextmanager
def a_phone(server: Server) -> Iterator[Phone]:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(PATIENCE)
        yield Phone(sock, server)


@pytest.fixture
def server(start_server: StartServer) -> Server:
    server = start_server(sip={"notify_rate": 0})
    password = f'password = "{DEVICES["bob-desk"]}"'
    server.reload((password, f"{password}\n{LISTS}"))
    return server


ALL = {"101": "terminated", "102": "terminated"} | {str(200 + key): "terminated" for key in range(KEYS)}


def test_a_phone_fills_its_keys_and_its_lamps_follow(server: Server) -> None:
    server.command("205", action="set", state="confirmed")
    with a_phone(server) as phone:
        granted = phone.subscribe()
        assert (granted.status, granted.get("require")) == (200, "eventlist")
        phone.until(**(ALL | {"205": "confirmed"}))
        first, *further = phone.told
        assert first.full
        assert first.names == ["Alice <&>", "102", *(f"Key {key}" for key in range(KEYS))]
        assert further
        assert not any(rlmi.full for rlmi in further)
        server.command("101", action="set", state="early")
        phone.until(**{"101": "early"})
        assert phone.told[-1].lamps == {"101": "early"}
        server.command("205", action="reset")
        phone.until(**{"205": "terminated"})
        assert phone.subscribe().status == 200
        phone.until(**(ALL | {"101": "early"}))
        assert phone.subscribe(expires=0).status == 200
        assert phone.told[-1].full or not phone.quiet()


def test_it_goes_on_after_a_crash(server: Server) -> None:
    with a_phone(server) as phone:
        phone.subscribe()
        phone.until(**ALL)
        before = phone.told[-1]
        server.kill()
        phone.told.clear()
        phone.lamps.clear()
        server.start()
        told: list[Rlmi] = []
        while set(phone.lamps) != set(ALL):
            notify = read(phone._socket.recv(65_536))
            phone._socket.sendto(answer(notify), phone._server)
            told.append(read_rlmi(notify.get("content-type"), notify.body.encode()))
            phone.lamps |= told[-1].lamps
        assert told[0].full
        assert told[0].version > before.version
        last = {uri: member.version for uri, member in before.members.items() if member.document is not None}
        for rlmi in told:
            versions = {uri: member.version for uri, member in rlmi.members.items() if member.document is not None}
            assert all(version > last.get(uri, -1) for uri, version in versions.items())


def test_a_list_without_members_is_answered(server: Server) -> None:
    with a_phone(server) as phone:
        assert phone.subscribe(uri="sip:nobody@office.example.com", to="<sip:nobody@office.example.com>").status == 200
        while not phone.told:
            phone._take(read(phone._socket.recv(65_536)))
        assert (phone.told[0].full, phone.told[0].members) == (True, {})


def test_who_does_not_understand_lists_is_told_what_it_takes(server: Server) -> None:
    with a_phone(server) as phone:
        refused = phone.subscribe(headers=())
        assert (refused.status, refused.get("require")) == (421, "eventlist")


def test_linphone_brings_its_list_deflated(server: Server) -> None:
    """As Linphone sends it: to an address that nobody has, with three Accept lines (phones.md 19)."""
    types = ("multipart/related", "application/dialog-info+xml", "application/rlmi+xml")
    accepts = [("Accept", media) for media in types]
    headers = [*BROUGHT, ("Content-Encoding", "deflate"), ("Content-Disposition", "recipient-list"), *accepts]
    body = zlib.compress(list_body("sip:101@office.example.com", "sip:bob@elsewhere.example"))
    with a_phone(server) as phone:
        rls = {"uri": "sip:rls@office.example.com", "to": "<sip:rls@office.example.com>"}
        assert phone.subscribe(**rls, headers=headers, body=body, accept=None).status == 200
        phone.until(**{"101": "terminated"})
        assert [member.reason for member in phone.told[0].members.values()] == [None, "rejected"]
        server.stop()
        server.start()
        phone.lamps.clear()
        phone.until(**{"101": "terminated"})
        assert [member.reason for member in phone.told[-1].members.values()] == [None, "rejected"]


def test_a_reload_brings_other_members(server: Server) -> None:
    with a_phone(server) as phone:
        phone.subscribe()
        phone.until(**ALL)
        server.reload(('{ resource = "102" }', '{ resource = "102", label = "Bob" }, { resource = "103" }'))
        phone.until(**{"103": "terminated"})
        assert any(rlmi.full and rlmi.names[:3] == ["Alice <&>", "Bob", "103"] for rlmi in phone.told)


def test_a_list_that_is_gone_ends(server: Server) -> None:
    with a_phone(server) as phone:
        nobody = {"uri": "sip:nobody@office.example.com", "to": "<sip:nobody@office.example.com>"}
        assert phone.subscribe(**nobody).status == 200
        while not phone.told:
            phone._take(read(phone._socket.recv(65_536)))
        server.reload(('name = "nobody"', 'name = "somebody"'))
        last = read(phone._socket.recv(65_536))
        phone._socket.sendto(answer(last), phone._server)
        assert last.get("subscription-state") == "terminated;reason=deactivated"
