"""Client of the admin API: what the commands `list`, `set`, `reset`, `watch` and `trace` ask of a running server.

It speaks Kazoo's routes and envelope: `{"data": ...}` both ways, the token in `X-Auth-Token`, an
extension percent-encoded in the path. What goes wrong becomes an error whose message is one line for the operator.
"""

import builtins
from collections.abc import Mapping
from types import TracebackType
from typing import Any, NotRequired, Self, TypedDict, cast
from urllib.parse import quote

import aiohttp
from yarl import URL

from sipresence.errors import ApiRefused, ApiUnreachable

_TIMEOUT_S = 10.0


class LastNotify(TypedDict):
    """What is known of a subscription's last NOTIFY; `reply` is 0 while no answer came."""

    body: str
    reply: int
    sequence: int


# Not a class, since `from` is no Python name.
Record = TypedDict(
    "Record",
    {
        "expires": int,
        "from": str,
        "timestamp": int,
        "version": int,
        "notify": LastNotify,
        "stalker": str,
        "cseq": int,
        "contact": str,
        "user_agent": NotRequired[str],
        "profile": NotRequired[str],
        "remaining": int,
    },
)
"""One subscription. `timestamp` is in Gregorian seconds (Unix + 62167219200); `profile` is absent where it has none."""

Subscriptions = dict[str, dict[str, dict[str, Record]]]
"""By extension, event package and Call-ID."""


class LampState(TypedDict):
    """The lamp of an extension; `since` is Unix seconds, 0 where nothing is known."""

    state: str
    since: int


class Listing(TypedDict):
    """The account: all subscriptions, and the lamps of all extensions that are known."""

    subscriptions: Subscriptions
    states: dict[str, LampState]


class ExtensionListing(LampState):
    """One extension."""

    subscriptions: Subscriptions


PhoneBelief = TypedDict(
    "PhoneBelief",
    {
        "call_id": str,
        "from": str,
        "contact": str,
        "user_agent": str,
        "told": str | None,
        "believes": str | None,
    },
)
"""A phone that is subscribed: what it was told last, and what it has acknowledged last."""


class TimelineEvent(TypedDict, total=False):
    """Something that happened; what it has besides `at` and `event` depends on what it is."""

    at: float
    event: str
    call_id: str
    source: str
    by: str
    state: str
    lamp: str
    expires: int
    before: str
    cseq: int
    version: int
    final: bool
    status: int
    rtt: float
    body: str
    reason: str


class Timeline(LampState):
    """What happened to one extension, the oldest first."""

    extension: str
    phones: list[PhoneBelief]
    timeline: list[TimelineEvent]


class AdminClient:
    """One account of one server, as an async context manager. Every verb raises ApiUnreachable and ApiRefused."""

    def __init__(self, url: str, *, token: str, account: str) -> None:
        self._url = url.rstrip("/")
        self._account = f"{self._url}/v2/accounts/{quote(account, safe='')}"
        self._token = token

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            headers={"X-Auth-Token": self._token}, timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._session.close()

    async def list(self) -> Listing:
        """Return everything known of the account."""
        return cast(Listing, await self._read("/presence?format=records&include=state", holding="states"))

    async def get(self, extension: str) -> ExtensionListing:
        """Return what is known of one extension."""
        return cast(ExtensionListing, await self._read(_path(extension), holding="state"))

    async def set(self, extension: str, state: str, *, expires: int | None = None) -> None:
        """Set the lamp, for `expires` seconds or until further notice."""
        command: dict[str, str | int] = {"action": "set", "state": state}
        if expires is not None:
            command["expires"] = expires
        await self._call("POST", _path(extension), command)

    async def reset(self, extension: str) -> None:
        """Forget everything known of the extension, and tell every subscriber that it is idle."""
        await self._call("POST", _path(extension), {"action": "reset"})

    async def trace(self, name: str) -> "builtins.list[Timeline]":
        """Return what happened to an extension, or to the subscriptions with a Call-ID, whichever is known."""
        of_extension = cast(Timeline, await self._read(f"{_path(name)}/timeline?include=body", holding="timeline"))
        if of_extension["phones"] or of_extension["timeline"]:
            return [of_extension]
        found = await self._call("GET", f"/timeline?include=body&call_id={quote(name, safe='')}")
        if not isinstance(found, list):
            raise self._stranger()
        return found or [of_extension]

    async def _read(self, path: str, *, holding: str) -> object:
        data = await self._call("GET", path)
        if not isinstance(data, dict) or holding not in data:
            raise self._stranger()
        return data

    def _stranger(self) -> ApiUnreachable:
        return ApiUnreachable(f"what answers at {self._url} is not the admin API of sipresence")

    async def _call(self, method: str, path: str, data: Mapping[str, str | int] | None = None) -> object:
        body = None if data is None else {"data": data}
        try:
            # `encoded`: yarl must not turn the %2F of an extension into a separator.
            address = URL(self._account + path, encoded=True)
            async with self._session.request(method, address, json=body) as answer:
                status, envelope = answer.status, await _json_of(answer)
        except TimeoutError:
            raise ApiUnreachable(f"no answer from {self._url} within {_TIMEOUT_S:.0f} s") from None
        except (aiohttp.ClientError, ValueError) as error:
            reason = str(error) or type(error).__name__
            raise ApiUnreachable(f"{self._url} cannot be reached: is `sipresence serve` running? ({reason})") from error
        if status >= 400:
            raise ApiRefused(_refusal(status, envelope))
        if not isinstance(envelope, dict) or "data" not in envelope:
            raise self._stranger()
        return cast(object, envelope["data"])


def _path(extension: str) -> str:
    if not extension:
        raise ApiRefused("an empty extension names nothing")
    return "/presence/" + quote(extension, safe="")


async def _json_of(answer: aiohttp.ClientResponse) -> Any:
    """Return the body, or None if it is not JSON, as of a proxy's error page."""
    try:
        return await answer.json(content_type=None)
    except ValueError:
        return None


def _refusal(status: int, envelope: object) -> str:
    if status == 401:
        return "401: the server refuses the token (--token or SIPRESENCE_TOKEN)"
    if not isinstance(envelope, dict):
        return f"{status}: without a reason that could be read"
    reasons = "; ".join(_reasons(envelope.get("data"))) or str(envelope.get("message", "no reason given"))
    return " ".join(f"{status}: {reasons}".split())  # one line, whatever was sent


def _reasons(data: object) -> list[str]:
    """Flatten Kazoo's two shapes: `{message, cause}`, and `{field: {rule: {message, ...}}}` of a failed validation."""
    if not isinstance(data, dict):
        return []
    if "message" in data:
        cause = data.get("cause")
        return [f"{data['message']} ({cause})" if cause else str(data["message"])]
    return [
        f"{field}: {rule.get('message', name) if isinstance(rule, dict) else rule}"
        for field, rules in data.items()
        if isinstance(rules, dict)
        for name, rule in rules.items()
    ]
