"""The registrar of RFC 3261 section 10.3, rule by rule, in virtual time."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipresence.errors import SipError
from sipresence.events.effects import ForgetBinding, Respond, SaveBinding, SaveState
from sipresence.events.register import RegistrarLimits
from sipresence.events.registrar import RETRY
from sipresence.names import AccountId, ResourceId
from sipresence.refusals import FULL
from tests.builders import flow, parsed
from tests.events.registering import (
    BOBS,
    CONTACT,
    DESK,
    LAMP,
    OFFICE,
    OTHER_LAMP,
    SOFT,
    Reception,
    listed,
)
from tests.fakes import NOW

TORTURE = Path(__file__).parents[1] / "data" / "torture"
URI = CONTACT[1:-1]
A, B, C = ("sip:a@192.0.2.7", "sip:b@192.0.2.7", "sip:c@192.0.2.7")


@pytest.fixture
def desk() -> Reception:
    return Reception()


def refused(desk: Reception, *contacts: str, **fields: Any) -> SipError:
    """A REGISTER that is refused, and changes nothing."""
    before = list(desk.registrar.bindings_of(OFFICE))
    with pytest.raises(SipError) as refusal:
        desk.later(*contacts, **fields)
    assert list(desk.registrar.bindings_of(OFFICE)) == before
    return refusal.value


# Adding, refreshing, removing, asking


def test_a_phone_registers(desk: Reception) -> None:
    way = flow(port=5062)
    match desk.register(CONTACT, way=way, expires=1800, cseq=7, headers={"User-Agent": "Phone/1.0"}):
        case [SaveBinding(binding), SaveState(change), Respond(_, 200, "t", headers)]:
            assert binding == (
                *(1, OFFICE, "alice-desk", LAMP, URI, "", "", "", "call-1@192.0.2.7", 7, "Phone/1.0"),
                *("UDP", "udp://0.0.0.0:5060", "192.0.2.7", 5062, "192.0.2.1:5060", 1800, NOW, NOW + 1800),
            )
            assert (change.resource, change.presence, change.at) == (LAMP, None, NOW)
            assert headers == f"Contact: <{URI}>;expires=1800\r\nDate: Tue, 14 Nov 2023 22:13:20 GMT\r\n"
        case effects:
            pytest.fail(f"{effects}")


def test_a_refresh_replaces_the_row(desk: Reception) -> None:
    desk.register(CONTACT, expires=600)
    desk.wait(100)
    match desk.register(CONTACT, cseq=2, expires=600, way=flow(port=9)):
        case [SaveBinding(binding), Respond()] as effects:
            assert (binding.id, binding.cseq, binding.source_port) == (1, 2, 9)
            assert (binding.registered_at, binding.expires_at) == (NOW, NOW + 700)
            assert listed(effects) == {URI: 600}
        case effects:
            pytest.fail(f"{effects}")


def test_a_phone_unregisters(desk: Reception) -> None:
    desk.register(CONTACT)
    match desk.register(CONTACT, cseq=2, expires=0):
        case [ForgetBinding(binding), SaveState(change), Respond()] as effects:
            assert binding.contact == URI
            assert change.presence is not None
            assert change.presence.open is False
            assert listed(effects) == {}
        case effects:
            pytest.fail(f"{effects}")
    assert desk.contacts() == []
    assert len(desk.registrar) == 0


def test_the_end_of_what_was_never_registered_is_no_news(desk: Reception) -> None:
    (answer,) = desk.register(CONTACT, expires=0)
    assert isinstance(answer, Respond)
    assert desk.said == {}


def test_without_contacts_it_only_asks(desk: Reception) -> None:
    """RFC 3261 section 10.2.3."""
    desk.register(CONTACT, expires=600)
    desk.wait(100)
    (answer,) = effects = desk.register(cseq=2)
    assert isinstance(answer, Respond)
    assert listed(effects) == {URI: 500}
    assert next(desk.registrar.bindings_of(OFFICE)).cseq == 1


def test_all_contacts_of_a_device_are_listed(desk: Reception) -> None:
    desk.register(f"<{A}>;expires=100, <{B}>", f"<{C}>;expires=300", expires=200)
    assert listed(desk.register(cseq=2)) == {A: 100, B: 200, C: 300}
    assert listed(desk.register(CONTACT, who=BOBS)) == {URI: 3600}, "and of no other one"
    assert [len(list(desk.registrar.bindings_of(OFFICE, lamp))) for lamp in (None, LAMP, OTHER_LAMP)] == [4, 3, 1]
    assert list(desk.registrar.bindings_of(AccountId("f" * 32))) == []


def test_one_request_may_do_different_things(desk: Reception) -> None:
    desk.register(f"<{A}>, <{B}>")
    effects = desk.register(f"<{A}>;expires=0", f"<{B}>;expires=90", f"<{C}>", cseq=2)
    assert listed(effects) == {B: 90, C: 3600}
    assert [type(effect) for effect in effects] == [ForgetBinding, SaveBinding, SaveBinding, Respond]


def test_of_a_contact_named_twice_the_last_word_counts(desk: Reception) -> None:
    assert listed(desk.register(f"<{A}>;expires=100", f"<{A}>;expires=200")) == {A: 200}
    assert listed(desk.register(f"<{A}>;expires=100", f"<{A}>;expires=0", cseq=2)) == {}
    assert listed(desk.register(f"<{A}>;expires=0", f"<{A}>;expires=100", cseq=3)) == {A: 100}


def test_a_contact_may_be_any_uri(desk: Reception) -> None:
    """RFC 3261 section 10.2.1: "registrations can contain … other URI schemes"."""
    assert listed(desk.register("<mailto:alice@example.com>", "tel:+15551234")) == {
        "mailto:alice@example.com": 3600,
        "tel:+15551234": 3600,
    }
    assert listed(desk.register("<tel:+15551234>;expires=0", cseq=2)) == {"mailto:alice@example.com": 3600}


def test_what_a_contact_says_of_itself_is_given_back(desk: Reception) -> None:
    instance = '+sip.instance="<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>"'
    (*_, answer) = desk.register(f'"Alice" <{A}>;q=0.75;{instance};methods="INVITE, ACK"', f"<{B}>;q=2;expires=60")
    assert isinstance(answer, Respond)
    assert answer.headers.startswith(f"Contact: <{A}>;q=0.75;{instance};expires=3600\r\nContact: <{B}>;expires=60\r\n")


# How long


@pytest.mark.parametrize(
    ("contact", "header", "granted"),
    [
        pytest.param("", None, 3600, id="default"),
        pytest.param("", "300", 300, id="header"),
        pytest.param(";expires=120", "300", 120, id="the contact's own goes first"),
        pytest.param(";Expires=120", None, 120, id="parameter names have no case"),
        pytest.param("", "100000", 7200, id="no longer than the longest"),
        pytest.param(";expires=99999999999999", None, 7200, id="RFC 3261 10.2.1.1: above 2**32"),
        pytest.param(";expires=soon", None, 3600, id="malformed is an hour"),
        pytest.param("", "Thu, 01 Dec 1994 16:00:00 GMT", 3600, id="RFC 2543: a date"),
        pytest.param(";expires=60", None, 60, id="the least"),
    ],
)
def test_what_is_granted(desk: Reception, contact: str, header: str | None, granted: int) -> None:
    assert listed(desk.register(f"<{A}>{contact}", expires=header)) == {A: granted}


def test_too_brief_is_refused_as_a_whole(desk: Reception) -> None:
    refusal = refused(desk, f"<{A}>", f"<{B}>;expires=59")
    assert (refusal.status, refusal.headers) == (423, "Min-Expires: 60\r\n")


def test_an_hour_is_never_too_brief() -> None:
    """RFC 3261 section 10.3: only what is "smaller than one hour"."""
    desk = Reception(RegistrarLimits(min_expires=7000, default_expires=7000))
    assert listed(desk.register(f"<{A}>;expires=3600")) == {A: 3600}
    assert refused(desk, f"<{A}>;expires=3599", cseq=2).status == 423


def test_other_limits_hold_from_then_on(desk: Reception) -> None:
    desk.register(f"<{A}>;expires=60")
    desk.registrar.configure(RegistrarLimits(min_expires=90))
    assert desk.contacts() == [A]
    assert refused(desk, f"<{A}>;expires=60", cseq=2).status == 423


# The end of everything


def test_a_star_removes_all(desk: Reception) -> None:
    desk.register(f"<{A}>, <{B}>")
    desk.register(CONTACT, who=SOFT)
    effects = desk.register("*", cseq=2, expires=0)
    assert [type(effect) for effect in effects] == [ForgetBinding, ForgetBinding, Respond], "of this device"
    assert listed(effects) == {}
    assert desk.contacts() == [URI]


@pytest.mark.parametrize(
    ("contacts", "expires"),
    [(("*",), None), (("*",), 60), (("*",), "x"), (("*", f"<{A}>"), 0), ((f"<{A}>, *",), 0), (("*, *",), 0)],
)
def test_a_star_goes_with_nothing_else(desk: Reception, contacts: tuple[str, ...], expires: Any) -> None:
    desk.register(f"<{B}>")
    assert refused(desk, *contacts, expires=expires, cseq=2).status == 400


# Order


@pytest.mark.parametrize("cseq", [4, 5])
@pytest.mark.parametrize(
    ("contacts", "expires"), [((f"<{A}>",), 90), ((f"<{A}>",), 0), (("*",), 0), ((f"<{C}>", f"<{B}>"), 90)]
)
def test_a_request_that_was_overtaken_is_refused_as_a_whole(
    desk: Reception, contacts: tuple[str, ...], expires: int, cseq: int
) -> None:
    """ "If not, the update MUST be aborted and the request fails." """
    desk.register(f"<{A}>, <{B}>", cseq=5)
    assert refused(desk, *contacts, expires=expires, cseq=cseq).status == 500


def test_another_call_id_is_in_order_whatever_its_cseq(desk: Reception) -> None:
    """The phone has restarted."""
    desk.register(f"<{A}>", cseq=5)
    assert listed(desk.register(f"<{A}>;expires=90", cseq=1, call_id="other")) == {A: 90}
    assert listed(desk.register("*", expires=0, cseq=1, call_id="third")) == {}


def test_order_is_that_of_each_binding(desk: Reception) -> None:
    desk.register(f"<{A}>", cseq=5)
    assert listed(desk.register(f"<{B}>", cseq=4)) == {A: 3600, B: 3600}
    assert desk.registrar.knows("call-1@192.0.2.7")


# One contact under two spellings (see also tests/sip/test_equivalence.py)


def test_contacts_are_compared_as_uris(desk: Reception) -> None:
    desk.register("<sip:Alice@Desk.Example.com;transport=TCP;ob>")
    same = "sip:%41lice@desk.example.COM;transport=tcp"
    assert listed(desk.register(f"<{same}>", cseq=2)) == {same: 3600}
    assert len(listed(desk.register("<sip:Alice@desk.example.com>", cseq=3))) == 2


@pytest.mark.parametrize(
    "contact", ["", "<sip:a@b", "<>", "<sip:a@b c>", "<sip:>", "sip:a@b@c", "<tel:1 2>", '"Alice <sip:a@b>']
)
def test_a_contact_that_is_none(desk: Reception, contact: str) -> None:
    assert refused(desk, f"<{A}>, {contact}" if contact else contact).status == 400


@given(
    st.lists(st.text('<>";,?=:@ *%.[]sipexrq015', max_size=30), max_size=3),
    st.sampled_from([None, "0", "60", "x"]),
)
def test_whatever_a_contact_says_it_is_bound_or_refused(contacts: list[str], expires: str | None) -> None:
    desk = Reception()
    status, bound = 200, {}
    try:
        bound = listed(desk.register(*contacts, expires=expires))
    except SipError as error:
        status = error.status
    assert status in (200, 400, 403, 423)
    assert len(bound) == len(desk.contacts())
    desk.wait(10_000)
    assert desk.rows == {}


@pytest.mark.parametrize(
    ("name", "contacts"),
    [
        pytest.param("escnull", {"sip:%00@host5.example.com", "sip:%00%00@host5.example.com"}, id="RFC 4475 3.1.1.4"),
        pytest.param("unksm2", {"name:John_Smith"}, id="3.3.4: any scheme"),
        pytest.param("cparam01", {"sip:+19725552222@gw1.example.net"}, id="3.3.12: a parameter of the header field"),
        pytest.param("cparam02", {"sip:+19725552222@gw1.example.net;unknownparam"}, id="3.3.13: one of the URI"),
        pytest.param("regescrt", {"sip:user@example.com?Route=%3Csip:sip.example.com%3E"}, id="3.3.14: headers"),
        pytest.param("regbadct", None, id="3.1.2.13: the same without angle brackets"),
    ],
)
def test_tortuous_contacts(desk: Reception, name: str, contacts: set[str] | None) -> None:
    request = parsed((TORTURE / f"{name}.dat").read_bytes())
    if contacts is None:
        with pytest.raises(SipError, match="angle brackets"):
            desk.registrar.register(request, DESK, to_tag="t", now=desk.now)
    else:
        assert listed(desk.registrar.register(request, DESK, to_tag="t", now=desk.now)).keys() == contacts


# Path (RFC 3327)


def test_path_is_kept_and_given_back(desk: Reception) -> None:
    routes = ["<sip:edge.example.com;lr>, <sip:second.example.com;lr>", "<sip:third.example.com;lr>"]
    headers = [("Supported", "gruu, Path"), *(("Path", route) for route in routes)]
    (binding, _, answer) = desk.register(CONTACT, headers=headers)
    assert isinstance(binding, SaveBinding)
    assert binding.record.path == ", ".join(routes)
    assert isinstance(answer, Respond)
    assert [line for line in answer.headers.split("\r\n") if line.startswith("Path")] == [
        f"Path: {route}" for route in routes
    ]


def test_path_of_which_the_phone_says_nothing_is_refused(desk: Reception) -> None:
    """RFC 3327 section 5.3: the recommended policy."""
    refusal = refused(desk, CONTACT, headers=[("Path", "<sip:edge.example.com;lr>"), ("Supported", "gruu")])
    assert (refusal.status, refusal.headers) == (420, "Unsupported: path\r\n")


def test_whoever_requires_path_supports_it(desk: Reception) -> None:
    (*_, answer) = desk.register(CONTACT, headers=[("Path", "<sip:edge.example.com;lr>"), ("Require", "path")])
    assert isinstance(answer, Respond)
    assert "Path: <sip:edge.example.com;lr>\r\n" in answer.headers


def test_a_path_that_is_none(desk: Reception) -> None:
    assert refused(desk, CONTACT, headers=[("Path", "<sip:"), ("Supported", "path")]).status == 400


# The lamp


def test_a_lamp_is_registered_while_one_of_its_devices_is(desk: Reception) -> None:
    assert desk.said == {}, "nothing is said of one that never had a phone"
    desk.register(CONTACT)
    assert desk.said == {LAMP: True}
    states = [effect for effect in desk.register(CONTACT, who=SOFT) if isinstance(effect, SaveState)]
    assert states == [], "it is already"
    desk.register("*", expires=0, cseq=2)
    assert desk.said == {LAMP: True}
    desk.register("*", expires=0, cseq=2, who=SOFT)
    assert desk.said == {LAMP: False}
    desk.register(CONTACT, cseq=3)
    assert desk.said == {LAMP: True}


def test_a_contact_replaced_by_another_is_no_end(desk: Reception) -> None:
    desk.register(f"<{A}>")
    effects = desk.register(f"<{A}>;expires=0", f"<{B}>", cseq=2)
    assert not [effect for effect in effects if isinstance(effect, SaveState)]


def test_a_device_with_another_lamp_takes_its_phone_with_it(desk: Reception) -> None:
    """The configuration was reloaded."""
    desk.register(CONTACT)
    desk.register(CONTACT, who=DESK._replace(resource=OTHER_LAMP), cseq=2)
    assert desk.said == {LAMP: False, OTHER_LAMP: True}


# Time


def test_a_binding_ends_by_itself(desk: Reception) -> None:
    desk.register(f"<{A}>;expires=100", f"<{B}>;expires=200")
    assert desk.registrar.next_deadline() == NOW + 100
    assert desk.wait(99) == []
    match desk.wait(1):
        case [ForgetBinding(binding)]:
            assert binding.contact == A
        case effects:
            pytest.fail(f"{effects}")
    assert [type(effect) for effect in desk.wait(100)] == [ForgetBinding, SaveState]
    assert desk.said == {LAMP: False}
    assert desk.registrar.next_deadline() is None


def test_two_that_end_together_are_one_end(desk: Reception) -> None:
    desk.register(f"<{A}>;expires=100")
    desk.register(f"<{B}>;expires=100", who=SOFT)
    assert [type(effect) for effect in desk.wait(100)] == [ForgetBinding, ForgetBinding, SaveState]


def test_what_has_expired_is_not_there_though_nobody_has_looked(desk: Reception) -> None:
    desk.register(f"<{A}>;expires=100")
    desk.now += 100
    effects = desk.register(cseq=2)
    assert listed(effects) == {}
    assert [type(effect) for effect in effects] == [ForgetBinding, SaveState, Respond]
    assert listed(desk.register(f"<{A}>", cseq=1)) == {A: 3600}, "nor its CSeq"


def test_those_of_a_device_that_is_no_more_end(desk: Reception) -> None:
    desk.register(f"<{A}>, <{B}>")
    desk.register(CONTACT, who=BOBS)
    desk.registrar.evict(lambda binding: binding.contact == A, now=desk.now)
    assert [type(effect) for effect in desk.wait(0)] == [ForgetBinding]
    desk.registrar.evict(lambda binding: binding.user == DESK.user, now=desk.now)
    assert [type(effect) for effect in desk.wait(0)] == [ForgetBinding, SaveState]
    assert (desk.contacts(), desk.said) == ([URI], {LAMP: False, OTHER_LAMP: True})


# How many


def test_a_device_with_too_many_contacts_loses_the_oldest() -> None:
    """A phone that takes another port at each start must not be shut out."""
    desk = Reception(RegistrarLimits(contacts_per_device=2))
    desk.register(f"<{A}>")
    desk.wait(1)
    desk.register(f"<{B}>", cseq=2)
    desk.wait(1)
    desk.register(f"<{A}>", cseq=3)
    assert listed(desk.register(f"<{C}>", cseq=4)) == {A: 3599 + 1, C: 3600}
    assert len(desk.rows) == 2


def test_too_many_at_once_are_refused() -> None:
    desk = Reception(RegistrarLimits(contacts_per_device=2))
    desk.register(f"<{A}>")
    assert refused(desk, f"<{A}>, <{B}>, <{C}>", cseq=2).status == 403


def test_too_many_in_all_are_refused_but_refreshes_are_not() -> None:
    desk = Reception(RegistrarLimits(max_contacts=2))
    desk.register(f"<{A}>, <{B}>")
    refusal = refused(desk, CONTACT, who=BOBS)
    assert (refusal.status, refusal.name, refusal.headers) == (500, FULL, "Retry-After: 60\r\n")
    assert listed(desk.register(f"<{A}>;expires=90", cseq=2)) == {A: 90, B: 3600}
    assert listed(desk.register(f"<{A}>;expires=0", f"<{C}>", cseq=3)) == {B: 3600, C: 3600}


def test_nothing_is_left_of_what_was_there(desk: Reception) -> None:
    way = flow("TCP", port=40000)
    desk.register(CONTACT, way=way)
    assert desk.registrar.carries(way)
    assert desk.registrar.knows("call-1@192.0.2.7")
    assert not desk.registrar.carries(flow("TCP", port=40001))
    desk.register(CONTACT, way=way, cseq=2, expires=0)
    assert not desk.registrar.carries(way)
    assert not desk.registrar.knows("call-1@192.0.2.7")
    assert len(desk.registrar) == 0


# The store


def test_until_it_is_committed_nothing_else_is_asked_about_the_lamp(desk: Reception) -> None:
    effects = desk.later(CONTACT)
    assert desk.registrar.is_under_way(DESK)
    assert desk.registrar.is_under_way(SOFT), "it has the same lamp"
    assert not desk.registrar.is_under_way(BOBS)
    desk.settle(effects)
    assert not desk.registrar.is_under_way(DESK)
    desk.later(cseq=2)
    assert not desk.registrar.is_under_way(DESK), "who only asks, changes nothing"


def test_a_device_that_gets_another_lamp_meanwhile_waits_as_well(desk: Reception) -> None:
    desk.register(CONTACT)
    desk.later("*", cseq=2, expires=0)
    assert desk.registrar.is_under_way(DESK._replace(resource=OTHER_LAMP))


@pytest.mark.parametrize(
    ("contacts", "expires"), [((f"<{A}>;expires=90", f"<{C}>"), None), ((f"<{A}>",), 0), (("*",), 0)]
)
def test_what_was_not_saved_never_was(desk: Reception, contacts: tuple[str, ...], expires: int | None) -> None:
    desk.register(f"<{A}>, <{B}>")
    before = list(desk.registrar.bindings_of(OFFICE))
    desk.settle(desk.later(*contacts, cseq=2, expires=expires), saved=False)
    assert list(desk.registrar.bindings_of(OFFICE)) == before == list(desk.rows.values())
    effects = desk.register(*contacts, cseq=2, expires=expires)
    assert isinstance(effects[-1], Respond), "not even its CSeq"


def test_a_first_registration_that_was_not_saved_never_was(desk: Reception) -> None:
    desk.settle(desk.later(CONTACT), saved=False)
    assert desk.contacts() == []
    assert desk.registrar.next_deadline() is None
    assert [type(effect) for effect in desk.register(CONTACT)] == [SaveBinding, SaveState, Respond]


def test_an_end_that_was_not_saved_comes_again(desk: Reception) -> None:
    desk.register(f"<{A}>;expires=100")
    desk.now += 100
    desk.settle(desk.registrar.expire(now=desk.now), saved=False)
    assert desk.registrar.next_deadline() == desk.now + RETRY
    assert [type(effect) for effect in desk.wait(RETRY)] == [ForgetBinding, SaveState]


def test_what_ends_while_its_lamp_changes_ends_later(desk: Reception) -> None:
    desk.register(f"<{A}>;expires=100")
    effects = desk.later(f"<{B}>", who=SOFT)
    desk.now += 100
    assert desk.registrar.expire(now=desk.now) == []
    desk.settle(effects)
    assert [type(effect) for effect in desk.wait(RETRY)] == [ForgetBinding]


def test_a_restart_loses_nothing(desk: Reception) -> None:
    desk.register(f"<{A}>;expires=100", f"<{B}>;expires=300")
    desk.register(CONTACT, who=BOBS)
    rows = list(desk.registrar.bindings_of(OFFICE))
    desk.restart()
    assert list(desk.registrar.bindings_of(OFFICE)) == rows
    assert refused(desk, f"<{A}>").status == 500, "nor what was seen last"
    assert not [effect for effect in desk.register(f"<{A}>", cseq=2) if isinstance(effect, SaveState)]
    assert max(desk.rows) == 3
    desk.register(f"<{C}>", cseq=3)
    assert max(desk.rows) == 4, "ids go on"


def test_what_has_expired_meanwhile_ends_after_the_start(desk: Reception) -> None:
    desk.register(f"<{A}>;expires=100")
    desk.now += 1000
    desk.restart()
    assert desk.registrar.next_deadline() == NOW + 100
    assert [type(effect) for effect in desk.wait(0)] == [ForgetBinding, SaveState]
    assert desk.said == {LAMP: False}


def test_a_clock_that_was_wrong_makes_nothing_last_for_ever(desk: Reception) -> None:
    desk.register(f"<{A}>;expires=7200")
    desk.now -= 1_000_000
    desk.restart()
    assert desk.registrar.next_deadline() == desk.now + 7200


def test_accounts_do_not_meet(desk: Reception) -> None:
    shop = DESK._replace(account=AccountId("f" * 32), resource=ResourceId("101@shop.example.com"))
    desk.register(CONTACT)
    desk.register("*", who=shop, expires=0)
    assert desk.contacts() == [URI]
