"""What the configuration means to the units."""

import re
from typing import Any

from sipresence import settings
from sipresence.config.model import Config
from sipresence.events.policy import DEFAULT, LampPolicy
from sipresence.events.resource import DialogState

ID = "0123456789abcdef0123456789abcdef"


def config(**account: Any) -> Config:
    return Config.model_validate({"accounts": [{"id": ID, "realm": "office.example.com", **account}]})


def test_an_account_that_wants_nothing_special_has_the_default_policy() -> None:
    """That very object, which is cheaper."""
    assert settings.lamp_policies(config())[ID] is DEFAULT  # type: ignore[index]


def test_an_account_may_have_lamps_of_its_own() -> None:
    lamps = {
        "caller_early": "confirmed", "held": "early", "do_not_disturb": "confirmed", "unregistered": "early",
        "voicemail_prefix": "*97",
    }  # fmt: skip
    (policy,) = settings.lamp_policies(config(lamps=lamps, confirmed_first=True)).values()
    confirmed, early = DialogState.CONFIRMED, DialogState.EARLY
    assert policy == LampPolicy(True, confirmed, early, confirmed, early, "*97")


def test_who_may_know_callers() -> None:
    rules = [{"subscriber": "reception", "resource": ".*", "action": "show"}]
    (account,) = settings.accounts(config(withhold_callers=True, caller_rules=rules))
    assert account.withhold_callers
    ((subscriber, resource, allow),) = ((r.subscriber, r.resource, r.allow) for r in account.caller_rules)
    assert (subscriber.pattern, resource.pattern, allow) == ("reception", ".*", True)
    assert subscriber.flags & re.IGNORECASE
