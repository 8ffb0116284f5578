"""The body of a request in Kazoo's envelope: bytes -> the object under `data`, or the refusal that says what is wrong.

The content type is not looked at: curl's `-d` says form, Kazoo's own documents rely on that, and what comes is JSON.
"""

import json
import math

from aiohttp import web

from sipresence.http.envelope import Refusal, invalid
from sipresence.objects import Json

MAX_BODY_BYTES = 64 * 1024


def _shown(value: Json) -> dict[str, Json]:
    """The offending value, unless it is a container, which may be nested deeper than an answer can be written."""
    return {} if isinstance(value, dict | list) else {"value": value}


async def read_token(request: web.Request) -> str:
    """Return `auth_token` of the body; "" for a body without one, or one that says nothing."""
    if not request.can_read_body:
        return ""
    try:
        envelope = _parse(await _read(request))
    except Refusal:
        return ""
    token = envelope.get("auth_token") if isinstance(envelope, dict) else None
    return token if isinstance(token, str) and token.isascii() else ""


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
