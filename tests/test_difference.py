"""What a reload can take in, and what it cannot: every key of the configuration is one or the other."""

from typing import Any

import pytest

from sipresence.config.difference import NEEDS_RESTART, RELOADED, changed
from sipresence.config.model import AccountConfig, Config, ListenerConfig, SipConfig

TABLES = {"accounts", "profiles"}  # each is one key
KEYS = {
    section if section in TABLES else f"{section}.{key}"
    for section, field in Config.model_fields.items()
    for key in (field.annotation.model_fields if section not in TABLES and field.annotation else [section])
}


def config(**sip: Any) -> Config:
    return Config(sip=SipConfig(**sip))


def test_every_key_is_taken_in_or_needs_a_restart() -> None:
    assert len(KEYS) > 40
    assert not KEYS - RELOADED - NEEDS_RESTART, "a new key: say in config/difference.py what a reload does with it"
    assert not (RELOADED | NEEDS_RESTART) - KEYS, "a key that there is no more"
    assert not RELOADED & NEEDS_RESTART


def test_nothing_differs_from_itself() -> None:
    account = AccountConfig(id="0" * 32, realm="a.example.com")
    assert changed(Config(accounts=(account,)), Config(accounts=(account.model_copy(),))) == []


@pytest.mark.parametrize("key", sorted(KEYS - TABLES))
def test_each_key_is_seen(key: str) -> None:
    section, _, name = key.partition(".")
    other = getattr(Config(), section).model_copy(update={name: object()})
    assert changed(Config(), Config().model_copy(update={section: other})) == [key]


def test_several_are_named_in_the_order_of_the_model() -> None:
    account = AccountConfig(id="0" * 32, realm="a.example.com")
    new = config(max_expires=9000, listen=(ListenerConfig(url="udp://127.0.0.1:5060"),)).model_copy(
        update={"accounts": (account,)}
    )
    assert changed(Config(), new) == ["sip.listen", "sip.max_expires", "accounts"]


def test_a_secret_is_seen_and_not_shown() -> None:
    old, new = (
        Config(accounts=(AccountConfig(id="0" * 32, realm="a.example.com", tokens=(token,)),))  # type: ignore[arg-type]
        for token in ("first-token", "second-token")
    )
    assert changed(old, new) == ["accounts"]
