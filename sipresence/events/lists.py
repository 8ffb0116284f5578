"""Which SUBSCRIBEs are for a list (RFC 4662), who its members are, and the living subscriptions to lists.

A list is configured, under a name of its own, or comes with the SUBSCRIBE (RFC 5367). Each member is shown to its
subscriber as he would see it without the list: in his form, without callers where those are withheld from him, and not
at all where he may not watch it. What changes in the directory is asked for again at each SUBSCRIBE, and at a reload.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sipresence.errors import SipError
from sipresence.events import resource_lists, rlmi
from sipresence.events.document import Form
from sipresence.events.effects import SaveList
from sipresence.events.list_subscription import ListSubscription, Member
from sipresence.events.presentation import Presenter
from sipresence.events.record import SubscriptionRecord
from sipresence.events.resource import resource_identity
from sipresence.events.resource_lists import MAX_MEMBERS, Listing, brings_list, has_option, read_list
from sipresence.events.resources import Resources
from sipresence.events.subscription import Subscription, stored_flow
from sipresence.events.transitions import Input, SubscriptionState
from sipresence.names import AccountId, ResourceId, SubscriptionId, extension_of
from sipresence.sip.flow import Flow
from sipresence.sip.message import Request

EXTENSIONS = frozenset((rlmi.OPTION, resource_lists.OPTION))
"""The option tags that a SUBSCRIBE may Require."""


@dataclass(slots=True, frozen=True)
class ListDirectory:
    """What the directory says of lists.

    `members` of a configured one, with their display names; None for what is no list. `locate` finds what an address of
    an account names, None where it is not ours; the last argument is the host by which the subscriber calls us.
    `knows` it: whether it is configured. `may_watch`: whether the subscriber of a row may watch its resource.
    """

    members: Callable[[ResourceId], Sequence[tuple[ResourceId, str]] | None] = lambda _: None
    locate: Callable[[AccountId, str, str], ResourceId | None] = lambda *_: None
    knows: Callable[[ResourceId], bool] = lambda _: True
    may_watch: Callable[[SubscriptionRecord], bool] = lambda _: True


@dataclass(slots=True, frozen=True)
class ListSettings:
    """How many bytes of body one NOTIFY of a list has at most, over streams and over UDP, and whether a SUBSCRIBE may
    list what is not configured.

    A phone's buffer is bounded, too, so there is a limit on streams. Over UDP what is longer than a packet is sent in
    fragments, and is lost with any of them (phones.md 30). The change of one lamp takes one packet or two; 3,000 bytes
    are three members, the most that Grandstream's own PBX puts into one NOTIFY, in three packets at most.
    """

    stream_bytes: int = 16_384
    datagram_bytes: int = 3_000
    unknown_resources_allowed: bool = True


class Lists:
    """`resources` hear of those that watch them as members; `presenter` says how each is shown."""

    def __init__(
        self,
        resources: Resources,
        presenter: Presenter,
        *,
        directory: ListDirectory | None = None,
        settings: ListSettings | None = None,
    ) -> None:
        self.settings = ListSettings() if settings is None else settings
        self._resources = resources
        self._presenter = presenter
        self._directory = ListDirectory() if directory is None else directory
        self._living: dict[SubscriptionId, ListSubscription] = {}

    # What a SUBSCRIBE asks for

    def asked(self, request: Request, resource: ResourceId) -> Listing | None:
        """The list that an initial SUBSCRIBE is for, None where it is for a single resource. Hot: once for each.

        Raises SipError 421 to those who do not understand lists, and 400, 413 and 415.
        """
        if brings_list(request):
            listing = Listing(read_list(request))
        elif self._directory.members(resource) is not None:
            listing = Listing(None)
            if self._presenter.profile(request).lists_unasked:
                return listing
        else:
            return None
        if not has_option(request, rlmi.OPTION, "supported", "require"):
            raise SipError(421, rlmi.REQUIRE)  # RFC 4662 section 4.1
        return listing

    def asked_again(self, request: Request, subscription: Subscription) -> Listing | None:
        """The same of a SUBSCRIBE inside the dialog: another list may come with it. Raises SipError 400, 413, 415."""
        if not isinstance(subscription, ListSubscription):
            return None
        # Linphone unsubscribes with all headers of a list, and without one: the list stays what it was.
        return Listing(read_list(request)) if request.body and brings_list(request) else subscription.listing

    # Subscriptions

    def make(self, record: SubscriptionRecord, flow: Flow, listing: Listing | None) -> Subscription:
        """A new subscription, to a list or to a single resource."""
        subscription = self._new(record, flow, listing)
        if isinstance(subscription, ListSubscription):
            self._seat(subscription)
        return subscription

    def restore(self, record: SubscriptionRecord, listing: Listing | None) -> Subscription:
        """A stored one, to go on with."""
        subscription = self._new(record, stored_flow(record), listing)
        subscription.take_up()
        if isinstance(subscription, ListSubscription):
            self._seat(subscription)
        return subscription

    def _new(self, record: SubscriptionRecord, flow: Flow, listing: Listing | None) -> Subscription:
        presentation = self._presenter.presentation(record)
        if listing is None:
            return Subscription(record, flow=flow, presentation=presentation)
        return ListSubscription(
            record, listing, flow=flow, presentation=presentation, document_of=self._resources.document
        )

    def add(self, subscription: Subscription) -> Sequence[SaveList]:
        """It lives from now on; return what there is to keep."""
        if not isinstance(subscription, ListSubscription):
            return ()
        self._living[subscription.record.id] = subscription
        self._join(subscription)
        return (SaveList(subscription.record.id, subscription.listing, None),)

    def remove(self, subscription: Subscription) -> None:
        """It lives no more."""
        if isinstance(subscription, ListSubscription):
            del self._living[subscription.record.id]
            for name in subscription.watched:
                self._resources.leave(name, subscription)

    def renew(self, subscription: Subscription, listing: Listing | None) -> Sequence[SaveList]:
        """Show a subscription as its row wants it now, and as its SUBSCRIBE; return what there is to keep."""
        subscription.present(self._presenter.presentation(subscription.record))
        if not isinstance(subscription, ListSubscription) or listing is None:
            return ()
        previous, subscription.listing = subscription.listing, listing
        self._seat_again(subscription)
        return () if listing == previous else (SaveList(subscription.record.id, listing, previous),)

    def undo(self, save: SaveList) -> None:
        """Another list could not be kept: the one before holds, and follows the NOTIFY that has not left yet."""
        subscription = self._living.get(save.id)
        if subscription is not None and save.previous is not None and subscription.listing is save.listing:
            subscription.listing = save.previous
            self._seat_again(subscription)
            if subscription.state is not SubscriptionState.IDLE:
                subscription.feed(Input.CHANGED)

    # The directory is another one

    def changed(self) -> Iterator[ListSubscription]:
        """Yield the subscriptions whose members are others now, or are shown otherwise; each is seated anew."""
        for subscription in list(self._living.values()):
            if self.is_gone(subscription.record):
                continue
            if list(self._members(subscription).values()) != subscription.members:
                self._seat_again(subscription)
                yield subscription

    def is_gone(self, record: SubscriptionRecord) -> bool:
        """Whether this is a subscription to a list that was configured, and is no more."""
        subscription = self._living.get(record.id)
        configured = subscription is not None and subscription.listing.entries is None
        return configured and self._directory.members(record.resource) is None

    # Members

    def _seat(self, subscription: ListSubscription) -> None:
        settings = self.settings
        room = settings.stream_bytes if subscription.flow.reliable else settings.datagram_bytes
        subscription.seat(self._members(subscription), room_bytes=room)

    def _seat_again(self, subscription: ListSubscription) -> None:
        before = subscription.watched
        self._seat(subscription)
        self._join(subscription)
        for name in before - subscription.watched:
            self._resources.leave(name, subscription)

    def _join(self, subscription: ListSubscription) -> None:
        for name in subscription.watched:
            self._resources.join(name, subscription)

    def _members(self, subscription: ListSubscription) -> dict[str, Member]:
        """The members by resource, those that are not ours by address; of two that are one the first counts."""
        record = subscription.record
        members: dict[str, Member] = {}
        for resource, uri, label in self._addresses(record, subscription.listing):
            if resource is None:
                members.setdefault(uri, Member(ResourceId(""), uri, label, None))
            elif resource not in members:
                members[resource] = Member(resource, uri, label, self._form(record, resource))
            if len(members) == MAX_MEMBERS:
                break
        return members

    def _addresses(self, record: SubscriptionRecord, listing: Listing) -> Iterator[tuple[ResourceId | None, str, str]]:
        """Each member as its subscriber writes it: as he did, or under the host by which he calls us (phones.md 36)."""
        host = record.entity.rpartition("@")[2]
        if listing.entries is not None:
            for uri, label in listing.entries:
                yield self._locate(record.account, uri, host), uri, label
        else:
            for resource, label in self._directory.members(record.resource) or ():
                user = resource_identity(resource).rpartition("@")[0]
                yield resource, f"{user}@{host}", label or extension_of(resource)

    def _locate(self, account: AccountId, uri: str, host: str) -> ResourceId | None:
        resource = self._directory.locate(account, uri, host)
        if resource is None or self.settings.unknown_resources_allowed or self._directory.knows(resource):
            return resource
        return None

    def _form(self, record: SubscriptionRecord, resource: ResourceId) -> Form | None:
        alone = record._replace(resource=resource)
        return self._presenter.presentation(alone).form if self._directory.may_watch(alone) else None
