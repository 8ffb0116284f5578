"""What can be asked of the HTTP server: a line for each method and path, of which the description is made.

Whoever adds a route adds a line here; a test finds routes without one, and lines without a route. What several
operations share is said once, and what follows from the path and the method (who may ask, what is refused) is not said
at all: see description.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

from pydantic import Field

from sipresence.commands import MAX_WAIT
from sipresence.http.dialect import ListFormat
from sipresence.http.kazoo import MAX_PAGE_SIZE, Filter
from sipresence.http.openapi import answers, bodies, directory_answers, presence_answers
from sipresence.objects import JsonObject


class Query(NamedTuple):
    """A key of the query, and the type of its value."""

    name: str
    description: str
    type: Any = str
    required: bool = False
    example: str = ""


@dataclass(slots=True, frozen=True)
class Operation:
    """What is asked and answered.

    `answer` is the type of `data` in a success answer, or of the whole where it is not `enveloped`; `body` that of
    `data` in the request, and `example` one of those. `refusals` are statuses of errors besides those that operations
    with such a path and method all have; `open` to whoever has no token.
    """

    summary: str
    answer: Any
    statuses: tuple[int, ...] = (200,)
    enveloped: bool = True
    paged: bool = False
    media: str = "application/json"
    query: tuple[Query, ...] = ()
    body: Any = None
    example: JsonObject | None = None
    refusals: tuple[int, ...] = ()
    open: bool = False


PATH = {
    "accounts/{account}": ("The id of an account.", "0123456789abcdef0123456789abcdef"),
    "devices/{id}": ("The id of a device.", "de51ce00000000000000000000000101"),
    "users/{id}": ("The id of a user.", "a11ce000000000000000000000000101"),
    "presence/{extension}": ("An extension; `*3101` may be written `%2A3101`.", "101"),
    "user_auth/{token}": ("A token.", "demo-token"),
}
"""What stands in paths: what it is, and the demo office's."""

REFUSALS = {
    400: "What is asked is not well formed; `data` says what is wrong where.",
    401: "There is no token, or one that opens nothing.",
    403: "The token does not open this account, or may only look.",
    404: "There is no such thing.",
    409: "It is of the configuration file, and is changed there.",
    426: "This is a websocket.",
    429: "Too much is asked; Retry-After says when to come back.",
    500: "The server could not do it.",
    503: "Too many others are served at the moment.",
}

_EVENT = Query("event", "Only this event package: dialog, presence or message-summary.")
_FORMAT = Query("format", "The shape of the list; what the default is can be configured.", ListFormat)
_FILTER = Query("filter", "Subscriptions to its lamps, or those that its phones have made; without, all.", Filter)
_STATES = Query("include", "`state`: the lamps of all extensions as well.")
_SOURCES = Query(
    "include", "`sources`: what the state comes from; `state`: the lamp in any format. Separated by commas."
)
_BODIES = Query("include", "`body`: the document of each NOTIFY.")
_PAGE_SIZE = Query("page_size", "How many there are in a page.", Annotated[int, Field(ge=1, le=MAX_PAGE_SIZE)])
_START = Query("start_key", "Where to go on: `next_start_key` of the page before.", Annotated[int, Field(ge=0)])
_DIRECTORY_PAGE = (
    Query("page_size", "How many there are in a page, 50 by default.", Annotated[int, Field(ge=1)]),
    Query("start_key", "Where to go on: `next_start_key` of the page before."),
    Query("paginate", "`false` for all of them.", Literal["false", "true"]),
)
_CALL_ID = Query("call_id", "Only the subscriptions with this Call-ID.", Annotated[str, Field(min_length=1)])
_WAIT = Query("wait", f"Seconds to wait for phones, {MAX_WAIT:.0f} at most.", Annotated[int, Field(ge=0)])

_REFUSED = Operation("Refused, as in Kazoo: name the extension alone.", None, statuses=())

