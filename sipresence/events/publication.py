"""The event state compositor of RFC 3903: what a PUBLISH is answered, and what it changes.

Four requests: initial (no SIP-If-Match), and with the entity tag of a publication refresh (no body), modify (a body)
and remove (Expires 0). What a publication says is merged elsewhere (published.py); here is decided what it says from
now on, so that the store and every node hear the same.

The proxies of this world lose the state of a call for good at almost any error answer, and orphan publications where
answers are late. So this compositor is milder than the RFC, unless an account wants it strict:

- a publication is known by every tag that was ever issued for it, not only by the last: 412 is for those never issued
  and for publications that are over. A tag is the name of the publication and a count, so none has to be remembered;
- no expiry is too brief: the granted one is longer instead, so that refreshes, which come late, find it;
- while a change of the same publication, or a reset, is not committed yet, there is no answer. The publisher sends
  again, and the store's answer decides. (`publish` returns None; the next copy of the request must be taken for new.)

`Expires: 0` with a body (OpenSIPS) says how the dialog has ended. What was removed stays in the store as long as its
endings have to be remembered.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf, nextafter
from typing import NamedTuple

from sipresence.errors import Excess, MalformedMessage, SipError
from sipresence.events import dialog_info, pidf
from sipresence.events.dialog_reader import MAX_DIALOGS, read_dialog_info
from sipresence.events.pidf_reader import read_pidf
from sipresence.events.published import TOMBSTONE, endings, name_of, over
from sipresence.events.resources import Resources
from sipresence.events.state import NO_PRESENCE, DialogInfo, DialogState, Presence, Source, StateChange
from sipresence.names import AccountId, ResourceId
from sipresence.sip.headers import parse_event, parse_seconds, split_list
from sipresence.sip.message import Request

PUBLICATIONS_FULL = "publications_full"  # as what a refusal is counted: there are too many
_CONTENT_TYPES = {dialog_info.PACKAGE: dialog_info.CONTENT_TYPE, pidf.PACKAGE: pidf.CONTENT_TYPE}
LEAST_EXPIRES = 120  # s; Kamailio refreshes up to 100 s late (`update_period`)


@dataclass(slots=True, frozen=True)
class PublishRules:
    """Seconds that a publication may last, by account. `strict` is RFC 3903 to the letter: 423 for less than
    `min_expires`, 412 for any tag but the last one."""

    min_expires: int = LEAST_EXPIRES
    default_expires: int = 3600
    max_expires: int = 7200
    strict: bool = False


class Publisher(NamedTuple):
    """What a PUBLISH is about, as the directory understood it, and who sent it: the authenticated identity, else the
    source address."""

    account: AccountId
    resource: ResourceId
    name: str


class Granted(NamedTuple):
    """A PUBLISH that is granted, once `changes` are committed. The last of them is its own, if it changes anything."""

    changes: tuple[StateChange, ...]
    entity_tag: str
    expires: int

    @property
    def headers(self) -> str:
        """What its 200 must say: without either, Kamailio forgets the publication (RFC 3903 section 6)."""
        return f"Expires: {self.expires}\r\nSIP-ETag: {self.entity_tag}\r\n"


class _Body(NamedTuple):
    """What a body says: of dialogs, or of presence."""

    dialogs: tuple[DialogInfo, ...] = ()
    partial: bool = False
    presence: Presence | None = None


class PublicationCompositor:
    """Decides every PUBLISH about calls or presence.

    `token` names publications: texts that nobody can guess, without dots. There may be `in_all` publications, and
    `per_resource` of one; before one is refused for that, the oldest one there that says nothing any more has to go.
    """

    def __init__(
        self, resources: Resources, *, token: Callable[[], str], per_resource: int = 1000, in_all: int = 500_000
    ) -> None:
        self._resources = resources
        self._token = token
        self._per_resource = per_resource
        self._in_all = in_all

    def configure(self, *, per_resource: int, in_all: int) -> None:
        """From here on accept within these bounds."""
        self._per_resource = per_resource
        self._in_all = in_all

    def publish(self, request: Request, publisher: Publisher, rules: PublishRules, *, now: float) -> Granted | None:
        """Decide a PUBLISH from somebody who may publish; None is no answer, and no trace of the request.

        Refuses in the order of RFC 3903 section 6: 489, 400 (several tags), 412, 423, 415, 400. Raises SipError,
        Excess. What it returns counts as decided: each change has to be committed or reported to `Resources.not_saved`.
        """
        package = parse_event(request.get("event") or "").package
        if package not in _CONTENT_TYPES:
            raise SipError(489, f"Allow-Events: {', '.join(_CONTENT_TYPES)}\r\n")
        tag = _if_match(request)
        name = tag.rpartition(".")[0]
        if tag and self._resources.is_under_way(publisher.resource, name):
            return None
        known = self._find(publisher.resource, name, tag, rules, package=package) if tag else None
        expires = _expires(request, rules)
        body = _read_body(request, package)
        if known is None and body is None:
            raise SipError(400, reason="An initial PUBLISH without a body")
        changes: list[StateChange] = []
        if known is None:
            changes += self._make_room(publisher.resource, now, needed=expires > 0)
            known = _new(publisher, self._token())
        entity_tag = _next_tag(known)
        if not expires:
            changes += _removed(known, body, now)
        elif body is None:
            changes.append(replace(known, entity_tag=entity_tag, expires_at=now + expires, by=publisher.name))
        else:
            body = self._in_time(body, known, now)
            changes.append(_modified(known, body, tag=entity_tag, expires=expires, by=publisher.name, now=now))
        for change in changes:
            self._resources.decided(change)
        return Granted(tuple(changes), entity_tag, expires)

    def _find(self, resource: ResourceId, name: str, tag: str, rules: PublishRules, *, package: str) -> StateChange:
        """The publication that a tag was issued for, in this package. Raises SipError 412."""
        known = self._resources.get(resource).state.publications.get(name)
        if known is None or not known.entity_tag or (known.presence is not None) is not (package == pidf.PACKAGE):
            raise SipError(412)
        if tag != known.entity_tag and (rules.strict or not _was_issued(tag, known)):
            raise SipError(412)
        return known

    def _in_time(self, body: _Body, known: StateChange, now: float) -> _Body:
        """What comes too late for a dialog says that it has ended: that row may be the only one to remember it."""
        state = self._resources.get(known.resource).state
        dialogs = (
            _end(d) if state.has_ended(known.publisher, d, now) else state.as_far_as_known(known.publisher, d)
            for d in body.dialogs
        )
        return body._replace(dialogs=tuple(dialogs))

    def _make_room(self, resource: ResourceId, now: float, *, needed: bool) -> Iterator[StateChange]:
        """End the publication that can be missed best, where one more would be too many.

        Raises Excess where there is none and room is `needed`: an ending, which does not last, is always heard.
        """
        publications = self._resources.get(resource).state.publications
        if len(publications) < self._per_resource and self._resources.publications < self._in_all:
            return
        for name, known in publications.items():
            silent = not _living(known) and known.presence in (None, NO_PRESENCE)
            if silent and not self._resources.is_under_way(resource, name):
                yield over(known, at=now)
                return
        if needed:
            raise Excess(PUBLICATIONS_FULL)


# What a request says


def _if_match(request: Request) -> str:
    """The one entity tag, or "". Raises SipError 400.

    RFC 3903 section 6: "if the request contains … more than one entity-tag … a 400 (Invalid Request) response".
    """
    values = request.all("sip-if-match")
    tags = [tag for value in values for tag in split_list(value)]
    if values and len(tags) != 1:
        raise SipError(400, reason="Not one entity tag")
    return tags[0] if tags else ""


def _expires(request: Request, rules: PublishRules) -> int:
    """Seconds that a publication may last, 0 where it has to end. Raises SipError 400 and 423."""
    value = request.get("expires")
    try:
        asked = rules.default_expires if value is None else parse_seconds(value)
    except MalformedMessage as error:
        raise SipError(400, reason=f"Malformed: {error}") from None
    if not asked:
        return 0
    if rules.strict and asked < rules.min_expires:
        raise SipError(423, f"Min-Expires: {rules.min_expires}\r\n")
    return max(rules.min_expires, min(asked, rules.max_expires))


def _read_body(request: Request, package: str) -> _Body | None:
    """What the body says, None where there is none. Raises SipError 415 and 400."""
    if not request.body:
        return None
    wanted = _CONTENT_TYPES[package]
    if (request.get("content-type") or "").partition(";")[0].strip().lower() != wanted:
        raise SipError(415, f"Accept: {wanted}\r\n")
    if (request.get("content-encoding") or "identity").strip().lower() != "identity":
        raise SipError(415, "Accept-Encoding: identity\r\n")
    try:
        if package == pidf.PACKAGE:
            return _Body(presence=read_pidf(request.body))
        body = read_dialog_info(request.body)
        return _Body(body.dialogs, body.partial)
    except MalformedMessage as error:
        raise SipError(400, reason=f"Malformed: {error}") from None


# What a publication says from now on


def _new(publisher: Publisher, name: str) -> StateChange:
    """A publication of which nothing has been said yet."""
    return StateChange(
        publisher.account, publisher.resource, Source.PUBLISHED, (), 0.0, publication=name, publisher=publisher.name
    )


def _modified(known: StateChange, body: _Body, *, tag: str, expires: int, by: str, now: float) -> StateChange:
    dialogs = _amended(known, body, now)
    same = dialogs == known.dialogs and body.presence == known.presence
    said_again = same and len(_living(known)) == len(dialogs)
    at = known.at if known.at and said_again else _after(known, now)
    return replace(
        known, dialogs=dialogs, at=at, expires_at=now + expires, by=by, entity_tag=tag, presence=body.presence
    )


def _removed(known: StateChange, body: _Body | None, now: float) -> Iterator[StateChange]:
    """Its dialogs have ended, those that the body names too, whatever it says of them."""
    named = body.dialogs if body is not None else ()
    ended = (*_remembered(known, named, now), *_terminated(_others(known, named)), *map(_end, named))[-MAX_DIALOGS:]
    if ended or known.at:
        until = now + TOMBSTONE if ended else None
        ending = over(known, at=_after(known, now))
        yield replace(ending, dialogs=ended, expires_at=until, by=known.publisher)


def _amended(known: StateChange, body: _Body, now: float) -> tuple[DialogInfo, ...]:
    """What the publication says now. A dialog that a full body leaves out has ended (RFC 4235 section 4.3)."""
    others = _others(known, body.dialogs)
    still = others if body.partial else _terminated(_left_out(others, body.dialogs))
    return (*_remembered(known, body.dialogs, now), *still, *body.dialogs)[-MAX_DIALOGS:]


def _remembered(known: StateChange, named: Sequence[DialogInfo], now: float) -> list[DialogInfo]:
    """The endings that the row holds and has to hold on to: after a restart nothing else remembers them."""
    if known.at + TOMBSTONE <= now:
        return []
    names = [name_of(known.publisher, dialog) for dialog in named]
    ended = (dialog for dialog in endings(known) if dialog.call_id)
    return [dialog for dialog in ended if name_of(known.publisher, dialog) not in names]


def _others(known: StateChange, named: Sequence[DialogInfo]) -> list[DialogInfo]:
    """The living dialogs of a publication besides those."""
    names = [name_of(known.publisher, dialog) for dialog in named]
    living = ((dialog, name_of(known.publisher, dialog)) for dialog in _living(known))
    return [dialog for dialog, name in living if not any(name.means(other) for other in names)]


def _left_out(others: Sequence[DialogInfo], named: Sequence[DialogInfo]) -> list[DialogInfo]:
    """Those that a full body names by no tags at all.

    Kamailio publishes one dialog of a forked call, with the tags of the branch that rang last: the others ring on.
    """
    names = {(dialog.id, dialog.call_id) for dialog in named}
    return [dialog for dialog in others if (dialog.id, dialog.call_id) not in names]


def _living(known: StateChange) -> list[DialogInfo]:
    return [dialog for dialog in known.dialogs if dialog.state is not DialogState.TERMINATED]


def _terminated(dialogs: Sequence[DialogInfo]) -> list[DialogInfo]:
    """Their endings, as far as they have to be remembered: without a call-id it is enough to be left out."""
    return [_end(dialog) for dialog in dialogs if dialog.call_id]


def _end(dialog: DialogInfo) -> DialogInfo:
    return replace(dialog, state=DialogState.TERMINATED, held=False)


def _after(known: StateChange, now: float) -> float:
    """The time of a body: later than the one before, by which it is told from a refresh."""
    return max(now, nextafter(known.at, inf))


# Entity tags: NAME.COUNT


def _next_tag(known: StateChange) -> str:
    count = int(known.entity_tag.rpartition(".")[2]) if known.entity_tag else 0
    return f"{known.publication}.{count + 1}"


def _was_issued(tag: str, known: StateChange) -> bool:
    """Whether an earlier answer carried this tag of the publication."""
    count, last = tag.rpartition(".")[2], known.entity_tag.rpartition(".")[2]
    return (
        count.isascii() and count.isdigit() and count[0] != "0" and len(count) <= len(last) and int(count) < int(last)
    )
