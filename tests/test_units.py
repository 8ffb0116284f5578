"""The systemd units: that systemd understands them, and that they fit the server and each other."""

import shutil
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

import pytest

from sipresence.config.model import Config, StoreConfig

UNITS = Path(__file__).parents[1] / "contrib" / "systemd"
SERVICE, SOCKET = UNITS / "sipresence.service", UNITS / "sipresence.socket"


class _AllValues(dict[str, Any]):
    """A key that is there again adds a line, as in a unit."""

    def __setitem__(self, key: str, value: Any) -> None:
        if isinstance(value, list) and key in self:
            self[key].extend(value)
        else:
            super().__setitem__(key, value)


def read(unit: Path) -> RawConfigParser:
    parser = RawConfigParser(strict=False, dict_type=_AllValues, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(unit)
    return parser


def test_the_service_says_when_it_is_ready_and_lives() -> None:
    service = read(SERVICE)["Service"]
    assert service["Type"] == "notify"
    assert int(service["WatchdogSec"]) >= 10
    assert service["ExecReload"].endswith("kill -HUP $MAINPID")


def test_the_service_is_hardened() -> None:
    service = read(SERVICE)["Service"]
    assert service["User"] not in ("", "root")
    assert service["CapabilityBoundingSet"] == service["AmbientCapabilities"] == ""
    assert (service["ProtectSystem"], service["NoNewPrivileges"]) == ("strict", "yes")
    assert {"AF_INET", "AF_INET6", "AF_UNIX"} <= set(service["RestrictAddressFamilies"].split())


def test_the_state_directory_is_where_the_database_is() -> None:
    path = StoreConfig().path
    assert path is not None
    assert path.parent == Path("/var/lib") / read(SERVICE)["Service"]["StateDirectory"]


def test_the_sockets_are_the_default_listeners() -> None:
    sockets = read(SOCKET)["Socket"]
    listeners = {f"udp://{sockets['ListenDatagram']}", f"tcp://{sockets['ListenStream']}"}
    assert listeners == {listener.url for listener in Config().sip.listen}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_has_nothing_to_say(tmp_path: Path) -> None:
    service, sockets = tmp_path / SERVICE.name, tmp_path / SOCKET.name
    program = read(SERVICE)["Service"]["ExecStart"].split()[0]
    service.write_text(SERVICE.read_text().replace(program, sys.executable))  # which has to be there
    sockets.write_text(SOCKET.read_text())
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(service), str(sockets)],
        check=False,
        capture_output=True,
        text=True,
    )
    about_ours = [line for line in done.stderr.splitlines() if "sipresence" in line]
    assert about_ours == []
