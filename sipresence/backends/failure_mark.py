"""The word that a process leaves for the next one: the store failed, and numbers may have gone above what it holds.

The word is the one byte of the lock file. The byte is there already, so writing it over needs no room on a full disk.
Where it cannot be written, on a file system that an error made read-only, the word is an empty file elsewhere, a note:
in the first of the runtime directories that takes one. It outlives kill -9 and the repair of the file system, but not a
reboot.

The last of these places is one where everybody may write. So a note is made only where nothing is, and counts only if
it is a regular file of ours: what a stranger has planted there is neither followed, believed nor removed.
"""

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import structlog

RUNTIME_DIRECTORY = Path("/run/sipresence")  # as systemd would make it

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class FailureMark:
    """How many processes in a row may have gone above the stored ceilings of `database`.

    A process marks its first failed commit, for the next one, which then leaps. What is committed after a failure says
    nothing of the numbers of those that are not in it, so that process leaves the mark where it is; one that finds it
    counts itself in, and takes it away with its first commit, which holds every leap.

    `lock` is the descriptor of the lock file, which is held; `passed` is what this process has found. Raises OSError.
    """

    def __init__(self, lock: int, database: Path) -> None:
        self._lock = lock
        self._places = [folder / _name(database) for folder in _folders()]
        self._failed = False  # in this process
        notes = [place for place in self._places if _is_note(place)]
        # A note tells of one process: the byte has counted those before it.
        self.passed = int.from_bytes(os.pread(lock, 1, 0)) or int(bool(notes))
        self._marked = min(self.passed + 1, 255) if self.passed else 0
        self._write(self._marked)
        for note in notes:  # only now, that the byte says the same
            _remove(note)

    def committed(self, *, failed: bool) -> None:
        """Take note of what became of a batch."""
        self._failed |= failed
        mark = max(self._marked, 1) if self._failed else 0
        if mark == self._marked:
            return
        self._marked = mark
        try:
            self._write(mark)
        except OSError as error:
            if mark and not any(map(_leave, self._places)):
                _log.error("failure not marked: after a crash numbers may go back", error=str(error))

    def _write(self, mark: int) -> None:
        """Write the byte to the disk: that the system has taken it says nothing while the disk fails."""
        os.pwrite(self._lock, bytes((mark,)), 0)
        os.fsync(self._lock)


def _folders() -> Iterator[Path]:
    """Where a note may be, the best place first: those that are ours alone, then the one that is everybody's."""
    for name in ("RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"):
        if value := os.environ.get(name):
            yield Path(value.partition(":")[0])  # systemd separates several by colons
    yield RUNTIME_DIRECTORY
    with contextlib.suppress(FileNotFoundError):  # none can be written
        yield Path(tempfile.gettempdir())


def _name(database: Path) -> str:
    """One database has one note, whichever link leads to it."""
    return f"sipresence-{blake2b(os.fsencode(database.resolve()), digest_size=16).hexdigest()}.failed"


def _is_note(place: Path) -> bool:
    try:
        found = place.lstat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()


def _leave(place: Path) -> bool:
    """Leave a note; return whether one is there."""
    try:
        if place.parent == RUNTIME_DIRECTORY:
            place.parent.mkdir(mode=0o700, exist_ok=True)
        os.close(os.open(place, _NEW, 0o600))
    except OSError:
        return _is_note(place)
    return True


def _remove(note: Path) -> None:
    try:
        note.unlink(missing_ok=True)  # two places may be one
    except OSError as error:  # the next process leaps once more, which does no harm
        _log.warning("note not removed", file=str(note), error=str(error))
