"""What a verb asks the shell to do: closed unions of small values, executed in order by the outbox.

Whatever saves or forgets is a write: nothing decided after it leaves the server before it is committed.
"""

from dataclasses import dataclass
from typing import TypeAlias

from sipresence.audit import AuditEntry, AuditId
from sipresence.events.binding import BindingRecord
from sipresence.events.document import Document
from sipresence.events.record import SubscriptionRecord
from sipresence.events.resource import StateChange
from sipresence.events.resource_lists import Listing
from sipresence.names import CallId, SubscriptionId
from sipresence.objects import ObjectKey, ObjectRecord
from sipresence.sip.flow import Hop
from sipresence.sip.message import LONG_NAMES, HeaderNames, Request

# All of these are made once or more per message: slots without frozen (0.2 against 0.7 µs each). The hottest have an
# __init__ that is written out: in the compiled build a generated one costs three times as much.


@dataclass(slots=True, init=False)
class Save:
    """Keep this row. `previous` is the row it replaces, which holds again if the commit fails; None for a new one."""

    record: SubscriptionRecord
    previous: SubscriptionRecord | None

    def __init__(self, record: SubscriptionRecord, previous: SubscriptionRecord | None) -> None:
        self.record = record
        self.previous = previous


@dataclass(slots=True)
class Forget:
    """Delete the row."""

    id: SubscriptionId


@dataclass(slots=True)
class SaveList:
    """Keep what a subscription to a list is about, until its row is deleted. `previous` holds again if that fails."""

    id: SubscriptionId
    listing: Listing
    previous: Listing | None


@dataclass(slots=True)
class SaveState:
    """Keep what a source says; once committed, the bus delivers it to every node, this one included."""

    change: StateChange


@dataclass(slots=True)
class SaveBinding:
    """Keep the row of a device's contact; whoever has decided it knows what was before (see Registrar)."""

    record: BindingRecord


@dataclass(slots=True)
class ForgetBinding:
    """Delete the row."""

    record: BindingRecord


@dataclass(slots=True)
class SaveObject:
    """Keep an object of the directory. Whoever has decided it does not act on it before it is committed."""

    record: ObjectRecord


@dataclass(slots=True)
class ForgetObject:
    """Delete it, likewise."""

    key: ObjectKey


@dataclass(slots=True)
class SaveAudit:
    """Keep who has asked for something, together with what that does."""

    entry: AuditEntry


@dataclass(slots=True)
class ForgetAudit:
    """Delete such an entry, which is too old."""

    id: AuditId


@dataclass(slots=True, init=False)
class Respond:
    """Answer a request. `headers` are complete lines, each ended by CRLF.

    Where its commit fails a success becomes 500, or where it is `silent` nothing at all, and no trace of the request.
    """

    request: Request
    status: int
    to_tag: str
    headers: str
    silent: bool

    def __init__(self, request: Request, status: int, to_tag: str, headers: str = "", silent: bool = False) -> None:
        self.request = request
        self.status = status
        self.to_tag = to_tag
        self.headers = headers
        self.silent = silent


@dataclass(slots=True, init=False)
class Notify:
    """A NOTIFY, complete but for Via and Content-Length, which the endpoint knows.

    `head` is the part that never changes within the dialog, rendered once per dialog. `changed_at` is when what it
    tells came about, 0 where that is no news.
    """

    id: SubscriptionId
    call_id: CallId
    cseq: int
    version: int
    request_uri: str
    head: bytes
    subscription_state: str
    document: Document
    entity: str
    hop: Hop
    names: HeaderNames
    changed_at: float

    def __init__(
        self,
        id: SubscriptionId,
        call_id: CallId,
        cseq: int,
        version: int,
        request_uri: str,
        head: bytes,
        subscription_state: str,
        document: Document,
        entity: str,
        hop: Hop,
        names: HeaderNames = LONG_NAMES,
        changed_at: float = 0.0,
    ) -> None:
        self.id = id
        self.call_id = call_id
        self.cseq = cseq
        self.version = version
        self.request_uri = request_uri
        self.head = head
        self.subscription_state = subscription_state
        self.document = document
        self.entity = entity
        self.hop = hop
        self.names = names
        self.changed_at = changed_at


@dataclass(slots=True, init=False)
class SendNotify:
    """Send it, and report how it was answered."""

    notify: Notify

    def __init__(self, notify: Notify) -> None:
        self.notify = notify


Write: TypeAlias = (
    Save
    | Forget
    | SaveList
    | SaveState
    | SaveBinding
    | ForgetBinding
    | SaveObject
    | ForgetObject
    | SaveAudit
    | ForgetAudit
)
Effect: TypeAlias = Write | Respond | SendNotify
