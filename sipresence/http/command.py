"""The body of a Kazoo presence command: bytes -> `Command`, or the refusal that names the field and the rule.

    {"data": {"action": "set", "state": "early"}}      {"data": {"action": "reset"}}      {"data": {"reset": true}}
    {"data": {"action": "set", "mwi": {"new": 2, "saved": 5}, "dnd": true}}

The content type is not looked at: curl's `-d` says form, Kazoo's own documents rely on that, and what comes is JSON.
Unknown keys are accepted, since Kazoo's user interface adds its own. `expires`, after how many seconds a state that is
set ends by itself, `mwi` and `dnd` are additions of ours.
"""

import json
import math
from typing import Annotated, Literal, get_args

from aiohttp import web
from pydantic import BaseModel, Field, StrictBool, ValidationError
from pydantic_core import ErrorDetails

from sipresence.events.state import Messages
from sipresence.http.envelope import Json, Refusal, invalid

MAX_BODY_BYTES = 64 * 1024

Action = Literal["set", "reset"]
State = Literal["early", "confirmed", "terminated"]
_CHOICES: dict[str, Json] = {"action": get_args(Action), "state": get_args(State)}


class Command(BaseModel):
    """What every command has; by itself, a reset."""

    action: Action


Number = Annotated[int, Field(strict=True, ge=0, le=2**31 - 1)]


class Mwi(BaseModel):
    """How many voice messages wait."""

    new: Number
    saved: Number = 0
    urgent: Number = 0
    urgent_saved: Number = 0


class SetCommand(Command):
    """Set how many messages wait, or whether calls are wanted."""

    mwi: Mwi | None = None
    dnd: StrictBool | None = None

    @property
    def messages(self) -> Messages | None:
        """What `mwi` says."""
        mwi = self.mwi
        return None if mwi is None else Messages(mwi.new, mwi.saved, mwi.urgent, mwi.urgent_saved)


class SetLampCommand(SetCommand):
    """Set a lamp, and perhaps more; `expires` in seconds."""

    state: State
    expires: Annotated[int, Field(strict=True, ge=1, le=2**31 - 1)] | None = None


def parse_command(data: dict[str, Json]) -> Command:
    """Read the command in `data`. Raises Refusal 400."""
    if "action" not in data and data.get("reset") is True:
        data = {**data, "action": "reset"}  # "deprecated alias of action=reset", still sent by old scripts
    try:
        return _model(data).model_validate(data)
    except ValidationError as error:
        fields = {".".join(map(str, found["loc"])): _explain(found) for found in error.errors()}
        raise Refusal(400, "validation error", fields) from None


def _model(data: dict[str, Json]) -> type[Command]:
    if data.get("action") != "set":
        return Command
    if "state" not in data and not data.keys().isdisjoint(("mwi", "dnd")):
        return SetCommand
    return SetLampCommand


def _explain(found: ErrorDetails) -> Json:
    """Say in Kazoo's words which rule a field breaks."""
    limits = found.get("ctx", {})
    match found["type"]:
        case "missing":
            return {"required": {"message": "Field is required but missing", "target": "required"}}
        case "literal_error":
            message = "Value not found in enumerated list of values"
            rule, target = "enum", _CHOICES[str(found["loc"][0])]
        case "greater_than_equal":
            rule, message, target = "minimum", f"Value must be at least {limits['ge']}", limits["ge"]
        case "less_than_equal":
            rule, message, target = "maximum", f"Value must be at most {limits['le']}", limits["le"]
        case kind:
            target = {"bool": "boolean", "model": "object"}.get(kind.partition("_")[0], "integer")
            rule, message = "type", f"Value did not match type(s): {target}"
    return {rule: {"message": message, "target": target, **_shown(found["input"])}}


def _shown(value: Json) -> dict[str, Json]:
    """The offending value, unless it is a container, which may be nested deeper than an answer can be written."""
    return {} if isinstance(value, dict | list) else {"value": value}


async def read_data(request: web.Request) -> dict[str, Json]:
    """Read the body and return the object under `data`. Raises Refusal 400.

    An empty body is no error of the envelope: it is judged as empty `data`.
    """
    body = await _read(request)
    if not body.strip():
        return {}
    envelope = _parse(body)
    if not isinstance(envelope, dict) or "data" not in envelope:
        raise invalid("data", "required", {"message": "Field is required but missing", "target": "required"})
    data = envelope["data"]
    if not isinstance(data, dict):
        explanation = {"message": "Value did not match type(s): object", "target": "object", **_shown(data)}
        raise invalid("data", "type", explanation)
    return data


async def _read(request: web.Request) -> bytes:
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        message = f"Body must not be more than {MAX_BODY_BYTES} bytes"
        raise invalid("body", "maxLength", {"message": message, "target": MAX_BODY_BYTES}) from None
    except (web.RequestPayloadError, ConnectionError):
        raise _not_json("the body ends early or its encoding is broken") from None


def _parse(body: bytes) -> Json:
    """Parse strictly: JSON that could not be written again (NaN, 1e999, lone surrogates) is none."""
    try:
        text = body.decode()
        parsed: Json = json.loads(text, object_pairs_hook=_object, parse_float=_finite, parse_constant=_finite)
        if "\\u" in text:  # the only way in for a lone surrogate
            json.dumps(parsed, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise _not_json(str(error)) from None
    except (ValueError, RecursionError):
        raise _not_json("the body is not JSON in UTF-8, or is nested too deeply") from None
    return parsed


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    """Build an object, whose names have to be unique: which of two actions was meant is not ours to guess."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError
    return members


def _finite(number: str) -> float:
    """Read a number that is one: NaN and infinities come by this way as well, by their names."""
    value = float(number)
    if not math.isfinite(value):
        raise ValueError
    return value


def _not_json(message: str) -> Refusal:
    return invalid("json", "invalid", {"message": message, "target": "body"})
