"""Commands: what is asked of lamps and subscriptions over the admin API.

    set        what a lamp shows, how many messages wait, whether calls are wanted
    reset      forget all that is known of a lamp, and tell every subscriber
    notify     send subscribers the full state once more
    terminate  end a subscription; its phone may subscribe anew, or is told not to

Several are one: all of them are committed together, with an entry of the audit trail for each extension, or none.
Whoever asks may wait for the phones (see Receipt); what was asked is done all the same when he does not.
"""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import TypeAlias

from sipresence.audit import NOBODY, Asker, AuditEntry, AuditTrail
from sipresence.commit import commit
from sipresence.errors import TooManyWaiting, UnknownSubscription
from sipresence.events.effects import Effect, ForgetAudit, SaveAudit, SaveState
from sipresence.events.notifier import Notifier
from sipresence.events.record import SubscriptionRecord
from sipresence.events.resource import DialogState, StateChange, reset, set_manually
from sipresence.events.state import Messages, light_voicemail, set_do_not_disturb, set_messages
from sipresence.events.subscription import Reason
from sipresence.journal import Journal
from sipresence.names import AccountId, ResourceId, SubscriptionId
from sipresence.objects import JsonObject
from sipresence.outbox import Outbox
from sipresence.ports import Clock, Loaded
from sipresence.receipt import Receipt, Waiting

MAX_WAIT = 10.0  # s for which phones are waited for
MAX_WAITING = 100  # who wait at the same time


@dataclass(slots=True, frozen=True)
class SetState:
    """Set lamps, how many messages wait, whether calls are wanted; None leaves a thing as it is. `expires`: seconds."""

    resources: Sequence[ResourceId]
    state: DialogState | None = None
    expires: int | None = None
    messages: Messages | None = None
    do_not_disturb: bool | None = None

    action = "set"


@dataclass(slots=True, frozen=True)
class Reset:
    """Forget all that is known of them; every subscriber is told at once."""

    resources: Sequence[ResourceId]

    action = "reset"


@dataclass(slots=True, frozen=True)
class NotifyAgain:
    """Send the subscriptions to them, or the one that goes by this name, the full state once more."""

    resources: Sequence[ResourceId]
    dialog: str | None = None  # see `goes_by`

    action = "notify"


@dataclass(slots=True, frozen=True)
class Terminate:
    """End the subscription to one of them that goes by this name."""

    resources: Sequence[ResourceId]
    dialog: str
    reason: Reason = Reason.DEACTIVATED

    action = "terminate"


Command: TypeAlias = SetState | Reset | NotifyAgain | Terminate


