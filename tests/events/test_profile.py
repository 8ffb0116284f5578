"""Phones that need to be told otherwise: each known profile, and what every key of one does."""

import re

import pytest

from sipresence.config.loader import known_profiles, load
from sipresence.errors import SipError
from sipresence.events.effects import SendNotify
from sipresence.events.profile import DEFAULT, MAX_USER_AGENT, Pace, Profile, Profiles, Shape
from sipresence.events.resource import DialogInfo, DialogState, Source, StateChange
from sipresence.events.subscribe import Limits
from sipresence.settings import profiles
from tests.builders import flow
from tests.events.desk import LAMP, NOW, OFFICE, OTHER_LAMP, Desk, answered, notified

EARLY, CONFIRMED, TERMINATED = DialogState.EARLY, DialogState.CONFIRMED, DialogState.TERMINATED
CALLING = DialogInfo("1", EARLY, "initiator", "sip:101@b", "sip:boss@b", "call-1")
TALKING = DialogInfo("2", CONFIRMED, "recipient", "sip:101@b", "sip:102@b", "call-2", held=True)


def named(name: str) -> Profile:
    """A profile that comes with the server."""
    return next(profile for profile in profiles(load(None, {}, {})) if profile.name == name)


def desk_of(profile: Profile) -> Desk:
    """A desk where two calls are known, the caller's the newer one."""
    desk = Desk(profiles=[profile])
    calls = (CALLING, TALKING)
    desk.deliver(StateChange(OFFICE, LAMP, Source.PUBLISHED, calls, NOW, publication="p", entity_tag="p.1"))
    return desk


def body(profile: Profile, agent: str = "Phone 1.0") -> str:
    """What such a phone is told of two calls."""
    notify = notified(desk_of(profile).subscribe(headers={"User-Agent": agent}))
    return notify.document.stamp(0, notify.entity).decode()


def profile(**what: object) -> Profile:
    return Profile("test", re.compile("Phone"), **what)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        ("Linksys/SPA962-6.1.5(a)", "linksys-spa"),
        ("Cisco/SPA504G-7.6.2", "linksys-spa"),
        ("PJSUA v2.15.1 Linux-6.1/x86_64", "pjsip"),
        ("MicroSIP/3.21.3", "pjsip"),
        ("Z 5.6.1 v2.10.19.9", "zoiper"),
        ("Zoiper rv2.10.18.2", "zoiper"),
        ("Auerswald COMfortel D-600", "comfortel"),
        ("COMfortel D-100", "comfortel"),
        ("baresip v1.0.0 (x86_64/linux)", "baresip"),
        ("Yealink SIP-T46S 66.86.0.15", "yealink"),
        ("snomD785/10.1.101.11", "snom"),
        ("PolycomVVX-VVX_450-UA/6.4.3", "poly"),
        ("Poly-CCX-500/8.0", "poly"),
        ("YEALINK", "yealink"),
        ("Linphonec/5.1.65", ""),
        ("My Yealink", ""),
        ("", ""),
    ],
)
def test_phones_are_known_by_the_beginning_of_their_user_agent(agent: str, name: str) -> None:
    assert Profiles(profiles(load(None, {}, {}))).of(agent).name == name


def test_the_first_that_matches_counts() -> None:
    both = Profiles([Profile("a", re.compile("Phone 1")), Profile("b", re.compile("Phone"))])
    assert [both.of(agent).name for agent in ("Phone 1", "Phone 2", "Phone 1")] == ["a", "b", "a"]


def test_a_long_user_agent_is_matched_but_not_remembered() -> None:
    assert Profiles([profile()]).of("Phone" * MAX_USER_AGENT).name == "test"


def test_most_phones_need_nothing() -> None:
    assert Profiles().of("Phone") is DEFAULT


def test_the_known_profiles_have_names_of_their_own() -> None:
    names = [known.name for known in known_profiles()]
    assert len(set(names)) == len(names)


def test_an_operator_adds_profiles_before_ours_and_replaces_them_by_name(tmp_path: object) -> None:
    own = '[{"name": "door", "user_agent": "2N"}, {"name": "yealink", "user_agent": "Yealink", "notify_rate": 5}]'
    found = {one.name: one for one in profiles(load(None, {}, {"SIPRESENCE_PROFILES": own}))}
    assert list(found)[:2] == ["door", "yealink"]
    assert list(found).count("yealink") == 1
    assert (found["yealink"].pace, found["yealink"].shape) == (Pace(rate=5), Shape())


# What each key does