_A = "/v2/accounts/{account}"
_Table: TypeAlias = dict[str, Operation]


def _list(summary: str, *query: Query) -> Operation:
    shown = presence_answers.Listing | presence_answers.Counts | presence_answers.Details
    query = (*query, _EVENT, _FORMAT, _STATES, _PAGE_SIZE, _START)
    return Operation(summary, shown, paged=True, query=query, refusals=(400,))


def _show(summary: str) -> Operation:
    shown = presence_answers.Extension | presence_answers.ExtensionInShort | presence_answers.ExtensionInDetail
    return Operation(summary, shown, query=(_EVENT, _FORMAT, _SOURCES), refusals=(400,))


def _command(summary: str, *, body: Any = bodies.Command, example: JsonObject) -> Operation:
    answer = presence_answers.Sent | presence_answers.Taken
    statuses = (202, 200)  # which of them, is configured
    return Operation(summary, answer, statuses, query=(_WAIT,), body=body, example=example, refusals=(503,))


_LAMPS = {
    f"GET {_A}/presence": _list("List the subscriptions of an account."),
    f"POST {_A}/presence": _command(
        "Set or reset several extensions, all or none.",
        body=bodies.BulkCommand,
        example={"action": "set", "state": "early", "extensions": ["101", "102"]},
    ),
    f"GET {_A}/presence/{{extension}}": _show("Show one extension: its lamp, and who is subscribed to it."),
    f"POST {_A}/presence/{{extension}}": _command(
        "Set or reset an extension, notify its subscribers again, or terminate a subscription.",
        example={"action": "set", "state": "early"},
    ),
    f"GET {_A}/devices/{{id}}/presence": _list(
        "List the subscriptions of the account, or with `filter` those that a device has to do with.", _FILTER
    ),
    f"POST {_A}/devices/{{id}}/presence": _command("Command the lamp of a device.", example={"action": "reset"}),
    f"GET {_A}/users/{{id}}/presence": _list(
        "List the subscriptions of the account, or with `filter` those that a user has to do with.", _FILTER
    ),
    f"POST {_A}/users/{{id}}/presence": _command("Command the lamps of a user.", example={"action": "reset"}),
    f"GET {_A}/devices/{{id}}/presence/{{extension}}": _show("Show one extension, if there is that device."),
    f"POST {_A}/devices/{{id}}/presence/{{extension}}": _REFUSED,
    f"GET {_A}/users/{{id}}/presence/{{extension}}": _show("Show one extension, if there is that user."),
    f"POST {_A}/users/{{id}}/presence/{{extension}}": _REFUSED,
}

_HISTORY = {
    f"GET {_A}/presence/{{extension}}/timeline": Operation(
        "Tell what happened to a lamp, and what each phone believes now.",
        presence_answers.Timeline,
        query=(_CALL_ID, _BODIES),
    ),
    f"GET {_A}/timeline": Operation(
        "Tell the same of the subscriptions with a Call-ID, by extension.",
        list[presence_answers.Timeline],
        query=(_CALL_ID._replace(required=True, example="a84b4c76e66710"), _BODIES),
        refusals=(400,),
    ),
    f"GET {_A}/audit": Operation(
        "List who asked for what, the newest first.",
        list[presence_answers.AuditEntry],
        paged=True,
        query=(Query("extension", "Only what was asked of this one."), _PAGE_SIZE, _START),
        refusals=(400,),
    ),
}


