"""Lists of subscriptions, in the shapes that Kazoo has had for them, made piece by piece.

    records  {"subscriptions": {EXT: {EVENT: {KEY: {…}}}}}                                 documented, and the default
    counts   {"Subscriptions": {EXT: {EVENT: COUNT}}}                                      Kazoo 4.1 and later: all
    detail   {"Subscriptions": {EXT: {EVENT: {USER: {"sipresence@NODE": {CALL-ID: {…}}}}}}}    and one extension

A large account has hundreds of thousands. So nothing is looked at before it is written, and each piece costs some
microseconds: whoever writes them can turn to other work in between. What comes or goes meanwhile may be listed or not.
A page is one of the same records, by the numbers of subscriptions, which only rise.
"""

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from sipresence.addressing import subscriber_of
from sipresence.events.package import PACKAGES
from sipresence.events.record import SubscriptionRecord
from sipresence.http.dialect import Dialect, ListFormat
from sipresence.http.pieces import Members, object_of, pause, unless_empty, value
from sipresence.http.subscriber import subscriber
from sipresence.names import AccountId, ResourceId, SubscriptionId, extension_of
from sipresence.objects import Json

if TYPE_CHECKING:
    from sipresence.events.subscription import SubscriptionView
    from sipresence.service import PresenceService

    Views: TypeAlias = Iterable["SubscriptionView"]

GREGORIAN_OFFSET_S = 62_167_219_200
"""Seconds from the year 0, where Kazoo's clock starts, to the Unix epoch."""
EXPIRES_FUDGE = 20  # s that Kazoo adds to what it has granted

_LOOKS = 1024  # at subscriptions, in one go, for a page
_LOOKS_OF_A_VIEW = 20  # what one of the account itself takes of that

Keys: TypeAlias = Callable[[SubscriptionRecord], str]


@dataclass(slots=True, frozen=True)
class Wanted:
    """Which subscriptions: of an account, to some resources or all, in one event package or all, and only those that
    the devices with these SIP user names (in lower case) have made."""

    account: AccountId
    resources: Collection[ResourceId] | None = None
    event: str | None = None
    subscribers: frozenset[str] | None = None

    def takes(self, record: SubscriptionRecord) -> bool:
        """Whether a subscription of that account is one of them."""
        return (
            self.event in (None, record.event)
            and (self.resources is None or record.resource in self.resources)
            and (self.subscribers is None or subscriber_of(record).lower() in self.subscribers)
        )


class Page(NamedTuple):
    """Some subscriptions, the oldest first, and the number that the next page starts with."""

    views: "list[SubscriptionView]"
    next_start: SubscriptionId | None


