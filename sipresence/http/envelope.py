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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain, islice
from typing import TYPE_CHECKING

from aiohttp import web

from sipresence.errors import SipresenceError
from sipresence.http.pieces import Pieces, pause
from sipresence.names import AccountId
from sipresence.objects import Json

if TYPE_CHECKING:
    from sipresence.service import PresenceService
    from sipresence.session_service import Session

_REQUEST_ID = re.compile(r"[ -~]{1,128}")
_PROCESS, _numbers = secrets.token_hex(8), itertools.count(1)  # what our own request ids are made of


@dataclass(slots=True, frozen=True)
class Caller:
    """Who asks: what the token opens, and the token itself, which no repr and thus no log shows."""

    session: "Session"
    token: str = field(repr=False)

    @property
    def account(self) -> AccountId:
        """The account of the token."""
        return self.session.account


CALLER = web.RequestKey("caller", Caller)
TOKENS = web.RequestKey("tokens", dict[str, int])
"""What of the caller's bucket was consumed, and what remains."""


_NOTHING: Mapping[str, Json] = {}
_SLICE = 64  # pieces of an answer that are made in one go: a quarter of a millisecond
_REQUEST_NAME = web.RequestKey("request_id", str)


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

    def success(
        self, request: web.Request, data: Json, *, status: int = 200, more: Mapping[str, Json] = _NOTHING
    ) -> web.Response:
        """Answer with `data`, and `more` beside it."""
        return self._wrap(request, _Data(json.dumps(data)), status=status, more=more)

    def accepted(self, request: web.Request, *, status: int, receipt: Json = None) -> web.Response:
        """Answer that a command is carried out, and how the phones took it."""
        data = _COMMAND_SENT if receipt is None else _Data(json.dumps(receipt))
        return self._wrap(request, data, status=status)

    async def stream(
        self, request: web.Request, data: Pieces, *, more: Mapping[str, Json] = _NOTHING
    ) -> web.StreamResponse:
        """Answer with `data` that is made while it is sent, slice by slice; at once where it is short."""
        slices = _slices(data)
        first, second = next(slices), next(slices, None)
        if second is None:
            return self._wrap(request, _Data(first), status=200, more=more)
        await pause()
        response = web.StreamResponse(headers={"X-Request-ID": request_id_of(request)})
        response.content_type = "application/json"
        digest = hashlib.md5(usedforsecurity=False)
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        await response.write(b'{"data": ')
        for text in chain((first, second), slices):
            digest.update(text.encode())
            await response.write(text.encode())
            await pause()
        await response.write_eof(f", {self._rest(request, digest.hexdigest(), more)}".encode())
        return response

    def _wrap(
        self, request: web.Request, data: "_Data", *, status: int, more: Mapping[str, Json] = _NOTHING
    ) -> web.Response:
        rest = self._rest(request, data.revision, more)
        return _answer(status, f'{{"data": {data.encoded}, {rest}', request_id_of(request))

    def _rest(self, request: web.Request, revision: str, more: Mapping[str, Json]) -> str:
        """What follows the data, up to the end."""
        common = self._common(request, request_id_of(request))
        return json.dumps({"status": "success", "revision": revision, **common, **more})[1:]

    def refusal(self, request: web.Request, refusal: Refusal) -> web.Response:
        """Answer that the request is refused, and why."""
        request_id = request_id_of(request)
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

    def _common(self, request: web.Request, request_id: str) -> dict[str, Json]:
        timestamp = _timestamp(int(self._service.now()))
        common: dict[str, Json] = {"request_id": request_id, "node": self._node, "timestamp": timestamp}
        if (tokens := request.get(TOKENS)) is not None:
            common["tokens"] = tokens
        caller = request.get(CALLER)
        if caller is None:
            return common  # a stranger learns no version
        return {**common, "version": self._version, "auth_token": caller.token}


class _Data:
    """Encoded once, for the envelope and for its revision: of a large account it is megabytes."""

    def __init__(self, encoded: str) -> None:
        self.encoded = encoded
        self.revision = hashlib.md5(encoded.encode(), usedforsecurity=False).hexdigest()


_COMMAND_SENT = _Data(json.dumps("command sent"))


@lru_cache(maxsize=1)
def _timestamp(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def request_id_of(request: web.Request) -> str:
    """The caller's own name for the request where it is fit to be repeated in a header, else one of ours."""
    known = request.get(_REQUEST_NAME)
    if known is None:
        given = request.headers.get("X-Request-ID")
        fit = given is not None and _REQUEST_ID.fullmatch(given)
        known = request[_REQUEST_NAME] = given if given is not None and fit else f"{_PROCESS}{next(_numbers):016x}"
    return known


def _slices(pieces: Pieces) -> Iterator[str]:
    """Join so many pieces at a time: at least one slice, which may be empty."""
    yield "".join(islice(pieces, _SLICE))
    while taken := tuple(islice(pieces, _SLICE)):
        yield "".join(taken)


def _answer(status: int, text: str, request_id: str) -> web.Response:
    headers = {"X-Request-ID": request_id}
    return web.Response(status=status, body=text.encode(), content_type="application/json", headers=headers)
