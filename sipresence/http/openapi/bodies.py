"""What requests may say, as models of which the description is made.

They are the models that read it, and where less need be told than these have in the end, the same with less required.
"""

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from sipresence.http.command import (
    Extensions,
    NotifyCommand,
    ResetCommand,
    SetCommand,
    SetLampCommand,
    TerminateCommand,
)
from sipresence.http.openapi.answers import MAYBE
from sipresence.http.sessions import API_KEY_LENGTH
from sipresence.schemas import DeviceSchema, SipSchema, UserSchema


class OldReset(BaseModel):
    """The same as the action `reset`, as old scripts have it."""

    model_config = ConfigDict(json_schema_extra={"deprecated": True})

    reset: Literal[True]


class SetOthers(SetCommand):
    """Set how many messages wait, or whether calls are wanted, or both, and leave the lamp alone."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["mwi"]}, {"required": ["dnd"]}]})


Command: TypeAlias = SetLampCommand | SetOthers | ResetCommand | NotifyCommand | TerminateCommand | OldReset


class SetSeveral(SetOthers):
    """The same for several extensions."""

    extensions: Extensions


class SetSeveralLamps(SetLampCommand):
    """Set several lamps, and perhaps more; `expires` in seconds."""

    extensions: Extensions


class ResetSeveral(ResetCommand):
    """Forget all that is known of several extensions."""

    extensions: Extensions


class OldResetSeveral(OldReset):
    """The same, as old scripts have it."""

    extensions: Extensions


class SeveralCommands(BaseModel):
    """Several commands, of which all are carried out, or none."""

    commands: Annotated[list[SetSeveralLamps | SetSeveral | ResetSeveral | OldResetSeveral], Field(min_length=1)]


BulkCommand: TypeAlias = SetSeveralLamps | SetSeveral | ResetSeveral | OldResetSeveral | SeveralCommands


class NewCredentials(SipSchema):
    """What a phone logs in with; what is left out is made."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"required": []})


class NewDevice(DeviceSchema):
    """A device. Further fields are kept."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"required": ["name"]})

    sip: NewCredentials


class DeviceChange(NewDevice):
    """What is to be changed of a device; null takes a field away."""

    model_config = ConfigDict(json_schema_extra={"required": []})


class NewUser(UserSchema):
    """A user. Further fields are kept."""

    model_config = ConfigDict(extra="allow")


class UserChange(NewUser):
    """What is to be changed of a user; null takes a field away."""

    model_config = ConfigDict(json_schema_extra={"required": []})


class KeyLogin(BaseModel):
    """The API key of an account."""

    api_key: Annotated[str, Field(min_length=API_KEY_LENGTH, max_length=API_KEY_LENGTH)]


class PasswordLogin(BaseModel):
    """MD5 or SHA-1 of `username:password` in hex, and the account by name or realm; a sole one need not be named."""

    credentials: str
    account_name: Annotated[str, Field(min_length=1)] = MAYBE
    account_realm: Annotated[str, Field(min_length=1)] = MAYBE
