"""Addressing: whose account and which extension a request names.

The account of an initial request is found by the host of its Request-URI, a realm or an alias with any port; where that
is one of our own addresses, by the host of To, then of From. Where there is one account only, any host means it.
"""

from sipresence.accounts import Account
from sipresence.directory import Directory
from sipresence.errors import MalformedMessage, SipError
from sipresence.events.record import SubscriptionRecord
from sipresence.events.register import Registrant
from sipresence.events.resource_lists import brings_list
from sipresence.events.subscribe import Watched, entity_of
from sipresence.names import AccountId, ResourceId, resource_id
from sipresence.sip.flow import Flow
from sipresence.sip.headers import NameAddr, parse_name_addr
from sipresence.sip.message import Request
from sipresence.sip.uri import Uri, join_host_port, parse_uri

MAX_EXTENSION = 128  # characters


class Addressing:
    """Reads addresses. `local_hosts` are our own names, beside the addresses by which peers reach us."""

    def __init__(self, directory: Directory, *, local_hosts: frozenset[str], unknown_resources_allowed: bool) -> None:
        self._directory = directory
        self._local_hosts = local_hosts
        self.unknown_resources_allowed = unknown_resources_allowed

    def watched(self, request: Request, *, user: str) -> Watched:
        """Say what an initial request asks to watch. Raises SipError 404, MalformedMessage."""
        account, name = self._account(request), parse_uri(request.uri).unescaped_user
        if account is None or not is_extension(name):
            raise SipError(404)
        resource = resource_id(name, account.realm)
        if not self.unknown_resources_allowed and not self._directory.knows(resource) and not brings_list(request):
            raise SipError(404)
        return Watched(account.id, resource, entity_of(request), user)

    def registrant(self, request: Request, *, owner: AccountId | None, user: str) -> Registrant:
        """Say which device a REGISTER is about: the address of record is its To (RFC 3261 section 10.3 step 5).

        `user` of `owner` has authenticated; "" of None need not. Raises SipError 403, 404, MalformedMessage.
        """
        account, uri = self._account(request), _uri_of(request.to)
        if account is None:
            raise SipError(404)
        if owner not in (None, account.id):
            raise SipError(403, reason="Of another account")
        address = resource_id(uri.unescaped_user, account.realm)
        device = self._directory.device_at(address) if self._means(uri, account, request.flow) else None
        if device is not None and user:
            if not self._directory.is_own(account.id, user, address):
                raise SipError(403, reason="Not its own address")
            device = self._directory.device_at(resource_id(user, account.realm))
        if device is None:
            raise SipError(404)
        return Registrant(account.id, device.sip_username, self._directory.device_lamp(account.id, device.id))

    def asked(self, request: Request) -> tuple[Account | None, ResourceId | None]:
        """Say what a request seems to be about, before it is time to refuse an address that is wrong."""
        try:
            account = self._account(request)
            uri = _uri_of(request.to) if request.method == "REGISTER" else parse_uri(request.uri)
            name = uri.unescaped_user
        except (MalformedMessage, SipError):
            return self._directory.sole_account, None
        return account, resource_id(name, account.realm) if account is not None else None

    def means_us(self, uri: Uri, flow: Flow) -> bool:
        """Whether a URI names us, to a peer at the other end of `flow`."""
        directory = self._directory
        return (
            directory.sole_account is not None
            or directory.account_by_host(uri.host) is not None
            or self._is_local(uri, flow)
        )

    def _account(self, request: Request) -> Account | None:
        sole = self._directory.sole_account
        if sole is not None:
            return sole
        uri = parse_uri(request.uri)
        account = self._directory.account_by_host(uri.host)
        if account is None and self._is_local(uri, request.flow):
            for address in (request.to, request.from_):
                account = account or self._directory.account_by_host(_uri_of(address).host)
        return account

    def _means(self, uri: Uri, account: Account, flow: Flow) -> bool:
        """Whether the host of a URI is a name of this account, or ours."""
        named = self._directory.sole_account or self._directory.account_by_host(uri.host)
        return named is account or (named is None and self._is_local(uri, flow))

    def _is_local(self, uri: Uri, flow: Flow) -> bool:
        return (
            uri.host in self._local_hosts
            or join_host_port(uri.host, uri.port) == flow.local
            or join_host_port(uri.host, 0) == flow.local.rpartition(":")[0]
        )


def caller(request: Request) -> str:
    """The user part of From: who asks, as he says himself."""
    try:
        return _uri_of(request.from_).unescaped_user
    except MalformedMessage:
        return ""


def subscriber_of(record: SubscriptionRecord) -> str:
    """The SIP user name of who subscribes: as he has proved, else as he says himself."""
    if record.authenticated_user:
        return record.authenticated_user
    try:
        return _uri_of(parse_name_addr(record.remote_address)).unescaped_user
    except MalformedMessage:
        return ""


def locate(directory: Directory, account_id: AccountId, text: str, host: str) -> ResourceId | None:
    """What an address that a SUBSCRIBE lists names in an account, None for nothing of it.

    It is written with the account's realm or an alias, or with `host`, by which the SUBSCRIBE calls us itself.
    """
    account = directory.find(account_id)
    try:
        uri = parse_uri(text)
        name = uri.unescaped_user
    except (MalformedMessage, SipError):
        return None
    if account is None or not is_extension(name):
        return None
    ours = directory.account_by_host(uri.host) is account or join_host_port(uri.host, 0) == host
    return resource_id(name, account.realm) if ours else None


def is_extension(text: str) -> bool:
    """Whether unescaped text can be the user part of a watched address: something, printable, and not too long."""
    return 0 < len(text) <= MAX_EXTENSION and text.isprintable()


def _uri_of(address: NameAddr) -> Uri:
    try:
        return parse_uri(address.uri)
    except (MalformedMessage, SipError):
        return Uri("", "", "", 0, "")  # a tel: URI, say: it names nobody
