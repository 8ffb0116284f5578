"""The configuration: one TOML file, the environment, `--set`; read once, checked in whole.

Three layers over the defaults, the first that has a key wins:

    --set sip.min_expires=60  >  SIPRESENCE_SIP__MIN_EXPIRES=60  >  min_expires = 60 under [sip]  >  the default here

In the first two a list is JSON, and arrays of tables (accounts) are given whole. A key that nobody reads is an error,
since a misspelt `trusted_network` would otherwise be a silent hole or a dead phone.

An operator mends all errors in one go, so all are reported at once: what a field by itself must be is said by its
type (values.py, model.py), and what fields must be to each other (contradictions.py) is looked for in the text as read,
so that a wrong field hides no duplicate. No finding and no `repr` shows a secret.
"""

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from sipresence.config.contradictions import contradictions
from sipresence.config.model import Config, ProfileConfig
from sipresence.errors import ConfigError

PREFIX = "SIPRESENCE_"
SYSTEM_FILE = Path("/etc/sipresence/sipresence.toml")


def default_path(cwd: Path) -> Path | None:
    """Return the file that is read without `--config`, if there is one."""
    return next((path for path in (cwd / SYSTEM_FILE.name, SYSTEM_FILE) if path.is_file()), None)


def load(path: Path | None, overrides: Mapping[str, str], environ: Mapping[str, str]) -> Config:
    """Read the file, lay `environ` and then `overrides` (`section.key` -> text) over it, and check everything.

    A relative path, of the database or of a certificate, is relative to the file, or to the working directory without
    one. Raises ConfigError.
    """
    raw = _merge(_merge(_file(path), _variables(_ours(environ))), _variables(overrides))
    findings = list(contradictions(raw))
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        fields = [_finding(e) for e in error.errors(include_url=False, include_input=False)]
        raise ConfigError([*fields, *findings]) from None  # the cause would show what was read, secrets and all
    if findings:
        raise ConfigError(findings)
    folder = path.parent if path else Path()
    own = {profile.name for profile in config.profiles}
    profiles = (*config.profiles, *(known for known in known_profiles() if known.name not in own))
    return config.model_copy(
        update={"sip": config.sip.anchored(folder), "store": config.store.anchored(folder), "profiles": profiles}
    )


def known_profiles() -> tuple[ProfileConfig, ...]:
    """The quirk profiles that come with the server (profiles.toml)."""
    text = files("sipresence.config").joinpath("profiles.toml").read_text("utf-8")
    return tuple(map(ProfileConfig.model_validate, tomllib.loads(text)["profiles"]))


def _file(path: Path | None) -> dict[str, object]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: is not UTF-8 text"]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{path}: {error}"]) from None


def _ours(environ: Mapping[str, str]) -> dict[str, str]:
    """Pick the variables that are keys of the configuration; SIPRESENCE_URL and its like belong to the commands."""
    names = {name: name.upper().removeprefix(PREFIX).lower() for name in environ if name.upper().startswith(PREFIX)}
    return {
        key.replace("__", "."): environ[name]
        for name, key in names.items()
        if "__" in key or key in Config.model_fields
    }


class _Settings(Config, BaseSettings):
    """The same keys as pydantic-settings sees them; never made, since it would read the process's environment."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__")


class _Variables(EnvSettingsSource):
    """Variables from a mapping; what should be JSON and is not stays text, so that validation names its key."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        super().__init__(_Settings)
        self.env_vars = {f"{PREFIX}{key.replace('.', '__')}".lower(): text for key, text in variables.items()}

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value


def _variables(variables: Mapping[str, str]) -> dict[str, object]:
    layer: dict[str, object] = _Variables(variables)()
    for key in variables:
        layer.setdefault(
            key.partition(".")[0], {}
        )  # a section that pydantic-settings does not know: let it be reported
    return layer


def _merge(base: Mapping[str, object], layer: Mapping[str, object]) -> dict[str, object]:
    merged = dict(base)
    for key, value in layer.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


_MESSAGES = {
    "extra_forbidden": "unknown key",
    "missing": "is required",
    "model_type": "must be a table",
    "string_type": "must be text in quotes",
    "tuple_type": "must be a list",
    "too_short": "must not be empty",
}


def _finding(error: ErrorDetails) -> str:
    """Say `key.path: message`, without the value, which may be a secret."""
    key = ".".join(map(str, error["loc"]))
    if error["type"] == "value_error":
        return f"{key}: {error['ctx']['error']}"
    return f"{key}: {_MESSAGES.get(error['type'], error['msg'])}"
