"""What an account wants its lamps to show, where RFC 4235 leaves it open."""

from dataclasses import dataclass

from sipresence.events.state import DialogState


@dataclass(slots=True, frozen=True)
class LampPolicy:
    """By default lamps show calls, as their publishers tell of them, and nothing else.

    `confirmed_first`: who is busy stays busy, whoever else calls. `caller_early` is shown in place of `early` to those
    who watch the caller (phones.md 7), `held` in place of a call on hold. `do_not_disturb` and `unregistered` are shown
    while there is no call. `voicemail_prefix`: dialled before an extension it reaches its mailbox, and watched it is a
    lamp for its new messages; "" for none.
    """

    confirmed_first: bool = False
    caller_early: DialogState = DialogState.EARLY
    held: DialogState = DialogState.CONFIRMED
    do_not_disturb: DialogState = DialogState.TERMINATED
    unregistered: DialogState = DialogState.TERMINATED
    voicemail_prefix: str = "*98"


DEFAULT = LampPolicy()
