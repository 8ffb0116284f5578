"""The durable store: one SQLite file, read once at start, then only written.

    loop ── submit ──> queue ──> writer thread: one transaction per batch ── done ──> loop
                                      └─ every CHECKPOINT_ROWS, and at a failure ──> checkpointer thread

The file is in WAL mode: a commit appends to the log and survives kill -9; with `synchronous=full` it is synced as well
and survives a power cut. Moving the log into the database (a checkpoint) inside a commit would stall it for tens of
milliseconds, so automatic checkpoints are off and a second connection makes them beside the writer. Once all of the
log is moved, SQLite starts it anew; where so much is written that this never happens, the writer makes a pause for it.
On a full disk a log that starts anew is all the room there is, so a commit that failed asks for a checkpoint, too.

A lock file, PATH.lock, keeps a second server away while the store is open: SQLite's own locks last a transaction only.
Another program that holds one of those is waited for, but not twice: what gathered while a batch waited in vain is
refused soon after it.

The threads share the interpreter with the loop and get their turn only if `sys.setswitchinterval` is shorter than a
turn of the loop: the application sets it. With the default of 5 ms a busy loop can keep a commit waiting for seconds.

The statements are in queries.sql, the schema is what migrations/ lead to; `user_version` counts the applied ones.
"""

import asyncio
import fcntl
import os
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from functools import cache
from importlib.resources import files
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from queue import SimpleQueue
from typing import Literal, TypeAlias

import structlog

from sipresence.audit import AuditEntry
from sipresence.backends.failure_mark import FailureMark
from sipresence.backends.list_rows import ListRow, list_row, listing
from sipresence.backends.state_rows import StateRow, state_change, state_row
from sipresence.errors import StoreError, StoreUnusable
from sipresence.events.binding import BindingRecord
from sipresence.events.effects import (
    Forget,
    ForgetAudit,
    ForgetBinding,
    ForgetObject,
    Save,
    SaveAudit,
    SaveBinding,
    SaveList,
    SaveObject,
    Write,
)
from sipresence.events.record import SubscriptionRecord
from sipresence.names import AccountId
from sipresence.objects import Kind, ObjectRecord
from sipresence.ports import Loaded

APPLICATION_ID = 0x5349504E  # "SIPN", set by the first migration: tells our files from other programs'
BUSY_TIMEOUT = 2.0  # s to wait for another program that holds the database (a backup, an admin's shell)
BUSY_TIMEOUT_AGAIN = 0.1  # s, after a batch that failed
CHECKPOINT_ROWS = 2000  # written between two checkpoints: 2 to 8 MB of log
MOST_ROWS = 256  # in one statement, which then has 256 * 29 of the 32,766 parameters that SQLite allows
LONG_LOG_PAGES = 8192  # a log of 32 MB that was not moved to its end beside the writer: the writer moves the rest

Done: TypeAlias = Callable[[StoreError | None], None]
Parameters: TypeAlias = (
    SubscriptionRecord | StateRow | ListRow | BindingRecord | ObjectRecord | AuditEntry | tuple[int | str, ...]
)

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class SqliteStore:
    """All that is remembered, in the SQLite file at `path`, which is made (mode 0600) with its folder if need be.

    `synchronous`: what a commit survives; "normal": the end of the process, "full": a power cut as well.
    """

    def __init__(self, path: Path | str, *, synchronous: Literal["normal", "full"]) -> None:
        self._path = Path(path)
        self._synchronous = synchronous
        self._opened = ExitStack()  # what close() releases, in reverse order
        self._writer: _Writer | None = None

    async def load(self) -> Loaded:
        """Open the file, bring its schema up to date and read all of it. Raises StoreUnusable."""
        return await asyncio.to_thread(self._open, asyncio.get_running_loop())

    def submit(self, writes: Sequence[Write], done: Done) -> None:
        """Commit all `writes`, in order, or none; then call `done` on the loop."""
        if self._writer is None:
            asyncio.get_running_loop().call_soon(done, StoreError(f"{self._path}: not open"))
        else:
            self._writer.submit(writes, done)

    async def close(self) -> None:
        """Finish what was submitted and release the file. A second call does nothing."""
        self._writer = None
        opened, self._opened = self._opened, ExitStack()
        await asyncio.to_thread(opened.close)

    def _open(self, loop: asyncio.AbstractEventLoop) -> Loaded:
        try:
            with ExitStack() as opened:
                mark = FailureMark(_lock(self._path, opened), self._path)
                self._path.touch(0o600)  # SQLite gives the log the mode of the database
                db = opened.enter_context(closing(_connect(self._path)))
                _migrate(db)
                _use_log(db, self._synchronous)
                loaded = _load(db, numbers_passed=mark.passed)
                second = opened.enter_context(closing(_connect(self._path)))
                checkpointer = _Checkpointer(second)
                opened.callback(checkpointer.stop)
                self._writer = _Writer(db, loop, path=self._path, checkpointer=checkpointer, mark=mark)
                opened.callback(self._writer.stop)
                self._opened = opened.pop_all()
        except (StoreUnusable, OSError, sqlite3.Error, KeyError, TypeError, ValueError) as error:
            # The last three: a row that we did not write.
            raise StoreUnusable(f"{self._path}: {_reason(error, self._path)}") from error
        return loaded


