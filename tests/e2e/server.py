"""A real `sipresence serve` process: on free ports, with a configuration of its own, and a log that must stay clean.

The account is that of the demo office. A server can be stopped with SIGTERM, or killed, and started again: with the
same configuration, so on the same ports and with the same database.
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

ACCOUNT = "0123456789abcdef0123456789abcdef"
TOKEN = "demo-token"
REALM = "office.example.com"
DEVICES = {"alice-desk": "alice-demo-secret", "bob-desk": "bob-demo-secret"}  # SIP user names and passwords
PROGRAM = (sys.executable, "-m", "sipresence")
MIN_EXPIRES = 2  # s; with 1 no interval would be too brief, as 0 ends a subscription
START_S = 20.0
STOP_S = 20.0

Setting = str | int | float | bool | Sequence[str]

_TROUBLE = re.compile(
    r'Traceback|"level": ?"(error|critical)"|\[(error|critical) *\]|^(ERROR|CRITICAL)\b', re.MULTILINE
)


class Server:
    """One server in `folder`, which holds its configuration, its database and its log.

    `sip` and `limits` are further keys of these tables of the configuration, `listen` further listeners. With
    the host 0.0.0.0 other hosts reach it, too. `program` runs `sipresence`; the command follows it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        store: str = "sqlite:presence.db",
        sip: Mapping[str, Setting] | None = None,
        listen: Sequence[str] = (),
        limits: Mapping[str, Setting] | None = None,
        host: str = "127.0.0.1",
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self._host = host
        self._program = tuple(program)
        self.sip_port = free_port()
        self.http_port = free_port()
        self.log_file = folder / "server.log"
        self._config_file = folder / "sipresence.toml"
        self._config_file.write_text(self._configuration(store, sip or {}, listen, limits or {}))
        self.passed: Sequence[socket.socket] = ()  # to the process, under the same numbers
        self.environment: Mapping[str, str] = {}  # of the process, besides ours
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def sip(self) -> str:
        """The address of the SIP listeners, UDP and TCP, as host:port."""
        return f"127.0.0.1:{self.sip_port}"

    @property
    def url(self) -> str:
        """Where the HTTP API is."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        """The running process."""
        assert self._process is not None, "the server is not running"
        return self._process

    @property
    def log(self) -> str:
        """All that the process, and those before it, wrote to stdout and stderr."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def start(self) -> None:
        """Start the process and wait until it serves."""
        assert self._process is None, "the server is running already"
        command = [*self._program, "serve", "--config", str(self._config_file)]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SIPRESENCE_")}
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**environment, **self.environment},
                pass_fds=[sock.fileno() for sock in self.passed],
            )
        deadline = time.monotonic() + START_S
        while not self._serves():
            assert self.process.poll() is None, f"the server ended with status {self.process.returncode}:\n{self.log}"
            assert time.monotonic() < deadline, f"the server does not serve after {START_S} s:\n{self.log}"
            time.sleep(0.05)

    def stop(self) -> None:
        """End the process in good order: SIGTERM, upon which it must exit with status 0."""
        status = self._end(signal.SIGTERM)
        assert status == 0, f"exit status {status} after SIGTERM:\n{self.log}"

    def launch_by(self, *program: str) -> None:
        """From the next start on run `sipresence` by this program."""
        self._program = program

    def configure(self, *changes: tuple[str, str]) -> None:
        """Replace text in the configuration file."""
        text = self._config_file.read_text()
        for old, new in changes:
            assert text.count(old) == 1, (old, text)
            text = text.replace(old, new)
        self._config_file.write_text(text)

    def reload(self, *changes: tuple[str, str]) -> str:
        """Change the configuration file, send SIGHUP, and return what is logged until that is done."""
        self.configure(*changes)
        before = len(self.log)
        self.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + START_S
        while "reloaded" not in self.log[before:].rpartition("configuration")[2]:
            assert time.monotonic() < deadline, f"not reloaded:\n{self.log}"
            time.sleep(0.02)
        time.sleep(0.05)  # for the lines that follow
        return self.log[before:]

    def forget(self) -> None:
        """The process has ended by itself, in good order."""
        assert self.process.poll() == 0, f"exit status {self.process.poll()}:\n{self.log}"
        self._process = None

    def kill(self) -> None:
        """End the process with no chance to write anything: kill -9."""
        self._end(signal.SIGKILL)

    def command(self, extension: str, **data: str) -> None:
        """Press the admin's buttons: `action="set", state="early"`, or `action="reset"`."""
        url = f"{self.url}/v2/accounts/{ACCOUNT}/presence/{extension}"
        with urlopen(Request(url, json.dumps({"data": data}).encode(), {"X-Auth-Token": TOKEN})) as answer:
            assert answer.status == 202

    def check_log(self) -> None:
        """Fail on a traceback or an error in the log."""
        assert not _TROUBLE.search(self.log), f"errors in the server's log:\n{self.log}"

    def close(self) -> None:
        """Stop the process if it runs, then check the log."""
        if self._process is not None:
            self.stop()
        self.check_log()

    def _end(self, how: signal.Signals) -> int:
        process, self._process = self.process, None
        process.send_signal(how)
        try:
            return process.wait(STOP_S)
        finally:
            process.kill()  # of no effect once it has ended
            process.wait()

    def _serves(self) -> bool:
        """Whether SIP listens and the API answers, which it does once the store is loaded."""
        request = Request(f"{self.url}/v2/accounts/{ACCOUNT}/presence/0", headers={"X-Auth-Token": TOKEN})
        try:
            with socket.create_connection(("127.0.0.1", self.sip_port), 1), urlopen(request, timeout=1) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False

    def _configuration(
        self, store: str, sip: Mapping[str, Setting], listen: Sequence[str], limits: Mapping[str, Setting]
    ) -> str:
        settings: dict[str, Setting] = {
            "listen": [f"udp://{self._host}:{self.sip_port}", f"tcp://{self._host}:{self.sip_port}", *listen],
            "min_expires": MIN_EXPIRES,
            **sip,
        }
        account: dict[str, Setting] = {
            "id": ACCOUNT,
            "name": "Demo office",
            "realm": REALM,
            "aliases": ["127.0.0.1"],
            "tokens": [TOKEN],
        }
        return "\n".join(
            (
                *_table("[sip]", settings),
                *_table("[http]", {"listen": f"{self._host}:{self.http_port}"}),
                *_table("[store]", {"url": store}),
                *_table("[limits]", limits),
                *_table("[log]", {"level": "info", "format": "json"}),
                *_table("[[accounts]]", account),
                *(line for username, password in DEVICES.items() for line in _device(username, password)),
            )
        )


