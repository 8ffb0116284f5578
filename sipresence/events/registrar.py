"""The registrar (RFC 3261 section 10.3): under which contacts each device can be reached, and until when.

It routes no calls: what comes of it is whether an extension has a phone. A lamp may belong to several devices, and is
registered while one of them has a contact. Nothing is said of one that never had any.

Verbs take `now` and return effects in order. A REGISTER is carried out as a whole or not at all, and so is its commit:
until `settled`, the change is under way, and nothing else may be asked about the same lamp, since a 200 lists the
bindings that there are. If the commit fails all is as it was before.

    register, expire ──> under way ── settled, saved ──> done
                             └─────── settled, not saved ──> as before

RFC 3261 section 10.3: "REGISTER requests MUST be processed by a registrar in the order that they are received."
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from sys import intern
from typing import TypeAlias, TypeVar

from sipresence.deadlines import Deadlines
from sipresence.errors import SipError
from sipresence.events.binding import BindingId, BindingRecord
from sipresence.events.effects import Effect, ForgetBinding, SaveBinding, SaveState
from sipresence.events.register import Asked, Registrant, RegistrarLimits, Wanted, granted, read
from sipresence.events.state import set_registered
from sipresence.names import AccountId, CallId, ResourceId
from sipresence.refusals import FULL
from sipresence.sip.equivalence import equivalent
from sipresence.sip.flow import Flow
from sipresence.sip.message import Request

RETRY = 5.0  # s until the end of a binding that could not be committed is tried again
RETRY_AFTER = 60  # s: until some bindings have expired

_DeviceKey: TypeAlias = tuple[AccountId, str]
_Bindings: TypeAlias = tuple[BindingRecord, ...]
_Key = TypeVar("_Key", bound=Hashable)


@dataclass(slots=True)
class _Change:
    """What is decided and not settled: how it was before, and the lamps that it is about."""

    before: dict[_DeviceKey, _Bindings]
    lamps: frozenset[ResourceId]


class Registrar:
    """All bindings of one node."""

    def __init__(self, limits: RegistrarLimits) -> None:
        self._limits = limits
        self._devices: dict[_DeviceKey, _Bindings] = {}
        self._deadlines: Deadlines[_DeviceKey] = Deadlines()
        self._under_way: dict[_DeviceKey, _Change] = {}
        self._changing: set[ResourceId] = set()  # the lamps of the changes under way
        # How many bindings have each.
        self._lamps: Counter[ResourceId] = Counter()
        self._call_ids: Counter[CallId] = Counter()
        self._sources: Counter[tuple[str, str, int]] = Counter()
        self._count = 0
        self._last_id = 0

    def configure(self, limits: RegistrarLimits) -> None:
        """From here on accept within these limits; what was granted stays granted."""
        self._limits = limits

    # What others may see

    def __len__(self) -> int:
        return self._count

    def knows(self, call_id: str) -> bool:
        """Whether a REGISTER with this Call-ID may be the refresh of a binding."""
        return call_id in self._call_ids

    def carries(self, flow: Flow) -> bool:
        """Whether a device has registered over this connection."""
        return (flow.transport, flow.host, flow.port) in self._sources

    def bindings_of(self, account: AccountId, resource: ResourceId | None = None) -> Iterator[BindingRecord]:
        """The bindings of an account's devices, or of those with one lamp."""
        for (owner, _), bindings in self._devices.items():
            if owner == account:
                yield from (binding for binding in bindings if resource in (None, binding.resource))

    # REGISTER

    def is_under_way(self, registrant: Registrant) -> bool:
        """Whether what a REGISTER of this device would see is not committed yet: it has to wait."""
        return registrant.resource in self._changing or self._is_changing(registrant[:2])

    def _is_changing(self, device: _DeviceKey) -> bool:
        lamps = (binding.resource for binding in self._devices.get(device, ()))
        return device in self._under_way or not self._changing.isdisjoint(lamps)

    def register(self, request: Request, registrant: Registrant, *, to_tag: str, now: float) -> list[Effect]:
        """Decide a REGISTER of which nothing is under way, from somebody who may speak for this device.

        Raises SipError 400, 403, 420, 423 and 500.
        """
        asked = read(request, self._limits)
        device = registrant[:2]
        living = tuple(binding for binding in self._devices.get(device, ()) if binding.expires_at > now)
        if asked.nothing_stays:
            for binding in living:
                _refuse_out_of_order(binding, request)
            bindings: _Bindings = ()
        else:
            bindings = self._updated(living, asked, request, registrant, now=now)
        writes = self._change({device: bindings}, now)
        return [*writes, granted(request, bindings, to_tag=to_tag, now=now)]

    def _updated(
        self, living: _Bindings, asked: Asked, request: Request, registrant: Registrant, *, now: float
    ) -> _Bindings:
        """The bindings of a device once each contact is added, updated or removed; of one named twice the last word
        counts."""
        bindings = {binding.id: binding for binding in living}
        for wanted in asked.contacts:
            known = next((one for one in bindings.values() if equivalent(one.contact, wanted.contact)), None)
            if known is not None and known in living:
                _refuse_out_of_order(known, request)
            if wanted.expires:
                ident = self._next_id() if known is None else known.id
                bindings[ident] = _record(ident, known, wanted, asked.path, request, registrant, now=now)
            elif known is not None:
                del bindings[known.id]
        return self._bounded(living, tuple(bindings.values()))

    def _bounded(self, living: _Bindings, bindings: _Bindings) -> _Bindings:
        """Keep to the limits: of a device with too many contacts the one that was refreshed least lately goes.

        A phone that takes another port at each start must not be shut out by what it has left. Raises SipError 403 for
        too many at once, 500 where all devices together have too many.
        """
        excess = len(bindings) - self._limits.contacts_per_device
        if excess > 0:
            others = sorted((one for one in bindings if one in living), key=lambda one: one.expires_at - one.expires)
            if excess > len(others):
                raise SipError(403, reason="Too many contacts")
            bindings = tuple(one for one in bindings if one not in others[:excess])
        added = len(bindings) - len(living)
        if added > 0 and self._count + added > self._limits.max_contacts:
            raise SipError(500, f"Retry-After: {RETRY_AFTER}\r\n", name=FULL)
        return bindings

    # Time

    def next_deadline(self) -> float | None:
        """When `expire` has to be called at the latest."""
        return self._deadlines.next()

    def expire(self, *, now: float) -> list[Effect]:
        """End what has expired."""
        left: dict[_DeviceKey, _Bindings] = {}
        for device in list(self._deadlines.due(now)):
            if self._is_changing(device):
                self._deadlines.set(device, now + RETRY)
            else:
                left[device] = tuple(one for one in self._devices[device] if one.expires_at > now)
        return self._change(left, now)

    def evict(self, gone: Callable[[BindingRecord], bool], *, now: float) -> None:
        """Let these bindings have expired: their devices are no more."""
        for device, bindings in list(self._devices.items()):
            if any(map(gone, bindings)):
                self._put(device, tuple(one._replace(expires_at=now) if gone(one) else one for one in bindings))

    # The store

    def restore(self, bindings: Sequence[BindingRecord], *, now: float) -> None:
        """Take over what the store remembers, once, at start. What has expired meanwhile ends at the next `expire`."""
        devices: dict[_DeviceKey, list[BindingRecord]] = {}
        for binding in bindings:
            # A clock that was wrong when the row was written must not make it last for ever.
            expires_at = min(binding.expires_at, now + self._limits.max_expires)
            device = (binding.account, binding.user)
            devices.setdefault(device, []).append(binding._replace(expires_at=expires_at))
            self._last_id = max(self._last_id, binding.id)
        for device, restored in devices.items():
            self._put(device, tuple(restored))

    def settled(self, effects: Sequence[Effect], *, saved: bool, now: float) -> None:
        """What `register` or `expire` has decided is committed, or failed as a whole: then it never was."""
        device = next(_devices(effects), None)
        if device is None:
            return
        change = self._under_way[device]
        self._changing -= change.lamps
        for device, before in change.before.items():
            del self._under_way[device]
            if not saved:
                self._put(device, before, not_before=now + RETRY)

    # The tables

    def _change(self, after: Mapping[_DeviceKey, _Bindings], now: float) -> list[Effect]:
        """Let these devices have these bindings; return what has to be written."""
        before = {device: self._devices.get(device, ()) for device in after}
        owners = {
            binding.resource: binding.account
            for bindings in (*before.values(), *after.values())
            for binding in bindings
        }
        registered = {lamp for lamp in owners if lamp in self._lamps}
        writes: list[Effect] = []
        for device, bindings in after.items():
            self._put(device, bindings)
            kept = {binding.id for binding in bindings}
            writes += [ForgetBinding(one) for one in before[device] if one.id not in kept]
            writes += [SaveBinding(one) for one in bindings if one not in before[device]]
        for lamp, account in owners.items():
            if (lamp in self._lamps) is not (lamp in registered):
                change = set_registered(account, lamp, registered=lamp in self._lamps, at=now)
                writes.append(SaveState(change))
        if writes:
            under_way = _Change(before, frozenset(owners))
            self._under_way.update(dict.fromkeys(before, under_way))
            self._changing |= under_way.lamps
        return writes

    def _put(self, device: _DeviceKey, bindings: _Bindings, *, not_before: float = 0.0) -> None:
        """Replace the bindings of a device; the first of them is looked at when it expires, `not_before` then."""
        for binding in self._devices.pop(device, ()):
            self._tally(binding, -1)
        for binding in bindings:
            self._tally(binding, +1)
        if bindings:
            self._devices[device] = bindings
            self._deadlines.set(device, max(not_before, min(binding.expires_at for binding in bindings)))
        else:
            self._deadlines.discard(device)

    def _tally(self, binding: BindingRecord, number: int) -> None:
        self._count += number
        _add(self._lamps, binding.resource, number)
        _add(self._call_ids, binding.call_id, number)
        _add(self._sources, (binding.transport, binding.source_host, binding.source_port), number)

    def _next_id(self) -> BindingId:
        self._last_id += 1
        return BindingId(self._last_id)


