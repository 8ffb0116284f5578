"""How each subscriber is told: in which form, with which spelling, as which kind of phone, how often."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from sipresence.events.document import Form
from sipresence.events.package import DIALOG, form_of
from sipresence.events.profile import DEFAULT, Profile, Profiles
from sipresence.events.rates import read_rates
from sipresence.events.record import SubscriptionRecord
from sipresence.events.terms import TAGGED, Terms
from sipresence.sip.message import COMPACT_NAMES, LONG_NAMES, HeaderNames, Request


class Presentation(NamedTuple):
    """How one subscriber is told."""

    form: Form = DIALOG
    profile: Profile = DEFAULT
    names: HeaderNames = LONG_NAMES
    terms: Terms | None = None


PLAIN = Presentation()


class Presenter:
    """Decides it. `names` spell the headers where a profile does not say; `withheld`: who may not know callers;
    `entity_tags`: everybody is told them, not only who asks."""

    def __init__(
        self,
        profiles: Profiles | None = None,
        *,
        names: HeaderNames = LONG_NAMES,
        withheld: Callable[[SubscriptionRecord], bool] = lambda _: False,
        entity_tags: bool = False,
    ) -> None:
        self.profiles = Profiles() if profiles is None else profiles
        self._names = names
        self._withheld = withheld
        self._terms = TAGGED if entity_tags else None

    def profile(self, request: Request) -> Profile:
        """What kind of phone sends this."""
        return self.profiles.of(request.get("user-agent") or "")

    def presentation(self, record: SubscriptionRecord) -> Presentation:
        """How the subscriber of this row is told. Hot: once per SUBSCRIBE."""
        profile = self.profiles.of(record.user_agent)
        shape = replace(profile.shape, private=True) if self._withheld(record) else profile.shape
        names = self._names
        if profile.compact_headers is not None:
            names = COMPACT_NAMES if profile.compact_headers else LONG_NAMES
        rates = read_rates(record.subscribe_event, record.expires)
        terms = self._terms if rates is None else Terms(rates)
        return Presentation(form_of(record, shape), profile, names, terms)
