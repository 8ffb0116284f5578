"""What only a file has: a schema, a lock, a log, bad neighbours and a life after kill -9."""

import asyncio
import errno
import multiprocessing
import os
import shutil
import sqlite3
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal, TypeAlias

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from sipresence.backends import failure_mark, sqlite
from sipresence.backends.failure_mark import FailureMark
from sipresence.backends.memory import MemoryStore
from sipresence.backends.sqlite import SqliteStore
from sipresence.errors import StoreError, StoreUnusable
from sipresence.events.effects import Forget, SaveState, Write
from sipresence.events.record import SubscriptionRecord
from sipresence.events.resource import DialogState, reset
from sipresence.names import ResourceId, SubscriptionId
from sipresence.ports import Loaded
from tests.contract.test_store import ACCOUNT, commit, record, save, set_lamp

Batches: TypeAlias = list[list[Write]]


def make(path: Path) -> SqliteStore:
    return SqliteStore(path, synchronous="normal")


async def load_once(path: Path) -> Loaded:
    """Open the store, read it and close it."""
    store = make(path)
    try:
        return await store.load()
    finally:
        await store.close()


def live(path: Path, *writes: Write) -> Loaded:
    """One life of a server: read the store, commit `writes`, close it."""

    async def run() -> Loaded:
        store = make(path)
        loaded = await store.load()
        assert await commit(store, *writes) is None
        await store.close()
        return loaded

    return asyncio.run(run())


def run_sql(path: Path, *statements: str) -> None:
    """Do to a database what another program might."""
    with closing(sqlite3.connect(path)) as db, db:
        for statement in statements:
            db.execute(statement)


def refusal(path: Path) -> str:
    """The one line with which the store is refused."""
    with pytest.raises(StoreUnusable) as refused:
        asyncio.run(make(path).load())
    line = str(refused.value)
    assert str(path) in line
    assert "\n" not in line
    return line


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "presence.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    opened = make(path)
    await opened.load()
    yield opened
    await opened.close()


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[sqlite3.Connection]:
    """The connections that the store opens: its writer's first."""
    opened: list[sqlite3.Connection] = []
    connect = sqlite._connect

    def spy(path: Path) -> sqlite3.Connection:
        opened.append(connect(path))
        return opened[-1]

    monkeypatch.setattr(sqlite, "_connect", spy)
    return opened


# The file


async def test_the_file_and_its_folder_are_made_for_the_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "var" / "lib" / "presence.db"
    store = make(path)
    await store.load()
    assert await commit(store, save(record())) is None
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    await store.close()
    assert modes == dict.fromkeys(
        ["presence.db", "presence.db-wal", "presence.db-shm", "presence.db.lock"], stat.S_IRUSR | stat.S_IWUSR
    )
    assert stat.S_IMODE(path.parent.stat().st_mode) == stat.S_IRWXU
    assert sorted(file.name for file in path.parent.iterdir()) == ["presence.db", "presence.db.lock"]


async def test_the_columns_are_those_of_the_record(store: SqliteStore, path: Path) -> None:
    """The record itself is the parameter tuple of its statement: the order must be one."""
    with closing(sqlite3.connect(path)) as db:
        columns = [name for _, name, *_ in db.execute("PRAGMA table_info(subscriptions)")]
    assert columns == list(SubscriptionRecord._fields)


@pytest.mark.parametrize(("mode", "level"), [("normal", 1), ("full", 2)])
async def test_synchronous_is_as_configured(
    path: Path, mode: Literal["normal", "full"], level: int, connections: list[sqlite3.Connection]
) -> None:
    store = SqliteStore(path, synchronous=mode)
    await store.load()
    assert connections[0].execute("PRAGMA synchronous").fetchone() == (level,)
    await store.close()


async def test_an_answer_comes_after_the_commit(store: SqliteStore, path: Path) -> None:
    seen: list[int] = []
    with closing(sqlite3.connect(path)) as reader:

        def done(error: StoreError | None) -> None:
            seen.extend(reader.execute("SELECT count(*) FROM subscriptions").fetchone())

        store.submit([save(record(1)), save(record(2))], done)
        await commit(store)
        assert seen == [2]


# Refusals