def test_a_phone_that_crashes_at_two_dialogs_is_told_the_most_important_one() -> None:
    """Linksys SPA962 (phones.md 6)."""
    assert body(DEFAULT).count("<dialog ") == 2
    shown = body(named("linksys-spa"), "Linksys/SPA962")
    assert shown.count("<dialog ") == 1
    assert "call-1" in shown


def test_a_phone_that_blinks_for_who_calls_is_told_that_he_is_busy() -> None:
    """Linksys SPA962 (phones.md 7)."""
    assert "<state>early</state>" in body(DEFAULT)
    assert "<state>early</state>" not in body(named("linksys-spa"), "Linksys/SPA962")


def test_pjsip_reads_one_dialog() -> None:
    """phones.md 37."""
    assert body(named("pjsip"), "PJSUA v2.15").count("<dialog ") == 1


@pytest.mark.parametrize("name", ["yealink", "snom", "poly"])
def test_hold_as_asterisk_spells_it(name: str) -> None:
    """phones.md 15."""
    assert '<param pname="+sip.rendering" pval="no"/>' in body(DEFAULT)
    assert '<param pname="+sip.rendering" pvalue="no"/>' in body(named(name), name.title() if name != "snom" else name)


def test_a_phone_may_be_told_of_no_callers() -> None:
    assert "boss" not in body(profile(shape=Shape(private=True)))


def test_a_phone_may_be_told_of_no_participants() -> None:
    shown = body(profile(shape=Shape(participants=False)))
    assert "<local>" not in shown
    assert "<remote>" not in shown


def test_who_loops_on_the_last_notify_gets_none() -> None:
    """Zoiper (phones.md 22). The subscription is gone all the same, and the answer is 200."""
    desk = Desk(profiles=[named("zoiper")])
    first = desk.subscribed(headers={"User-Agent": "Z 5.6.1"})
    record = desk.notifier.record(first.id)
    assert record is not None
    effects = desk.refresh(record.local_tag, expires=0, headers={"User-Agent": "Z 5.6.1"})
    assert answered(effects).status == 200
    assert not [effect for effect in effects if isinstance(effect, SendNotify)]
    assert not desk.notifier.knows(record.local_tag)
    assert desk.notifier.unanswered == 0


def test_who_loops_gets_none_after_one_in_flight_either() -> None:
    desk = Desk(profiles=[named("zoiper")])
    first = notified(desk.subscribe(headers={"User-Agent": "Z 5.6.1"}))
    record = desk.notifier.record(first.id)
    assert record is not None
    desk.refresh(record.local_tag, expires=0, headers={"User-Agent": "Z 5.6.1"})
    assert desk.answer(first) == []
    assert desk.notifier.unanswered == 0


def test_a_profile_may_want_compact_headers() -> None:
    desk = Desk(profiles=[profile(compact_headers=True)])
    assert b"\r\nm: <" in notified(desk.subscribe(headers={"User-Agent": "Phone"})).head
    assert b"\r\nContact: <" in notified(desk.subscribe(call_id="2")).head


def test_a_refresh_by_another_kind_of_phone_is_told_as_that() -> None:
    """The user agent of a subscription is that of its last SUBSCRIBE."""
    desk = Desk(profiles=[profile(compact_headers=True)])
    first = desk.subscribed()
    record = desk.notifier.record(first.id)
    assert record is not None
    assert b"\r\nm: <" in notified(desk.refresh(record.local_tag, headers={"User-Agent": "Phone"})).head


def test_a_profile_may_allow_shorter_subscriptions() -> None:
    desk = Desk(profiles=[profile(min_expires=20)])
    assert answered(desk.subscribe(expires=20, headers={"User-Agent": "Phone"})).status == 200
    with pytest.raises(SipError) as refused:
        desk.subscribe(expires=20, call_id="2")
    assert refused.value.status == 423


def test_a_profile_may_have_a_pace_of_its_own() -> None:
    desk = Desk(profiles=[profile(pace=Pace(rate=1, in_flight=0))])
    for lamp in (LAMP, OTHER_LAMP):
        desk.subscribed(lamp, call_id=lamp, headers={"User-Agent": "Phone"})
    desk.now += 10
    assert len([*desk.set(EARLY, LAMP), *desk.set(EARLY, OTHER_LAMP)]) == 1
    assert notified(desk.wait(1)).document.state is EARLY


def test_a_profile_may_have_no_pace_where_others_have_one() -> None:
    desk = Desk(rate=1, profiles=[profile(pace=Pace(rate=0))])
    for lamp in (LAMP, OTHER_LAMP):
        desk.subscribed(lamp, call_id=lamp, headers={"User-Agent": "Phone"})
    assert len([*desk.set(EARLY, LAMP), *desk.set(EARLY, OTHER_LAMP)]) == 2


