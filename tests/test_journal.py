"""Phones that ask for packages we do not have, every minute, for ever: refused and counted each time, logged once."""

from collections.abc import Iterable

import pytest
import structlog.testing

from sipresence import journal
from sipresence.events.effects import Respond
from sipresence.journal import BAD_EVENT, Journal
from sipresence.sip.flow import Flow
from tests.builders import flow, parsed, subscribe
from tests.fakes import NOW
from tests.test_service import House, house

__all__ = ["house"]

CONTACT = "<sip:102@192.0.2.7:5060>"


def wish(contact: str | None = CONTACT, *, event: str = "as-feature-event", agent: str = "Fanvil X5U 2.4.5") -> bytes:
    """What such a phone sends."""
    return subscribe(event=event, contact=contact, headers={"User-Agent": agent})


def logged(house: House, messages: Iterable[bytes], way: Flow | None = None) -> list[dict[str, object]]:
    """The lines logged of these messages, one a minute; each is refused."""
    with structlog.testing.capture_logs() as lines:
        for message in messages:
            (answer,) = house.receive(message, way=way or flow())
            assert isinstance(answer, Respond)
            assert answer.status == 489
            house.clock.advance(60)
    return [dict(line) for line in lines]


def test_each_phone_is_logged_once_and_counted_always(house: House) -> None:
    (line,) = logged(house, [wish()] * 30)
    assert line["event"] == "refused"
    assert (line["reason"], line["event_package"], line["source"]) == ("event", "as-feature-event", "192.0.2.7:5060")
    assert line["resource"] == "101@office.example.com"
    assert house.service.refusals["event"] == 30


def test_another_phone_and_another_package_are_news(house: House) -> None:
    assert len(logged(house, [wish()] * 2)) == 1
    assert len(logged(house, [wish("<sip:103@192.0.2.8>")] * 2)) == 1
    assert len(logged(house, [wish(event="ua-profile")] * 2)) == 1
    assert len(logged(house, [wish(agent="Fanvil X5U 2.4.6")] * 2)) == 1
    assert logged(house, [wish()] * 2) == []


def test_a_phone_without_a_contact_is_known_by_its_address(house: House) -> None:
    assert len(logged(house, [wish(None)] * 2)) == 1
    assert len(logged(house, [wish(None)] * 2, way=flow(port=5999))) == 1


def test_it_is_logged_again_a_day_later(house: House) -> None:
    logged(house, [wish()])
    house.clock.advance(journal.OLD_NEWS_FOR - 61)
    assert logged(house, [wish()]) == []
    assert len(logged(house, [wish()] * 3)) == 1


def test_who_was_left_out_in_a_busy_second_is_logged_when_there_is_room(house: House) -> None:
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            house.receive(*(wish(f"<sip:{n}@192.0.2.7>") for n in range(25)))
            house.clock.advance(60)
    assert len(lines) == 25
    assert house.service.refusals["event"] == 75


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "MAX_OLD_NEWS", 8)
    one = Journal(about=lambda _: {}, find=lambda _: None)
    with structlog.testing.capture_logs() as lines:
        for second, number in enumerate([*range(17), 16, 0]):
            one.refused(BAD_EVENT, flow(), NOW + second, request=parsed(wish(f"<sip:{number}@192.0.2.7>")))
    assert len(lines) == 17 + 1  # the last of them is remembered, the first is not
