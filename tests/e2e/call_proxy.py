"""A real Kamailio on loopback as the proxy of phones' calls, which it PUBLISHes to our server (pua_dialoginfo).

All parameters of pua_dialoginfo keep their defaults, so that the caller's lamp goes through `Trying` and `early`, too:
three publications about one caller within a few milliseconds are the hardest that Kamailio has for a server.

A call to `FORKED` rings at two phones. To Kamailio it is one dialog with one publication for each party: its `early`
has the tag of whichever phone rang last, and nothing is said of the phone that loses.
"""

import asyncio
import itertools
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conftest import need
from tests.e2e import wire
from tests.e2e.kamailio import Kamailio
from tests.e2e.server import REALM, free_port
from tests.e2e.wire import Message

PATIENCE_S = 5.0
FORKED = "1200"
NUMBERS = itertools.count()
"""So that no Call-ID comes twice."""

MODULES = "*/kamailio/modules/pua_dialoginfo.so"
TABLES = Path("/usr/share/kamailio/dbtext/kamailio")

_CONFIGURATION = """\
debug=2
log_stderror=yes
children=4
tcp_children=1
auto_aliases=no
dns=no
rev_dns=no
alias="{realm}"
listen=udp:127.0.0.1:{udp}
listen=tcp:127.0.0.1:{tcp}
loadmodule "kex.so"
loadmodule "corex.so"
loadmodule "db_text.so"
loadmodule "tm.so"
loadmodule "tmx.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "dialog.so"
loadmodule "pua.so"
loadmodule "pua_dialoginfo.so"
modparam("rr", "append_fromtag", 1)
modparam("pua", "db_url", "text://{tables}")
modparam("pua", "db_mode", 0)
modparam("pua", "outbound_proxy", "sip:127.0.0.1:{server}")

request_route {{
    if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
    if (is_method("CANCEL") || (is_method("ACK") && !has_totag())) {{
        if (t_check_trans()) {{ t_relay(); }}
        exit;
    }}
    if (has_totag()) {{
        if (loose_route()) {{ t_relay(); exit; }}
        if (is_method("ACK")) {{ t_check_trans(); exit; }}
        sl_send_reply("404", "No Route");
        exit;
    }}
    if (!is_method("INVITE")) {{ sl_send_reply("405", "Method Not Allowed"); exit; }}
    record_route();
    dlg_manage();  # from here on the call is published
    if ($rU == "{forked}") {{ append_branch("sip:{forked}@127.0.0.1:{other}"); }}
    $du = "sip:127.0.0.1:{callee}";
    t_relay();
}}
"""


class CallProxy(Kamailio):
    """A Kamailio that takes every call to the phone at `callee_port`, and says so to the server at port `server`.

    Those to `FORKED` go to the phone at `other_port` as well.
    """

    def __init__(self, folder: Path, *, server: int) -> None:
        if not any(Path("/usr/lib").glob(MODULES)):
            need("pua_dialoginfo.so")  # which is no program, so that this skips the test, or fails it
        super().__init__(folder, server=server, transport="udp")
        self.callee_port = free_port()
        self.other_port = free_port()
        tables = folder / "dbtext"
        shutil.copytree(TABLES, tables)  # pua insists on its tables, though it keeps all in memory
        self._configuration.write_text(
            _CONFIGURATION.format(
                realm=REALM,
                udp=self.udp_port,
                tcp=self.tcp_port,
                server=server,
                callee=self.callee_port,
                forked=FORKED,
                other=self.other_port,
                tables=tables,
            )
        )


