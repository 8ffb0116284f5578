"""What the configuration means to the units."""

import re
from typing import Any

import pytest

from sipresence import settings
from sipresence.accounts import Role, User
from sipresence.config.model import Config
from sipresence.events.policy import DEFAULT, LampPolicy
from sipresence.events.register import RegistrarLimits
from sipresence.events.resource import DialogState
from sipresence.http.authorization import RequestLimits
from sipresence.http.conversation import WebsocketLimits

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


def test_who_may_do_what_over_the_api() -> None:
    parent = "f" * 32
    tokens = ["token-one", {"token": "token-two", "role": "read"}, {"token": "token-three"}]
    users = [
        {"id": "1" * 32, "username": "alice", "password": "x", "priv_level": "admin", "first_name": "Alice"},
        {"id": "2" * 32, "last_name": "Builder", "enabled": False},
    ]
    devices = [{"id": "3" * 32, "enabled": False, "sip": {"username": "phone", "password": "secret"}}]
    (account,) = settings.accounts(config(tokens=tokens, parent_id=parent, users=users, devices=devices))
    assert (account.tokens, account.read_tokens) == (("token-one", "token-three"), ("token-two",))
    assert account.parent_id == parent
    assert account.users == (
        User("1" * 32, "alice", "x", None, role=Role.ADMIN, first_name="Alice"),
        User("2" * 32, None, None, None, enabled=False, last_name="Builder"),
    )
    assert not account.devices[0].enabled


def test_how_much_may_be_asked_over_the_api() -> None:
    assert settings.request_limits(Config().http) == RequestLimits()
    http = {"request_rate": 5, "request_burst": 50, "limit_static_tokens": True}
    told = Config.model_validate({"http": http})
    assert settings.request_limits(told.http) == RequestLimits(5.0, 50, static_tokens_too=True)


def test_a_registrar_where_one_is_wanted() -> None:
    sip = {"register_min_expires": 30, "register_default_expires": 600, "register_max_expires": 900}
    told = Config.model_validate({"sip": sip, "limits": {"contacts_per_device": 2, "max_contacts": 50}})
    assert settings.service_settings(told).registrar == RegistrarLimits(30, 600, 900, 2, 50)
    assert settings.service_settings(Config()).registrar == RegistrarLimits()
    assert settings.service_settings(Config.model_validate({"sip": {"registrar": False}})).registrar is None


def test_what_websockets_may_have() -> None:
    assert settings.websocket_limits(Config().http) == WebsocketLimits()
    told = Config.model_validate(
        {
            "http": {
                "websocket_connections": 1,
                "websocket_connections_per_address": 2,
                "websocket_bindings": 3,
                "websocket_queue": 4,
                "websocket_heartbeat": 5,
                "websocket_idle_timeout": 6,
            }
        }
    )
    assert settings.websocket_limits(told.http) == WebsocketLimits(1, 2, 3, 4, 5.0, 6.0)


@pytest.mark.parametrize(
    ("written", "address"),
    [("", ""), ("127.0.0.1", "127.0.0.1:5555"), ("[::1]:0", "[::1]:0"), ("a.test:1", "a.test:1")],
)
def test_where_websockets_have_a_listener_of_their_own(written: str, address: str) -> None:
    assert Config.model_validate({"http": {"websocket_listen": written}}).http.websocket_listen == address
