"""The event packages, and in which forms each of them is told (RFC 6665 section 7.2)."""

from functools import cache, lru_cache, partial

from sipresence.errors import SipError
from sipresence.events import dialog_info, message_summary, pidf, xpidf
from sipresence.events.document import Form
from sipresence.events.profile import PLAIN, Shape
from sipresence.events.record import SubscriptionRecord
from sipresence.sip.headers import Event, accepts, parse_event
from sipresence.sip.message import Request

_SHOWN = (
    Form(dialog_info.PACKAGE, dialog_info.CONTENT_TYPE, dialog_info.render),
    Form(pidf.PACKAGE, pidf.CONTENT_TYPE, pidf.render),
    Form(pidf.PACKAGE, xpidf.CONTENT_TYPE, xpidf.render),
    Form(message_summary.PACKAGE, message_summary.CONTENT_TYPE, message_summary.render),
)
DIALOG = _SHOWN[0]

PACKAGES = tuple(dict.fromkeys(form.package for form in _SHOWN))
CONTENT_TYPES = tuple(form.content_type for form in _SHOWN)
ALLOW_EVENTS = f"Allow-Events: {', '.join(PACKAGES)}\r\n"
CACHED_LENGTH = 256  # characters: what is longer is not kept, so that the cache is bounded in bytes, too


def read_package(request: Request) -> Event:
    """Read the Event header of an initial request. Raises SipError 489."""
    event = parse_event(request.get("event") or "")
    if event.package not in PACKAGES:
        raise SipError(489, ALLOW_EVENTS)
    return event


def choose(package: str, accept: str | None) -> Form:
    """The form that suits a subscriber best, by its Accept header; None where it has none. Raises SipError 406."""
    if accept is not None and len(accept) > CACHED_LENGTH:
        return _choose(package, accept)
    return _chosen(package, accept)


def form_of(record: SubscriptionRecord, shape: Shape) -> Form:
    """The form that a subscription is told in; of what is no dialog-info document there is one shape only."""
    form = choose(record.event, record.accept or None)
    return shaped(shape) if form is DIALOG and shape is not PLAIN else form


@cache  # there are few shapes: those of the profiles, private or not
def shaped(shape: Shape) -> Form:
    """The dialog-info document in this shape."""
    return Form(dialog_info.PACKAGE, dialog_info.CONTENT_TYPE, partial(dialog_info.render, shape=shape))


def _choose(package: str, accept: str | None) -> Form:
    forms = [form for form in _SHOWN if form.package == package]
    if accept is None:
        return forms[0]  # the package's default
    acceptable = [form for form in forms if accepts([accept], form.content_type)]
    if not acceptable:
        raise SipError(406, f"Accept: {', '.join(form.content_type for form in forms)}\r\n")
    # What it names first it likes best: Polycom lists xpidf before others (phones.md 23).
    named = [form for form in acceptable if form.content_type in accept.lower()]
    return min(named, key=lambda form: accept.lower().index(form.content_type)) if named else acceptable[0]


_chosen = lru_cache(maxsize=1024)(_choose)