@contextlib.contextmanager
def running(
    folder: Path,
    *,
    store: str = "sqlite:presence.db",
    sip: Mapping[str, Setting] | None = None,
    listen: Sequence[str] = (),
    limits: Mapping[str, Setting] | None = None,
    host: str = "127.0.0.1",
    program: Sequence[str] = PROGRAM,
) -> Iterator[Server]:
    """Start a server; in the end stop it and fail if its log shows an error."""
    server = Server(folder, store=store, sip=sip, listen=listen, limits=limits, host=host, program=program)
    try:
        server.start()
        yield server
    finally:
        server.close()


def _table(header: str, settings: Mapping[str, Setting]) -> list[str]:
    """Write a table of TOML, in which strings, numbers, booleans and lists look as in JSON."""
    return [header, *(f"{key} = {json.dumps(value)}" for key, value in settings.items())]


def _device(username: str, password: str) -> list[str]:
    device = _table("[[accounts.devices]]", {"id": username.encode().hex().ljust(32, "0")[:32]})
    return [*device, *_table("[accounts.devices.sip]", {"username": username, "password": password})]


def free_port() -> int:
    """Find a port that is free for UDP and TCP."""
    while True:
        with socket.socket(type=socket.SOCK_STREAM) as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            port: int = tcp.getsockname()[1]
            with contextlib.suppress(OSError):  # taken for UDP: another one
                udp.bind(("127.0.0.1", port))
                return port
