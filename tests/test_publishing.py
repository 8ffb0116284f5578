"""PUBLISH through the whole service, in virtual time: who may, what subscribers are told, and silence in trouble."""

from typing import Any

import pytest

from sipresence.accounts import Account, Device
from sipresence.backends.memory import MemoryStore
from sipresence.errors import StoreError
from sipresence.events.effects import Notify, Respond
from sipresence.events.resource import DialogState
from sipresence.names import AccountId, resource_id
from sipresence.sip.flow import Flow
from sipresence.uas_core import MAX_COMMIT_AGE
from tests.authorization import Phone, challenges
from tests.builders import flow, request, subscribe
from tests.events.publishing import CONTENT_TYPE, Call, dialog_info
from tests.fakes import ManualClock, ManualStore
from tests.test_service import CONFIRMED, EARLY, LAMP, OFFICE, STRANGER, TERMINATED, House, account, house, running

__all__ = ["house"]

REALM = "office.example.com"
PROXY = flow(host="192.0.2.20")


def publish(body: bytes = b"", *, tag: str = "", **fields: Any) -> bytes:
    """A PUBLISH about the call state of 101; `tag` is what SIP-If-Match says."""
    headers = {"Content-Type": CONTENT_TYPE} if body else {}
    headers |= {"SIP-If-Match": tag} if tag else {}
    headers |= fields.pop("headers", {})
    told = {"expires": 3600, "event": "dialog", "contact": None, **fields}
    return request("PUBLISH", headers=headers, body=body, **told)


def ask(house: House, message: bytes, way: Flow = PROXY) -> Respond:
    """The one answer to a PUBLISH."""
    (answer,) = (sent for sent in house.receive(message, way=way) if isinstance(sent, Respond))
    return answer


def tag_of(answer: Respond) -> str:
    """The entity tag of a success."""
    assert answer.status == 200
    return answer.headers.partition("SIP-ETag: ")[2].partition("\r")[0]


def test_a_call_from_ringing_to_its_end(house: House) -> None:
    house.subscribed()
    told = []
    tag = ""
    for number, state in enumerate(("early", "confirmed", "terminated"), 1):
        answer, notify = house.receive(publish(dialog_info(Call(state)), tag=tag, cseq=number), way=PROXY)
        assert isinstance(answer, Respond)
        assert isinstance(notify, Notify)
        house.answer(notify)
        tag = tag_of(answer)
        told.append(notify.document.state)
        house.clock.advance(1)
    assert told == [EARLY, CONFIRMED, TERMINATED]
    assert house.service.lamp(LAMP).state is TERMINATED


def test_the_200_has_what_publishers_need(house: House) -> None:
    answer = ask(house, publish(dialog_info(Call("early")), expires=11))
    assert answer.headers == "Expires: 120\r\nSIP-ETag: p1.1\r\n"


@pytest.mark.parametrize(
    ("message", "status"),
    [
        pytest.param(publish(dialog_info(Call("early")), event="message-summary"), 489, id="another package"),
        pytest.param(publish(), 400, id="initial, without a body"),
        pytest.param(publish(b"<nonsense"), 400, id="a body that is no document"),
        pytest.param(publish(dialog_info(Call("early")), tag="p9.1"), 412, id="a tag that was never issued"),
        pytest.param(publish(dialog_info(Call("early")), headers={"Content-Type": "text/plain"}), 415, id="a type"),
        pytest.param(publish(dialog_info(Call("early")), headers={"Require": "x"}), 420, id="an extension"),
        pytest.param(publish(dialog_info(Call("early")), uri="sip:office.example.com"), 404, id="about nobody"),
    ],
)
def test_what_is_refused(house: House, message: bytes, status: int) -> None:
    assert ask(house, message).status == status
    assert house.service.lamp(LAMP).state is TERMINATED


def test_while_the_store_fails_there_is_no_answer(house: House) -> None:
    assert isinstance(house.store, MemoryStore)
    house.subscribed()
    house.store.fail_with = StoreError("disk full")
    message = publish(dialog_info(Call("early")))
    assert house.receive(message, way=PROXY) == []
    assert [dropped.method for dropped in house.endpoint.dropped] == ["PUBLISH"], "its next copy is taken for new"
    house.store.fail_with = None
    answer, notify = house.receive(message, way=PROXY)
    assert isinstance(answer, Respond)
    assert isinstance(notify, Notify)
    assert (answer.status, notify.document.state) == (200, EARLY)


