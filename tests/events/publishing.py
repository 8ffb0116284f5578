"""Publishers in front of a compositor, in virtual time, with the rows that a store would keep.

`sent` reads a PUBLISH that was captured from a real publisher (tests/data/publishers), `dialog_info` writes a body.
"""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from sipresence.events.publication import Granted, PublicationCompositor, Publisher, PublishRules
from sipresence.events.published import endings
from sipresence.events.resource import DialogState, Source, StateChange
from sipresence.events.resources import Resource, Resources
from sipresence.events.timeline import Chronicle
from sipresence.names import ResourceId
from sipresence.sip.message import Request
from tests.builders import parsed, request
from tests.events.desk import LAMP, NOW, OFFICE

CAPTURED = Path(__file__).parents[1] / "data" / "publishers"
PROXY = "192.0.2.20"
CONTENT_TYPE = "application/dialog-info+xml"


class Call(NamedTuple):
    """A dialog as a body names it; "" leaves an attribute out."""

    state: str
    id: str = "d1"
    call_id: str = "c1@192.0.2.9"
    local_tag: str = ""
    remote_tag: str = ""

    def xml(self) -> str:
        attributes = {
            "id": self.id,
            "call-id": self.call_id,
            "local-tag": self.local_tag,
            "remote-tag": self.remote_tag,
        }
        written = "".join(f' {name}="{value}"' for name, value in attributes.items() if value)
        return f"<dialog{written}><state>{self.state}</state></dialog>"


def dialog_info(*calls: Call, state: str = "full") -> bytes:
    """A body."""
    dialogs = "".join(call.xml() for call in calls)
    return (
        f'<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="0" state="{state}" entity="sip:101@b">'
        f"{dialogs}</dialog-info>"
    ).encode()


def publish_request(body: bytes = b"", *, tag: str = "", expires: int | str | None = 3600) -> Request:
    """A PUBLISH; `tag` is what SIP-If-Match says."""
    headers = {"Content-Type": CONTENT_TYPE} if body else {}
    if tag:
        headers["SIP-If-Match"] = tag
    return parsed(request("PUBLISH", event="dialog", expires=expires, contact=None, headers=headers, body=body))


def sent(name: str, *, tag: str | None = None) -> Request:
    """A captured PUBLISH; `tag` replaces the entity tag that it was sent with, "" makes it initial."""
    text = (CAPTURED / f"{name}.sip").read_text("utf-8")
    head, _, body = text.strip().partition("\n\n")
    lines = [line for line in head.split("\n") if not line.startswith("Content-Length:")]
    if tag is not None:
        lines = [line for line in lines if not line.startswith("SIP-If-Match:")]
        lines += [f"SIP-If-Match: {tag}"] if tag else []
    lines.append(f"Content-Length: {len(body.encode())}")
    return parsed("\r\n".join([*lines, "", body]).encode())


class Rows:
    """What a store keeps of the changes it commits."""

    def __init__(self) -> None:
        self._rows: dict[tuple[ResourceId, Source, str], StateChange] = {}

    def commit(self, change: StateChange) -> None:
        """Keep it. A reset leaves the publications, and what has ended."""
        if change.source is None:
            for key, row in list(self._rows.items()):
                if key[0] != change.resource:
                    continue
                if row.source is Source.MANUAL:
                    del self._rows[key]
                else:
                    self._rows[key] = replace(row, dialogs=endings(row))
            return
        key = (change.resource, change.source, change.publication)
        if change.is_end:
            self._rows.pop(key, None)
        else:
            self._rows[key] = change

    def load(self) -> list[StateChange]:
        """All rows, by age."""
        return sorted(self._rows.values(), key=lambda row: row.at)


class PublishDesk:
    """`now` is the time. What is decided is committed and merged at once, unless `holding`; what is due is done then,
    unless `timers_run` says that a crash comes first."""

    def __init__(self, *, per_resource: int = 1000, in_all: int = 500_000) -> None:
        self.now = NOW
        self.rows = Rows()
        self.holding = False
        self.timers_run = True
        self.under_way: list[StateChange] = []
        self._names = (f"p{number}" for number in itertools.count(1))
        self._bounds = (per_resource, in_all)
        self._start()

    def _start(self) -> None:
        self.resources = Resources(Chronicle())
        per_resource, in_all = self._bounds
        self.compositor = PublicationCompositor(
            self.resources, token=lambda: next(self._names), per_resource=per_resource, in_all=in_all
        )

    @property
    def resource(self) -> Resource:
        return self.resources.get(LAMP)

    @property
    def lamp(self) -> DialogState:
        return self.resource.state.lamp.state

    def publish(
        self,
        request: Request,
        *,
        publisher: str = PROXY,
        resource: ResourceId = LAMP,
        rules: PublishRules | None = None,
    ) -> Granted | None:
        granted = self.compositor.publish(
            request, Publisher(OFFICE, resource, publisher), rules or PublishRules(), now=self.now
        )
        if granted is not None:
            self._decided(granted.changes)
        return granted

    def says(
        self, *calls: Call, tag: str = "", expires: int = 3600, state: str = "full", publisher: str = PROXY
    ) -> str:
        """Publish these dialogs a second later, and return the new entity tag."""
        self.now += 1
        request = publish_request(dialog_info(*calls, state=state), tag=tag, expires=expires)
        return tag_of(self.publish(request, publisher=publisher))

    def refresh(self, tag: str, *, expires: int = 3600) -> str:
        self.now += 1
        return tag_of(self.publish(publish_request(tag=tag, expires=expires)))

    def change(self, change: StateChange) -> None:
        """What an admin asks for."""
        self.resources.decided(change)
        self._decided([change])

    def wait(self, seconds: float) -> None:
        """Let time pass, and do what is due, until nothing is."""
        self.now += seconds
        self.do_what_is_due()

    def do_what_is_due(self) -> None:
        while not self.holding and (changes := self.resources.expired(now=self.now)):
            self._decided(changes)

    def commit(self) -> None:
        """Commit what was held, in order."""
        self.holding = False
        changes, self.under_way = self.under_way, []
        self._decided(changes)

    def fail(self) -> None:
        """The commit of what was held fails."""
        self.holding = False
        changes, self.under_way = self.under_way, []
        for change in reversed(changes):
            self.resources.not_saved(change, now=self.now)

    def restart(self) -> None:
        """A new process that finds the rows."""
        self.under_way = []
        self._start()
        for row in self.rows.load():
            self.resources.merge(row)

    def _decided(self, changes: Sequence[StateChange]) -> None:
        if self.holding:
            self.under_way += changes
            return
        for change in changes:
            self.rows.commit(change)
            self.resources.merge(change)
        if self.timers_run:
            self.do_what_is_due()


def tag_of(granted: Granted | None) -> str:
    assert granted is not None
    return granted.entity_tag