class Commands:
    """Carries them out. `arm` is called when the notifier has new deadlines; `trail` is the audit trail."""

    def __init__(self, *, notifier: Notifier, journal: Journal, clock: Clock, arm: Callable[[], None]) -> None:
        self.trail = AuditTrail()
        self._notifier = notifier
        self._journal = journal
        self._clock = clock
        self._arm = arm
        self._waiting: list[Waiting] = []

    def attach(self, outbox: Outbox) -> None:
        """Connect what carries out effects."""
        self._outbox = outbox

    def restore(self, loaded: Loaded) -> None:
        """Take over the audit trail."""
        self._outbox.add(list(map(ForgetAudit, self.trail.restore(loaded.audit))))

    @property
    def awaited(self) -> bool:
        """Whether anybody waits for phones."""
        return bool(self._waiting)

    async def carry_out(
        self, account: AccountId, commands: Sequence[Command], *, by: Asker = NOBODY, patience: float = 0.0
    ) -> Receipt:
        """Do all of it or nothing; return once it is committed and delivered, and the phones have answered.

        They are waited for `patience` seconds. Raises UnknownSubscription, TooManyWaiting, StoreError.
        """
        if patience and len(self._waiting) >= MAX_WAITING:
            raise TooManyWaiting
        now = self._clock.now()
        targets = [self._targets(account, command) for command in commands]
        effects: list[Effect] = []
        entries: list[AuditEntry] = []
        for command, idents in zip(commands, targets, strict=True):
            effects += self._decide(account, command, idents, now=now, by=by)
            entries += self._entries(account, command, now=now, by=by)
        waiting: list[Waiting] = []

        def finish(committed: bool) -> None:
            if committed:
                self._outbox.add(list(map(ForgetAudit, self.trail.add(entries))))
            if committed and patience:
                waiting.append(self._await(commands, targets))

        # Written down first: no NOTIFY leaves before, so that none is answered before somebody waits for it.
        await commit(self._outbox, [*map(SaveAudit, entries), *effects], then=finish)
        await asyncio.sleep(0)  # phones before the answer: where the store commits at once, NOTIFYs leave in this turn
        return await self._receipt(waiting[0], patience) if waiting else Receipt()

    # What they do

    def _decide(
        self, account: AccountId, command: Command, idents: Sequence[SubscriptionId], *, now: float, by: Asker
    ) -> list[Effect]:
        self._journal.commanded(command.action, account, command.resources, now, by=by.account, **_details(command))
        if isinstance(command, SetState | Reset):
            changes = list(self._changes(account, command, now=now, by=by.account))
            for change in changes:
                self._notifier.change_decided(change)
            return list(map(SaveState, changes))
        effects: list[Effect] = []
        for ident in idents:
            if isinstance(command, Terminate):
                effects += self._notifier.terminate(ident, command.reason, now=now)
            else:
                effects += self._notifier.notify_again(ident, now=now)
        self._arm()
        return effects

    def _changes(self, account: AccountId, command: SetState | Reset, *, now: float, by: str) -> Iterator[StateChange]:
        for name in command.resources:
            lamp = self._voicemail_lamp(account, name)
            if isinstance(command, Reset):
                yield reset(account, name, at=now, by=by)
                if lamp is not None and not self._notifier.state_of(lamp).blank:
                    yield reset(account, lamp, at=now, by=by)
                continue
            if command.state is not None:
                until = None if command.expires is None else now + command.expires
                yield set_manually(account, name, state=command.state, at=now, expires_at=until, by=by)
            if command.messages is not None:
                yield set_messages(account, name, command.messages, at=now, by=by)
                if lamp is not None:
                    yield light_voicemail(account, lamp, command.messages, at=now)
            if command.do_not_disturb is not None:
                yield set_do_not_disturb(account, name, on=command.do_not_disturb, at=now, by=by)

    def _voicemail_lamp(self, account: AccountId, resource: ResourceId) -> ResourceId | None:
        """What watches the mailbox of a resource: `*98101` of 101."""
        prefix = self._notifier.policy(account).voicemail_prefix
        return ResourceId(f"{prefix}{resource}") if prefix else None

    def _targets(self, account: AccountId, command: Command) -> list[SubscriptionId]:
        """The subscriptions that are meant. Raises UnknownSubscription for a name that none of them goes by."""
        if isinstance(command, SetState | Reset):
            return []
        names, wanted = dict.fromkeys(command.resources), command.dialog
        views = (view for name in names for view in self._notifier.views.subscriptions(name, account=account))
        found = [view.record.id for view in views if wanted is None or goes_by(view.record, wanted)]
        if wanted is not None and not found:
            raise UnknownSubscription(wanted)
        return found

    # Who has asked

    def _entries(self, account: AccountId, command: Command, *, now: float, by: Asker) -> Iterator[AuditEntry]:
        asked = json.dumps(_details(command))
        for name in command.resources:
            yield AuditEntry(self.trail.next_id(), account, now, command.action, name, asked, *by)

    # How phones take it

    def on_notify_answered(self, ident: SubscriptionId, status: int) -> None:
        """The NOTIFY in flight has its final answer, of which the notifier has not heard yet."""
        cseq = self._notifier.cseq(ident)
        for waiting in self._waiting:
            waiting.answered(ident, cseq, status)

    def _await(self, commands: Sequence[Command], targets: Sequence[Sequence[SubscriptionId]]) -> Waiting:
        idents = [ident for of_command in targets for ident in of_command]
        for command in commands:
            if isinstance(command, SetState | Reset):
                for name in command.resources:
                    idents += self._notifier.views.subscribers(name)
        due = {ident: self._notifier.due_cseq(ident) for ident in idents}
        waiting = Waiting({ident: cseq for ident, cseq in due.items() if cseq is not None})
        self._waiting.append(waiting)
        return waiting

    async def _receipt(self, waiting: Waiting, patience: float) -> Receipt:
        try:
            return await waiting.receipt(
                min(patience, MAX_WAIT), has_learnt=lambda ident: self._notifier.due_cseq(ident) == 0
            )
        finally:
            self._waiting.remove(waiting)


def goes_by(record: SubscriptionRecord, name: str) -> bool:
    """Whether a subscription goes by this name: its Call-ID, or what tells it from those that share it.

    That is `CALL-ID;from-tag=TAG`, or if need be `CALL-ID;from-tag=TAG;to-tag=TAG` (RFC 3261 section 12).
    """
    by_tag = f"{record.call_id};from-tag={record.remote_tag}"
    return name in (record.call_id, by_tag, f"{by_tag};to-tag={record.local_tag}")


def _details(command: Command) -> JsonObject:
    """What else it says, as it is logged and kept."""
    details: JsonObject = {}
    match command:
        case SetState(_, state, expires, messages, do_not_disturb):
            mwi = None if messages is None else dict(zip(_MESSAGES, astuple(messages), strict=True))
            details = {"state": state and state.value, "expires": expires, "mwi": mwi, "dnd": do_not_disturb}
        case NotifyAgain(_, dialog):
            details = {"call_id": dialog}
        case Terminate(_, dialog, reason):
            details = {"call_id": dialog, "reason": reason.value}
    return {name: value for name, value in details.items() if value is not None}


_MESSAGES = ("new", "saved", "urgent", "urgent_saved")