def test_while_the_store_is_behind_there_is_no_answer() -> None:
    store = ManualStore()
    house = House(store=store)
    assert house.receive(publish(dialog_info(Call("early"))), way=PROXY) == []
    house.clock.advance(MAX_COMMIT_AGE + 0.1)
    assert house.receive(publish(dialog_info(Call("early", id="d2")), call_id="other"), way=PROXY) == []
    assert [dropped.call_id for dropped in house.endpoint.dropped] == ["other"]


async def test_a_reset_puts_the_lamp_out_and_the_next_body_lights_it(house: House) -> None:
    tag = tag_of(ask(house, publish(dialog_info(Call("early")))))
    await running(house.reset(OFFICE, (LAMP,)))
    assert house.service.lamp(LAMP).state is TERMINATED
    assert ask(house, publish(dialog_info(Call("confirmed")), tag=tag, cseq=2)).status == 200
    assert house.service.lamp(LAMP).state is CONFIRMED


async def test_a_set_and_a_call_do_not_hide_each_other(house: House) -> None:
    tag = tag_of(ask(house, publish(dialog_info(Call("confirmed")))))
    await running(house.set_state(OFFICE, (LAMP,), DialogState.EARLY))
    assert house.service.lamp(LAMP).state is EARLY
    await running(house.set_state(OFFICE, (LAMP,), DialogState.TERMINATED))
    assert house.service.lamp(LAMP).state is CONFIRMED
    ask(house, publish(dialog_info(Call("terminated")), tag=tag, cseq=2))
    assert house.service.lamp(LAMP).state is TERMINATED


def test_the_refresh_of_an_orphan_is_granted_and_told_to_nobody(house: House) -> None:
    """Edge case 2 of Kamailio: long after the call."""
    house.subscribed()
    tags = []
    for number, state in enumerate(("trying", "early", "terminated"), 1):
        answer, notify = house.receive(publish(dialog_info(Call(state)), cseq=number), way=PROXY)
        assert isinstance(answer, Respond)
        assert isinstance(notify, Notify)
        house.answer(notify)
        tags.append(tag_of(answer))
    house.clock.advance(100)
    orphan = tags[0]
    (answer,) = house.receive(publish(tag=orphan, cseq=4), way=PROXY)
    assert isinstance(answer, Respond)
    assert tag_of(answer) not in ("", *tags)


def test_two_proxies_that_report_one_call_are_two_publishers(house: House) -> None:
    """Known by their addresses, whatever their ports: the call is over when both have said so."""
    other, elsewhere = flow(host="192.0.2.21"), flow(host="192.0.2.20", port=9)
    tags = [tag_of(ask(house, publish(dialog_info(Call("confirmed"))), way)) for way in (PROXY, other)]
    ask(house, publish(dialog_info(Call("terminated")), cseq=2), elsewhere)
    assert house.service.lamp(LAMP).state is CONFIRMED
    ask(house, publish(dialog_info(Call("terminated")), tag=tags[1], cseq=2), other)
    assert house.service.lamp(LAMP).state is TERMINATED


@pytest.mark.parametrize(
    ("uri", "extension"),
    [
        ("sip:101@pbx.example.com", "101"),
        ("sip:101@OFFICE.example.com:5080;user=phone", "101"),
        ("sip:*78@office.example.com", "*78"),
        ("sip:%2A78@office.example.com", "*78"),
        ("sip:Alice@office.example.com", "alice"),
    ],
)
def test_an_extension_in_any_writing(house: House, uri: str, extension: str) -> None:
    ask(house, publish(dialog_info(Call("early")), uri=uri))
    assert house.service.lamp(resource_id(extension, REALM)).state is EARLY


def test_a_pbx_starts_and_publishes_each_hint_at_once() -> None:
    """Edge case 10: all in one batch, and idle ones are no news. How fast phones are told: test_notifier_pacing.py."""
    store = ManualStore()
    house = House(store=store)
    house.receive(subscribe())
    store.commit()
    house.clock.settle()
    _, first = house.endpoint.take()
    assert isinstance(first, Notify)
    house.answer(first)
    house.receive(*map(hint, range(100, 300)), way=PROXY)
    assert len(store.submitted[-1]) == 200
    store.commit()
    house.clock.settle()
    told = house.endpoint.take()
    assert [sent.status for sent in told if isinstance(sent, Respond)] == [200] * 200
    assert len(told) == 200


