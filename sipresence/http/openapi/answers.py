"""What the API answers, as models of which the description is made; no answer is built from them.

Answers are written by hand, piece by piece, since a list may be large. That they are as described is what tests see to:
every golden answer is held against these models, and so is whatever a running server answers to schemathesis.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from sipresence.accounts import Role

MAYBE: Any = None
"""The default of a field that may be absent; it is never null."""


class Answer(BaseModel):
    """What has these fields."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class Open(Answer):
    """What has further fields, as they were told."""

    model_config = ConfigDict(extra="allow")


# The envelope


class Tokens(Answer):
    """Of the caller's bucket, against floods."""

    consumed: int
    remaining: int


class _Common(Answer):
    request_id: str
    """The caller's `X-Request-ID`, or one of the server's; in the header of this name, too."""
    node: str
    timestamp: str
    """ISO 8601, UTC."""
    tokens: Tokens = MAYBE
    version: str = MAYBE
    """Of the server; for callers with a token only."""
    auth_token: str = MAYBE


class Success(_Common):
    """What every answer has beside `data`."""

    status: Literal["success"]
    revision: str
    """A digest of `data`."""


class PageOfSuccess(Success):
    """The same of a list that comes in pages."""

    page_size: int = MAYBE
    """How many there are in this page."""
    start_key: str = MAYBE
    next_start_key: str = MAYBE
    """The `start_key` of the next page; absent in the last one."""


class Refused(_Common):
    """What an error looks like."""

    data: object
    """Why. Of a validation error: the field, the rule that it breaks, and `message`, `target` and `value`."""
    error: Annotated[str, Field(pattern=r"^[45]\d\d$")]
    """The HTTP status."""
    message: str
    """A word that does not change, for programs."""
    status: Literal["error"]


# Log-ins, and the server


class Session(Answer):
    """What a token opens."""

    account_id: str
    account_name: str
    apps: list[str]
    is_master_account: bool
    is_reseller: bool
    """Whether there are accounts below this one."""
    language: str
    reseller_id: str
    role: Role
    owner_id: str = MAYBE
    """The user who has logged in."""
    expires_in: int = MAYBE
    """Seconds; absent for a token of the configuration file."""


class Nothing(Answer):
    """Nothing."""


class Bindings(Answer):
    """What can be listened to over the websocket."""

    presence: list[str]


class Alive(Answer):
    """Whether the process lives."""

    status: Literal["ok", "failing"]
    responsive: bool


class Ready(Alive):
    """Whether phones should be sent to it."""

    serving: bool
    store: bool
    bus: bool
