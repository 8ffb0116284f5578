"""`sipresence backup` beside a running server, and a server that starts with what it wrote."""

import asyncio
import sqlite3
import stat
import subprocess
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.e2e.conftest import StartServer
from tests.e2e.fleet import Fleet, Phone
from tests.e2e.server import PROGRAM, Server

PHONES = 300
LOAD_S = 1.0


def backup(server: Server, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    config = server.log_file.with_name("sipresence.toml")
    command = [*PROGRAM, "backup", *map(str, arguments), "--config", str(config)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)


async def keep_subscribing(fleet: Fleet) -> None:
    while True:
        await fleet.subscribe(fleet.add("102"))


async def test_a_copy_taken_under_load_holds_all_that_was_acknowledged(server: Server, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    async with Fleet(("127.0.0.1", server.sip_port)) as fleet:
        fleet.gaps_allowed = True
        phones = [fleet.add("101") for _ in range(PHONES)]
        await fleet.subscribe_all(phones)
        server.command("101", action="set", state="early")
        load = [asyncio.create_task(keep_subscribing(fleet)) for _ in range(20)]
        await asyncio.sleep(LOAD_S / 2)
        acknowledged = [phone for phone in fleet.phones.values() if phone.status == 200]
        begun = time.monotonic()
        done = await asyncio.to_thread(backup, server, copy)
        took = time.monotonic() - begun
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"{copy}: {copy.stat().st_size} bytes\n"
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        server.command("101", action="set", state="confirmed")
        server.command("101", action="set", state="terminated")
        await asyncio.sleep(LOAD_S / 2)
        for task in load:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        print(f"\n{len(acknowledged)} subscriptions acknowledged before; the command took {took:.2f} s")
        with closing(sqlite3.connect(copy)) as db:
            held = {call_id for (call_id,) in db.execute("SELECT call_id FROM subscriptions")}
        assert {phone.call_id for phone in acknowledged} <= held
        await restored_from(copy, server, fleet, phones)


async def restored_from(copy: Path, server: Server, fleet: Fleet, phones: list[Phone]) -> None:
    """Start with the copy: every phone is told the lamp as it was then, with numbers above all it has seen."""
    assert await fleet.settled(lambda: {phone.lamp for phone in phones} == {"terminated"}, within=5)
    await asyncio.to_thread(server.stop)
    server.configure(('url = "sqlite:presence.db"', f'url = "sqlite://{copy}"'))
    await asyncio.to_thread(server.start)
    assert await fleet.settled(lambda: {phone.lamp for phone in phones} == {"early"}, within=8)
    assert await fleet.subscribe(phones[0]) == 200
    assert fleet.faults == []


def test_a_copy_of_a_server_that_is_stopped(server: Server, tmp_path: Path) -> None:
    server.stop()
    assert backup(server, tmp_path / "copy.db").returncode == 0
    server.start()


def test_nothing_is_overwritten_unless_asked(server: Server, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    copy.write_text("mine")
    done = backup(server, copy)
    assert (done.returncode, done.stderr) == (1, f"sipresence: {copy} is there already (--force overwrites it)\n")
    assert copy.read_text() == "mine"
    assert backup(server, copy, "--force").returncode == 0
    database = server.log_file.with_name("presence.db")
    done = backup(server, database, "--force")
    assert (done.returncode, done.stderr) == (1, f"sipresence: {database} is the database itself\n")
    assert [file.name for file in tmp_path.glob(".copy*")] == []


def test_what_cannot_be_copied(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(store="memory:")
    done = backup(server, tmp_path / "copy.db")
    assert (done.returncode, done.stderr) == (1, "sipresence: store.url is memory: - there is nothing to copy\n")
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as db:
        db.execute("CREATE TABLE mine (id)")
    for database, wrong in (
        (other, "is a database of another program"),
        (tmp_path / "none.db", "there is no database"),
    ):
        done = backup(server, tmp_path / "copy.db", "--set", f"store.url=sqlite://{database}")
        assert done.returncode == 1
        assert wrong in done.stderr
    assert not (tmp_path / "copy.db").exists()


@pytest.mark.parametrize("target", ["missing/copy.db", "."])
def test_a_place_that_cannot_be_written(server: Server, tmp_path: Path, target: str) -> None:
    done = backup(server, tmp_path / target, "--force")
    assert done.returncode == 1
    assert done.stderr.startswith("sipresence: cannot copy ")
    assert done.stderr.count("\n") == 1