class Phone(asyncio.DatagramProtocol):
    """A phone that sends to one port here, with any number of calls at a time; Call-IDs tell them apart."""

    def __init__(self, peer: int) -> None:
        self._peer = ("127.0.0.1", peer)
        self._inboxes: defaultdict[str, asyncio.Queue[Message]] = defaultdict(asyncio.Queue)

    async def open(self, port: int = 0, *, host: str = "127.0.0.1") -> None:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(host, port))
        self.port: int = self._transport.get_extra_info("sockname")[1]

    def close(self) -> None:
        self._transport.close()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        message = wire.read(data)
        self._inboxes[message.get("call-id")].put_nowait(message)

    def send(self, data: bytes) -> None:
        self._transport.sendto(data, self._peer)

    async def hears(self, call_id: str, what: str) -> Message:
        """The next request or answer of this call that is of this method or status; what comes before is dropped."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                message = await self._inboxes[call_id].get()
                if what in (message.method, str(message.status)):
                    return message


@dataclass
class Call:
    """One call from a phone to another, or to several of which each is a branch: `at` says which of them acts.

    Each step is done when it has reached the other side.
    """

    caller: Phone
    callees: Sequence[Phone]
    from_: str
    to: str
    number: int = field(default_factory=NUMBERS.__next__)
    _cseq: int = 1
    _invites: list[Message] = field(init=False)  # as the callees heard them
    _answer: Message = field(init=False)  # the last to them, as the caller heard it
    _answered_at: int = 0

    @property
    def id(self) -> str:
        return f"call-{self.number}@{self.caller.port}"

    @property
    def _uri(self) -> str:
        return f"sip:{self.to}@{REALM}"

    async def invite(self) -> None:
        self._send("INVITE", self._uri, to=f"<{self._uri}>")
        self._invites = [await callee.hears(self.id, "INVITE") for callee in self.callees]

    async def ring(self, at: int = 0) -> None:
        await self._reply(180, at)

    async def answer(self, at: int = 0) -> None:
        """Answer at one phone, upon which the others are told to give up."""
        await self._reply(200, at)
        self._answered_at = at
        self._send_inside("ACK")
        await self.callees[at].hears(self.id, "ACK")
        for other in range(len(self.callees)):
            if other != at:
                await self._give_up(other)
                await self.callees[other].hears(self.id, "ACK")

    async def refuse(self) -> None:
        await self._reply(486)
        self._acknowledge()

    async def cancel(self) -> None:
        self._send("CANCEL", self._uri, to=f"<{self._uri}>")
        for at in range(len(self.callees)):
            await self._give_up(at)
        self._answer = await self.caller.hears(self.id, "487")
        self._acknowledge()

    async def info(self) -> None:
        await self._ask("INFO")

    async def hang_up(self) -> None:
        await self._ask("BYE")

    async def _ask(self, method: str) -> None:
        """Play a request of the caller inside the dialog, and its 200."""
        self._cseq += 1
        self._send_inside(method)
        callee = self.callees[self._answered_at]
        callee.send(wire.answer(await callee.hears(self.id, method)))
        await self.caller.hears(self.id, "200")

    async def _give_up(self, at: int) -> None:
        """Answer the CANCEL, and then the INVITE with 487."""
        self.callees[at].send(wire.answer(await self.callees[at].hears(self.id, "CANCEL")))
        self._say(487, at)

    async def _reply(self, status: int, at: int = 0) -> None:
        self._say(status, at)
        self._answer = await self.caller.hears(self.id, str(status))

    def _say(self, status: int, at: int) -> None:
        """Answer the INVITE as this callee, with its tag and its Contact."""
        callee, invite = self.callees[at], self._invites[at]
        head = wire.answer(invite, status).decode()
        to = invite.get("to")
        contact = f"Contact: <sip:{self.to}@127.0.0.1:{callee.port}>"
        callee.send(head.replace(f"to: {to}\r\n", f"to: {to};tag=callee-{at}\r\n{contact}\r\n").encode())

    def _acknowledge(self) -> None:
        """ACK a refusal: to the same address, with the branch of the INVITE (RFC 3261 section 17.1.1.3)."""
        self._send("ACK", self._uri, to=self._answer.get("to"))

    def _send_inside(self, method: str) -> None:
        target = self._answer.get("contact").strip("<>")
        routes = self._answer.all("record-route")[::-1]
        self._send(method, target, to=self._answer.get("to"), branch=method, routes=routes)

    def _send(self, method: str, uri: str, *, to: str, branch: str = "INVITE", routes: list[str] | None = None) -> None:
        here = f"127.0.0.1:{self.caller.port}"
        lines = [
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/UDP {here};branch=z9hG4bK-{branch}-{self._cseq}-{self.number}",
            *(f"Route: {route}" for route in routes or ()),
            f"From: <sip:{self.from_}@{REALM}>;tag=caller",
            f"To: {to}",
            f"Call-ID: {self.id}",
            f"CSeq: {self._cseq} {method}",
            f"Contact: <sip:{self.from_}@{here}>",
            "Max-Forwards: 70",
            "Content-Length: 0",
        ]
        self.caller.send("\r\n".join([*lines, "", ""]).encode())
