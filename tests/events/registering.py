"""A registrar with its phones in front of it, in virtual time: each verb returns the effects, for the test to match."""

import re
from collections.abc import Mapping, Sequence
from typing import Unpack

from sipresence.events.binding import BindingRecord
from sipresence.events.effects import Effect, ForgetBinding, Respond, SaveBinding, SaveState
from sipresence.events.register import Registrant, RegistrarLimits
from sipresence.events.registrar import Registrar
from sipresence.names import AccountId, ResourceId
from sipresence.sip.flow import Flow
from tests.builders import Fields, parsed, request
from tests.fakes import NOW

OFFICE = AccountId("0123456789abcdef0123456789abcdef")
LAMP, OTHER_LAMP = ResourceId("101@office.example.com"), ResourceId("102@office.example.com")
DESK = Registrant(OFFICE, "alice-desk", LAMP)
SOFT = Registrant(OFFICE, "alice-soft", LAMP)  # the same lamp
BOBS = Registrant(OFFICE, "bob-desk", OTHER_LAMP)
CONTACT = "<sip:alice-desk@192.0.2.7:5060>"


def register(*contacts: str, **fields: Unpack[Fields]) -> bytes:
    """A REGISTER of alice-desk; without contacts it only asks. Each is a Contact header of its own."""
    headers = fields.get("headers", ())
    extra = list(headers.items() if isinstance(headers, Mapping) else headers)
    told: Fields = {
        "uri": "sip:office.example.com",
        "to": "<sip:alice-desk@office.example.com>",
        "from_": "<sip:alice-desk@office.example.com>",
        "contact": None,
    }
    told.update(fields)
    told["headers"] = [*(("Contact", contact) for contact in contacts), *extra]
    return request("REGISTER", **told)


class Reception:
    """`now` is the time; what is decided is committed at once, unless the test says `later`."""

    def __init__(self, limits: RegistrarLimits | None = None) -> None:
        self.now = NOW
        self.limits = limits or RegistrarLimits()
        self.registrar = Registrar(self.limits)
        self.rows: dict[int, BindingRecord] = {}  # what a store would hold
        self.said: dict[ResourceId, bool] = {}  # what the lamps were told last: whether there is a phone

    def later(
        self, *contacts: str, who: Registrant = DESK, way: Flow | None = None, **fields: Unpack[Fields]
    ) -> list[Effect]:
        """A REGISTER whose change is not committed yet."""
        asked = parsed(register(*contacts, **fields), way)
        return self.registrar.register(asked, who, to_tag="t", now=self.now)

    def register(
        self, *contacts: str, who: Registrant = DESK, way: Flow | None = None, **fields: Unpack[Fields]
    ) -> list[Effect]:
        """A REGISTER, committed."""
        return self.settle(self.later(*contacts, who=who, way=way, **fields))

    def settle(self, effects: list[Effect], *, saved: bool = True) -> list[Effect]:
        """What was decided is committed, or fails."""
        for effect in effects if saved else ():
            if isinstance(effect, SaveBinding):
                self.rows[effect.record.id] = effect.record
            elif isinstance(effect, ForgetBinding):
                del self.rows[effect.record.id]
            elif isinstance(effect, SaveState):
                self.said[effect.change.resource] = effect.change.presence is None
        self.registrar.settled(effects, saved=saved, now=self.now)
        return effects

    def wait(self, seconds: float) -> list[Effect]:
        """Let time pass, and see what has ended, committed."""
        self.now += seconds
        return self.settle(self.registrar.expire(now=self.now))

    def restart(self) -> None:
        """A new registrar that finds the rows."""
        self.registrar = Registrar(self.limits)
        self.registrar.restore([self.rows[key] for key in sorted(self.rows)], now=self.now)

    def contacts(self, lamp: ResourceId | None = None) -> list[str]:
        """The contacts that there are."""
        return [binding.contact for binding in self.registrar.bindings_of(OFFICE, lamp)]


def listed(effects: Sequence[Effect]) -> dict[str, int]:
    """The contacts that the one answer enumerates, with the seconds that are left of each."""
    (answer,) = (effect for effect in effects if isinstance(effect, Respond))
    assert answer.status == 200
    return {uri: int(left) for uri, left in re.findall(r"Contact: <([^>]*)>.*;expires=(\d+)\r\n", answer.headers)}