def _objects(noun: str, one: Any, many: Any, *, new: tuple[Any, JsonObject], change: tuple[Any, JsonObject]) -> _Table:
    """The operations on devices or users: the types of one, of many, and of what is told of one, with examples."""
    collection, single = f"{_A}/{noun}s", f"{_A}/{noun}s/{{id}}"
    told, told_example = new
    changed, changed_example = change
    return {
        f"GET {collection}": Operation(f"List the {noun}s.", many, paged=True, query=_DIRECTORY_PAGE, refusals=(400,)),
        f"PUT {collection}": Operation(f"Make a {noun}.", one, statuses=(201,), body=told, example=told_example),
        f"GET {single}": Operation(f"Show a {noun}.", one),
        f"POST {single}": Operation(
            f"Put another {noun} in the place of one.", one, body=told, example=told_example, refusals=(409,)
        ),
        f"PATCH {single}": Operation(f"Change a {noun}.", one, body=changed, example=changed_example, refusals=(409,)),
        f"DELETE {single}": Operation(f"Delete a {noun}; the answer is what it was.", one, refusals=(409,)),
    }


_DIRECTORY = {
    f"GET {_A}": Operation("Show an account.", directory_answers.Account),
    f"GET {_A}/api_key": Operation("Show its API key, to admins.", directory_answers.ApiKey),
    f"GET {_A}/children": Operation("List the accounts just below it.", list[directory_answers.AccountInShort]),
    **_objects(
        "device",
        directory_answers.Device,
        list[directory_answers.DeviceInShort],
        new=(bodies.NewDevice, {"name": "Cellar", "presence_id": "201"}),
        change=(bodies.DeviceChange, {"presence_id": "202"}),
    ),
    **_objects(
        "user",
        directory_answers.User,
        list[directory_answers.UserInShort],
        new=(bodies.NewUser, {"first_name": "Carol", "last_name": "Doe"}),
        change=(bodies.UserChange, {"presence_id": "203"}),
    ),
}

_SESSIONS = {
    "PUT /v2/api_auth": Operation(
        "Log in with the API key of an account: `auth_token` of the answer is a token.",
        answers.Session,
        statuses=(201,),
        body=bodies.KeyLogin,
        example={"api_key": "0" * 64},
        refusals=(404,),
        open=True,
    ),
    "PUT /v2/user_auth": Operation(
        "Log in with the password of a user, likewise.",
        answers.Session,
        statuses=(201,),
        body=bodies.PasswordLogin,
        example={"account_name": "Demo office", "credentials": "e6bf5fdd8dc6dad27c895624f6f8d0b7"},
        refusals=(401,),
        open=True,
    ),
    "GET /v2/user_auth/{token}": Operation("Tell what a token opens.", answers.Session),
    "GET /v2/token_auth": Operation("Tell what the caller's own token opens.", answers.Session),
    "DELETE /v2/token_auth": Operation("End the caller's own token.", answers.Nothing, refusals=(409,)),
}

_SERVER = {
    "GET /": Operation("Say who is here.", str, enveloped=False, media="text/plain", open=True),
    "GET /v2/openapi.json": Operation("Give this description.", dict[str, object], enveloped=False, open=True),
    "GET /v2/docs": Operation("Show it to people.", str, enveloped=False, media="text/html", open=True),
    "GET /v2/websocket": Operation(
        "Connect to Kazoo's websocket, over which events about lamps come.",
        None,
        statuses=(101,),
        refusals=(400, 403, 426, 429, 503),
        open=True,
    ),
    "GET /v2/websockets": Operation("List what can be listened to there.", answers.Bindings, open=True),
    "GET /healthz": Operation(
        "Tell whether the process lives.", answers.Alive, statuses=(200, 503), enveloped=False, open=True
    ),
    "GET /readyz": Operation(
        "Tell whether phones should be sent to it.", answers.Ready, statuses=(200, 503), enveloped=False, open=True
    ),
    "GET /metrics": Operation("Give Prometheus metrics.", str, enveloped=False, media="text/plain", open=True),
}

SECTIONS: Mapping[str, Mapping[str, Operation]] = {
    "Lamps and subscriptions": _LAMPS,
    "What happened": _HISTORY,
    "Accounts, devices and users": _DIRECTORY,
    "Log-ins": _SESSIONS,
    "The server": _SERVER,
}
