"""How Kazoo's API is spoken, as [http] of the configuration has it: real Kazoos differ from release to release."""

from dataclasses import dataclass
from enum import StrEnum


class ListFormat(StrEnum):
    """The shape of a list of subscriptions: the documented one, or what Kazoo gives since 4.1."""

    RECORDS = "records"
    COUNTS = "counts"
    DETAIL = "detail"


@dataclass(slots=True, frozen=True)
class Dialect:
    """`list_format` where a request does not name one; `accepted_status` of commands; `exact`: Kazoo's oddities too."""

    list_format: ListFormat = ListFormat.RECORDS
    accepted_status: int = 202
    exact: bool = False


DEFAULT = Dialect()