class _Checkpointer:
    """The thread that moves the log into the database while the writer goes on.

    `behind`: the log is long, and what is written meanwhile keeps it from starting anew.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self.behind = False
        self._db = db
        self._queue: SimpleQueue[bool] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="sqlite-checkpointer", daemon=True)
        self._thread.start()

    def checkpoint(self) -> None:
        """Ask for a checkpoint; one that is asked for and not begun is enough."""
        if self._queue.empty():
            self._queue.put(True)

    def stop(self) -> None:
        """Wait for the end of the thread. SQLite makes the last checkpoint when the last connection is closed."""
        self._queue.put(False)
        self._thread.join()

    def _run(self) -> None:
        failing = False
        while self._queue.get():
            try:
                self.behind = _checkpoint(self._db) > LONG_LOG_PAGES
                failing = False
            except sqlite3.Error as error:  # nothing is lost, the log only grows: the next one tries again
                if not failing:  # it may go on like this at each commit
                    _log.warning("checkpoint failed", error=str(error))
                failing = True


class _Writer:
    """The only thread that writes: a transaction per batch, each answered on the loop, in the order of submission."""

    def __init__(
        self,
        db: sqlite3.Connection,
        loop: asyncio.AbstractEventLoop,
        *,
        path: Path,
        checkpointer: _Checkpointer,
        mark: FailureMark,
    ) -> None:
        self._db = db
        self._loop = loop
        self._path = path
        self._checkpointer = checkpointer
        self._mark = mark
        self._patience = BUSY_TIMEOUT
        self._queue: SimpleQueue[tuple[Sequence[Write], Done] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="sqlite-writer", daemon=True)
        self._thread.start()

    def submit(self, writes: Sequence[Write], done: Done) -> None:
        self._queue.put((writes, done))

    def stop(self) -> None:
        """Commit what is queued and wait for the end of the thread."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        rows = 0
        while (job := self._queue.get()) is not None:
            writes, done = job
            error = self._commit(writes)
            failed = error is not None
            self._mark.committed(failed=failed)
            self._loop.call_soon_threadsafe(done, error)
            self._be_patient(BUSY_TIMEOUT_AGAIN if failed else BUSY_TIMEOUT)
            rows += len(writes)
            if self._checkpointer.behind:
                self._checkpointer.behind = False
                with suppress(sqlite3.Error):  # the checkpointer meets it, too
                    _checkpoint(self._db)
            elif failed or rows >= CHECKPOINT_ROWS:
                rows = 0
                self._checkpointer.checkpoint()

    def _commit(self, writes: Sequence[Write]) -> StoreError | None:
        try:
            with self._db:  # ends in COMMIT, or in ROLLBACK at an exception
                self._db.execute("BEGIN IMMEDIATE")
                for statement, group in groupby(chain.from_iterable(map(_statements, writes)), key=itemgetter(0)):
                    for rows in _chunks([parameters for _, parameters in group]):
                        self._db.execute(_for_rows(statement, len(rows)), tuple(chain.from_iterable(rows)))
        except Exception as error:  # not only sqlite3.Error: no value, however odd, may end the thread
            return StoreError(f"{self._path}: {error}")
        return None

    def _be_patient(self, patience: float) -> None:
        """Wait so long from now on for another program that holds the database."""
        if patience != self._patience:
            self._patience = patience
            self._db.execute(f"PRAGMA busy_timeout = {patience * 1000:.0f}")


def _named_statements(text: str) -> dict[str, str]:
    """Split a file of statements at its `-- name: ...` lines."""
    sections = (section.partition("\n") for section in text.split("-- name: ")[1:])
    return {name.strip(): statement.strip() for name, _, statement in sections}


_FOLDER = files("sipresence.backends")
_SQL = _named_statements(_FOLDER.joinpath("queries.sql").read_text("utf-8"))
_SAVE, _FORGET = _SQL["save_subscription"], _SQL["forget_subscription"]
_SAVE_LIST = _SQL["save_list"]
_SAVE_STATE, _FORGET_PUBLICATION = _SQL["save_state"], _SQL["forget_publication"]
_SAVE_BINDING, _FORGET_BINDING = _SQL["save_binding"], _SQL["forget_binding"]
_SAVE_OBJECT, _FORGET_OBJECT = _SQL["save_object"], _SQL["forget_object"]
_SAVE_AUDIT, _FORGET_AUDIT = _SQL["save_audit"], _SQL["forget_audit"]
_RESETS = (_SQL["reset_states"], _SQL["reset_publications"])
_ROW = re.compile(r"\([?, ]+\)")


