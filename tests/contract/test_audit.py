"""What every store promises of the audit trail, whichever remembers."""

from collections.abc import Callable
from typing import Any

import pytest

from sipresence.audit import AuditEntry, AuditId
from sipresence.errors import StoreError
from sipresence.events.effects import ForgetAudit, SaveAudit
from sipresence.names import ResourceId
from sipresence.ports import SubscriptionStore
from tests.contract.test_store import ACCOUNT, commit, open_store, record, reopen, save, store

__all__ = ["open_store", "reopen", "store"]

LAMP = ResourceId("101@office.example.com")


def entry(number: int = 1, **columns: Any) -> AuditEntry:
    """Somebody has set a lamp."""
    asked = '{"state": "early"}'
    row = AuditEntry(
        AuditId(number), ACCOUNT, 1_700_000_000.5, "set", LAMP, asked, ACCOUNT, "a" * 32, "192.0.2.7", "r-1"
    )
    return row._replace(**columns)


ODD_ROWS = {
    "plain": entry(),
    "a stranger to all": entry(user="", address="", request_id=""),
    "quotes": entry(asked='{"call_id": "o\'brien\'; DROP TABLE audit; --"}', request_id="'); --"),
    "unicode": entry(resource=ResourceId("zoë@office.example.com")),
    "exact times": entry(at=1_700_000_000.123_456_7),
    "large": entry(2**53),
}


@pytest.mark.parametrize("row", ODD_ROWS.values(), ids=ODD_ROWS)
async def test_every_column_comes_back(store: SubscriptionStore, reopen: Callable[[], Any], row: AuditEntry) -> None:
    assert await commit(store, SaveAudit(row)) is None
    assert list((await reopen()).audit) == [row]


async def test_they_come_back_in_order_and_go(store: SubscriptionStore, reopen: Callable[[], Any]) -> None:
    await commit(store, *map(SaveAudit, map(entry, (3, 1, 2, 5))), save(record()))
    await commit(store, ForgetAudit(AuditId(2)), SaveAudit(entry(4)), ForgetAudit(AuditId(5)), ForgetAudit(AuditId(99)))
    loaded = await reopen()
    assert [one.id for one in loaded.audit] == [1, 3, 4]
    assert loaded.subscriptions == [record()]


async def test_all_or_nothing(store: SubscriptionStore, reopen: Callable[[], Any]) -> None:
    impossible = entry(2, at=object())
    if not isinstance(await commit(store, SaveAudit(entry()), SaveAudit(impossible)), StoreError):
        pytest.skip("this store keeps whatever it is given")
    assert list((await reopen()).audit) == []
