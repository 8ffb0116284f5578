"""A real Kamailio on loopback: an outbound proxy that record-routes between phones and our server.

It listens on UDP and on TCP, and reaches the server over the other of the two than the phone uses, so that each dialog
has two Record-Routes of it (its `enable_double_rr`). A phone with a private Contact gets the usual help of a proxy:
nathelper's alias in Contact, taken out again on the way back.
"""

import contextlib
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.conftest import need
from tests.e2e.server import free_port

START_S = 10.0
STOP_S = 10.0
FORKED = "555"
"""SUBSCRIBEs to this extension go to the server twice, as two branches."""

_CONFIGURATION = """\
debug=2
log_stderror=yes
children=2
tcp_children=2
auto_aliases=no
dns=no
rev_dns=no
listen=udp:127.0.0.1:{udp}
listen=tcp:127.0.0.1:{tcp}
loadmodule "corex.so"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "xlog.so"
loadmodule "siputils.so"
loadmodule "textops.so"
loadmodule "maxfwd.so"
loadmodule "nathelper.so"
modparam("rr", "enable_double_rr", 1)

request_route {{
    xlog("L_NOTICE", "seen $rm over $pr, Request-URI $ru, Route $(hdr(Route)[*])\\n");
    if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
    if (nat_uac_test("1")) {{ add_contact_alias(); }}
    if (has_totag()) {{
        if (!loose_route()) {{ sl_send_reply("404", "No Route"); exit; }}
        handle_ruri_alias();
        if (is_method("NOTIFY")) {{ record_route(); }}  # RFC 6665 section 4.3
        t_relay();
        exit;
    }}
    record_route();
    $du = "sip:127.0.0.1:{server};transport={transport}";
    if ($rU == "{forked}") {{ append_branch("sip:{forked}@127.0.0.1:{server};transport={transport}"); }}
    t_relay();
}}
"""


_SEEN = r"seen %s over (\w+), Request-URI (\S+), Route (.*)"


class Seen(NamedTuple):
    """What Kamailio logs of a request that comes in."""

    transport: str
    uri: str
    route: str


class Kamailio:
    """One Kamailio before the server at port `server`, which it reaches over `transport`."""

    def __init__(self, folder: Path, *, server: int, transport: str) -> None:
        self.udp_port = free_port()
        self.tcp_port = free_port()
        self._log_file = folder / "kamailio.log"
        self._configuration = folder / "kamailio.cfg"
        self._folder = folder
        self._configuration.write_text(
            _CONFIGURATION.format(
                udp=self.udp_port, tcp=self.tcp_port, server=server, transport=transport, forked=FORKED
            )
        )

    @property
    def log(self) -> str:
        return self._log_file.read_text(errors="replace")

    def port(self, transport: str) -> int:
        return self.udp_port if transport == "udp" else self.tcp_port

    def seen(self, method: str) -> list[Seen]:
        """Each request of this method as it came in."""
        return [Seen(*found) for found in re.findall(_SEEN % method, self.log)]

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run it in the foreground; end it by its pid, upon which it ends its children."""
        command = [need("kamailio"), "-f", str(self._configuration), "-DD", "-E", "-m", "32", "-M", "4"]
        with self._log_file.open("wb") as log:
            process = subprocess.Popen(
                [*command, "-Y", str(self._folder)], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            deadline = time.monotonic() + START_S
            while not self._serves():
                assert process.poll() is None, f"Kamailio ended:\n{self.log}"
                assert time.monotonic() < deadline, f"Kamailio does not serve:\n{self.log}"
                time.sleep(0.05)
            yield
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            finally:
                process.kill()  # of no effect once it has ended
                process.wait()

    def _serves(self) -> bool:
        """Whether it accepts connections: its TCP processes are the last to start."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.tcp_port), 1):
            return True
        return False
