"""A backup: one file with all that the database held at one moment, taken while the server goes on.

`VACUUM INTO` reads in one transaction of its own, which in WAL mode keeps no writer waiting. The copy is a database as
any other: to restore it, start the server with it.

Between the copy and its use the server goes on sending NOTIFYs, whose numbers the copy cannot know, and phones ignore
numbers that go back. So the numbers in the copy are raised beyond all that is likely to be sent until then.
"""

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from sipresence.backends.sqlite import APPLICATION_ID
from sipresence.errors import BackupFailed

BUSY_TIMEOUT = 10.0  # s
LEAP = 65_536
"""NOTIFYs to one subscription between the copy and its use; CSeq has room for 32,768 restores."""


def back_up(database: Path, target: Path, *, overwrite: bool) -> int:
    """Copy `database` to `target`, mode 0600, and check the copy; return its size. Raises BackupFailed.

    The target is there only once it is whole and on the disk.
    """
    if not database.is_file():
        raise BackupFailed(f"there is no database {database}")
    if target.exists():
        if not overwrite:
            raise BackupFailed(f"{target} is there already (--force overwrites it)")
        if target.samefile(database):
            raise BackupFailed(f"{target} is the database itself")
    try:
        with _unfinished(target) as copy:
            _copy(database, copy)
            _raise_numbers(copy)
            _sync(copy)
            os.replace(copy, target)
            _sync(target.parent)
        return target.stat().st_size
    except (OSError, sqlite3.Error) as error:
        raise BackupFailed(f"cannot copy {database} to {target}: {error}") from error


@contextlib.contextmanager
def _unfinished(target: Path) -> Iterator[Path]:
    """A file beside the target, of mode 0600, that is removed if it does not take its place."""
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.close(handle)
    copy = Path(name)
    try:
        yield copy
    finally:
        copy.unlink(missing_ok=True)


def _copy(database: Path, copy: Path) -> None:
    uri = f"file:{quote(str(database))}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT, isolation_level=None)) as db:
        if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise BackupFailed(f"{database} is a database of another program")
        db.execute("VACUUM INTO ?", (str(copy),))


def _raise_numbers(copy: Path) -> None:
    with closing(sqlite3.connect(copy, isolation_level=None)) as db:
        db.execute(
            "UPDATE subscriptions SET cseq_ceiling = cseq_ceiling + :leap, version_ceiling = version_ceiling + :leap",
            {"leap": LEAP},
        )
        (verdict,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        raise BackupFailed(f"the copy is damaged: {verdict}")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
