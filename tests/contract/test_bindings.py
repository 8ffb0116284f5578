"""What every store promises of the bindings of a registrar, whichever remembers."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sipresence.backends.sqlite import SqliteStore
from sipresence.errors import StoreError
from sipresence.events.binding import BindingId, BindingRecord
from sipresence.events.effects import ForgetBinding, SaveBinding
from sipresence.names import CallId
from sipresence.ports import SubscriptionStore
from tests.contract.test_store import ACCOUNT, ALICE, commit, open_store, record, reopen, save, store

__all__ = ["open_store", "reopen", "store"]


def binding(id: int = 1, **columns: Any) -> BindingRecord:
    """A contact of Alice's desk phone."""
    row = BindingRecord(
        id=BindingId(id),
        account=ACCOUNT,
        user="alice-desk",
        resource=ALICE,
        contact="sip:alice-desk@192.0.2.7:5062",
        q="0.5",
        instance='"<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>"',
        path="<sip:edge.example.com;lr>",
        call_id=CallId(f"call-{id}@192.0.2.7"),
        cseq=1,
        user_agent="Phone/1.0",
        transport="UDP",
        listener="udp://0.0.0.0:5060",
        source_host="192.0.2.7",
        source_port=5062,
        local="192.0.2.1:5060",
        expires=3600,
        registered_at=1_700_000_000.0,
        expires_at=1_700_003_600.0,
    )
    return row._replace(**columns)


ODD_ROWS = {
    "plain": binding(),
    "empty texts": binding(q="", instance="", path="", user_agent=""),
    "unicode": binding(user="zoë", user_agent="Téléphone \U0001f4de"),
    "quotes": binding(contact="sip:o'brien@example.com", user_agent="\"'; DROP TABLE bindings; --"),
    "big numbers": binding(2**62, source_port=65535, cseq=2**31 - 1),
    "exact times": binding(registered_at=1_700_000_000.123_456_7, expires_at=0.1 + 0.2),
}


@pytest.mark.parametrize("row", ODD_ROWS.values(), ids=ODD_ROWS)
async def test_every_column_comes_back(store: SubscriptionStore, reopen: Callable[[], Any], row: BindingRecord) -> None:
    assert await commit(store, SaveBinding(row)) is None
    (found,) = (await reopen()).bindings
    assert found == row
    assert list(map(type, found)) == list(map(type, row))


async def test_every_column_has_its_own_place(store: SubscriptionStore, reopen: Callable[[], Any]) -> None:
    columns: list[Any] = list(binding())
    row = BindingRecord._make(type(value)(number) for number, value in enumerate(columns, start=1))  # all differ
    await commit(store, SaveBinding(row))
    assert (await reopen()).bindings == [row]


async def test_they_come_back_by_id_and_go_in_order(store: SubscriptionStore, reopen: Callable[[], Any]) -> None:
    await commit(store, *(SaveBinding(binding(id)) for id in (3, 1, 2)), save(record(2)))
    await commit(
        store,
        *(SaveBinding(binding(1, cseq=2)), ForgetBinding(binding(2)), SaveBinding(binding(4))),
        *(ForgetBinding(binding(4)), ForgetBinding(binding(9)), SaveBinding(binding(1, cseq=3))),
    )
    loaded = await reopen()
    assert loaded.bindings == [binding(1, cseq=3), binding(3)]
    assert loaded.subscriptions == [record(2)], "their ids are their own"


async def test_all_or_none(store: SubscriptionStore, reopen: Callable[[], Any]) -> None:
    await commit(store, SaveBinding(binding(1)))
    if isinstance(store, SqliteStore):
        assert isinstance(
            await commit(store, ForgetBinding(binding(1)), SaveBinding(binding(2, contact=None))), StoreError
        )
    assert (await reopen()).bindings == [binding(1)]


async def test_the_columns_are_those_of_the_record(tmp_path: Path) -> None:
    """The record itself is the parameter tuple of its statement: the order must be one."""
    sqlite = SqliteStore(tmp_path / "presence.db", synchronous="normal")
    await sqlite.load()
    await sqlite.close()
    with closing(sqlite3.connect(tmp_path / "presence.db")) as db:
        columns = [name for _, name, *_ in db.execute("PRAGMA table_info(bindings)")]
    assert columns == list(BindingRecord._fields)
