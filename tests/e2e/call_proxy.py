"""A real Kamailio on loopback as the proxy of two phones' calls, which it PUBLISHes to our server (pua_dialoginfo).

All parameters of pua_dialoginfo keep their defaults, so that the caller's lamp goes through `Trying` and `early`, too:
three publications about one caller within a few milliseconds are the hardest that Kamailio has for a server.
"""

import shutil
from pathlib import Path

from tests.conftest import need
from tests.e2e.kamailio import Kamailio
from tests.e2e.server import REALM, free_port

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
    $du = "sip:127.0.0.1:{callee}";
    t_relay();
}}
"""


class CallProxy(Kamailio):
    """A Kamailio that takes every call to the phone at `callee_port`, and says so to the server at port `server`."""

    def __init__(self, folder: Path, *, server: int) -> None:
        if not any(Path("/usr/lib").glob(MODULES)):
            need("pua_dialoginfo.so")  # which is no program, so that this skips the test, or fails it
        super().__init__(folder, server=server, transport="udp")
        self.callee_port = free_port()
        tables = folder / "dbtext"
        shutil.copytree(TABLES, tables)  # pua insists on its tables, though it keeps all in memory
        self._configuration.write_text(
            _CONFIGURATION.format(
                realm=REALM,
                udp=self.udp_port,
                tcp=self.tcp_port,
                server=server,
                callee=self.callee_port,
                tables=tables,
            )
        )
