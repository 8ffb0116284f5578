"""The load generator at work: one C program that plays all phones, and is told phase by phase what to do."""

import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

from benchmarks.processes import LOAD_CORE, pinned
from benchmarks.servers import ACCOUNT, TOKEN, Contender

PROGRAM = Path(__file__).parent / "build" / "load"
FAULTS = ("refused", "lost", "strays", "without_state", "wrong_cseq", "wrong_version", "skipped")

Report: TypeAlias = dict[str, Any]
"""What the program says of a phase: counts, seconds, and latencies in microseconds."""


class Load:
    """Phones of one server between `with` and its end."""

    def __init__(self, server: Contender, *, phones: int, keys: int, resources: int, tcp: bool = False) -> None:
        self._server = server
        address = f"127.0.0.1:{server.port}"
        self._command = [
            str(PROGRAM), "--server", address, "--phones", str(phones), "--keys", str(keys),
            "--resources", str(resources), *(["--tcp"] if tcp else []),
        ]  # fmt: skip
        if server.has_http:
            http = f"127.0.0.1:{server.http_port}"
            self._command += ["--http", http, "--account", ACCOUNT, "--token", TOKEN]

    def __enter__(self) -> Self:
        command = pinned(LOAD_CORE, *self._command)
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=60)

    def perform(self, phase: str, *numbers: int) -> Report:
        """Do one phase; return what happened, with the server's CPU seconds. Raises RuntimeError for a fault."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        before = self._server.cpu
        self._process.stdin.write(" ".join([phase, *map(str, numbers)]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the load generator ended in {phase}")
        report: Report = {**json.loads(line), "cpu": self._server.cpu - before}
        faults = {fault: report[fault] for fault in FAULTS if report[fault]}
        if faults:
            raise RuntimeError(f"{self._server.name}, {phase}: {faults}, last refusal {report['last_refusal']}")
        return report
