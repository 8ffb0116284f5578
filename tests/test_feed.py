"""The feed: who hears of what, in which order, and what becomes of one who does not listen."""

from dataclasses import replace

import pytest

from sipresence.events.resource import DialogInfo, DialogState, ResourceState, Source, StateChange, reset, set_manually
from sipresence.events.state import Messages, set_do_not_disturb, set_messages
from sipresence.feed import Feed, Listener, News, Seen, Topic
from sipresence.names import AccountId, ResourceId

OFFICE, SHOP = AccountId("0" * 32), AccountId("1" * 32)
LAMP, OTHER = ResourceId("101@office.example.com"), ResourceId("102@office.example.com")
EARLY, CONFIRMED, TERMINATED = DialogState.EARLY, DialogState.CONFIRMED, DialogState.TERMINATED
NOW = 1_700_000_000.0


class House:
    """The states of some resources, and the feed that is told of their changes, as the service does it."""

    def __init__(self) -> None:
        self.feed = Feed()
        self._states: dict[ResourceId, ResourceState] = {}
        self._now = NOW

    def take_in(self, change: StateChange) -> None:
        state = self._states.setdefault(change.resource, ResourceState(change.resource))
        before = Seen.of(state)
        state.merge(change)
        self.feed.tell(change, before, Seen.of(state))

    def set(self, state: DialogState, resource: ResourceId = LAMP, account: AccountId = OFFICE) -> None:
        self._now += 1
        self.take_in(set_manually(account, resource, state=state, at=self._now))

    def publish(self, *dialogs: DialogInfo) -> None:
        self._now += 1
        change = StateChange(OFFICE, LAMP, Source.PUBLISHED, dialogs, self._now, publication="p", publisher="pbx")
        self.take_in(replace(change, entity_tag="e"))


class Ear:
    """A listener that counts how often it was woken."""

    def __init__(self, house: House, *topics: Topic, limit: int = 10) -> None:
        self.woken = 0
        self.listener = Listener(limit=limit, woken=self._wake)
        for number, topic in enumerate(topics):
            house.feed.listen(self.listener, str(number), topic)

    def _wake(self) -> None:
        self.woken += 1

    def heard(self) -> list[tuple[str, News]]:
        taken = []
        while (one := self.listener.take()) is not None:
            taken.append(one)
        return taken

    def lamps(self) -> list[tuple[str, DialogState]]:
        return [(name, news.after.lamp.state) for name, news in self.heard()]


@pytest.fixture
def house() -> House:
    return House()


def dialog(ident: str, state: DialogState, *, call_id: str = "") -> DialogInfo:
    return DialogInfo(ident, state, "recipient", "sip:101@office.example.com", "sip:102@office.example.com", call_id)


def test_whoever_listens_to_an_account_hears_all_of_it_in_order(house: House) -> None:
    ear = Ear(house, Topic(OFFICE))
    house.set(EARLY)
    house.set(CONFIRMED)
    house.set(EARLY, OTHER)
    house.set(EARLY, ResourceId("1@shop.example.com"), SHOP)
    assert [(news.resource, news.before.lamp.state, news.after.lamp.state) for _, news in ear.heard()] == [
        (LAMP, TERMINATED, EARLY),
        (LAMP, EARLY, CONFIRMED),
        (OTHER, TERMINATED, EARLY),
    ]


def test_one_resource(house: House) -> None:
    ear = Ear(house, Topic(OFFICE, resource=OTHER))
    house.set(EARLY)
    house.set(CONFIRMED, OTHER)
    assert [news.resource for _, news in ear.heard()] == [OTHER]


def test_one_call_until_its_end(house: House) -> None:
    ear = Ear(house, Topic(OFFICE, dialog="a@pbx"))
    house.publish(dialog("1", EARLY, call_id="a@pbx"))
    house.publish(dialog("1", EARLY, call_id="a@pbx"), dialog("2", EARLY, call_id="b@pbx"))
    house.publish(dialog("2", CONFIRMED, call_id="b@pbx"))
    house.publish()
    heard = [(call.call_id, call.state) for _, news in ear.heard() for call in news.calls]
    assert heard == [("a@pbx", EARLY), ("a@pbx", TERMINATED), ("b@pbx", CONFIRMED)]


