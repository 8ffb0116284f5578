"""Vetting: what is told of a user or device -> what is kept of it, and what it means, or every finding at once.

Names that begin with `_` or `pvt_` are ours, as in Kazoo, and what is told under them is passed over. Of a user's
password only what a log-in sends is kept. A device that comes without SIP credentials is given some, and keeps those it
has where later ones are not told.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from sipresence import schemas
from sipresence.accounts import Device, User, login_digests
from sipresence.directory import Directory, Entry
from sipresence.errors import InvalidObject
from sipresence.objects import Json, JsonObject, Kind, ObjectKey

MOST_NESTED = 32  # levels of an object

_MD5, _SHA1 = "pvt_md5_auth", "pvt_sha1_auth"  # Kazoo's names
_Findings: TypeAlias = dict[str, dict[str, dict[str, Json]]]


class Vetting:
    """Checks against what there is in the directory. `secret` makes SIP user names and passwords."""

    def __init__(self, directory: Directory, secret: Callable[[], str]) -> None:
        self._directory = directory
        self._secret = secret

    def vet(self, key: ObjectKey, told: JsonObject, before: JsonObject | None) -> tuple[JsonObject, Entry]:
        """Say what is kept of an object that was `before`, None for a new one. Raises InvalidObject."""
        body = public(told)
        body.setdefault("enabled", True)
        if key.kind is Kind.DEVICE:
            return body, self._device(key, body, before)
        return body, self._user(key, body, before or {})

    def _device(self, key: ObjectKey, body: JsonObject, before: JsonObject | None) -> Device:
        sip = body.get("sip", {})
        if isinstance(sip, Mapping):
            known = self._credentials() if before is None else before["sip"]
            assert isinstance(known, Mapping)
            body["sip"] = {"username": known["username"], "password": known["password"], **sip}
        device = schemas.device(key.id, body)
        findings: _Findings = {}
        other = self._directory.device_called(key.account, device.sip_username)
        if other is not None and other.id != key.id:
            taken: dict[str, Json] = {"message": "SIP credentials already in use", "cause": device.sip_username}
            findings["sip.username"] = {"unique": taken}
        if device.owner_id is not None and self._directory.user(key.account, device.owner_id) is None:
            findings["owner_id"] = {"not_found": {"message": "User not found", "cause": device.owner_id}}
        if findings:
            raise InvalidObject(findings)
        return device

    def _credentials(self) -> dict[str, str]:
        return {"username": f"user_{self._secret()}", "password": self._secret()}

    def _user(self, key: ObjectKey, body: JsonObject, before: JsonObject) -> User:
        body.setdefault("priv_level", "user")
        user = schemas.user(key.id, body)
        findings: _Findings = {}
        other = self._directory.user_called(key.account, user.username) if user.username else None
        if other is not None and other.id != key.id:
            taken: dict[str, Json] = {"message": "Username must be unique within account", "cause": user.username}
            findings["username"] = {"unique": taken}
        body.pop("password", None)
        if user.username and user.password is not None:
            body[_MD5], body[_SHA1] = login_digests(user.username, user.password)
        elif user.username and user.username.lower() == str(before.get("username", "")).lower():
            body.update((name, before[name]) for name in (_MD5, _SHA1))
        elif user.username:
            message = "The password must be provided when updating the user name"
            findings["password"] = {"required": {"message": message}}
        elif user.password is not None:
            message = "The user name must be provided when updating the password"
            findings["username"] = {"required": {"message": message}}
        if findings:
            raise InvalidObject(findings)
        return schemas.user(key.id, body)


def read(key: ObjectKey, body: JsonObject) -> Entry:
    """Read what was kept of an object. Raises InvalidObject."""
    return schemas.device(key.id, body) if key.kind is Kind.DEVICE else schemas.user(key.id, body)


def public(body: JsonObject) -> JsonObject:
    """What is told of an object: all but its id, and what is ours."""
    return {name: value for name, value in body.items() if name != "id" and not name.startswith(("_", "pvt_"))}


def merged(body: JsonObject, change: JsonObject) -> JsonObject:
    """What was told of an object, with a change to it: objects inside are merged, null takes a field away.

    Raises InvalidObject where the change is nested too deeply.
    """
    _check_nesting(change)
    return _merged(body, change)


def _merged(body: Mapping[str, Json], change: Mapping[str, Json]) -> JsonObject:
    result = dict(body)
    for name, value in change.items():
        inner = result.get(name)
        if value is None:
            result.pop(name, None)
        elif isinstance(value, Mapping):
            result[name] = _merged(inner if isinstance(inner, Mapping) else {}, value)
        else:
            result[name] = value
    return result


def _check_nesting(value: Json) -> None:
    level = [value]
    for _ in range(MOST_NESTED):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return
    message = f"Field must not be nested more than {MOST_NESTED} levels deep"
    raise InvalidObject({"data": {"maxDepth": {"message": message, "target": MOST_NESTED}}})


def _inside(value: Json) -> list[Json]:
    if isinstance(value, Mapping):
        return list(value.values())
    return value if isinstance(value, list) else []
