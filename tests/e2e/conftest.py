"""Fixtures of the end-to-end tests: server processes that are stopped, and whose logs are checked, after each test."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from tests.e2e.server import PROGRAM, Server, Setting, running


class StartServer(Protocol):
    """Start a server of its own; see `tests.e2e.server.running`."""

    def __call__(
        self,
        *,
        store: str = ...,
        sip: Mapping[str, Setting] | None = ...,
        listen: Sequence[str] = ...,
        limits: Mapping[str, Setting] | None = ...,
        host: str = ...,
        program: Sequence[str] = ...,
    ) -> Server: ...


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Start any number of servers, each in a folder of its own."""
    with ExitStack() as servers:
        count = 0

        def start(
            *,
            store: str = "sqlite:presence.db",
            sip: Mapping[str, Setting] | None = None,
            listen: Sequence[str] = (),
            limits: Mapping[str, Setting] | None = None,
            host: str = "127.0.0.1",
            program: Sequence[str] = PROGRAM,
        ) -> Server:
            nonlocal count
            count += 1
            folder = tmp_path / f"server-{count}"
            folder.mkdir()
            return servers.enter_context(
                running(folder, store=store, sip=sip, listen=listen, limits=limits, host=host, program=program)
            )

        yield start


@pytest.fixture
def server(start_server: StartServer) -> Server:
    """A running server with an SQLite database."""
    return start_server()
