"""The servers that are compared, each on one core, on free ports, with a folder of its own that vanishes with it."""

import socket
import sqlite3
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from benchmarks.processes import SERVER_CORE, cpu_seconds, memory_bytes, pinned

ACCOUNT = "0123456789abcdef0123456789abcdef"
TOKEN = "bench-token"
REALM = "office.example.com"
START_S = 20.0
PEERS = Path(__file__).parent / "peers"
SCHEMAS = Path("/usr/share/kamailio/db_sqlite")
SHARED_MIB, PRIVATE_MIB = 8192, 256
READ_BUFFER = 4 * 1024 * 1024  # bytes; what a user without further rights may have by default here


def free_port() -> int:
    """A port that is free for UDP and TCP."""
    with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        port: int = tcp.getsockname()[1]
        udp.bind(("127.0.0.1", port))
        return port


class Contender(ABC):
    """A server between `with` and its end."""

    name: str
    has_http = False

    def __enter__(self) -> Self:
        self._folder = TemporaryDirectory(prefix="sipresence-bench-")
        self.folder = Path(self._folder.name)
        self.port = free_port()
        self.http_port = free_port()
        self._log = (self.folder / "log").open("wb")
        command = pinned(SERVER_CORE, *self._command())
        self._process = subprocess.Popen(command, stdout=self._log, stderr=subprocess.STDOUT, cwd=self._home())
        self._wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()
        self._folder.cleanup()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def cpu(self) -> float:
        """Seconds of CPU that it has used."""
        return cpu_seconds(self._process.pid)

    @property
    def memory(self) -> int:
        """Bytes of memory that it has now."""
        return memory_bytes(self._process.pid)

    def _home(self) -> Path:
        """The working directory."""
        return self.folder

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """What starts it."""

    def _wait(self) -> None:
        """Until it answers OPTIONS, whatever it says."""
        deadline = time.monotonic() + START_S
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            probe.settimeout(0.2)
            here = "{}:{}".format(*probe.getsockname())
            question = (
                f"OPTIONS sip:{REALM} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bKprobe{self.port}\r\n"
                f"From: <sip:probe@{REALM}>;tag=1\r\nTo: <sip:{REALM}>\r\nCall-ID: probe@{here}\r\nCSeq: 1 OPTIONS\r\n"
                "Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
            )
            while time.monotonic() < deadline and self._process.poll() is None:
                probe.sendto(question.encode(), ("127.0.0.1", self.port))
                try:
                    probe.recv(4096)
                except TimeoutError:
                    continue
                return
        raise RuntimeError(f"{self.name} does not answer:\n{(self.folder / 'log').read_text(errors='replace')}")


class Sipresence(Contender):
    """Ours. `python` is the interpreter of the environment that it is installed in."""

    has_http = True

    def __init__(self, store: str, *, name: str, python: str = sys.executable) -> None:
        self.name = name
        self._store = store
        self._python = python

    def _command(self) -> Sequence[str]:
        config = self.folder / "sipresence.toml"
        config.write_text(
            f'[sip]\nlisten = ["udp://127.0.0.1:{self.port}", "tcp://127.0.0.1:{self.port}"]\n'
            f'[http]\nlisten = "127.0.0.1:{self.http_port}"\n[store]\nurl = "{self._store}"\n'
            f'[[accounts]]\nid = "{ACCOUNT}"\nname = "Bench"\nrealm = "{REALM}"\ntokens = ["{TOKEN}"]\n'
        )
        return (self._python, "-m", "sipresence", "serve", "--config", str(config))


class Kamailio(Contender):
    """The peer, given its best: the fast allocators, one worker, no debugging. `mode` names its configuration."""

    def __init__(self, mode: str) -> None:
        self.name = f"kamailio-{mode}"
        self._mode = mode

    def _command(self) -> Sequence[str]:
        database = self.folder / "presence.db"
        with closing(sqlite3.connect(database)) as db:
            for schema in ("standard", "presence"):
                db.executescript((SCHEMAS / f"{schema}-create.sql").read_text())
        return (
            "kamailio", "-f", str(PEERS / f"kamailio-{self._mode}.cfg"), "-A", f"PORT={self.port}",
            "-A", f'DATABASE="sqlite://{database}"', "-DD", "-E", "-x", "tlsf", "-X", "fm",
            "-m", str(SHARED_MIB), "-M", str(PRIVATE_MIB), "-b", str(READ_BUFFER), "-Y", str(self.folder),
        )  # fmt: skip
