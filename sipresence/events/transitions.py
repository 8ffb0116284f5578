"""The machine of a subscription (RFC 6665 section 4.2): where it stands with its NOTIFYs, and how it goes on.

subscribe ──> IN_FLIGHT <──── ANSWERED, or the full state again ────┐
               │  │  └─ CHANGED, REFRESHED ──> DIRTY ──> (ANSWERED) ─┤
               │  └──── ANSWERED ──> IDLE ──> CHANGED, REFRESHED ────┤
               ├─────── FAILED ──> WAITING ──> RETRY, REFRESHED ─────┤
               ├── UNREACHABLE ──> STRANDED ──> CHANGED, REFRESHED ──┤
               ├────────── HELD ──> QUEUED ──> TURN, REFRESHED ──────┤
               └────── TOO_SOON ──> RESTING ──> DUE, REFRESHED ──────┤
restart ──> RESTORED ──> CHANGED, RETRY, REFRESHED ──────────────────┘
ENDED in flight ──> CLOSING ──> ANSWERED, FAILED ──┐
ENDED in any state without one ─────────────────────┴─> FINAL (terminated NOTIFY in flight) ──> GONE
REJECTED (481 and the like) from anywhere with a NOTIFY in flight ──> GONE
SPARED just decided, KNOWN without one in flight ──> IDLE;    IDLE ──> DUE (by its min-rate) ──> IN_FLIGHT
"""

from enum import IntEnum
from typing import NamedTuple


class SubscriptionState(IntEnum):
    """Where a subscription stands with its NOTIFYs."""

    IDLE = 0
    IN_FLIGHT = 1
    DIRTY = 2
    WAITING = 3
    CLOSING = 4
    FINAL = 5
    GONE = 6
    RESTORED = 7  # from the store; its phone has not been told anything since the start
    STRANDED = 8  # there was no way to the phone
    QUEUED = 9  # its target has been told as much as it takes: it waits for its turn
    RESTING = 10  # its subscriber wants to be told no more often


class Input(IntEnum):
    """What can happen to a subscription."""

    CHANGED = 0  # the visible state of the resource changed
    REFRESHED = 1  # a SUBSCRIBE was accepted
    MOVED = 2  # one that moves the target: the NOTIFY in flight is abandoned
    ANSWERED = 3
    FAILED = 4
    REJECTED = 5
    RETRY = 6
    ENDED = 7  # unsubscribed, expired
    UNREACHABLE = 8  # the NOTIFY found no connection to the phone
    FLUSHED = 9  # a reset: as a change, but a phone that refused the last NOTIFY is told at once, too
    HELD = 10  # pacing refused the NOTIFY just decided
    TURN = 11  # pacing lets it go now
    TOO_SOON = 12  # its max-rate refused the NOTIFY just decided
    DUE = 13  # its max-rate lets it go now, or its min-rate wants another
    SPARED = 14  # the NOTIFY just decided would tell what its subscriber says it has
    KNOWN = 15  # a SUBSCRIBE was accepted whose subscriber has the current state


class Action(IntEnum):
    """What the step asks of the notifier."""

    NOTHING = 0
    NOTIFY = 1  # send the full state now
    NOTIFY_FINAL = 2  # send the terminated NOTIFY now
    WAIT = 3  # try again later
    DROP = 4  # the subscription is gone


class Step(NamedTuple):
    state: SubscriptionState
    action: Action


_S, _I, _A = SubscriptionState, Input, Action

