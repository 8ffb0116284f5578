"""The packed history of one subscription: what goes in comes out, and only the last of it stays."""

import sys

import pytest

from sipresence.events.document import Document
from sipresence.events.history import MOVES, NOTIFIES, SUBSCRIBES, Asked, History, Moved, Notified, Subscribed
from sipresence.events.resource import DialogState
from tests.events.desk import NOW
from tests.test_compiled import COMPILED


def document(state: DialogState = DialogState.EARLY, revision: int = 1) -> Document:
    return Document(state, b"", b"", revision=revision, changed_at=0.0)


@pytest.mark.parametrize("state", DialogState)
@pytest.mark.parametrize("news", [False, True])
@pytest.mark.parametrize("final", [False, True])
@pytest.mark.parametrize("status", [200, 408, 699])
def test_a_notify_comes_out_as_it_went_in(state: DialogState, news: bool, final: bool, status: int) -> None:
    history = History()
    history.notified(document(state, 65_537), NOW, news=news, final=final)
    history.answered(status, NOW + 0.5, sent_at=NOW + 0.25)
    (told,) = history.notifies(cseq=7, version=3)
    assert told == Notified(NOW + 0.25, 7, 3, state, 1, news, final, status, 0.25)


@pytest.mark.parametrize("rtt", [0.0, 0.0004, 0.25, 31.98, 1e9])
def test_round_trip_times_have_three_digits_and_an_end(rtt: float) -> None:
    history = History()
    history.notified(document(), NOW, news=False, final=False)
    history.answered(200, NOW + rtt, sent_at=NOW)
    (told,) = history.notifies(cseq=1, version=0)
    assert told.rtt == pytest.approx(min(rtt, 65_504.0), rel=1e-3, abs=1e-6)


def test_one_in_flight_has_no_status_yet() -> None:
    history = History()
    history.notified(document(), NOW, news=True, final=False)
    (told,) = history.notifies(cseq=1, version=0)
    assert (told.at, told.status, told.rtt) == (NOW, 0, 0.0)


def test_one_abandoned_never_gets_one() -> None:
    history = History()
    for cseq in (1, 2):
        history.notified(document(revision=cseq), NOW + cseq, news=True, final=False)
    history.answered(200, NOW + 3, sent_at=NOW + 2)
    abandoned, told = history.notifies(cseq=2, version=1)
    assert (abandoned.at, abandoned.cseq, abandoned.revision, abandoned.status) == (NOW + 1, 1, 1, 0)
    assert (told.cseq, told.revision, told.status) == (2, 2, 200)


def test_the_last_notifies_stay() -> None:
    history = History()
    for cseq in range(1, 30):
        history.notified(document(revision=cseq), NOW + cseq, news=True, final=False)
        history.answered(200, NOW + cseq, sent_at=NOW + cseq)
    told = list(history.notifies(cseq=29, version=28))
    assert [one.cseq for one in told] == list(range(30 - NOTIFIES, 30))
    assert [one.version for one in told] == list(range(29 - NOTIFIES, 29))
    assert [one.revision for one in told] == [one.cseq for one in told]


def test_a_phone_believes_what_it_last_took() -> None:
    history = History()
    first, second = document(DialogState.EARLY), document(DialogState.CONFIRMED)
    for shown, status in ((first, 200), (second, 408), (second, 500)):
        history.notified(shown, NOW, news=True, final=False)
        heard = history.answered(status, NOW, sent_at=NOW)
        assert heard is (shown if status == 200 else None)
        assert history.believed is first
    history.notified(second, NOW, news=False, final=False)
    assert history.answered(204, NOW, sent_at=NOW) is None, "it had been told before"
    assert history.believed is second


def test_an_answer_to_nothing_is_nothing() -> None:
    assert History().answered(200, NOW, sent_at=NOW) is None


def test_the_last_subscribes_and_moves_stay() -> None:
    history = History()
    for number in range(10):
        history.asked(Asked.REFRESHED, NOW + number, expires=number)
        history.moved(f"UDP 192.0.2.{number}:5060", NOW + number)
    kept = range(10 - SUBSCRIBES, 10)
    assert list(history.subscribes()) == [Subscribed(NOW + n, Asked.REFRESHED, n) for n in kept]
    assert list(history.moves) == [Moved(NOW + n, f"UDP 192.0.2.{n}:5060") for n in range(10 - MOVES, 10)]


@pytest.mark.parametrize("what", Asked)
def test_every_kind_of_subscribe(what: Asked) -> None:
    history = History()
    history.asked(what, NOW, expires=2**32 - 1)
    assert list(history.subscribes()) == [Subscribed(NOW, what, 2**32 - 1)]


def test_it_is_small() -> None:
    """Some 300 bytes of a subscription that has been refreshed for long; documents are shared.

    A compiled object has a pointer more: to the methods of its class.
    """
    history, shown = History(), document()
    for _ in range(100):
        history.asked(Asked.REFRESHED, NOW, expires=3600)
        history.notified(shown, NOW, news=False, final=False)
        history.answered(200, NOW, sent_at=NOW)
    parts = (history, *(getattr(history, name) for name in ("_notifies", "_subscribes")))
    assert sum(map(sys.getsizeof, parts)) <= 300 + 8 * COMPILED
    assert history.moves == ()
