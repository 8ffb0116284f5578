"""What is answered about lamps, subscriptions, and what happened to them; see answers.py."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from sipresence.events.state import DialogState, Source
from sipresence.events.timeline import End
from sipresence.http.openapi.answers import MAYBE, Answer


class MessagesWaiting(Answer):
    """How many voice messages wait."""

    new: int
    saved: int
    urgent: int
    urgent_saved: int


class Lamp(Answer):
    """A lamp now."""

    state: DialogState
    since: int
    """Unix seconds; 0 where nothing is known."""


class LastNotify(Answer):
    """The last NOTIFY of a subscription."""

    sequence: int
    """CSeq, 0 before the first."""
    reply: int
    """The status of its final answer, 0 while there is none."""
    body: str
    """What was sent, or the word `undefined`."""


class Subscription(Answer):
    """One subscription, under its Call-ID."""

    expires: int
    """Seconds that were granted."""
    from_: Annotated[str, Field(alias="from")]
    """The subscriber, user@host."""
    notify: LastNotify
    stalker: str
    """Which notifier holds it."""
    timestamp: int
    """Gregorian seconds of the last SUBSCRIBE: Unix seconds + 62167219200."""
    version: int
    """Of the document that was sent last, 0 for the first."""
    cseq: int
    """Of the last SUBSCRIBE."""
    contact: str
    remaining: int
    """Seconds until it ends."""
    user_agent: str = MAYBE
    profile: str = MAYBE
    """The kind of phone that it is told as."""


class Detail(Answer):
    """What the last NOTIFY has come to; only `user_agent` before the first was answered."""

    time: int = MAYBE
    """Unix seconds."""
    result: int = MAYBE
    sent: str = MAYBE
    received: str = MAYBE
    user_agent: str = MAYBE


Records: TypeAlias = dict[str, dict[str, dict[str, Subscription]]]
"""By extension, event package and Call-ID."""
CountsByEvent: TypeAlias = dict[str, dict[str, int]]
DetailsByEvent: TypeAlias = dict[str, dict[str, dict[str, dict[str, dict[str, Detail]]]]]
"""By extension, event package, subscriber, node and Call-ID."""


class _WithStates(Answer):
    states: dict[str, Lamp] = MAYBE
    """The lamps of all extensions, with `include=state`."""


class Listing(_WithStates):
    """Subscriptions, by extension, event package and Call-ID."""

    subscriptions: Records


class Counts(_WithStates):
    """How many there are, with `format=counts`; by extension and event package."""

    subscriptions: Annotated[CountsByEvent, Field(alias="Subscriptions")] = MAYBE


class Details(_WithStates):
    """What phones were told, with `format=detail`; by extension, event package, subscriber, node and Call-ID."""

    subscriptions: Annotated[DetailsByEvent, Field(alias="Subscriptions")] = MAYBE


class Call(Answer):
    """A dialog that somebody has published."""

    state: DialogState
    direction: str = MAYBE
    call_id: str = MAYBE
    local: str = MAYBE
    remote: str = MAYBE


class PublishedPresence(Answer):
    """What a presence document says."""

    open: bool = MAYBE
    activities: list[str] = MAYBE
    note: str = MAYBE
    dnd: bool = MAYBE


class Origin(Answer):
    """Who has said something of an extension, and what."""

    source: Source
    since: int
    until: int = MAYBE
    """Absent for what stays until further notice."""
    state: DialogState = MAYBE
    by: str = MAYBE
    """The account of the token that has set it."""
    user: str = MAYBE
    address: str = MAYBE
    mwi: MessagesWaiting = MAYBE
    publisher: str = MAYBE
    dialogs: list[Call] = MAYBE
    presence: PublishedPresence = MAYBE


class _Extension(Answer):
    mwi: MessagesWaiting = MAYBE
    dnd: bool = MAYBE
    sources: list[Origin] = MAYBE
    """What the state comes from, with `include=sources`."""


class Extension(_Extension):
    """One extension: its lamp, and who is subscribed to it."""

    subscriptions: Records
    state: DialogState
    since: int
    """Unix seconds; 0 where nothing is known."""


class ExtensionInShort(_Extension):
    """The same with `format=counts`; the lamp with `include=state`."""

    subscriptions: Annotated[CountsByEvent, Field(alias="Subscriptions")] = MAYBE
    state: DialogState = MAYBE
    since: int = MAYBE


class ExtensionInDetail(_Extension):
    """The same with `format=detail`; the lamp with `include=state`."""

    subscriptions: Annotated[DetailsByEvent, Field(alias="Subscriptions")] = MAYBE
    state: DialogState = MAYBE
    since: int = MAYBE


class Taken(Answer):
    """How phones took a command, with `wait`."""

    result: Literal["command sent"]
    acknowledged: int
    refused: int
    silent: int
    """Those that did not answer in time."""
    unchanged: int
    """Those that had nothing to learn."""


Sent: TypeAlias = Literal["command sent"]


# Timelines


class Belief(Answer):
    """What a phone believes."""

    call_id: str
    from_: Annotated[str, Field(alias="from")]
    contact: str
    user_agent: str
    told: DialogState | None
    believes: DialogState | None
    """What it has acknowledged last."""


class Event(Answer):
    """Something that happened; what it has besides depends on `event`."""

    at: float
    """Unix seconds."""
    event: Literal[
        "state",
        "reset",
        "subscribed",
        "refreshed",
        "resubscribed",
        "unsubscribed",
        "restored",
        "undone",
        "moved",
        "notify",
        "ended",
    ]
    call_id: str = MAYBE
    source: Source = MAYBE
    state: DialogState = MAYBE
    lamp: DialogState = MAYBE
    """What the lamp showed from then on."""
    by: str = MAYBE
    expires: int = MAYBE
    before: str = MAYBE
    """Where it has moved from."""
    cseq: int = MAYBE
    version: int = MAYBE
    final: bool = MAYBE
    status: int = MAYBE
    """Of the answer, 0 for none."""
    rtt: float = MAYBE
    """Seconds until the answer."""
    body: str = MAYBE
    """With `include=body`."""
    reason: End = MAYBE


class Timeline(Answer):
    """What happened to a lamp, the oldest first."""

    extension: str
    state: DialogState
    since: int
    phones: list[Belief]
    timeline: list[Event]


class AuditEntry(Answer):
    """One command on one extension."""

    id: str
    at: float
    """Unix seconds."""
    action: str
    extension: str
    asked: dict[str, object]
    """What else it said."""
    by: str = MAYBE
    """The account of the token."""
    user: str = MAYBE
    """Who has logged in."""
    address: str = MAYBE
    request_id: str = MAYBE
