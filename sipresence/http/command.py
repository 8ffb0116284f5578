"""Presence commands of the Kazoo dialect: JSON -> commands, or the refusal that names the field and the rule.

    {"action": "set", "state": "early"}        {"action": "reset"}        {"reset": true}
    {"action": "set", "state": "early", "expires": 60, "mwi": {"new": 2, "saved": 5}, "dnd": true}
    {"action": "notify"}        {"action": "notify", "call_id": …}        {"action": "terminate", "call_id": …}

`set` of a state and `reset` are Kazoo's, all else is an addition of ours: `expires`, after how many seconds a state
that is set ends by itself; `reason` of terminate, "deactivated" for a phone that may come back, "rejected" for good.
Unknown keys are accepted, since Kazoo's user interface adds its own. Several extensions are commanded at once so:

    {"action": "set", "state": "early", "extensions": ["101", "102"]}
    {"commands": [{"action": "set", "state": "early", "extensions": ["101"]}, {"action": "reset", "extensions": [...]}]}
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Literal, TypeAlias, TypeVar, get_args

from pydantic import BaseModel, Field, StrictBool, StrictStr, ValidationError

from sipresence.commands import Command, NotifyAgain, Reset, SetState, Terminate
from sipresence.events.state import DialogState, Messages
from sipresence.events.subscription import Reason
from sipresence.http.envelope import Refusal, invalid
from sipresence.names import ResourceId
from sipresence.objects import JsonObject
from sipresence.schemas import Finding, explain

Findings: TypeAlias = dict[str, Finding]

MAX_EXTENSIONS = 1000  # that one request may name

Action = Literal["set", "reset", "notify", "terminate"]
BulkAction = Literal["set", "reset"]
State = Literal["early", "confirmed", "terminated"]
Why = Literal["deactivated", "rejected"]
_CHOICES = {"action": get_args(Action), "state": get_args(State), "reason": get_args(Why)}
_BULK_CHOICES = {"action": get_args(BulkAction)}

Resources: TypeAlias = Sequence[ResourceId]
Number = Annotated[int, Field(strict=True, ge=0, le=2**31 - 1)]
Name = Annotated[str, Field(min_length=1, max_length=1024)]
Extensions = Annotated[list[StrictStr], Field(min_length=1, max_length=MAX_EXTENSIONS)]
Model = TypeVar("Model", bound=BaseModel)


class ResetCommand(BaseModel):
    """Forget all that is known."""

    action: Literal["reset"]

    def on(self, resources: Resources) -> Command:
        """What is asked of these resources."""
        return Reset(resources)


class Mwi(BaseModel):
    """How many voice messages wait."""

    new: Number
    saved: Number = 0
    urgent: Number = 0
    urgent_saved: Number = 0


class SetCommand(BaseModel):
    """Set how many messages wait, or whether calls are wanted."""

    action: Literal["set"]
    mwi: Mwi | None = None
    dnd: StrictBool | None = None

    def on(self, resources: Resources) -> SetState:
        """What is asked of these resources."""
        mwi = self.mwi
        messages = None if mwi is None else Messages(mwi.new, mwi.saved, mwi.urgent, mwi.urgent_saved)
        return SetState(resources, messages=messages, do_not_disturb=self.dnd)


class SetLampCommand(SetCommand):
    """Set a lamp, and perhaps more; `expires` in seconds."""

    state: State
    expires: Annotated[int, Field(strict=True, ge=1, le=2**31 - 1)] | None = None

    def on(self, resources: Resources) -> SetState:
        """What is asked of these resources."""
        return replace(super().on(resources), state=DialogState(self.state), expires=self.expires)


class NotifyCommand(BaseModel):
    """Send the full state again, to one subscription or to all."""

    action: Literal["notify"]
    call_id: Name | None = None

    def on(self, resources: Resources) -> Command:
        """What is asked of these resources."""
        return NotifyAgain(resources, self.call_id)


class TerminateCommand(BaseModel):
    """End one subscription."""

    action: Literal["terminate"]
    call_id: Name
    reason: Why = "deactivated"

    def on(self, resources: Resources) -> Command:
        """What is asked of these resources."""
        return Terminate(resources, self.call_id, Reason(self.reason))


AnyCommand: TypeAlias = ResetCommand | SetCommand | NotifyCommand | TerminateCommand


class BulkCommand(BaseModel):
    """What a command on several extensions has besides."""

    action: BulkAction
    extensions: Extensions


def parse_command(data: JsonObject) -> AnyCommand:
    """Read the command in `data`. Raises Refusal 400."""
    data, findings = _with_action(data), Findings()
    command = _read_as(_model(data), data, findings, _CHOICES)
    if command is None:
        raise Refusal(400, "validation error", findings)
    return command


def parse_bulk(data: JsonObject) -> list[tuple[list[str], AnyCommand]]:
    """Read one command on several extensions, or several commands. Raises Refusal 400, and 404 for neither."""
    if data.keys().isdisjoint(("extensions", "commands")):
        raise Refusal(404, "faulty request", {})
    told, findings = _told_in_bulk(data), Findings()
    read: list[tuple[list[str], AnyCommand]] = []
    for path, one in told:
        one = _with_action(one)
        bulk = _read_as(BulkCommand, one, findings, _BULK_CHOICES, path=path)
        command = _read_as(_model(one), one, findings, _CHOICES, path=path)
        if bulk is not None and command is not None:
            read.append((bulk.extensions, command))
    if findings:
        raise Refusal(400, "validation error", findings)
    if sum(len(extensions) for extensions, _ in read) > MAX_EXTENSIONS:
        message = f"Array must not be more than {MAX_EXTENSIONS} items"
        raise invalid("extensions", "maxItems", {"message": message, "target": MAX_EXTENSIONS})
    return read


def _told_in_bulk(data: JsonObject) -> list[tuple[str, JsonObject]]:
    """The commands, each with the path that its findings are under."""
    if "commands" not in data:
        return [("", data)]
    commands = data["commands"]
    if not isinstance(commands, list) or not commands:
        raise invalid("commands", "type", {"message": "Value did not match type(s): array", "target": "array"})
    for number, command in enumerate(commands):
        if not isinstance(command, dict):
            explanation = {"message": "Value did not match type(s): object", "target": "object"}
            raise invalid(f"commands.{number}", "type", explanation)
    return [(f"commands.{number}.", command) for number, command in enumerate(commands)]


def _with_action(data: JsonObject) -> JsonObject:
    if "action" not in data and data.get("reset") is True:
        return {**data, "action": "reset"}  # "deprecated alias of action=reset", still sent by old scripts
    return data


def _model(data: JsonObject) -> type[AnyCommand]:
    match data.get("action"):
        case "notify":
            return NotifyCommand
        case "terminate":
            return TerminateCommand
        case "set" if "state" in data or data.keys().isdisjoint(("mwi", "dnd")):
            return SetLampCommand
        case "set":
            return SetCommand
        case _:
            return ResetCommand


def _read_as(
    model: type[Model], data: JsonObject, findings: Findings, choices: Mapping[str, Sequence[str]], *, path: str = ""
) -> Model | None:
    """Read `data` as this, or add what is wrong with it to `findings`."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        for found in error.errors():
            findings.setdefault(path + ".".join(map(str, found["loc"])), explain(found, choices))
        return None
