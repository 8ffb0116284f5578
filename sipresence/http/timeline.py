"""A timeline as JSON: what happened to a lamp, the oldest first, and what each phone believes now.

    {"extension": "101", "state": "early", "since": 1700000000,
     "phones": [{"call_id": …, "from": …, "contact": …, "user_agent": …, "told": "early", "believes": "early"}],
     "timeline": [{"at": 1700000000.123, "event": "state", "source": "manual", "state": "early", …}, …]}

Events are `state` and `reset`, and of a subscription, with its `call_id`: `subscribed`, `refreshed`, `resubscribed`,
`unsubscribed`, `restored`, `undone`, `moved`, `notify` and `ended`. Times are Unix seconds; `believes` is null where
the phone has not acknowledged anything since the start.
"""

from sipresence.events.history import Moved, Notified, Subscribed
from sipresence.events.timeline import Belief, Changed, Ended, Event, Timeline
from sipresence.http.subscriber import subscriber
from sipresence.names import extension_of
from sipresence.objects import Json


def describe(timeline: Timeline, *, bodies: bool) -> dict[str, Json]:
    """Describe one lamp; with `bodies` each NOTIFY whose document is still known has it."""
    lamp = timeline.lamp
    return {
        "extension": extension_of(timeline.resource),
        "state": lamp.state.value,
        "since": int(lamp.since),
        "phones": [_describe_belief(belief) for belief in timeline.phones],
        "timeline": [_describe_event(event, bodies=bodies) for event in timeline.events],
    }


def _describe_belief(belief: Belief) -> dict[str, Json]:
    record = belief.record
    return {
        "call_id": record.call_id,
        "from": subscriber(record),
        "contact": record.contact,
        "user_agent": record.user_agent,
        "told": belief.told.value if belief.told else None,
        "believes": belief.believes.value if belief.believes else None,
    }


def _describe_event(event: Event, *, bodies: bool) -> dict[str, Json]:
    described: dict[str, Json] = {"at": round(event.at, 3)}
    match event.what:
        case Changed():
            described |= _describe_change(event.what)
        case Subscribed(_, asked, expires):
            described |= {"event": asked.name.lower(), "expires": expires}
        case Moved(_, address):
            described |= {"event": "moved", "before": address}
        case Notified():
            described |= _describe_notify(event.what)
        case Ended(_, end):
            described |= {"event": "ended", "reason": end.value}
    if event.record is not None:
        described["call_id"] = event.record.call_id
        if bodies and event.document is not None and isinstance(event.what, Notified):
            described["body"] = event.document.stamp(event.what.version, event.record.entity).decode()
    return described


def _describe_change(change: Changed) -> dict[str, Json]:
    if change.source is None:
        return {"event": "reset", "lamp": change.lamp.value, "by": change.by}
    said = {"event": "state", "source": change.source.value, "state": change.state.value}
    return {**said, "lamp": change.lamp.value, "by": change.by}


def _describe_notify(notify: Notified) -> dict[str, Json]:
    """`status` 0 and no `rtt`: no answer came yet, or none was waited for any longer."""
    described: dict[str, Json] = {
        "event": "notify",
        "cseq": notify.cseq,
        "version": notify.version,
        "state": notify.state.value,
        "final": notify.final,
        "status": notify.status,
    }
    if notify.status:
        described["rtt"] = round(notify.rtt, 5)
    return described
