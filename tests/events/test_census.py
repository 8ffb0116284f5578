"""Counting subscriptions as they come, change and go."""

import pytest

from sipresence.events.census import FAMILIES, Census, family
from sipresence.figures import Kind
from tests.events.desk import LAMP, OFFICE, OTHER_LAMP, Desk, notified, saved


@pytest.mark.parametrize(
    ("user_agent", "expected"),
    [
        ("Yealink SIP-T46S 66.86.0.15", "yealink"),
        ("yealink", "yealink"),
        ("PolycomVVX-VVX_410-UA/5.9.5.0614", "polycom"),
        ("Poly/Edge-E350", "poly"),
        ("snom720/8.7.5.35", "snom"),
        ("Grandstream GXP2160 1.0.9.26", "grandstream"),
        ("Cisco/SPA504G-7.6.2", "cisco"),
        ("Linksys/SPA962-6.1.5(a)", "linksys"),
        ("SIP.js/0.20.0", "sip.js"),
        ("PJSUA v2.15.1", "pjsua"),
        ("", "none"),
        (" Yealink", "other"),
        ("/", "other"),
        ("Mozilla/5.0 (Yealink)", "other"),
        ("\x1b[31m" * 1000, "other"),
    ],
)
def test_families(user_agent: str, expected: str) -> None:
    assert family(user_agent) == expected


def test_no_family_hides_a_longer_one() -> None:
    for number, name in enumerate(FAMILIES):
        assert not any(name.startswith(earlier) for earlier in FAMILIES[:number])


def counts(desk: Desk) -> dict[Kind, int]:
    return dict(desk.notifier.figures().subscriptions)


def yealink(transport: str = "UDP", name: str = "yealink") -> Kind:
    return Kind(OFFICE, "dialog", transport, name)


def test_subscriptions_are_counted_while_they_live() -> None:
    desk = Desk()
    one = desk.subscribed(headers={"User-Agent": "Yealink T46"})
    desk.subscribed(OTHER_LAMP, call_id="2", headers={"User-Agent": "Yealink T53/2"})
    desk.subscribed(OTHER_LAMP, call_id="3")
    assert counts(desk) == {yealink(): 2, yealink(name="none"): 1}

    tag = desk.notifier.record(one.id)
    assert tag is not None
    desk.refresh(tag.local_tag, headers={"User-Agent": "snom"})
    assert counts(desk) == {yealink(): 1, yealink(name="snom"): 1, yealink(name="none"): 1}

    desk.wait(7200)
    assert counts(desk) == {}


def test_a_fetch_is_none() -> None:
    desk = Desk()
    desk.subscribe(expires=0)
    assert counts(desk) == {}


def test_one_that_never_existed_is_not_counted() -> None:
    desk = Desk()
    effects = desk.subscribe()
    desk.notifier.not_saved(saved(effects), now=desk.now)
    assert counts(desk) == {}


def test_a_restart_counts_what_it_finds() -> None:
    desk = Desk()
    effects = desk.subscribe()
    desk.restart(saved(effects))
    assert counts(desk) == {yealink(name="none"): 1}


def test_moving_counts_nothing_twice() -> None:
    census = Census()
    desk = Desk()
    notify = notified(desk.subscribe(LAMP))
    record = desk.notifier.record(notify.id)
    assert record is not None
    census.move(None, record)
    census.move(record, record._replace(transport="TLS"))
    assert census.counts == {yealink("TLS", "none"): 1}
    census.move(record._replace(transport="TLS"), None)
    assert census.counts == {}
