"""What is seen of a service that works, in virtual time: figures, health, and the log."""

import pytest
import structlog

from sipresence.backends.memory import LocalBus
from sipresence.events.resource import set_manually
from sipresence.figures import Figures, Health, Kind, WireFigures
from sipresence.insight import STORE_PATIENCE, Insight
from sipresence.names import CallId, ResourceId, SubscriptionId
from tests.builders import options, parsed, subscribe
from tests.fakes import NOW, ManualStore
from tests.test_service import CONFIRMED, EARLY, LAMP, OFFICE, House, running

NAMES = {"call_id": "call-1@192.0.2.7", "resource": LAMP, "account": OFFICE}


def insight(house: House) -> Insight:
    return Insight(
        house.service,
        notifier=house.service._notifier,
        wire=lambda: WireFigures(notifies_sent=len(house.endpoint.notifies)),
        bus=LocalBus(house.service.on_state_change),
        clock=house.clock,
    )


@pytest.fixture
def house() -> House:
    return House()


def figures(house: House) -> Figures:
    return insight(house).figures()


async def test_figures_of_a_quiet_day(house: House) -> None:
    house.subscribed(headers={"User-Agent": "Yealink T46"})
    await house.set_state(OFFICE, (LAMP,), EARLY)
    house.clock.settle()
    house.answer(house.endpoint.notifies[-1])
    house.receive(subscribe(event="refer", call_id="2"))
    seen = figures(house)
    assert seen.now == NOW
    assert seen.notifier.subscriptions == {Kind(OFFICE, "dialog", "UDP", "yealink"): 1}
    assert seen.notifier.state_changes == {"manual": 1}
    assert seen.notifier.notifies == {200: 2}
    assert seen.notifier.change_to_answered.count == 1
    assert seen.notifier.resources == 1
    assert seen.refusals == {"event": 1}
    assert seen.outbox.commit_time.count == 2
    assert (seen.outbox.commits_failed, seen.outbox.failing, seen.outbox.waiting_since) == (0, False, None)
    assert (seen.inbox, seen.outbox.lane, seen.notifier.paced) == (0, 0, 0)
    assert seen.bus_up


def test_figures_of_what_waits() -> None:
    store = ManualStore()
    house = House(store=store)
    house.service.on_request(parsed(subscribe()))
    assert figures(house).inbox == 1
    house.receive()
    assert (figures(house).inbox, figures(house).outbox.waiting_since) == (0, NOW)
    house.clock.advance(0.125)
    store.commit()
    seen = figures(house).outbox
    assert (seen.waiting_since, seen.lane, seen.commit_time.sum) == (None, 1, 0.125)


def test_health_of_a_store_that_fails_and_recovers() -> None:
    store = ManualStore()
    house = House(store=store)
    sight = insight(house)
    assert sight.health() == Health(responsive=True, serving=True, store=True, bus=True)
    house.receive(subscribe())
    store.fail()
    assert sight.health() == Health(responsive=True, serving=True, store=False, bus=True)
    assert (sight.figures().outbox.failing, sight.figures().outbox.commits_failed) == (True, 1)
    house.receive(subscribe(call_id="2"))
    store.commit()
    assert sight.health().ready


def test_a_store_that_fails_is_no_reason_to_end_and_one_that_never_answers_is() -> None:
    store = ManualStore()
    house = House(store=store)
    sight = insight(house)
    assert sight.alive()
    assert sight.status() == "0 subscriptions, 0 connections"
    house.receive(subscribe())
    store.fail()
    assert sight.alive()
    assert sight.status() == "0 subscriptions, 0 connections, the store is failing"
    house.receive(subscribe(call_id="2"))
    house.clock.advance(STORE_PATIENCE)
    assert not sight.alive()
    store.commit()
    assert sight.alive()


async def test_health_of_a_server_that_stops(house: House) -> None:
    await house.service.stop()
    assert insight(house).health() == Health(responsive=True, serving=False, store=True, bus=True)


async def test_timelines_by_extension_and_by_call(house: House) -> None:
    notify = house.subscribed()
    house.clock.advance(1)
    await house.reset(OFFICE, (LAMP,), by="boss")
    sight = insight(house)
    happened = [type(event.what).__name__ for event in sight.timeline(OFFICE, LAMP).events]
    assert happened == ["Subscribed", "Notified", "Changed", "Notified"]
    (found,) = sight.timelines(OFFICE, CallId(notify.call_id))
    assert found == sight.timeline(OFFICE, LAMP, call_id=CallId(notify.call_id))
    assert sight.timelines(OFFICE, CallId("nobody's")) == []


