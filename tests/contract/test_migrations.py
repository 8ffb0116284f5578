"""A database of any earlier version is read as if this one had written it.

For each schema there is `tests/data/schemas/NNNN.sql`: what a server of that version wrote. A new migration needs such
a file of its own, and the old ones stay as they are.
"""

import asyncio
import sqlite3
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import pytest

from sipresence.backends.sqlite import SqliteStore
from sipresence.events.resource import DialogState, Source
from sipresence.events.resource_lists import Entry, Listing
from sipresence.events.state import Messages, Presence
from sipresence.objects import Kind
from sipresence.ports import Loaded
from tests.contract.test_store import commit, record, save

SCHEMAS = Path(__file__).parents[1] / "data" / "schemas"
MIGRATIONS = sorted(
    (file for file in files("sipresence.backends").joinpath("migrations").iterdir() if file.name.endswith(".sql")),
    key=lambda file: file.name,
)
PUBLICATIONS, PRESENCE, BINDINGS, LISTS, OBJECTS, AUDIT = 2, 3, 4, 5, 6, 7  # the first versions that have them
VERSIONS = [int(migration.name[:4]) for migration in MIGRATIONS]


def written_by(version: int, path: Path, *, filled: bool = True) -> None:
    """Make the database that a server of this version has left."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        for migration in MIGRATIONS[:version]:
            db.executescript(migration.read_text("utf-8"))
        if filled:
            db.executescript((SCHEMAS / f"{version:04}.sql").read_text())
        db.execute(f"PRAGMA user_version = {version}")
        db.commit()


def load(path: Path) -> Loaded:
    """Open, read, write something and close, as a server does."""

    async def run() -> Loaded:
        store = SqliteStore(path, synchronous="normal")
        loaded = await store.load()
        assert await commit(store, save(record(99))) is None
        await store.close()
        return loaded

    return asyncio.run(run())


def schema(path: Path) -> tuple[int, list[tuple[object, ...]]]:
    with closing(sqlite3.connect(path)) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        columns = [(table, *column) for table in tables for column in db.execute(f"PRAGMA table_info({table})")]
        return db.execute("PRAGMA user_version").fetchone()[0], columns


def test_migrations_are_numbered_from_one_without_a_gap() -> None:
    assert list(range(1, len(MIGRATIONS) + 1)) == VERSIONS


def test_every_version_has_left_something() -> None:
    assert sorted(int(file.stem) for file in SCHEMAS.glob("*.sql")) == VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
def test_what_an_earlier_version_wrote_is_all_there(version: int, tmp_path: Path) -> None:
    path = tmp_path / "presence.db"
    written_by(version, path)
    loaded = load(path)
    assert loaded.tag_key == bytes(range(32))
    first, second = loaded.subscriptions
    assert (first.id, first.call_id, first.contact, first.expires_at) == (
        *(1, "first@192.0.2.7", "sip:bob@192.0.2.7:5060", 4000000000.5),
    )
    assert (second.id, second.event_id, second.route_set, second.direct) == (
        7,
        "line2",
        "<sip:proxy.example.com;lr>",
        0,
    )
    assert [(one.cseq_ceiling, one.version_ceiling) for one in loaded.subscriptions] == [(65, 64), (128, 127)]
    manual = [change for change in loaded.states if change.source is Source.MANUAL]
    states = {change.resource: [dialog.state for dialog in change.dialogs] for change in manual}
    assert states == {"101@office.example.com": [DialogState.EARLY], "*3101@office.example.com": []}
    published = [(one.publication, one.publisher, one.entity_tag) for one in loaded.states if one.publication]
    calls, presence = ("p1", "192.0.2.20", "p1.2"), ("p2", "192.0.2.21", "p2.1")
    assert published == [calls][: version >= PUBLICATIONS] + [presence][: version >= PRESENCE]
    said = [change.presence or change.messages for change in loaded.states if change.presence or change.messages]
    there = [Messages(new=2, saved=5), Presence(open=True, activities=("meeting",), note="Back at five")]
    assert said == there * (version >= PRESENCE) + [Presence(open=False)] * (version >= BINDINGS)
    bound = [(one.id, one.user, one.contact, one.path, one.cseq, one.expires_at) for one in loaded.bindings]
    phone = (5, "alice-desk", "sip:alice-desk@192.0.2.7:5062", "<sip:edge.example.com;lr>", 12, 4000000008.5)
    assert bound == [phone] * (version >= BINDINGS)
    brought = Listing((Entry("sip:101@office.example.com", "Alice"), Entry("sip:eve@elsewhere.example", "")))
    assert loaded.listings == ({1: Listing(None), 7: brought} if version >= LISTS else {})
    objects = [(one.kind, one.id, one.changed_at) for one in loaded.objects]
    device = (Kind.DEVICE, "de51ce00000000000000000000000201", 1700000009.5)
    revocation = (Kind.REVOCATION, "00112233445566778899aabbccddeeff", 1700000011.5)
    user = (Kind.USER, "c4101000000000000000000000000103", 1700000010.5)
    assert objects == [device, revocation, user] * (version >= OBJECTS)
    assert [(one.id, one.action, one.asked) for one in loaded.audit] == [(1, "set", '{"state": "early"}')] * (
        version >= AUDIT
    )
    assert [subscription.id for subscription in load(path).subscriptions] == [1, 7, 99], "and stays there"


@pytest.mark.parametrize("version", [0, *VERSIONS])
def test_every_version_becomes_this_one(version: int, tmp_path: Path) -> None:
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    if version:
        written_by(version, old)
    load(old)
    load(new)
    assert schema(old) == schema(new)
    assert schema(old)[0] == len(MIGRATIONS)
