"""A phone in a browser: JsSIP, on node, subscribes over WS and WSS and sees its lamp."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from tests.certificates import Authority
from tests.conftest import need_node_modules
from tests.e2e.conftest import StartServer
from tests.e2e.server import Server, free_port

FOLDER = Path(__file__).parent / "ws"
PATIENCE_S = 10.0

pytestmark = pytest.mark.e2e


class Browser:
    """The lines that the phone writes, one after the other."""

    def __init__(self, output: IO[str]) -> None:
        self._output = output

    def next(self) -> dict[str, object]:
        line = self._output.readline()
        assert line, "the phone has ended"
        said: dict[str, object] = json.loads(line)
        return said


@contextmanager
def browser(url: str, extension: str, ca: Path) -> Iterator[Browser]:
    command = [need_node_modules(FOLDER), str(FOLDER / "phone.js"), url, f"sip:{extension}@office.example.com"]
    environment = {**os.environ, "NODE_EXTRA_CA_CERTS": str(ca)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    phone = Browser(process.stdout)
    try:
        yield phone
        process.terminate()
        assert phone.next()["final"] is True
        assert phone.next() == {"terminated": 6}  # by the last NOTIFY
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("transport", ["ws", "wss"])
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_the_lamp_follows(start_server: StartServer, tmp_path: Path, transport: str, host: str) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("office", "IP:127.0.0.1", "IP:::1")
    url = f"{transport}://{host}:{free_port()}"
    files = {"tls_certificate": str(pair.certificate), "tls_private_key": str(pair.private_key)}
    server: Server = start_server(listen=[url], sip=files)
    with browser(url, "*3101", authority.pair.certificate) as phone:
        first = phone.next()
        assert first["state"] == "terminated"
        assert str(first["via"]).startswith(f"SIP/2.0/{transport.upper()} {host}:")
        assert ".invalid;" in str(first["uri"])
        server.command("*3101", action="set", state="early")
        assert phone.next()["state"] == "early"
        server.command("*3101", action="set", state="confirmed")
        assert phone.next()["state"] == "confirmed"
