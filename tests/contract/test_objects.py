"""What every store promises of the objects of the directory, whichever remembers."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sipresence.backends.sqlite import SqliteStore
from sipresence.errors import StoreError
from sipresence.events.effects import ForgetObject, SaveObject
from sipresence.names import AccountId
from sipresence.objects import Kind, ObjectKey, ObjectRecord
from sipresence.ports import SubscriptionStore
from tests.contract.test_store import ACCOUNT, commit, open_store, record, reopen, save, store

__all__ = ["open_store", "reopen", "store"]


def device(ident: str = "d1", **columns: Any) -> ObjectRecord:
    """A desk phone."""
    row = ObjectRecord(ACCOUNT, Kind.DEVICE, ident, '{"name": "Desk"}', 1_700_000_000.0)
    return row._replace(**columns)


ODD_ROWS = {
    "plain": device(),
    "unicode": device(body='{"name": "Zoë \U0001f4de 李"}'),
    "quotes": device(body='{"name": "o\'brien\'; DROP TABLE objects; --"}'),
    "long": device(body='{"name": "' + "x" * 60_000 + '"}'),
    "a user": device(kind=Kind.USER),
    "exact times": device(changed_at=1_700_000_000.123_456_7),
}


@pytest.mark.parametrize("row", ODD_ROWS.values(), ids=ODD_ROWS)
async def test_every_column_comes_back(store: SubscriptionStore, reopen: Callable[[], Any], row: ObjectRecord) -> None:
    assert await commit(store, SaveObject(row)) is None
    (found,) = (await reopen()).objects
    assert found == row
    assert list(map(type, found)) == list(map(type, row))


async def test_ids_are_unique_within_an_account_and_kind(store: SubscriptionStore, reopen: Callable[[], Any]) -> None:
    rows = [device(account=AccountId("f" * 32)), device(kind=Kind.USER), device()]
    await commit(store, *map(SaveObject, rows), save(record()))
    loaded = await reopen()
    assert loaded.objects == sorted(rows)
    assert loaded.subscriptions == [record()]


async def test_they_are_replaced_and_go_in_order(store: SubscriptionStore, reopen: Callable[[], Any]) -> None:
    await commit(store, *(SaveObject(device(ident)) for ident in ("c", "a", "b")))
    await commit(
        store,
        *(SaveObject(device("a", body="{}")), ForgetObject(device("b").key), SaveObject(device("d"))),
        *(ForgetObject(device("d").key), ForgetObject(ObjectKey(ACCOUNT, Kind.USER, "c"))),
        *(SaveObject(device("a", body="[]")), ForgetObject(device("z").key)),
    )
    assert (await reopen()).objects == [device("a", body="[]"), device("c")]


async def test_all_or_none(store: SubscriptionStore, reopen: Callable[[], Any]) -> None:
    await commit(store, SaveObject(device()))
    if isinstance(store, SqliteStore):
        writes = (ForgetObject(device().key), SaveObject(device("b", body=None)))
        assert isinstance(await commit(store, *writes), StoreError)
    assert (await reopen()).objects == [device()]


async def test_the_columns_are_those_of_the_record(tmp_path: Path) -> None:
    """The record itself is the parameter tuple of its statement: the order must be one."""
    sqlite = SqliteStore(tmp_path / "presence.db", synchronous="normal")
    await sqlite.load()
    await sqlite.close()
    with closing(sqlite3.connect(tmp_path / "presence.db")) as db:
        columns = [name for _, name, *_ in db.execute("PRAGMA table_info(objects)")]
    assert columns == list(ObjectRecord._fields)
