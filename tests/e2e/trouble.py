"""Ways to make a store fail, and to mend it: a full disk, a locked database, a file system that went read-only.

Each has a folder for the database, `fail()` and `mend()`. The file systems are small ones that only root can mount; a
test that needs one is skipped where that cannot be done.
"""

import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tests.conftest import need

DISK_KIB = 512
IMAGE_KIB = 2048
BLOCK = b"\0" * 1024

_HOLD = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""


class Trouble(Protocol):
    """Something that can befall the database, which is in `folder`."""

    folder: Path

    def fail(self) -> None:
        """From now on nothing can be written."""

    def mend(self) -> None:
        """From now on all is well again."""


class FullDisk:
    """A tmpfs of half a megabyte, which a ballast file fills.

    What the database has already it can write over, and its log as well once all of that is moved into the database.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fail(self) -> None:
        """Take the room of the log as well."""
        with contextlib.closing(sqlite3.connect(self.folder / "presence.db")) as db:
            assert db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0, "the database is in use"
        self.fill()

    def fill(self) -> None:
        """Take what room is left."""
        with self._ballast.open("ab", buffering=0) as ballast, contextlib.suppress(OSError):
            while True:
                ballast.write(BLOCK)

    def mend(self) -> None:
        self._ballast.unlink()


class LockedDatabase:
    """Another process holds an exclusive transaction, as a careless admin's shell does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._holder: subprocess.Popen[bytes] | None = None

    def fail(self) -> None:
        pipe = subprocess.PIPE
        command = [sys.executable, "-c", _HOLD, str(self.folder / "presence.db")]
        self._holder = subprocess.Popen(command, stdin=pipe, stdout=pipe)
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"held\n"

    def mend(self) -> None:
        if self._holder is not None:
            self._holder.communicate()  # the end of its input is the end of it
            self._holder = None


class ErrorOnDisk:
    """An ext4 whose kernel found an error in it and made it read-only, under whoever has files open there.

    An admin's `mount -o remount,ro` is refused while a file is open for writing, so this is the way in which a running
    server meets it. It can be mended only when nobody has a file open there any more.
    """

    def __init__(self, image: Path, folder: Path) -> None:
        self.folder = folder
        self._image = image
        with image.open("wb") as file:
            file.truncate(IMAGE_KIB * 1024)
        _run("mkfs.ext4", "-q", "-O", "^has_journal", str(image))
        self._mount()

    def fail(self) -> None:
        os.sync()  # what the disk never got would be gone, as after a power cut
        device = Path(_run("findmnt", "-no", "SOURCE", str(self.folder))).name
        Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("1")

    def mend(self) -> None:
        self.unmount()
        self._mount()

    def unmount(self) -> None:
        _run("umount", str(self.folder))

    def _mount(self) -> None:
        _run("mount", "-o", "loop,errors=remount-ro", str(self._image), str(self.folder))


@contextlib.contextmanager
def full_disk(folder: Path) -> Iterator[FullDisk]:
    """Mount one at `folder`."""
    _need_root()
    with _mounting():
        _run("mount", "-t", "tmpfs", "-o", f"size={DISK_KIB}k", "tmpfs", str(folder))
    try:
        yield FullDisk(folder)
    finally:
        _run("umount", str(folder))


@contextlib.contextmanager
def locked_database(folder: Path) -> Iterator[LockedDatabase]:
    """Let go of it in the end."""
    trouble = LockedDatabase(folder)
    try:
        yield trouble
    finally:
        trouble.mend()


@contextlib.contextmanager
def error_on_disk(folder: Path) -> Iterator[ErrorOnDisk]:
    """Mount one at `folder`."""
    _need_root()
    need("mkfs.ext4")
    with _mounting():
        trouble = ErrorOnDisk(folder.with_name(f"{folder.name}.img"), folder)
    try:
        yield trouble
    finally:
        trouble.unmount()


def make_read_only(folder: Path) -> None:
    """Remount what is mounted at `folder`, where nobody has a file open for writing."""
    _run("mount", "-o", "remount,ro", str(folder))


def make_writable(folder: Path) -> None:
    _run("mount", "-o", "remount,rw", str(folder))


def _need_root() -> None:
    need("mount")
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")


@contextlib.contextmanager
def _mounting() -> Iterator[None]:
    """In most containers root may not mount, either."""
    try:
        yield
    except subprocess.CalledProcessError as error:
        pytest.skip(f"cannot mount a file system: {error.stderr.strip()}")


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
