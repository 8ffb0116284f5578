"""What devices and users have to be, as Kazoo's schemas have it: JSON -> `Device`, `User`, or every finding at once.

Of what may be told of them these are the fields that presence needs; all others are kept as they are and mean nothing
here. A finding maps the field to the rule it breaks, and the rule to its message, target and value, in the words of
Kazoo's validator, which clients match.

A presence id may be a number, as in documents of old Kazoo versions.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, ValidationError
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import ErrorDetails, PydanticCustomError

from sipresence.accounts import Device, Role, User
from sipresence.addressing import is_extension
from sipresence.errors import InvalidObject
from sipresence.objects import Json, JsonObject

Finding: TypeAlias = Mapping[str, Mapping[str, Json]]
"""The rule that is broken, and what there is to say of it."""

PrivLevel = Literal["user", "admin"]

_CHOICES = {"priv_level": get_args(PrivLevel)}
_TYPES = {"bool": "boolean", "int": "integer", "model": "object", "list": "array"}
_SECRETS = ("password",)


def _extension(text: str) -> str:
    if not is_extension(text) or not text.partition("@")[0].strip():
        raise PydanticCustomError("pattern", "an extension, such as 101 or *3101")
    return text


def _printable(text: str) -> str:
    if not text.isprintable():
        raise PydanticCustomError("pattern", "printable text")
    return text


def _presence_id(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None if value == "" else value


PresenceId: TypeAlias = Annotated[
    Annotated[str, AfterValidator(_extension)] | None,
    BeforeValidator(_presence_id, json_schema_input_type=str | int | None),
]
Name: TypeAlias = Annotated[str, Field(min_length=1, max_length=128)]


class _Schema(BaseModel):
    model_config = ConfigDict(extra="ignore")


class SipSchema(_Schema):
    """What a phone logs in with."""

    username: Annotated[str, Field(min_length=2, max_length=32), AfterValidator(_extension)]
    password: Annotated[str, Field(min_length=5, max_length=32), AfterValidator(_printable)]


class DeviceSchema(_Schema):
    """What a device has to be."""

    name: Name
    owner_id: Annotated[str, Field(min_length=32, max_length=32)] | None = None
    presence_id: PresenceId = None
    enabled: StrictBool = True
    sip: SipSchema


class UserSchema(_Schema):
    """What a user has to be."""

    first_name: Name
    last_name: Name
    username: Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_printable)] | None = None
    password: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    presence_id: PresenceId = None
    enabled: StrictBool = True
    priv_level: PrivLevel = "user"
    pvt_md5_auth: SkipJsonSchema[str] = ""  # kept, never told
    pvt_sha1_auth: SkipJsonSchema[str] = ""


def device(ident: str, body: JsonObject) -> Device:
    """Read a device. Raises InvalidObject."""
    try:
        told = DeviceSchema.model_validate(body)
    except ValidationError as error:
        raise _invalid(error) from None
    return Device(
        ident, told.name, told.owner_id, told.presence_id, told.sip.username, told.sip.password, enabled=told.enabled
    )


def user(ident: str, body: JsonObject) -> User:
    """Read a user, whose password is there as itself, or as what Kazoo keeps of it. Raises InvalidObject."""
    try:
        told = UserSchema.model_validate(body)
    except ValidationError as error:
        raise _invalid(error) from None
    return User(
        ident, told.username, told.password, told.presence_id,
        digests=tuple(filter(None, (told.pvt_md5_auth, told.pvt_sha1_auth))),
        role=Role.ADMIN if told.priv_level == "admin" else Role.READ,
        enabled=told.enabled, first_name=told.first_name, last_name=told.last_name,
    )  # fmt: skip


def _invalid(error: ValidationError) -> InvalidObject:
    found = error.errors(include_url=False)
    return InvalidObject({".".join(map(str, one["loc"])): explain(one, _CHOICES) for one in found})


def explain(found: ErrorDetails, choices: Mapping[str, Sequence[str]]) -> Finding:
    """Say in Kazoo's words which rule a field breaks; `choices` are those of the fields that have them."""
    limits: dict[str, Any] = found.get("ctx", {})
    rule: str = "type"
    target: Json
    match found["type"]:
        case "missing":
            return {"required": {"message": "Field is required but missing", "target": "required"}}
        case "literal_error":
            message = "Value not found in enumerated list of values"
            rule, target = "enum", choices[str(found["loc"][-1])]
        case "string_too_short":
            rule, target = "minLength", limits["min_length"]
            message = f"String must be at least {target} characters"
        case "string_too_long":
            rule, target = "maxLength", limits["max_length"]
            message = f"String must not be more than {target} characters"
        case "too_short":
            rule, target = "minItems", limits["min_length"]
            message = f"Array must have at least {target} items"
        case "too_long":
            rule, target = "maxItems", limits["max_length"]
            message = f"Array must not be more than {target} items"
        case "greater_than_equal":
            rule, target, message = "minimum", limits["ge"], f"Value must be at least {limits['ge']}"
        case "less_than_equal":
            rule, target, message = "maximum", limits["le"], f"Value must be at most {limits['le']}"
        case "pattern":
            rule, target, message = "pattern", found["msg"], f"Value must be {found['msg']}"
        case kind:
            target = _TYPES.get(kind.partition("_")[0], "string")
            message = f"Value did not match type(s): {target}"
    return {rule: {"message": message, "target": target, **_shown(found)}}


def _shown(found: ErrorDetails) -> dict[str, Json]:
    """The offending value, unless it is a secret, or a container, which may be nested deeper than can be written."""
    value = found["input"]
    return {} if isinstance(value, dict | list) or found["loc"][-1] in _SECRETS else {"value": value}