def test_one_state_that_is_no_call_by_its_id(house: House) -> None:
    house.set(EARLY)
    (manual,) = house._states[LAMP].calls
    ear = Ear(house, Topic(OFFICE, dialog=manual.id))
    house.set(CONFIRMED)
    house.set(TERMINATED)
    assert ear.lamps() == [("0", CONFIRMED), ("0", TERMINATED)]


def test_each_topic_is_told_under_its_name(house: House) -> None:
    ear = Ear(house, Topic(OFFICE), Topic(OFFICE, resource=LAMP), Topic(OFFICE, resource=OTHER))
    house.set(EARLY)
    assert ear.lamps() == [("0", EARLY), ("1", EARLY)]
    assert ear.woken == 1


def test_what_alters_nothing_visible_is_no_news(house: House) -> None:
    ear = Ear(house, Topic(OFFICE))
    house.set(TERMINATED)
    house.set(EARLY)
    house.set(EARLY)
    house.take_in(set_messages(OFFICE, LAMP, Messages(), at=NOW))
    assert ear.lamps() == [("0", EARLY)]


def test_a_reset_is_news_even_of_nothing(house: House) -> None:
    ear = Ear(house, Topic(OFFICE, resource=LAMP))
    house.take_in(reset(OFFICE, LAMP, at=NOW))
    ((_, news),) = ear.heard()
    assert news.change.is_reset
    assert news.calls == ()


def test_a_reset_ends_what_was_visible(house: House) -> None:
    house.set(EARLY)
    ear = Ear(house, Topic(OFFICE))
    house.take_in(reset(OFFICE, LAMP, at=NOW))
    ((_, news),) = ear.heard()
    assert [call.state for call in news.calls] == [TERMINATED]


def test_messages_and_presence_are_news(house: House) -> None:
    ear = Ear(house, Topic(OFFICE))
    house.take_in(set_messages(OFFICE, LAMP, Messages(2), at=NOW))
    house.take_in(set_do_not_disturb(OFFICE, LAMP, on=True, at=NOW))
    first, second = (news for _, news in ear.heard())
    assert (first.before.messages.new, first.after.messages.new) == (0, 2)
    assert second.after.presence.do_not_disturb
    assert first.calls == second.calls == ()


def test_a_slow_listener_is_overrun_and_delays_nobody(house: House) -> None:
    slow, quick = Ear(house, Topic(OFFICE), limit=2), Ear(house, Topic(OFFICE), limit=2)
    for state in (EARLY, CONFIRMED, EARLY, CONFIRMED):
        house.set(state)
        assert quick.lamps() == [("0", state)]
    assert slow.listener.overrun
    assert slow.heard() == []
    assert slow.woken == 2  # for the first, and because it is over
    assert not quick.listener.overrun


def test_who_empties_his_queue_is_woken_again(house: House) -> None:
    ear = Ear(house, Topic(OFFICE))
    house.set(EARLY)
    house.set(CONFIRMED)
    assert ear.woken == 1
    ear.heard()
    house.set(EARLY)
    assert ear.woken == 2


def test_who_ignores_a_topic_hears_the_others(house: House) -> None:
    ear = Ear(house, Topic(OFFICE), Topic(OFFICE, resource=LAMP))
    house.feed.ignore(ear.listener, "0")
    house.set(EARLY)
    assert ear.lamps() == [("1", EARLY)]


def test_who_leaves_hears_nothing_and_leaves_nothing_behind(house: House) -> None:
    stays, leaves = Ear(house, Topic(OFFICE)), Ear(house, Topic(OFFICE), Topic(OFFICE, resource=LAMP))
    house.feed.leave(leaves.listener)
    house.set(EARLY)
    assert (len(stays.heard()), leaves.heard()) == (1, [])
    assert house.feed.listened
    house.feed.leave(stays.listener)
    assert not house.feed.listened
    assert not house.feed._by_topic


def test_who_leaves_while_being_told_does_no_harm(house: House) -> None:
    leaving = Listener(limit=10, woken=lambda: house.feed.leave(leaving))
    house.feed.listen(leaving, "", Topic(OFFICE))
    ear = Ear(house, Topic(OFFICE))
    house.set(EARLY)
    assert ear.lamps() == [("0", EARLY)]