def test_garbage_is_refused(path: Path) -> None:
    path.write_bytes(b"this is no database " * 500)
    assert "file is not a database" in refusal(path)


def test_a_damaged_database_is_refused(path: Path) -> None:
    live(path, *(save(record(id)) for id in range(200)))
    with path.open("r+b") as file:
        file.seek(4 * 4096)
        file.write(b"\xff" * 4096 * 20)
    assert "malformed" in refusal(path)


def test_a_row_that_nobody_can_read_is_refused(path: Path) -> None:
    live(path)
    run_sql(path, "INSERT INTO states VALUES ('a', 'r', 'oracle', '[]', 1.0, NULL, '', '', '', '{}')")
    assert "oracle" in refusal(path)


def test_a_newer_schema_is_refused(path: Path) -> None:
    live(path)
    run_sql(path, "PRAGMA user_version = 8")
    assert "written by a newer version (schema 8" in refusal(path)


def test_another_programs_database_is_refused_and_left_alone(path: Path) -> None:
    run_sql(path, "CREATE TABLE recipes (name TEXT)")
    before = path.read_bytes()
    assert "another program" in refusal(path)
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "file" in refusal(tmp_path / "file" / "presence.db")
    assert "Not a directory" in refusal(tmp_path / "file" / "deeper" / "presence.db")


def test_a_folder_in_its_place_is_refused(path: Path) -> None:
    path.mkdir()
    assert "unable to open database file" in refusal(path)


def test_a_locked_database_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 0.05)
    live(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert "locked" in refusal(path)
    live(path)


def test_a_database_that_cannot_be_written_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root ignores modes: a connection that may only read stands for the read-only file."""
    live(path)
    monkeypatch.setattr(
        sqlite,
        "_connect",
        lambda path: sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None, check_same_thread=False),
    )
    assert "readonly" in refusal(path)


def test_a_full_disk_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect_to_full_disk(path: Path) -> sqlite3.Connection:
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA max_page_count = 2")
        return db

    with monkeypatch.context() as patch:
        patch.setattr(sqlite, "_connect", connect_to_full_disk)
        assert "full" in refusal(path)
    live(path)  # half a schema is none


async def test_a_second_server_is_refused(store: SqliteStore, path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(path)
    assert "in use by another server" in await asyncio.to_thread(refusal, path)
    assert "in use by another server" in await asyncio.to_thread(refusal, link)
    assert await commit(store, save(record())) is None
    await store.close()
    assert (await load_once(path)).subscriptions == [record()]


async def test_a_refused_store_can_be_closed_and_answers(store: SqliteStore, path: Path) -> None:
    second = make(path)
    with pytest.raises(StoreUnusable):
        await second.load()
    assert isinstance(await commit(second, save(record())), StoreError)
    await second.close()


def test_a_refused_store_holds_nothing(path: Path) -> None:
    path.write_bytes(b"garbage" * 1000)
    refusal(path)
    path.unlink()
    live(path)


# Writing


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(record(9, user_agent="\ud800"), id="lone surrogate"),
        pytest.param(record(9, expires=2**64), id="number too big"),
        pytest.param(record(9, expires_at=float("nan")), id="not a number"),
        pytest.param(record(9, contact=None), id="nothing"),
        pytest.param(record(9)[:5], id="short row"),
    ],
)
async def test_an_odd_row_fails_alone(store: SqliteStore, path: Path, odd: SubscriptionRecord) -> None:
    answers: list[StoreError | None] = []
    store.submit([save(record(1)), save(odd)], answers.append)
    store.submit([save(record(2))], answers.append)
    await store.close()
    assert [type(answer) for answer in answers] == [StoreError, type(None)]
    assert (await load_once(path)).subscriptions == [record(2)]


async def test_a_lock_at_run_time_fails_one_batch(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 0.05)
    store = make(path)
    await store.load()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        error = await commit(store, save(record(1)))
        assert isinstance(error, StoreError)
        assert str(error) == f"{path}: database is locked"
    assert await commit(store, save(record(2))) is None
    await store.close()
    assert (await load_once(path)).subscriptions == [record(2)]


async def test_what_gathers_behind_a_lock_does_not_wait_as_long_again(
    path: Path, monkeypatch: pytest.MonkeyPatch, connections: list[sqlite3.Connection]
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 0.5)
    store = make(path)
    await store.load()
    waits = []
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for id in (1, 2, 3):
            begun = time.monotonic()
            assert isinstance(await commit(store, save(record(id))), StoreError)
            waits.append(time.monotonic() - begun)
    assert waits[0] >= 0.5
    assert max(waits[1:]) < 0.4
    for id in (4, 5):
        assert await commit(store, save(record(id))) is None
    assert connections[0].execute("PRAGMA busy_timeout").fetchone() == (500,), "patient again"
    await store.close()


async def test_a_full_disk_fails_until_there_is_room(path: Path, connections: list[sqlite3.Connection]) -> None:
    store = make(path)
    await store.load()
    (pages,) = connections[0].execute("PRAGMA page_count").fetchone()
    connections[0].execute(f"PRAGMA max_page_count = {pages}")
    error = await commit(store, *(save(record(id)) for id in range(100)))
    assert "full" in str(error)
    connections[0].execute("PRAGMA max_page_count = 1000000")
    assert await commit(store, *(save(record(id)) for id in range(100))) is None
    await store.close()
    assert len((await load_once(path)).subscriptions) == 100


async def test_a_process_that_ends_while_the_store_fails_leaves_word(
    path: Path, connections: list[sqlite3.Connection]
) -> None:
    store = make(path)
    assert not (await store.load()).numbers_passed
    (pages,) = connections[0].execute("PRAGMA page_count").fetchone()
    connections[0].execute(f"PRAGMA max_page_count = {pages}")
    assert isinstance(await commit(store, *(save(record(id)) for id in range(100))), StoreError)
    await store.close()

    store = make(path)
    assert (await store.load()).numbers_passed
    await store.close()

    store = make(path)
    assert (await store.load()).numbers_passed, "until something is committed"
    assert await commit(store, save(record(1))) is None
    await store.close()
    assert not (await load_once(path)).numbers_passed


async def test_what_is_committed_after_a_failure_takes_no_word_back(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says nothing of the numbers of those that are not in it."""
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 0.05)
    store = make(path)
    await store.load()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert isinstance(await commit(store, save(record(1))), StoreError)
    assert await commit(store, save(record(2))) is None
    await store.close()
    assert (await load_once(path)).numbers_passed


