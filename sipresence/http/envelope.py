"""Kazoo's envelope: what every answer of its dialect is wrapped in, and what a refusal looks like in it.

`error` is the status as text and `message` a word that clients match; `data` explains. A validation error maps the
field to the rule it breaks, and the rule to its message, target and value. What is undefined is left out, never null.
"""

import base64
import hashlib
import itertools
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from aiohttp import web

from sipresence.errors import SipresenceError
from sipresence.names import AccountId

if TYPE_CHECKING:
    from sipresence.service import PresenceService

Json: TypeAlias = Mapping[str, "Json"] | Sequence["Json"] | str | int | float | bool | None

_REQUEST_ID = re.compile(r"[ -~]{1,128}")
_PROCESS, _numbers = secrets.token_hex(8), itertools.count(1)  # what our own request ids are made of


@dataclass(slots=True, frozen=True)
class Caller:
    """Who asks: the account of the token, and the token itself, which no repr and thus no log shows."""

    account: AccountId
    token: str = field(repr=False)


CALLER = web.RequestKey("caller", Caller)


class Refusal(SipresenceError):
    """A request of the Kazoo dialect is refused: the status, Kazoo's word for it, and the data that explains it."""

    def __init__(self, status: int, message: str, data: Json, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.data = data
        self.headers = headers


def invalid(field_path: str, rule: str, explanation: Mapping[str, Json]) -> Refusal:
    """The refusal of a body in which one field breaks one rule."""
    return Refusal(400, "validation error", {field_path: {rule: explanation}})


class Envelopes:
    """Wraps answers; holds what is the same in all of them."""

    def __init__(self, service: "PresenceService", *, version: str) -> None:
        self._service = service
        self._version = version
        digest = hashlib.md5(service.node.encode(), usedforsecurity=False).digest()
        self._node = base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def success(self, request: web.Request, data: Json) -> web.Response:
        """Answer with `data`."""
        return self._wrap(request, _Data(data), status=200)

    def accepted(self, request: web.Request) -> web.Response:
        """Answer that a command is carried out."""
        return self._wrap(request, _COMMAND_SENT, status=202)

    def _wrap(self, request: web.Request, data: "_Data", *, status: int) -> web.Response:
        request_id = _request_id(request)
        rest = json.dumps({"status": "success", "revision": data.revision, **self._common(request, request_id)})
        return _answer(status, f'{{"data": {data.encoded}, {rest[1:]}', request_id)

    def refusal(self, request: web.Request, refusal: Refusal) -> web.Response:
        """Answer that the request is refused, and why."""
        request_id = _request_id(request)
        envelope = {
            "data": refusal.data,
            "error": str(refusal.status),
            "message": refusal.message,
            "status": "error",
            **self._common(request, request_id),
        }
        response = _answer(refusal.status, json.dumps(envelope), request_id)
        response.headers.update(refusal.headers or {})
        return response

    def _common(self, request: web.Request, request_id: str) -> dict[str, str]:
        common = {"request_id": request_id, "node": self._node, "timestamp": _timestamp(int(self._service.now()))}
        caller = request.get(CALLER)
        if caller is None:
            return common  # a stranger learns no version
        return {**common, "version": self._version, "auth_token": caller.token}


class _Data:
    """Encoded once, for the envelope and for its revision: of a large account it is megabytes."""

    def __init__(self, data: Json) -> None:
        self.encoded = json.dumps(data)
        self.revision = hashlib.md5(self.encoded.encode(), usedforsecurity=False).hexdigest()


_COMMAND_SENT = _Data("command sent")


@lru_cache(maxsize=1)
def _timestamp(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _request_id(request: web.Request) -> str:
    """The caller's own name for the request where it is fit to be repeated in a header, else one of ours."""
    given = request.headers.get("X-Request-ID")
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return f"{_PROCESS}{next(_numbers):016x}"


def _answer(status: int, text: str, request_id: str) -> web.Response:
    headers = {"X-Request-ID": request_id}
    return web.Response(status=status, body=text.encode(), content_type="application/json", headers=headers)