TRANSITIONS: dict[tuple[SubscriptionState, Input], Step] = {
    (_S.IDLE, _I.CHANGED): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.IDLE, _I.REFRESHED): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.IDLE, _I.MOVED): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.IDLE, _I.ENDED): Step(_S.FINAL, _A.NOTIFY_FINAL),
    (_S.IN_FLIGHT, _I.CHANGED): Step(_S.DIRTY, _A.NOTHING),
    (_S.IN_FLIGHT, _I.REFRESHED): Step(_S.DIRTY, _A.NOTHING),
    (_S.IN_FLIGHT, _I.MOVED): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.IN_FLIGHT, _I.ANSWERED): Step(_S.IDLE, _A.NOTHING),
    (_S.IN_FLIGHT, _I.FAILED): Step(_S.WAITING, _A.WAIT),
    (_S.IN_FLIGHT, _I.REJECTED): Step(_S.GONE, _A.DROP),
    (_S.IN_FLIGHT, _I.ENDED): Step(_S.CLOSING, _A.NOTHING),
    (_S.DIRTY, _I.CHANGED): Step(_S.DIRTY, _A.NOTHING),
    (_S.DIRTY, _I.REFRESHED): Step(_S.DIRTY, _A.NOTHING),
    (_S.DIRTY, _I.MOVED): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.DIRTY, _I.ANSWERED): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.DIRTY, _I.FAILED): Step(_S.WAITING, _A.WAIT),
    (_S.DIRTY, _I.REJECTED): Step(_S.GONE, _A.DROP),
    (_S.DIRTY, _I.ENDED): Step(_S.CLOSING, _A.NOTHING),
    # A change waits for the retry, which carries the full state anyway: a phone that answers 500 to everything must
    # not use up its failures within a second because its lamp happens to blink (phones.md 3, 11).
    (_S.WAITING, _I.CHANGED): Step(_S.WAITING, _A.NOTHING),
    (_S.WAITING, _I.REFRESHED): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.WAITING, _I.MOVED): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.WAITING, _I.RETRY): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.WAITING, _I.ENDED): Step(_S.FINAL, _A.NOTIFY_FINAL),
    (_S.IN_FLIGHT, _I.UNREACHABLE): Step(_S.STRANDED, _A.NOTHING),
    (_S.DIRTY, _I.UNREACHABLE): Step(_S.STRANDED, _A.NOTHING),
    (_S.CLOSING, _I.UNREACHABLE): Step(_S.GONE, _A.DROP),
    (_S.FINAL, _I.UNREACHABLE): Step(_S.GONE, _A.DROP),
    (_S.IDLE, _I.FLUSHED): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.IN_FLIGHT, _I.FLUSHED): Step(_S.DIRTY, _A.NOTHING),
    (_S.DIRTY, _I.FLUSHED): Step(_S.DIRTY, _A.NOTHING),
    (_S.WAITING, _I.FLUSHED): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.STRANDED, _I.FLUSHED): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.RESTORED, _I.FLUSHED): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.QUEUED, _I.FLUSHED): Step(_S.QUEUED, _A.NOTHING),
    (_S.IN_FLIGHT, _I.HELD): Step(_S.QUEUED, _A.NOTHING),
    (_S.QUEUED, _I.CHANGED): Step(_S.QUEUED, _A.NOTHING),
    (_S.QUEUED, _I.REFRESHED): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.QUEUED, _I.MOVED): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.QUEUED, _I.TURN): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.QUEUED, _I.ENDED): Step(_S.FINAL, _A.NOTIFY_FINAL),
    (_S.IN_FLIGHT, _I.TOO_SOON): Step(_S.RESTING, _A.NOTHING),
    (_S.RESTING, _I.CHANGED): Step(_S.RESTING, _A.NOTHING),
    (_S.RESTING, _I.FLUSHED): Step(_S.RESTING, _A.NOTHING),
    (_S.RESTING, _I.REFRESHED): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.RESTING, _I.MOVED): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.RESTING, _I.DUE): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.RESTING, _I.ENDED): Step(_S.FINAL, _A.NOTIFY_FINAL),
    # Where a NOTIFY is to go by itself anyway, or there is no way to the phone, min-rate adds none.
    (_S.IDLE, _I.DUE): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.IN_FLIGHT, _I.DUE): Step(_S.DIRTY, _A.NOTHING),
    (_S.DIRTY, _I.DUE): Step(_S.DIRTY, _A.NOTHING),
    (_S.WAITING, _I.DUE): Step(_S.WAITING, _A.NOTHING),
    (_S.QUEUED, _I.DUE): Step(_S.QUEUED, _A.NOTHING),
    (_S.STRANDED, _I.DUE): Step(_S.STRANDED, _A.NOTHING),
    (_S.IN_FLIGHT, _I.SPARED): Step(_S.IDLE, _A.NOTHING),
    (_S.IDLE, _I.KNOWN): Step(_S.IDLE, _A.NOTHING),
    (_S.IN_FLIGHT, _I.KNOWN): Step(_S.IN_FLIGHT, _A.NOTHING),
    (_S.DIRTY, _I.KNOWN): Step(_S.DIRTY, _A.NOTHING),
    (_S.WAITING, _I.KNOWN): Step(_S.IDLE, _A.NOTHING),
    (_S.STRANDED, _I.KNOWN): Step(_S.IDLE, _A.NOTHING),
    (_S.QUEUED, _I.KNOWN): Step(_S.IDLE, _A.NOTHING),
    (_S.RESTING, _I.KNOWN): Step(_S.IDLE, _A.NOTHING),
    (_S.RESTORED, _I.KNOWN): Step(_S.IDLE, _A.NOTHING),
    (_S.STRANDED, _I.CHANGED): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.STRANDED, _I.REFRESHED): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.STRANDED, _I.MOVED): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.STRANDED, _I.ENDED): Step(_S.FINAL, _A.NOTIFY_FINAL),
    (_S.RESTORED, _I.CHANGED): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.RESTORED, _I.REFRESHED): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.RESTORED, _I.MOVED): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.RESTORED, _I.RETRY): Step(_S.IN_FLIGHT, _A.NOTIFY),
    (_S.RESTORED, _I.ENDED): Step(_S.FINAL, _A.NOTIFY_FINAL),
    (_S.CLOSING, _I.ANSWERED): Step(_S.FINAL, _A.NOTIFY_FINAL),
    (_S.CLOSING, _I.FAILED): Step(_S.FINAL, _A.NOTIFY_FINAL),
    (_S.CLOSING, _I.REJECTED): Step(_S.GONE, _A.DROP),
    (_S.FINAL, _I.ANSWERED): Step(_S.GONE, _A.DROP),
    (_S.FINAL, _I.FAILED): Step(_S.GONE, _A.DROP),
    (_S.FINAL, _I.REJECTED): Step(_S.GONE, _A.DROP),
}