# Where that word is left


@contextmanager
def opened_lock(path: Path, flags: int = os.O_RDWR | os.O_CREAT) -> Iterator[int]:
    lock = os.open(f"{path}.lock", flags, 0o600)
    try:
        yield lock
    finally:
        os.close(lock)


def passed(path: Path) -> int:
    """What a process that starts, and is killed at once, finds said of those before it."""
    with opened_lock(path) as lock:
        return FailureMark(lock, path).passed


def fail_on_read_only(path: Path) -> None:
    """A process whose first commit fails, after the lock file has become one that can only be read."""
    with opened_lock(path) as lock, opened_lock(path, os.O_RDONLY) as read_only:
        mark = FailureMark(lock, path)
        os.dup2(read_only, lock)
        mark.committed(failed=True)


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place that takes a note."""
    runtime, none = tmp_path / "runtime", tmp_path / "none" / "none"
    runtime.mkdir()
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{runtime}:{none}")
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(failure_mark, "RUNTIME_DIRECTORY", none)
    monkeypatch.setattr(tempfile, "tempdir", str(none))
    return runtime


@pytest.fixture
def note(path: Path, runtime: Path) -> Path:
    """Where the note on this database is, once one is left."""
    fail_on_read_only(path)
    (note,) = runtime.iterdir()
    note.unlink()
    return note


def test_where_the_byte_cannot_be_written_a_note_tells_the_next_process(path: Path, runtime: Path) -> None:
    fail_on_read_only(path)
    (note,) = runtime.iterdir()
    assert stat.S_IMODE(note.stat().st_mode) == stat.S_IRUSR | stat.S_IWUSR
    assert passed(path) == 1
    assert list(runtime.iterdir()) == [], "carried over into the byte"
    assert passed(path) == 2


def test_whichever_link_leads_to_the_database_the_note_is_one(path: Path, note: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(path)
    fail_on_read_only(link)
    assert note.exists()


def test_a_byte_that_does_not_reach_the_disk_is_not_enough(
    path: Path, note: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with opened_lock(path) as lock:
        mark = FailureMark(lock, path)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            mark.committed(failed=True)
    assert note.exists()
    assert passed(path) == 1


def test_a_process_that_goes_well_leaves_no_note(path: Path, runtime: Path) -> None:
    with opened_lock(path) as lock:
        FailureMark(lock, path).committed(failed=False)
    assert list(runtime.iterdir()) == []
    assert passed(path) == 0


def test_the_byte_has_counted_more_than_a_note(path: Path, note: Path) -> None:
    note.touch()
    Path(f"{path}.lock").write_bytes(b"\3")
    assert passed(path) == 3
    assert not note.exists()
    assert passed(path) == 4


def test_a_note_stays_until_the_byte_is_written(path: Path, note: Path) -> None:
    note.touch()
    with opened_lock(path, os.O_RDONLY) as lock, pytest.raises(OSError, match="Bad file descriptor"):
        FailureMark(lock, path)
    assert note.exists()


def be_anothers(place: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may give a file away")
    place.touch()
    os.chown(place, 65534, 65534)


@pytest.mark.parametrize(
    "plant",
    [
        pytest.param(lambda place: place.symlink_to(place.with_name("new")), id="link to nothing"),
        pytest.param(lambda place: place.symlink_to(__file__), id="link to a file of ours"),
        pytest.param(Path.mkdir, id="folder"),
        pytest.param(os.mkfifo, id="pipe"),
        pytest.param(be_anothers, id="another's file"),
    ],
)
def test_what_a_stranger_has_planted_says_nothing(
    path: Path, note: Path, tmp_path: Path, plant: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(note)
    planted = note.lstat()
    assert passed(path) == 0
    with structlog.testing.capture_logs() as lines:
        fail_on_read_only(path)
    assert [line["log_level"] for line in lines] == ["error"]
    assert passed(path) == 0
    assert (note.lstat().st_ino, note.lstat().st_mtime) == (planted.st_ino, planted.st_mtime)
    assert list(note.parent.iterdir()) == [note], "a link is not followed"

    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    fail_on_read_only(path)
    assert (tmp_path / note.name).exists(), "the next place takes it"
    assert passed(path) == 1


def test_the_places_for_a_note(path: Path, runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last one is for want of a better."""
    session, ours, everybodys = (tmp_path / name for name in ("session", "ours", "everybody's"))
    session.mkdir()
    everybodys.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(session))
    monkeypatch.setattr(failure_mark, "RUNTIME_DIRECTORY", ours)
    monkeypatch.setattr(tempfile, "tempdir", str(everybodys))
    places = [runtime, session, ours, everybodys]
    for place in places:
        fail_on_read_only(path)
        assert [folder for folder in places if folder.is_dir() and any(folder.iterdir())] == [place]
        assert passed(path) == 1
        os.truncate(f"{path}.lock", 0)
        shutil.rmtree(place)
        place.touch()  # no folder any more


