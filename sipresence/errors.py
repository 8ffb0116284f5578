"""Every way to be wrong, one class each.

SipresenceError
├── ConfigError            the operator's file or environment; carries every finding at once
├── MalformedMessage       bytes that are no SIP message; carries the status RFC 3261 allows for an answer
├── SipError               a request that is refused; carries its status and header lines
│   └── Excess             one too many: silence over UDP, 503 over a stream
├── NotFound               the API names something the directory does not hold
│   ├── UnknownAccount
│   ├── UnknownDevice
│   ├── UnknownUser
│   └── UnknownSubscription
├── InvalidExtension       the API names an extension that cannot be one
├── InvalidObject          a device or user cannot be as the API tells; carries every finding at once
├── ConfiguredObject       the API would change what only the configuration file can
├── NoSession              a token opens nothing
│   └── SessionOver        a token that has opened something before
├── LoginRefused           a key, a user name or a password is wrong
├── TooManyLogins          and was so too often: carries when the next one is looked at
├── TooManyWaiting         nobody more may wait for phones
├── StoreError             the store could not commit
│   └── StoreUnusable      the store cannot be opened: the server does not start
├── ListenError            a port is in use or an address is not ours: the server does not start
├── BackupFailed           no copy of the database was made
├── ApiUnreachable         a command finds no server behind its --url
└── ApiRefused             the server refuses what a command asks for
"""

from collections.abc import Mapping, Sequence

from sipresence.objects import Json


class SipresenceError(Exception):
    """Root of all errors raised on purpose."""


class ConfigError(SipresenceError):
    """The configuration is wrong; `findings` has one line per error, each with its key or line."""

    def __init__(self, findings: Sequence[str]) -> None:
        super().__init__("; ".join(findings))
        self.findings = tuple(findings)


class MalformedMessage(SipresenceError):
    """Bytes that are not the SIP message they claim to be."""


class SipError(SipresenceError):
    """A SIP request is refused with `status`; `headers` are complete lines, each ended by CRLF.

    `name` is what it is counted as where the status alone says too little.
    """

    def __init__(self, status: int, headers: str = "", reason: str = "", *, name: str = "") -> None:
        super().__init__(reason or str(status))
        self.status = status
        self.headers = headers
        self.reason = reason
        self.name = name


class Excess(SipError):
    """A request beyond what its sender may ask, or we can do; over UDP no answer adds to the trouble."""

    def __init__(self, name: str) -> None:
        super().__init__(503, name=name)


class NotFound(SipresenceError):
    """The directory has no object of this id; `args[0]` is the id."""


class UnknownAccount(NotFound):
    """No such account."""


class UnknownDevice(NotFound):
    """No such device in the account."""


class UnknownUser(NotFound):
    """No such user in the account, or one that owns no lamp."""


class UnknownSubscription(NotFound):
    """No living subscription to this extension goes by this name."""


class InvalidExtension(SipresenceError):
    """Text that cannot be the user part of a watched address; `args[0]` is the text."""


class InvalidObject(SipresenceError):
    """What is told of a device or user is wrong. `findings`: field path -> rule -> message, target, value."""

    def __init__(self, findings: Mapping[str, Mapping[str, Mapping[str, Json]]]) -> None:
        super().__init__(", ".join(findings))
        self.findings = findings


class ConfiguredObject(SipresenceError):
    """The object is of the configuration file, and is changed there; `args[0]` is its id."""


class NoSession(SipresenceError):
    """There is no token, or it is none of ours."""


class SessionOver(NoSession):
    """The token has expired, was revoked, or what it was given for holds no more."""


class LoginRefused(SipresenceError):
    """Nobody logs in with this."""


class TooManyLogins(SipresenceError):
    """Too many attempts to log in have failed; `retry_after` in seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__("too many failed log-ins")
        self.retry_after = retry_after


class TooManyWaiting(SipresenceError):
    """As many as may are waiting for phones already."""


class StoreError(SipresenceError):
    """A transaction failed; nothing of it was kept."""


class StoreUnusable(StoreError):
    """The store cannot be opened; the message is one line for the operator."""


class ListenError(SipresenceError):
    """A listener cannot be opened; the message is one line for the operator and names the address."""


class BackupFailed(SipresenceError):
    """There is no backup; the message is one line for the operator and names the files."""


class ApiUnreachable(SipresenceError):
    """No admin API answers at the URL; the message is one line for the operator and names it."""


class ApiRefused(SipresenceError):
    """The admin API answered with an error; the message is one line for the operator."""
