"""What a path of Kazoo's presence API is about: an account, and of it an extension, a device or a user."""

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, unquote_plus

from aiohttp import web

from sipresence.errors import InvalidExtension, UnknownDevice, UnknownUser
from sipresence.http.envelope import CALLER
from sipresence.names import AccountId, ResourceId

if TYPE_CHECKING:
    from sipresence.service import PresenceService

_EXTENSION_SEGMENT = 5  # of /v2/accounts/{account}/presence/{extension}, counted from the empty one before the slash
_REPORT = re.compile("report-[0-9a-fA-F]{32}")


class Targets:
    """Finds them. `plus_is_space`: in a path as in a query, which is how Kazoo reads it."""

    def __init__(self, service: "PresenceService", *, plus_is_space: bool) -> None:
        self._service = service
        self._unescape = unquote_plus if plus_is_space else unquote

    def extension(self, request: web.Request) -> tuple[ResourceId, ...]:
        """The resource of an extension. Raises InvalidExtension."""
        text = self._unescaped_extension(request)
        if _REPORT.fullmatch(text):
            raise InvalidExtension(text)  # Kazoo has a file under this name, what a reset has found; here is none
        return (self._service.resource(account_of(request), text),)

    def device(self, request: web.Request) -> tuple[ResourceId, ...]:
        """The lamp of a device. Raises UnknownDevice."""
        return (self._service.directory.device_lamp(account_of(request), request.match_info["id"]),)

    def user(self, request: web.Request) -> tuple[ResourceId, ...]:
        """The lamps of a user. Raises UnknownUser, also for one that has none."""
        return self._service.directory.user_lamps(account_of(request), request.match_info["id"])

    def device_names(self, request: web.Request) -> frozenset[str]:
        """The SIP user name of a device. Raises UnknownDevice."""
        account, ident = account_of(request), request.match_info["id"]
        device = self._service.directory.device(account, ident)
        if device is None:
            raise UnknownDevice(ident)
        return frozenset((device.sip_username.lower(),))

    def user_names(self, request: web.Request) -> frozenset[str]:
        """The SIP user names of the devices of a user. Raises UnknownUser."""
        account, ident = account_of(request), request.match_info["id"]
        if self._service.directory.user(account, ident) is None:
            raise UnknownUser(ident)
        return frozenset(name.lower() for name in self._service.directory.sip_usernames(account, ident))

    def _unescaped_extension(self, request: web.Request) -> str:
        """Unescape the extension of the path as it was sent, where %2F is part of it."""
        found = request.match_info
        index = _EXTENSION_SEGMENT + (2 if "id" in found else 0) - (0 if "account" in found else 1)
        segment = request.rel_url.raw_path.split("/")[index]
        try:
            extension = self._unescape(segment, errors="strict")
            extension.encode()  # bytes that are no UTF-8 arrive as lone surrogates where they were sent unescaped
        except UnicodeError:
            raise InvalidExtension(segment) from None
        return extension


def account_of(request: web.Request) -> AccountId:
    """The account of the path; where it names none, that of the token."""
    return AccountId(request.match_info.get("account") or request[CALLER].account)