# The log


def test_a_refusal_names_whom_it_is_about(house: House) -> None:
    with structlog.testing.capture_logs() as lines:
        house.receive(subscribe(call_id="call-1@192.0.2.7", expires=1))
    assert lines == [
        {"event": "refused", "log_level": "info", "reason": "interval_too_brief", "source": "192.0.2.7:5060",
         "suppressed": 0, **NAMES},
    ]  # fmt: skip


def test_a_refusal_in_a_dialog_names_its_subscription(house: House) -> None:
    house.subscribed(call_id="call-1@192.0.2.7")
    (view,) = house.service.subscriptions(OFFICE)
    with structlog.testing.capture_logs() as lines:
        house.receive(
            subscribe(call_id="call-1@192.0.2.7", to_tag=view.record.local_tag, uri="sip:else@x", cseq=9, expires=1)
        )
    assert NAMES.items() <= lines[0].items()


@pytest.mark.parametrize("message", [options(uri="tel:1", call_id="c"), subscribe(uri="tel:1", call_id="c")])
def test_a_refusal_of_what_names_nothing(house: House, message: bytes) -> None:
    with structlog.testing.capture_logs() as lines:
        house.receive(message)
    assert (lines[0]["call_id"], lines[0]["resource"]) == ("c", "")


def test_a_notify_that_fails_and_the_end_that_follows(house: House) -> None:
    house.subscribed(call_id="call-1@192.0.2.7")
    with structlog.testing.capture_logs() as lines:
        for status in (500, 481):
            house.service.on_state_change(
                set_manually(OFFICE, LAMP, state=EARLY if status == 500 else CONFIRMED, at=NOW)
            )
            house.clock.advance(5)
            house.answer(house.endpoint.notifies[-1], status)
    assert lines == [
        {"event": "notify failed", "log_level": "info", "status": 500, "suppressed": 0, **NAMES},
        {"event": "subscription ended", "log_level": "info", "status": 481, "suppressed": 0, **NAMES},
    ]


def test_many_that_fail_write_ten_lines(house: House) -> None:
    with structlog.testing.capture_logs() as lines:
        for number in range(100):
            house.receive(subscribe(call_id=f"call-{number}"))
        for ident in range(1, 100):
            house.service.on_notify_answered(SubscriptionId(ident), 408, None, NOW)
        house.clock.advance(1)
        house.service.on_notify_answered(SubscriptionId(100), 408, None, NOW)
    assert [line["suppressed"] for line in lines] == [0] * 10 + [89]


async def test_a_pbx_that_sets_lamps_all_day_writes_ten_lines_a_second(house: House) -> None:
    with structlog.testing.capture_logs() as lines:
        for number in range(100):
            await running(house.reset(OFFICE, (ResourceId(f"{number}@office.example.com"),), by="pbx"))
    assert [line["event"] for line in lines] == ["reset"] * 10


async def test_who_sets_what_and_what_expires(house: House) -> None:
    with structlog.testing.capture_logs() as lines:
        await running(house.set_state(OFFICE, (LAMP,), EARLY, expires=60, by="boss"))
        await running(house.reset(OFFICE, (LAMP,), by="boss"))
        await running(house.set_state(OFFICE, (LAMP,), EARLY, expires=60, by="boss"))
        house.clock.advance(61)
    assert [(line["event"], line.get("by")) for line in lines] == [
        ("set", "boss"), ("reset", "boss"), ("set", "boss"), ("state expired", None),
    ]  # fmt: skip
    assert (lines[-1]["resource"], lines[-1]["account"]) == (LAMP, OFFICE)


def test_debug_shows_all_that_is_decided() -> None:
    house = House(debug=True)
    with structlog.testing.capture_logs() as lines:
        house.subscribed(call_id="call-1@192.0.2.7")
    assert lines == [
        {"event": "answer", "log_level": "debug", "method": "SUBSCRIBE", "status": 200, **NAMES},
        {"event": "notify", "log_level": "debug", "cseq": 1, "version": 0, "state": "active;expires=3600", **NAMES},
    ]


def test_without_debug_nothing_is_written_of_it(house: House) -> None:
    with structlog.testing.capture_logs() as lines:
        house.subscribed()
    assert lines == []