def _statements(write: Write) -> Iterator[tuple[str, Parameters]]:
    """Yield the statements that carry out `write`, each with its parameters."""
    if isinstance(write, Save):
        yield _SAVE, write.record
    elif isinstance(write, Forget):
        yield _FORGET, (write.id,)
    elif isinstance(write, SaveList):
        yield _SAVE_LIST, list_row(write.id, write.listing)
    elif isinstance(write, SaveBinding):
        yield _SAVE_BINDING, write.record
    elif isinstance(write, ForgetBinding):
        yield _FORGET_BINDING, (write.record.id,)
    elif isinstance(write, SaveObject):
        yield _SAVE_OBJECT, write.record
    elif isinstance(write, ForgetObject):
        yield _FORGET_OBJECT, write.key
    elif isinstance(write, SaveAudit):
        yield _SAVE_AUDIT, write.entry
    elif isinstance(write, ForgetAudit):
        yield _FORGET_AUDIT, (write.id,)
    elif write.change.is_reset:
        for statement in _RESETS:
            yield statement, (write.change.resource,)
    elif write.change.is_end:
        yield _FORGET_PUBLICATION, (write.change.resource, write.change.publication)
    else:
        yield _SAVE_STATE, state_row(write.change)


@cache
def _for_rows(statement: str, count: int) -> str:
    """Make `count` rows of the one row that `statement` has: `VALUES (?, ?)` becomes `VALUES (?, ?), (?, ?)`.

    Not executemany: every step of a statement gives up the interpreter's lock and has to win it back from the loop.
    Beside a loop that never rests (switch interval 0.2 ms) 32 rows are committed in 2 ms instead of 6 to 9.
    """
    return _ROW.sub(lambda row: ", ".join([row[0]] * count), statement)


def _chunks(rows: list[Parameters]) -> Iterator[list[Parameters]]:
    """Cut into powers of two, so that few statements have to be kept prepared."""
    start = 0
    while left := len(rows) - start:
        size = min(1 << left.bit_length() - 1, MOST_ROWS)
        yield rows[start : start + size]
        start += size


def _lock(path: Path, opened: ExitStack) -> int:
    """Hold PATH.lock until `opened` is closed; return its descriptor.

    The file stays: removing it would race with the next server's lock.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = f"{path.resolve()}.lock"  # one database has one lock, whichever link leads to it
    lock = os.open(name, os.O_RDWR | os.O_CREAT, 0o600)
    opened.callback(os.close, lock)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StoreUnusable("in use by another server") from None
    return lock


def _reason(error: Exception, path: Path) -> str:
    """What is wrong, in plain words: SQLite calls it an I/O error when there is no room for its shared memory."""
    if isinstance(error, sqlite3.OperationalError) and not os.statvfs(path.parent).f_bavail:
        return "the disk is full"
    return str(error)


def _connect(path: Path) -> sqlite3.Connection:
    """Open a connection that leaves transactions to us; it is used by one thread at a time, not always the same."""
    return sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)


def _pragma(db: sqlite3.Connection, name: str) -> int:
    value: int = db.execute(f"PRAGMA {name}").fetchone()[0]
    return value


def _migrate(db: sqlite3.Connection) -> None:
    """Apply the migrations that the file has not seen, all in one transaction.

    It writes even when there are none: a database that cannot be written is found out at start.
    """
    folder = sorted(_FOLDER.joinpath("migrations").iterdir(), key=lambda file: file.name)
    scripts = [file.read_text("utf-8") for file in folder if file.name.endswith(".sql")]
    version = _pragma(db, "user_version")
    if db.execute("SELECT 1 FROM sqlite_master").fetchone() and _pragma(db, "application_id") != APPLICATION_ID:
        raise StoreUnusable("a database of another program")
    if version > len(scripts):
        raise StoreUnusable(f"written by a newer version (schema {version}, this one knows {len(scripts)})")
    pending = "\n".join(scripts[version:])
    db.executescript(f"BEGIN IMMEDIATE;\n{pending}\nPRAGMA user_version = {len(scripts)};\nCOMMIT;")


def _use_log(db: sqlite3.Connection, synchronous: str) -> None:
    (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StoreUnusable("its file system cannot share memory, which SQLite's write-ahead log needs")
    db.execute(f"PRAGMA synchronous = {synchronous}")
    db.execute("PRAGMA wal_autocheckpoint = 0")


def _checkpoint(db: sqlite3.Connection) -> int:
    """Move the log into the database as far as nobody is in the way; return the pages in the log."""
    _, log_pages, _ = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return int(log_pages)


def _load(db: sqlite3.Connection, *, numbers_passed: int) -> Loaded:
    db.execute(_SQL["make_tag_key"], (os.urandom(32),))
    subscriptions = list(map(SubscriptionRecord._make, db.execute(_SQL["load_subscriptions"])))
    states = list(map(state_change, db.execute(_SQL["load_states"])))
    bindings = list(map(BindingRecord._make, db.execute(_SQL["load_bindings"])))
    (tag_key,) = db.execute(_SQL["load_tag_key"]).fetchone()
    listings = dict(map(listing, db.execute(_SQL["load_lists"])))
    objects = [
        ObjectRecord(AccountId(account), Kind(kind), *rest) for account, kind, *rest in db.execute(_SQL["load_objects"])
    ]
    audit = list(map(AuditEntry._make, db.execute(_SQL["load_audit"])))
    return Loaded(subscriptions, states, tag_key, numbers_passed, bindings, listings, objects, audit)