def hint(number: int) -> bytes:
    """As Asterisk publishes an idle extension: state, no call."""
    body = dialog_info(Call("terminated", f"{number}", ""))
    return publish(body, uri=f"sip:{number}@{REALM}", call_id=f"hint-{number}")


def test_it_expires(house: House) -> None:
    ask(house, publish(dialog_info(Call("early")), expires=120))
    house.clock.advance(119)
    assert house.service.lamp(LAMP).state is EARLY
    house.clock.advance(2)
    assert house.service.lamp(LAMP).state is TERMINATED


# A restart


async def test_a_restart_keeps_publications_and_their_tags(house: House) -> None:
    tag = tag_of(ask(house, publish(dialog_info(Call("early")))))
    later = House(store=house.store, clock=house.clock)
    later.service.restore(await house.store.load())
    assert later.service.lamp(LAMP).state is EARLY
    assert ask(later, publish(tag=tag, cseq=2)).headers == "Expires: 3600\r\nSIP-ETag: p1.2\r\n"
    assert ask(later, publish(dialog_info(Call("terminated")), tag="p1.2", cseq=3)).status == 200
    assert later.service.lamp(LAMP).state is TERMINATED


async def test_a_clock_that_was_wrong_makes_no_call_last_for_ever(house: House) -> None:
    ask(house, publish(dialog_info(Call("early"))))
    clock = ManualClock(house.clock.now() - 1e6)
    later = House(store=house.store, clock=clock)
    later.service.restore(await house.store.load())
    later.service.start()
    clock.advance(7201)
    assert later.service.lamp(LAMP).state is TERMINATED


# Who may


def outside(*, publishers: frozenset[str] = frozenset(), strict: bool = False) -> House:
    """A house whose account knows two devices, for publishers that are not trusted."""
    known = account(OFFICE, REALM, devices=("101", "102"))
    one = Account(
        known.id, known.name, known.realm, known.aliases, None, (), (), known.devices, (), publishers=publishers,
        strict_publications=strict,
    )  # fmt: skip
    return House(accounts=(one,))


def authenticated(house: House, user: str, extension: str) -> int:
    """The status of a PUBLISH of this device about an extension."""
    uri = f"sip:{extension}@{REALM}"
    first = ask(house, publish(dialog_info(Call("early")), uri=uri), way=STRANGER)
    assert first.status == 401
    phone = Phone(user, "secret")
    value = phone.authorization(challenges(first.headers)[0], method="PUBLISH", uri=uri)
    message = publish(dialog_info(Call("early")), uri=uri, cseq=2, headers={"Authorization": value})
    return ask(house, message, way=STRANGER).status


def test_a_device_publishes_its_own_state_only() -> None:
    house = outside()
    assert [authenticated(house, "101", extension) for extension in ("101", "102", "*3101")] == [200, 403, 403]


def test_a_publisher_publishes_for_all() -> None:
    house = outside(publishers=frozenset(("102",)))
    assert [authenticated(house, "102", extension) for extension in ("101", "*3101")] == [200, 200]


def test_a_device_is_known_by_its_presence_id_and_its_user_name() -> None:
    directory = House(
        accounts=(
            Account(
                AccountId("0" * 32), "", REALM, (), None, (), (),
                (Device("d", "d", None, "101", "alice-desk", "secret"),), (),
            ),
        )
    ).service.directory  # fmt: skip
    asked = [resource_id(user, REALM) for user in ("101", "alice-desk", "102")]
    assert [directory.may_publish(AccountId("0" * 32), "alice-desk", name) for name in asked] == [True, True, False]
    assert not directory.may_publish(AccountId("1" * 32), "alice-desk", asked[0])
    assert not directory.may_publish(AccountId("0" * 32), "alice-desk", resource_id("101", "shop.example.com"))


def test_a_strict_account_has_the_rfc_to_the_letter() -> None:
    house = outside(strict=True)
    message = publish(dialog_info(Call("early")), expires=11)
    assert ask(house, message).headers == "Min-Expires: 120\r\n"


def test_a_subscription_beside_it(house: House) -> None:
    """Whoever subscribes later is told of the call."""
    ask(house, publish(dialog_info(Call("confirmed"))))
    _, notify = house.receive(subscribe())
    assert isinstance(notify, Notify)
    assert notify.document.state is CONFIRMED
