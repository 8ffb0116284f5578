"""A timeline in words: what `sipresence trace` prints, a line for each thing that happened.

10:00:01.250  second@192.0.2.10  NOTIFY 3, version 2: early -> 200 after 2.1 ms
"""

from collections.abc import Iterator
from datetime import datetime

from sipresence.admin_client import PhoneBelief, Timeline, TimelineEvent

_PLAIN = {
    "unsubscribed": "unsubscribed",
    "restored": "found in the store at a start",
    "undone": "refused after all: the store could not keep it",
}


def narrate(timeline: Timeline) -> Iterator[str]:
    """Tell the whole story, headed by how it stands now."""
    since = f" since {datetime.fromtimestamp(timeline['since'])}" if timeline["since"] else ""
    yield f"{timeline['extension']}: {timeline['state']}{since}"
    if not timeline["phones"] and not timeline["timeline"]:
        yield "  nothing is known of it"
    for phone in timeline["phones"]:
        yield f"  {_believes(phone, timeline['state'])}"
    for event in timeline["timeline"]:
        call_id = event.get("call_id")
        about = f"{call_id}  " if call_id else ""
        yield f"{_clock(event['at'])}  {about}{_told(event)}"


def _believes(phone: PhoneBelief, lamp: str) -> str:
    believes = phone["believes"] or "nothing yet"
    wrong = ", which is wrong" if phone["believes"] not in (None, lamp) else ""
    return f"{phone['call_id']}  {phone['from']} ({phone['user_agent'] or 'no User-Agent'}) believes: {believes}{wrong}"


def _told(event: TimelineEvent) -> str:
    by = f" by {event['by']}" if event.get("by") else ""
    match event["event"]:
        case "state":
            calls = f": {event['state']}" if event["source"] in ("manual", "published") else ""
            return f"{event['source']}{by}{calls}; the lamp shows {event['lamp']}"
        case "reset":
            return f"reset{by}"
        case "notify":
            return _notify(event)
        case "moved":
            return f"moved away from {event['before']}"
        case "ended":
            return f"ended: {event['reason']}"
        case "subscribed" | "refreshed" | "resubscribed":
            return f"{event['event']} for {event['expires']} s"
        case known:
            return _PLAIN.get(known, known)


def _notify(event: TimelineEvent) -> str:
    last = ", the last one" if event["final"] else ""
    told = f"NOTIFY {event['cseq']}, version {event['version']}: {event['state']}{last}"
    if not event["status"]:
        return f"{told} -> no answer"
    return f"{told} -> {event['status']} after {event['rtt'] * 1000:.1f} ms"


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at).isoformat(" ", "milliseconds")