def _refuse_out_of_order(binding: BindingRecord, request: Request) -> None:
    """Section 10.3 step 7: with the same Call-ID, only a higher CSeq may change a binding; else "the update MUST be
    aborted and the request fails". Raises SipError 500."""
    if binding.call_id == request.call_id and request.cseq <= binding.cseq:
        raise SipError(500, reason="CSeq out of order")


def _record(
    ident: BindingId,
    known: BindingRecord | None,
    wanted: Wanted,
    path: str,
    request: Request,
    registrant: Registrant,
    *,
    now: float,
) -> BindingRecord:
    """The row of a binding, or its next one."""
    flow = request.flow
    return BindingRecord(
        ident, registrant.account, registrant.user, registrant.resource,
        wanted.contact, wanted.q, wanted.instance, path, CallId(request.call_id), request.cseq,
        intern(request.get("user-agent") or ""), flow.transport, flow.listener, flow.host, flow.port, flow.local,
        wanted.expires, now if known is None else known.registered_at, now + wanted.expires,
    )  # fmt: skip


def _devices(effects: Sequence[Effect]) -> Iterator[_DeviceKey]:
    """The devices whose bindings these effects change."""
    for effect in effects:
        if isinstance(effect, SaveBinding | ForgetBinding):
            yield effect.record.account, effect.record.user


def _add(counts: Counter[_Key], key: _Key, number: int) -> None:
    """Count up or down; what is counted down to nothing leaves nothing behind."""
    counts[key] += number
    if not counts[key]:
        del counts[key]
