"""Objects: what was told over the admin API and is kept as it was told, beside what the configuration says.

An object is JSON under an id: a device, a user, or the revocation of a token. Whoever has an object made says what is
in it and reads it again; stores and the outbox only carry it.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from sipresence.names import AccountId

Json: TypeAlias = Mapping[str, "Json"] | Sequence["Json"] | str | int | float | bool | None
JsonObject: TypeAlias = dict[str, Json]


class Kind(StrEnum):
    """What an object is."""

    DEVICE = "device"
    USER = "user"
    REVOCATION = "revocation"


class ObjectKey(NamedTuple):
    """Where an object is found: ids are unique within an account and kind."""

    account: AccountId
    kind: Kind
    id: str


class ObjectRecord(NamedTuple):
    """The row of an object: `body` is a JSON object as text."""

    account: AccountId
    kind: Kind
    id: str
    body: str
    changed_at: float  # Unix seconds

    @property
    def key(self) -> ObjectKey:
        """Where it is found."""
        return ObjectKey(self.account, self.kind, self.id)
