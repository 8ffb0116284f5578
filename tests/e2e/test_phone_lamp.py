"""The whole way, seen by a real phone: pjsua2 subscribes, an admin sets and resets, the lamp follows."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue

import pytest

from tests.certificates import Authority
from tests.conftest import need_phone
from tests.e2e.conftest import StartServer
from tests.e2e.server import ACCOUNT, TOKEN, Server, free_port

PATIENCE_S = 10.0

pytestmark = pytest.mark.e2e


class PhoneProcess:
    """`sipresence phone --json` in a process of its own; `lamp()` is the next state it shows."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._lines: Queue[str] = Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self._shown = ""

    def lamp(self) -> str:
        """Wait for the lamp to change; return what it shows then."""
        while True:
            state = str(json.loads(self._lines.get(timeout=PATIENCE_S))["state"])
            if state and state != self._shown:
                self._shown = state
                return state

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)


@contextmanager
def _phone(server: Server, extension: str, transport: str, *, port: int = 0) -> Iterator[PhoneProcess]:
    uri = f"sip:{extension}@127.0.0.1:{port or server.sip_port}"
    command = [sys.executable, "-m", "sipresence", "phone", uri, "--json", "--transport", transport]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield PhoneProcess(process)
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()


def _sipresence(server: Server, *arguments: str) -> str:
    command = [sys.executable, "-m", "sipresence", *arguments, "--url", server.url, "--token", TOKEN]
    done = subprocess.run([*command, "--account", ACCOUNT], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_the_lamp_follows(start_server: StartServer, tmp_path: Path, transport: str) -> None:
    need_phone()
    pair = Authority(tmp_path).issue("office", "IP:127.0.0.1")
    tls = {"tls_certificate": str(pair.certificate), "tls_private_key": str(pair.private_key)}
    port = free_port()
    server = start_server(listen=[f"tls://127.0.0.1:{port}"], sip=tls)
    with _phone(server, "*3101", transport, port=port if transport == "tls" else 0) as phone:
        assert phone.lamp() == "terminated"
        _sipresence(server, "set", "*3101", "early")
        assert phone.lamp() == "early"
        _sipresence(server, "set", "*3101", "confirmed")
        assert phone.lamp() == "confirmed"
        listed = json.loads(_sipresence(server, "list", "*3101", "--json"))
        assert listed["state"] == "confirmed"
        assert len(listed["subscriptions"]["*3101"]["dialog"]) == 1
        _sipresence(server, "reset", "*3101")
        assert phone.lamp() == "terminated"
    listed = json.loads(_sipresence(server, "list", "*3101", "--json"))
    assert listed["subscriptions"] == {}, "the phone unsubscribed as it left"


def test_a_state_set_before_is_in_the_first_notify(start_server: StartServer) -> None:
    need_phone()
    server = start_server()
    _sipresence(server, "set", "110011", "confirmed")
    with _phone(server, "110011", "udp") as phone:
        assert phone.lamp() == "confirmed"