# The log


async def test_a_failed_commit_asks_for_a_checkpoint(path: Path, connections: list[sqlite3.Connection]) -> None:
    """On a full disk a log that starts anew is the only room."""
    store = make(path)
    await store.load()
    asked: list[str] = []
    connections[1].set_trace_callback(asked.append)
    assert await commit(store, save(record(1))) is None
    assert isinstance(await commit(store, save(record(2, contact=None))), StoreError)
    await store.close()
    assert asked == ["PRAGMA wal_checkpoint(PASSIVE)"]


async def test_checkpoints_that_fail_one_after_another_are_logged_once(
    path: Path, connections: list[sqlite3.Connection]
) -> None:
    store = make(path)
    await store.load()
    connections[1].close()
    with structlog.testing.capture_logs() as lines:
        for id in range(20):
            assert isinstance(await commit(store, save(record(id, contact=None))), StoreError)
        await store.close()
    assert [line["event"] for line in lines] == ["checkpoint failed"]


async def test_the_log_does_not_grow_without_end(store: SqliteStore, path: Path) -> None:
    log = path.with_name("presence.db-wal")
    sizes = []
    for round in range(600):  # 60,000 rows, 450 MB of log if nothing took it away
        ids = range(round * 7919 % 5000, 500_000, 5000)
        await commit(store, *(save(record(id)) for id in ids))
        sizes.append(log.stat().st_size)
    assert max(sizes) < 150 * 2**20


