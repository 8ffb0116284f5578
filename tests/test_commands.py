"""What is asked over the admin API: done whole or not at all, written down, and how the phones take it."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from sipresence.audit import Asker
from sipresence.backends.memory import MemoryStore
from sipresence.commands import MAX_WAIT, MAX_WAITING, Command, NotifyAgain, Reset, SetState, Terminate, goes_by
from sipresence.errors import StoreError, TooManyWaiting, UnknownSubscription
from sipresence.events.effects import Forget, ForgetAudit, Notify, Respond, SaveAudit, SaveState
from sipresence.events.resource import Lamp
from sipresence.events.state import Messages
from sipresence.events.subscription import Reason
from sipresence.names import ResourceId
from sipresence.receipt import Receipt
from tests.builders import subscribe
from tests.fakes import NOW, ManualStore
from tests.test_service import CONFIRMED, EARLY, LAMP, OFFICE, PARKED, SHOP, TERMINATED, House, house

__all__ = ["house"]

BOSS = Asker(OFFICE, "a" * 32, "192.0.2.77", "request-1")
SOON = 0.05  # s for which tests wait in vain


async def carry_out(house: House, *commands: Command, patience: float = 0.0, by: Asker = BOSS) -> Receipt:
    return await house.service.commands.carry_out(OFFICE, commands, by=by, patience=patience)


async def waiting(house: House, *commands: Command, patience: float = 5.0) -> "asyncio.Task[Receipt]":
    """Start commands that wait for phones, and let them come to where they wait."""
    task = asyncio.ensure_future(carry_out(house, *commands, patience=patience))
    for _ in range(3):
        await asyncio.sleep(0)
    house.service.on_turn_end()
    house.clock.settle()
    return task


def sent(house: House) -> list[Notify]:
    house.clock.settle()
    return [one for one in house.endpoint.take() if isinstance(one, Notify)]


def entries(house: House, **wanted: Any) -> list[tuple[str, str, dict[str, Any]]]:
    found, _ = house.service.commands.trail.page(OFFICE, size=100, **wanted)
    return [(one.action, one.resource, one.details) for one in found]


def lamps(house: House, *names: ResourceId) -> list[Lamp]:
    return [house.service.lamp(name) for name in names]


# Whole or not at all


SEVERAL: Sequence[Command] = (
    SetState((LAMP, PARKED), EARLY),
    Reset((ResourceId("103@office.example.com"),)),
    SetState((PARKED,), CONFIRMED, messages=Messages(new=1), do_not_disturb=True),
)


async def test_several_commands_are_one_transaction_in_their_order() -> None:
    store = ManualStore()
    house = House(store=store)
    task = await waiting(house, *SEVERAL, patience=0.0)
    (batch,) = store.submitted
    assert [type(write) for write in batch] == [SaveAudit] * 4 + [SaveState] * 7
    assert [lamp.state for lamp in lamps(house, LAMP, PARKED)] == [TERMINATED] * 2
    store.commit()
    assert await task == Receipt()
    assert [lamp.state for lamp in lamps(house, LAMP, PARKED)] == [EARLY, CONFIRMED]
    assert house.service.state(PARKED).presence.do_not_disturb


async def test_of_several_commands_that_cannot_be_kept_none_is_done() -> None:
    store = ManualStore()
    house = House(store=store)
    task = await waiting(house, *SEVERAL, patience=5.0)
    store.fail()
    with pytest.raises(StoreError):
        await task
    assert lamps(house, LAMP, PARKED) == [Lamp(TERMINATED, 0.0)] * 2
    assert entries(house) == []
    assert not house.service.commands.awaited


async def test_where_one_names_nobody_none_is_done(house: House) -> None:
    with pytest.raises(UnknownSubscription, match="nobody"):
        await carry_out(house, SetState((LAMP,), EARLY), Terminate((LAMP,), "nobody"))
    assert lamps(house, LAMP) == [Lamp(TERMINATED, 0.0)]
    assert entries(house) == []


# notify and terminate


async def test_a_phone_is_told_again_once_that_is_written_down() -> None:
    store = ManualStore()
    house = House(store=store)
    house.receive(subscribe())
    store.commit()
    (first,) = sent(house)
    house.answer(first)
    task = await waiting(house, NotifyAgain((LAMP,)))
    assert sent(house) == []
    store.commit()
    (again,) = sent(house)
    house.answer(again)
    assert await task == Receipt(acknowledged=1)


async def test_all_phones_of_an_extension_are_told_again(house: House) -> None:
    first, second = house.subscribed(), house.subscribed(call_id="2")
    house.subscribed(uri="sip:*3101@office.example.com", call_id="3")
    await carry_out(house, NotifyAgain((LAMP,)))
    assert sorted((one.id, one.cseq) for one in sent(house)) == [(first.id, 2), (second.id, 2)]


async def test_one_phone_is_told_again(house: House) -> None:
    house.subscribed()
    second = house.subscribed(call_id="2")
    await carry_out(house, NotifyAgain((LAMP,), "2"))
    assert [(one.id, one.cseq) for one in sent(house)] == [(second.id, 2)]


@pytest.mark.parametrize("command", [NotifyAgain((PARKED,), "1@phone"), Terminate((PARKED,), "1@phone")])
async def test_a_phone_that_watches_something_else_is_not_found(house: House, command: Command) -> None:
    house.subscribed(call_id="1@phone")
    with pytest.raises(UnknownSubscription):
        await carry_out(house, command)


async def test_no_account_ends_the_subscriptions_of_another(house: House) -> None:
    house.subscribed(call_id="1@phone")
    with pytest.raises(UnknownSubscription):
        await house.service.commands.carry_out(SHOP, [Terminate((LAMP,), "1@phone")])
    await house.service.commands.carry_out(SHOP, [NotifyAgain((LAMP,))])
    assert sent(house) == []


@pytest.mark.parametrize("reason", [Reason.DEACTIVATED, Reason.REJECTED])
async def test_a_subscription_is_ended(reason: Reason) -> None:
    store = ManualStore()
    house = House(store=store)
    house.receive(subscribe(call_id="1@phone"))
    store.commit()
    (first,) = sent(house)
    house.answer(first)
    task = await waiting(house, Terminate((LAMP,), "1@phone", reason), patience=0.0)
    assert [type(write) for write in store.submitted[-1]] == [SaveAudit, Forget]
    assert sent(house) == [], "not before it is committed"
    store.commit()
    await task
    assert [one.subscription_state for one in sent(house)] == [f"terminated;reason={reason}"]
    assert list(house.service.subscriptions(OFFICE)) == []


async def test_a_phone_that_was_ended_may_subscribe_anew(house: House) -> None:
    house.subscribed(call_id="1@phone")
    await carry_out(house, Terminate((LAMP,), "1@phone"))
    (last,) = sent(house)
    house.answer(last)
    assert [type(one) for one in house.receive(subscribe(call_id="2@phone"))] == [Respond, Notify]


async def test_one_that_wants_to_be_told_rarely_is_told_again_in_its_time(house: House) -> None:
    """The notifier has a new deadline, of which the clock has to hear."""
    house.subscribed(event="dialog;max-rate=0.1")
    await carry_out(house, NotifyAgain((LAMP,)))
    assert sent(house) == []
    house.clock.advance(10.0)
    assert [one.cseq for one in sent(house)] == [2]


def test_of_dialogs_with_one_call_id_each_has_a_name_of_its_own(house: House) -> None:
    for tag in ("a", "b"):
        house.subscribed(call_id="1@phone", from_tag=tag)
    second, first = (view.record for view in house.service.subscriptions(OFFICE))
    assert goes_by(first, "1@phone")
    assert goes_by(second, "1@phone")
    assert [goes_by(one, "1@phone;from-tag=a") for one in (first, second)] == [True, False]
    assert goes_by(first, f"1@phone;from-tag=a;to-tag={first.local_tag}")
    assert not goes_by(first, f"1@phone;from-tag=a;to-tag={second.local_tag}")


# How phones take it


async def test_a_phone_acknowledges(house: House) -> None:
    house.subscribed()
    task = await waiting(house, SetState((LAMP,), EARLY))
    (notify,) = sent(house)
    assert not task.done()
    house.answer(notify)
    assert await task == Receipt(acknowledged=1)


async def test_phones_answer_in_different_ways(house: House) -> None:
    for number in range(4):
        house.subscribed(call_id=str(number))
    task = await waiting(house, SetState((LAMP,), EARLY), patience=SOON)
    first, second, third, _ = sent(house)
    house.answer(first, 200)
    house.answer(second, 500)
    house.answer(third, 0)
    assert await task == Receipt(acknowledged=1, refused=1, silent=2)
    assert not house.service.commands.awaited


async def test_a_refusal_that_ends_the_subscription_counts(house: House) -> None:
    house.subscribed()
    task = await waiting(house, Reset((LAMP,)))
    (notify,) = sent(house)
    house.answer(notify, 481)
    assert await task == Receipt(refused=1)


async def test_the_answer_to_the_notify_before_does_not_count(house: House) -> None:
    (_, first) = house.receive(subscribe())
    assert isinstance(first, Notify)
    task = await waiting(house, SetState((LAMP,), EARLY))
    assert sent(house) == []
    (second,) = house.answer(first)
    await asyncio.sleep(0)
    assert not task.done()
    assert isinstance(second, Notify)
    house.answer(second)
    assert await task == Receipt(acknowledged=1)


async def test_who_has_nothing_to_learn_is_not_waited_for(house: House) -> None:
    house.subscribed()
    house.subscribed(event="message-summary", call_id="2", accept=None)
    task = await waiting(house, SetState((LAMP,), TERMINATED))
    assert await task == Receipt(unchanged=2)


async def test_a_reset_is_told_to_all(house: House) -> None:
    house.subscribed()
    task = await waiting(house, Reset((LAMP,)))
    (notify,) = sent(house)
    house.answer(notify)
    assert await task == Receipt(acknowledged=1)


async def test_nobody_is_subscribed(house: House) -> None:
    assert await carry_out(house, SetState((LAMP,), EARLY), patience=5.0) == Receipt()


async def test_the_last_notify_is_waited_for(house: House) -> None:
    house.subscribed(call_id="1@phone")
    task = await waiting(house, Terminate((LAMP,), "1@phone"))
    (last,) = sent(house)
    house.answer(last)
    assert await task == Receipt(acknowledged=1)


async def test_of_one_that_is_told_again_only_its_phone_is_waited_for(house: House) -> None:
    house.subscribed(call_id="1@phone")
    house.subscribed(call_id="2@phone")
    task = await waiting(house, NotifyAgain((LAMP,), "1@phone"))
    (again,) = sent(house)
    house.answer(again)
    assert await task == Receipt(acknowledged=1)


async def test_a_later_command_is_waited_for_by_itself(house: House) -> None:
    house.subscribed()
    first = await waiting(house, SetState((LAMP,), EARLY), patience=SOON)
    second = await waiting(house, SetState((LAMP,), CONFIRMED))
    (notify,) = sent(house)
    (after,) = house.answer(notify)
    assert await first == Receipt(acknowledged=1)
    assert isinstance(after, Notify)
    house.answer(after)
    assert await second == Receipt(acknowledged=1)


async def test_only_so_many_may_wait(house: House) -> None:
    house.subscribed()
    tasks = [await waiting(house, SetState((LAMP,), EARLY))]
    tasks += [asyncio.ensure_future(carry_out(house, Reset((LAMP,)), patience=5.0)) for _ in range(MAX_WAITING - 1)]
    await asyncio.sleep(0.01)
    with pytest.raises(TooManyWaiting):
        await carry_out(house, SetState((LAMP,), CONFIRMED), patience=1.0)
    await carry_out(house, SetState((LAMP,), CONFIRMED))
    assert house.service.lamp(LAMP).state is CONFIRMED, "who does not wait is served"
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert not house.service.commands.awaited


async def test_nobody_waits_for_longer_than_there_is_patience(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_WAIT == 10.0
    monkeypatch.setattr("sipresence.commands.MAX_WAIT", SOON)
    house.subscribed()
    assert await carry_out(house, SetState((LAMP,), EARLY), patience=3600.0) == Receipt(silent=1)


async def test_what_was_asked_is_done_though_nobody_waits_any_more(house: House) -> None:
    house.subscribed()
    task = await waiting(house, SetState((LAMP,), EARLY))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert house.service.lamp(LAMP).state is EARLY
    assert not house.service.commands.awaited


# Who has asked


async def test_every_command_is_written_down(house: House) -> None:
    house.subscribed(call_id="1@phone")
    await carry_out(house, SetState((LAMP, PARKED), EARLY, 60, Messages(2, 5), do_not_disturb=True))
    await carry_out(house, NotifyAgain((LAMP,)))
    await carry_out(house, Terminate((LAMP,), "1@phone", Reason.REJECTED))
    await carry_out(house, Reset((LAMP,)))
    everything = {
        "state": "early", "expires": 60, "dnd": True,
        "mwi": {"new": 2, "saved": 5, "urgent": 0, "urgent_saved": 0},
    }  # fmt: skip
    assert entries(house) == [
        ("reset", LAMP, {}),
        ("terminate", LAMP, {"call_id": "1@phone", "reason": "rejected"}),
        ("notify", LAMP, {}),
        ("set", PARKED, everything),
        ("set", LAMP, everything),
    ]
    last = house.service.commands.trail.last(OFFICE, LAMP, "set")
    assert last is not None
    assert (last.by, last.user, last.address, last.request_id, last.at) == (*BOSS, NOW)


async def test_it_is_there_after_a_restart() -> None:
    store = MemoryStore()
    before = House(store=store)
    await carry_out(before, SetState((LAMP,), EARLY))
    after = House(store=store)
    after.service.restore(await store.load())
    assert entries(after) == [("set", LAMP, {"state": "early"})]
    await carry_out(after, Reset((LAMP,)))
    assert [one.id for one in (await store.load()).audit] == [1, 2]


async def test_what_is_too_old_leaves_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    store = ManualStore()
    house = House(store=store)
    trail = house.service.commands.trail
    monkeypatch.setattr(trail, "_per_account", 2)
    monkeypatch.setattr(trail, "_slack", 0)
    task = await waiting(house, *(Reset((LAMP,)) for _ in range(3)), patience=0.0)
    store.commit()
    await task
    assert list(store.submitted[-1]) == [ForgetAudit(1)]  # type: ignore[arg-type]
    store.fail()
    task = await waiting(house, Reset((LAMP,)), patience=0.0)
    store.commit()
    await task
    store.commit()
    assert [one.id for one in (await store.load()).audit] == [1, 3, 4], "it is tried no more before the next start"