def test_a_subscription_says_which_profile_it_has() -> None:
    desk = Desk(profiles=[profile()])
    desk.subscribe(headers={"User-Agent": "Phone"})
    desk.subscribe(call_id="2")
    assert [view.profile for view in desk.notifier.views.subscriptions(LAMP)] == ["", "test"]


# Phones that need no profile: what all are told suits them


@pytest.mark.parametrize("agent", ["Aastra 6757i/3.3.1", "PolycomVVX-VVX_450-UA/6.4.3"])
def test_a_phone_that_takes_no_lower_cseq_is_told_a_higher_one_after_a_restart(agent: str) -> None:
    """phones.md 1, 2: after a clean stop exactly the next one, after a crash one above all that were reserved."""
    desk = Desk(profiles=[profile()])
    first = desk.subscribed(headers={"User-Agent": agent})
    desk.restart(*desk.notifier.exact_numbers())
    second = notified(desk.wait(0))
    assert (second.cseq, second.version) == (first.cseq + 1, first.version + 1)


def test_a_phone_may_ask_for_half_a_minute_or_for_68_years() -> None:
    """Yealink (phones.md 17) can be set to any interval between 30 s and 2147483647 s."""
    desk = Desk(profiles=[named("yealink")])
    asked = desk.subscribe(expires=2**31 - 1, headers={"User-Agent": "Yealink SIP-T46S"})
    assert notified(asked).subscription_state == f"active;expires={Limits().max_expires}"
    with pytest.raises(SipError) as brief:
        desk.subscribe(expires=30, call_id="2", headers={"User-Agent": "Yealink SIP-T46S"})
    assert (brief.value.status, brief.value.headers) == (423, "Min-Expires: 60\r\n")
    willing = Desk(limits=Limits(min_expires=30))
    assert notified(willing.subscribe(expires=30)).subscription_state == "active;expires=30"


def test_a_phone_that_comes_by_two_ways_is_told_in_both_of_its_dialogs() -> None:
    """Yealink with two servers (phones.md 17); a NOTIFY outside a dialog it takes only if it is told to."""
    desk = Desk()
    first = desk.subscribed(way=flow(port=5060))
    second = desk.subscribed(way=flow(port=5062), call_id="other")
    told = [effect.notify for effect in desk.set(EARLY) if isinstance(effect, SendNotify)]
    # The head of a NOTIFY has the tags of its dialog.
    assert [(notify.call_id, notify.head) for notify in told] == [(one.call_id, one.head) for one in (first, second)]
    assert [(notify.cseq, notify.document.state) for notify in told] == [(2, EARLY)] * 2


def test_no_end_makes_a_phone_stay_away() -> None:
    """phones.md 21: after `rejected` or `noresource` baresip waits for an hour, after these two for some seconds."""
    desk = Desk()
    desk.subscribed(expires=60)
    desk.subscribed(call_id="2")
    assert notified(desk.wait(61)).subscription_state == "terminated;reason=timeout"
    desk.notifier.deactivate(lambda _: True, now=desk.now, spread=0)
    assert notified(desk.wait(0)).subscription_state == "terminated;reason=deactivated"


BRIDGED = DialogInfo("3", EARLY, "recipient", "sip:101@b", "sip:102@b", "call-3", local_target="sip:101@192.0.2.77")


def test_a_phone_that_publishes_its_own_address_is_still_known_by_its_extension() -> None:
    """Polycom (phones.md 24): its target is told as it published it, but the identity leads to the extension, too."""
    desk = Desk()
    desk.deliver(StateChange(OFFICE, LAMP, Source.PUBLISHED, (BRIDGED,), NOW, publication="p", entity_tag="p.1"))
    notify = notified(desk.subscribe())
    shown = notify.document.stamp(0, notify.entity).decode()
    assert '<local><identity>sip:101@b</identity><target uri="sip:101@192.0.2.77"/></local>' in shown
    assert '<remote><identity>sip:102@b</identity><target uri="sip:102@b"/></remote>' in shown


def test_who_may_not_know_callers_learns_no_address_of_a_phone() -> None:
    """phones.md 24, with `callers = false`."""
    desk = Desk(profiles=[profile(shape=Shape(private=True))])
    desk.deliver(StateChange(OFFICE, LAMP, Source.PUBLISHED, (BRIDGED,), NOW, publication="p", entity_tag="p.1"))
    notify = notified(desk.subscribe(headers={"User-Agent": "Phone"}))
    assert "192.0.2.77" not in notify.document.stamp(0, notify.entity).decode()