@pytest.mark.parametrize("size", [1, 32])
async def test_print_what_a_row_costs(store: SqliteStore, size: int, capsys: pytest.CaptureFixture[str]) -> None:
    """A number to look at, not to fail on: the plan allows 9 µs a row in batches of 32."""
    batches = [[save(record(id)) for id in range(first, first + size)] for first in range(0, 200 * size, size)]
    elapsed, cpu = time.perf_counter(), time.process_time()
    for batch in batches:
        await commit(store, *batch)
    elapsed, cpu = time.perf_counter() - elapsed, time.process_time() - cpu
    rows = 200 * size
    with capsys.disabled():
        print(f"\n  Save in batches of {size}: {elapsed / rows * 1e6:.1f} µs a row, {cpu / rows * 1e6:.1f} of CPU")


# kill -9


def write_for_ever(path: Path, acknowledged: Connection) -> None:
    """The life of a server that is going to be killed: report each batch once it is answered."""

    async def live() -> None:
        store = make(path)
        last = max((row.id for row in (await store.load()).subscriptions), default=0)
        while True:
            ids = range(last + 1, last + 9)
            assert await commit(store, *(save(record(id)) for id in ids)) is None
            acknowledged.send(list(ids))
            last += 8

    asyncio.run(live())


def kill_a_writer(path: Path, *, after_batches: int) -> set[int]:
    """Run `write_for_ever` in a process of its own, kill -9 it, and return the ids that it reported."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe(duplex=False)
    child = spawn.Process(target=write_for_ever, args=(path, theirs), daemon=True)
    child.start()
    theirs.close()
    ids: set[int] = set()
    try:
        for _ in range(after_batches):
            ids.update(ours.recv())
        child.kill()
        while True:
            ids.update(ours.recv())
    except EOFError:
        child.join()
    return ids


def test_kill_9_loses_nothing_that_was_acknowledged(path: Path) -> None:
    acknowledged: set[int] = set()
    for after_batches in (1, 50, 400):
        acknowledged |= kill_a_writer(path, after_batches=after_batches)
        rows = live(path).subscriptions
        assert acknowledged <= {row.id for row in rows}
        assert rows == [record(row.id) for row in rows]
        assert len(rows) % 8 == 0  # whole batches only
    assert os.path.exists(f"{path}.lock")


# Both stores are one


TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
TIMES = st.integers(1, 4).map(float)
RESOURCES = st.sampled_from(["1@a", "2@a", "é'\"@a"]).map(ResourceId)
STATES = st.sampled_from([DialogState.EARLY, DialogState.CONFIRMED, DialogState.TERMINATED])
IDS = st.integers(1, 4)
WRITES = st.one_of(
    st.builds(lambda id, text: save(record(id, contact=text)), IDS, TEXTS),
    st.builds(lambda id: Forget(SubscriptionId(id)), IDS),
    st.builds(
        lambda resource, state, at, expires_at: set_lamp(state, at=at, resource=resource, expires_at=expires_at),
        *(RESOURCES, STATES, TIMES, st.none() | TIMES),
    ),
    st.builds(lambda resource, at: SaveState(reset(ACCOUNT, resource, at=at)), RESOURCES, TIMES),
)


@given(batches=st.lists(st.lists(WRITES, max_size=8), max_size=4))
@settings(max_examples=60, deadline=None)
def test_it_remembers_what_the_memory_store_does(batches: Batches) -> None:
    async def compare(path: Path) -> None:
        memory, durable = MemoryStore(), make(path)
        await durable.load()
        for batch in batches:
            assert await commit(memory, *batch) is await commit(durable, *batch) is None
        await durable.close()
        expected, found = await memory.load(), await load_once(path)
        assert list(found.subscriptions) == list(expected.subscriptions)
        by_resource = {change.resource: change for change in found.states}
        assert by_resource == {change.resource: change for change in expected.states}

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(compare(Path(folder) / "presence.db"))