class Listing:
    """Lists what the service knows."""

    def __init__(self, service: "PresenceService", dialect: Dialect) -> None:
        self._service = service
        self._exact = dialect.exact
        self._stalker = f"BLF-{service.node}"
        self._node = f"sipresence@{service.node}"

    def members(self, wanted: Wanted, shape: ListFormat) -> Members:
        """The member that lists them; in the newer shapes there is none where nobody is subscribed."""
        if shape is ListFormat.RECORDS:
            return iter([("subscriptions", object_of(self._by_extension(wanted, shape)))])
        return unless_empty("Subscriptions", self._by_extension(wanted, shape))

    def page_members(self, page: Page) -> Members:
        """The same of a page, as records."""
        by_extension: dict[str, dict[str, list[SubscriptionView]]] = {}
        for view in page.views:
            record = view.record
            by_extension.setdefault(extension_of(record.resource), {}).setdefault(record.event, []).append(view)

        def events(views: dict[str, "list[SubscriptionView]"]) -> Members:
            for event, of_event in views.items():
                yield event, object_of(self._records(of_event, self._key_beside_others))

        extensions = ((extension, object_of(events(views))) for extension, views in by_extension.items())
        yield "subscriptions", object_of(extensions)

    async def page(self, wanted: Wanted, *, start: int, size: int) -> Page:
        """Look for a page of those with this number or a higher one, and let others work in between."""
        idents = self._service.subscription_ids()
        views: list[SubscriptionView] = []
        looked_at = 0
        for index in range(bisect_left(idents, start), len(idents)):
            view = self._service.subscription(idents[index], account=wanted.account)
            looked_at += 1 if view is None else _LOOKS_OF_A_VIEW
            if looked_at >= _LOOKS:
                looked_at = 0
                await pause()
            if view is None or not wanted.takes(view.record):
                continue
            if len(views) == size:
                await pause()
                return Page(views, idents[index])
            views.append(view)
        return Page(views, None)

    # By extension and event

    def _by_extension(self, wanted: Wanted, shape: ListFormat) -> Members:
        names = self._service.resources() if wanted.resources is None else wanted.resources
        for name in names:
            yield from unless_empty(extension_of(name), self._by_event(name, wanted, shape))
            yield None

    def _by_event(self, name: ResourceId, wanted: Wanted, shape: ListFormat) -> Members:
        if shape is ListFormat.COUNTS and wanted.subscribers is None:
            for event, count in self._service.counts(name, wanted.account).items():
                if wanted.event in (None, event):
                    yield event, value(count)
            return
        for event in PACKAGES if wanted.event is None else (wanted.event,):
            views = self._service.subscriptions(wanted.account, resource=name, event=event)
            views = (view for view in views if wanted.subscribers is None or wanted.takes(view.record))
            if shape is ListFormat.RECORDS:
                yield from unless_empty(event, self._records(views, _Keys()))
            elif shape is ListFormat.DETAIL:
                yield from unless_empty(event, self._details(views))
            elif count := sum(1 for _ in views):
                yield event, value(count)

    # Records, as documented

    def _records(self, views: "Views", key: Keys) -> Members:
        for view in views:
            yield key(view.record), value(self._describe(view))

    def _describe(self, view: "SubscriptionView") -> Json:
        """The record of one subscription: Kazoo's fields first, then ours."""
        record = view.record
        described: dict[str, Json] = {
            "expires": record.expires + (EXPIRES_FUDGE if self._exact else 0),
            "from": subscriber(record),
            "notify": {
                # Kazoo writes Erlang's `undefined` as this very text, and clients compare with it.
                "body": "undefined" if view.body is None else view.body,
                "reply": view.reply,
                "sequence": view.sequence,
            },
            "stalker": self._stalker,
            "timestamp": int(record.subscribed_at) + GREGORIAN_OFFSET_S,
            "version": 1 if self._exact else view.version,
            "cseq": record.subscribe_cseq,
            "contact": record.contact,
            "remaining": max(0, int(record.expires_at - self._service.now())),
        }
        if record.user_agent:
            described["user_agent"] = record.user_agent
        if view.profile:
            described["profile"] = view.profile
        return described

    def _key_beside_others(self, record: SubscriptionRecord) -> str:
        """The key of a record that has in the whole list, where only a part of it is listed."""
        key = _Keys()
        for other in self._service.namesakes(record):
            known = key(other)
            if other.id == record.id:
                return known
        return key(record)  # it has ended meanwhile

    # Details, as since Kazoo 4.1

    def _details(self, views: "Views") -> Members:
        by_user: dict[str, dict[str, Json]] = {}
        key = _Keys()
        for view in views:
            user = subscriber(view.record).partition("@")[0]
            by_user.setdefault(user, {})[key(view.record)] = _detail(view)
            yield None
        for user, details in by_user.items():
            yield user, value({self._node: details})


def _detail(view: "SubscriptionView") -> Json:
    """What the last NOTIFY has come to; nothing but the phone's name before the first was answered."""
    agent: dict[str, Json] = {"user_agent": view.record.user_agent} if view.record.user_agent else {}
    if not view.reply or not view.replied_at:
        return agent
    return {"time": int(view.replied_at), "result": view.reply, "sent": view.body or "", "received": "", **agent}


class _Keys:
    """Gives each record of one extension and event a key, the newest record first: its Call-ID, and as much more as
    tells the dialogs apart that share it (RFC 3261 section 12: tags do). So `goes_by` (commands.py) reads them."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def __call__(self, record: SubscriptionRecord) -> str:
        key: str = record.call_id
        for name, tag in (("from-tag", record.remote_tag), ("to-tag", record.local_tag)):
            if key not in self._taken:
                break
            key = f"{key};{name}={tag}"
        self._taken.add(key)
        return key


def lamps(service: "PresenceService", account: AccountId) -> Iterator[ResourceId | None]:
    """Every extension of the account that is in the directory, subscribed to or known of; None now and then."""
    configured = service.directory.lamps(account)
    yield from configured
    listed, realm = frozenset(configured), f"@{service.directory.account(account).realm}"
    for name in service.resources():
        yield name if name.endswith(realm) and name not in listed else None
