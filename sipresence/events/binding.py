"""The stored row of a binding (RFC 3261 section 10): one contact of a device, and until when it is there."""

from typing import NamedTuple, NewType

from sipresence.names import AccountId, CallId, ResourceId

BindingId = NewType("BindingId", int)
"""Counted up by the registrar; the primary key of the stored row."""


class BindingRecord(NamedTuple):
    """The stored row of a binding, columns in the order of the table (backends/migrations/).

    A NamedTuple for the same reason as SubscriptionRecord: it is the parameter tuple of its statement. Times are Unix
    seconds, `expires` the seconds granted; what the phone did not say is "".
    """

    id: BindingId
    account: AccountId
    user: str  # the SIP user name of the device
    resource: ResourceId  # its lamp
    contact: str  # the URI, as the phone wrote it
    q: str
    instance: str  # +sip.instance, with its quotes
    path: str  # Path header value
    call_id: CallId  # of the last REGISTER that named this contact,
    cseq: int  # as this
    user_agent: str
    transport: str
    listener: str
    source_host: str
    source_port: int
    local: str  # host[:port] by which the phone reaches us
    expires: int
    registered_at: float  # when the binding was made
    expires_at: float
