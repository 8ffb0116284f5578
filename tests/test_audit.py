"""The audit trail: what it keeps, and for how long."""

import pytest

from sipresence.audit import AuditEntry, AuditId, AuditTrail
from sipresence.names import AccountId, ResourceId

OFFICE, SHOP = AccountId("0" * 32), AccountId("1" * 32)
LAMP, PARKED = ResourceId("101@office.example.com"), ResourceId("*3101@office.example.com")


def entry(number: int, account: AccountId = OFFICE, resource: ResourceId = LAMP, action: str = "set") -> AuditEntry:
    return AuditEntry(AuditId(number), account, 1000.0 + number, action, resource, '{"state": "early"}', "", "", "", "")


def trail(*entries: AuditEntry, per_account: int = 100, in_all: int = 1000, slack: int = 0) -> AuditTrail:
    made = AuditTrail(per_account=per_account, in_all=in_all, slack=slack)
    made.add(entries)
    return made


def ids(entries: list[AuditEntry]) -> list[int]:
    return [one.id for one in entries]


def test_the_newest_come_first_and_by_pages() -> None:
    made = trail(*map(entry, range(1, 6)))
    first, following = made.page(OFFICE, size=2)
    assert (ids(first), following) == ([5, 4], 3)
    second, following = made.page(OFFICE, size=2, start=following)
    assert (ids(second), following) == ([3, 2], 1)
    last, following = made.page(OFFICE, size=2, start=following)
    assert (ids(last), following) == ([1], None)


def test_a_page_that_was_begun_goes_on_where_it_was_whatever_came_since() -> None:
    made = trail(*map(entry, range(1, 4)))
    _, following = made.page(OFFICE, size=1)
    made.add([entry(4)])
    assert ids(made.page(OFFICE, size=5, start=following)[0]) == [2, 1]


def test_accounts_and_extensions_are_apart() -> None:
    made = trail(entry(1), entry(2, resource=PARKED), entry(3, SHOP), entry(4, action="reset"))
    assert ids(made.page(OFFICE, size=9)[0]) == [4, 2, 1]
    assert ids(made.page(OFFICE, size=9, resource=LAMP)[0]) == [4, 1]
    assert ids(made.page(AccountId("x"), size=9)[0]) == []
    last = made.last(OFFICE, LAMP, "set")
    assert last is not None
    assert (last.id, last.details) == (1, {"state": "early"})
    assert made.last(OFFICE, PARKED, "reset") is None


def test_the_oldest_of_an_account_go() -> None:
    made = trail(per_account=3)
    assert made.add(map(entry, range(1, 4))) == []
    assert made.add([entry(4), entry(5)]) == [1, 2]
    assert ids(made.page(OFFICE, size=9)[0]) == [5, 4, 3]


def test_they_go_several_at_a_time() -> None:
    made = trail(per_account=3, slack=2)
    assert made.add(map(entry, range(1, 6))) == []
    assert made.add([entry(6)]) == [1, 2, 3]


def test_of_too_many_accounts_the_one_with_the_most_gives() -> None:
    made = trail(*(entry(number) for number in range(1, 5)), entry(5, SHOP), in_all=5)
    assert made.add([entry(6, SHOP)]) == [1]
    assert made.add([entry(7, SHOP)]) == [2] or ids(made.page(SHOP, size=9)[0]) == [7, 6]


@pytest.mark.parametrize("bounds", [{"per_account": 2}, {"in_all": 2}])
def test_after_a_restart_it_goes_on_and_says_what_is_too_old(bounds: dict[str, int]) -> None:
    made = trail(**bounds)
    assert made.restore([entry(7), entry(8), entry(9)]) == [7]
    assert made.next_id() == 10
    assert ids(made.page(OFFICE, size=9)[0]) == [9, 8]
