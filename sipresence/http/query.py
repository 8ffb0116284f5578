"""What stands behind the question mark. Keys that mean nothing here are ignored; a value that cannot be is refused."""

from enum import StrEnum
from typing import TypeVar

from aiohttp import web

from sipresence.http.envelope import Refusal, invalid
from sipresence.names import CallId

Choice = TypeVar("Choice", bound=StrEnum)

_MOST_DIGITS = 18  # of a number, so that it is one of 64 bits


def event_of(request: web.Request) -> str | None:
    """The event package that is asked for, None for all of them."""
    return request.query.get("event") or None


def call_id_of(request: web.Request) -> CallId | None:
    """The Call-ID that is asked for."""
    return CallId(request.query["call_id"]) if request.query.get("call_id") else None


def wants(request: web.Request, what: str) -> bool:
    """Whether `include` asks for more than an answer has by itself; several are separated by commas."""
    return what in request.query.get("include", "").split(",")


def number_of(request: web.Request, name: str, *, least: int = 0, most: int | None = None) -> int | None:
    """A number, None where there is none. Raises Refusal 400."""
    text = request.query.get(name)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        message = "Value did not match type(s): integer"
        raise invalid(name, "type", {"message": message, "target": "integer", "value": text})
    number = int(text)
    if number < least:
        raise invalid(name, "minimum", {"message": f"Value must be at least {least}", "target": least, "value": number})
    if most is not None and number > most:
        raise invalid(name, "maximum", {"message": f"Value must be at most {most}", "target": most, "value": number})
    return number


def choice_of(request: web.Request, name: str, choices: type[Choice]) -> Choice | None:
    """One of several words, None where there is none. Raises Refusal 400."""
    text = request.query.get(name)
    if text is None:
        return None
    try:
        return choices(text)
    except ValueError:
        raise _unknown(name, text, choices) from None


def _unknown(name: str, text: str, choices: type[StrEnum]) -> Refusal:
    message = "Value not found in enumerated list of values"
    return invalid(name, "enum", {"message": message, "target": [choice.value for choice in choices], "value": text})
