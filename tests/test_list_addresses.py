"""Lists as the server has them: which addresses of a list that a SUBSCRIBE brings are ours, and who is refused."""

import pytest

from sipresence.addressing import locate
from sipresence.directory import Directory
from sipresence.events.effects import Respond
from sipresence.names import AccountId
from tests.builders import options, subscribe
from tests.events.listed import BROUGHT, list_body
from tests.test_directory import ACME, OTHER, account
from tests.test_service import House

HOST = "192.0.2.1"  # by which the SUBSCRIBE calls us


def directory() -> Directory:
    return Directory([account(aliases=("acme.example.net",)), account(OTHER, "other.example.com")])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("sip:101@acme.example.com", "101@acme.example.com"),
        ("sips:101@acme.example.com:5061;transport=tls", "101@acme.example.com"),
        ("sip:%2A3101@ACME.example.net", "*3101@acme.example.com"),
        ("sip:Bob@192.0.2.1", "bob@acme.example.com"),
        ("sip:101@192.0.2.2", None),
        ("sip:101@other.example.com", None),
        ("sip:acme.example.com", None),
        ("sip:%00@acme.example.com", None),
        ("sip:%FF@acme.example.com", None),
        ("tel:+49301234567", None),
        ("101", None),
        ("", None),
    ],
)
def test_what_a_listed_address_names(text: str, found: str | None) -> None:
    assert locate(directory(), ACME, text, HOST) == found


def test_an_account_that_is_gone_has_no_addresses() -> None:
    assert locate(directory(), AccountId("d" * 32), "sip:101@acme.example.com", HOST) is None


@pytest.fixture
def house() -> House:
    return House()


def answer_to(house: House, **headers: str) -> Respond:
    told = dict(BROUGHT) | headers
    (answer, *_) = house.receive(subscribe(headers=told, body=list_body("sip:101@office.example.com")))
    assert isinstance(answer, Respond)
    return answer


def test_a_list_is_granted_with_its_extension(house: House) -> None:
    answer = answer_to(house)
    assert (answer.status, "Require: eventlist\r\n" in answer.headers) == (200, True)


def test_an_event_that_nobody_knows_is_refused_before_a_list_is_looked_at(house: House) -> None:
    answer = house.receive(subscribe(event="conference", headers={"Require": "recipient-list-subscribe"}))[0]
    assert isinstance(answer, Respond)
    assert answer.status == 489


def test_the_option_tags_are_those_of_a_subscribe(house: House) -> None:
    assert house.status(options(headers={"Require": "recipient-list-subscribe"})) == 420


def test_options_tells_them(house: House) -> None:
    (answer,) = house.receive(options())
    assert isinstance(answer, Respond)
    assert "Supported: eventlist, recipient-list-subscribe\r\n" in answer.headers
    assert "application/resource-lists+xml\r\nAccept-Encoding: deflate\r\n" in answer.headers
