"""GET /metrics: what the house has counted, in Prometheus' words. docs/metrics.md says what each of them means.

Nothing calls the library but this: when a scrape comes, one collector reads the figures. The page is open to whoever
reaches the listener, as monitoring expects; it names accounts by their ids, and no extension, phone or address.
"""

from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from sipresence.figures import Figures, Histogram

if TYPE_CHECKING:
    from sipresence.insight import Insight

Labels = tuple[str, ...]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"  # which every Prometheus takes, whatever it asks for


def make_page(insight: "Insight", *, version: str) -> Callable[[web.Request], Coroutine[None, None, web.Response]]:
    """Make what answers a scrape."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    registry.register(_House(insight.figures, version=version))

    async def page(request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE})

    return page


class _House(Collector):
    """Translates figures."""

    def __init__(self, read: Callable[[], Figures], *, version: str) -> None:
        self._read = read
        self._version = version

    def collect(self) -> Iterator[Metric]:
        figures = self._read()
        yield InfoMetricFamily("sipresence_build", "The version of the server.", {"version": self._version})
        yield from _subscriptions(figures)
        yield from _notifies(figures)
        yield from _messages(figures)
        yield from _connections(figures)
        yield from _queues(figures)
        yield from _store_and_loop(figures)


def _subscriptions(figures: Figures) -> Iterator[Metric]:
    notifier = figures.notifier
    yield _gauges(
        "subscriptions", "Subscriptions that live.", ("account", "package", "transport", "user_agent"),
        notifier.subscriptions.items(),
    )  # fmt: skip
    yield _counters(
        "subscriptions_ended", "Subscriptions that ended, by why.", ("reason",), _by_one(notifier.subscriptions_ended)
    )
    yield _gauge("resources", "Resources that are subscribed to or of which something is known.", notifier.resources)
    yield _counters(
        "state_changes", "Committed changes of state that were taken in, by who spoke; reset is a flush.", ("source",),
        _by_one(notifier.state_changes),
    )  # fmt: skip


def _notifies(figures: Figures) -> Iterator[Metric]:
    wire, notifier = figures.wire, figures.notifier
    yield _counter("notifies_sent", "NOTIFYs sent, without retransmissions.", wire.notifies_sent)
    yield _counters(
        "notifies", "NOTIFYs by final status; 408: no answer came, unreachable: there was no way to send it.",
        ("status",), (((str(status or "unreachable"),), count) for status, count in notifier.notifies.items()),
    )  # fmt: skip
    yield _counter("notifies_oversized", "NOTIFYs over UDP larger than 1300 bytes.", wire.oversized)
    yield _histogram(
        "change_to_notify_sent_seconds", "From a change of state to each NOTIFY that tells it.", wire.change_to_sent
    )
    yield _histogram(
        "change_to_notify_answered_seconds", "From a change of state to each phone's 200 to the NOTIFY that tells it.",
        notifier.change_to_answered,
    )  # fmt: skip


def _messages(figures: Figures) -> Iterator[Metric]:
    wire = figures.wire
    yield _counters(
        "requests", "SIP requests by the status they were answered with.", ("method", "status"),
        (((method, str(status)), count) for (method, status), count in wire.answers.items()),
    )  # fmt: skip
    yield _counters(
        "refusals", "Messages refused and connections not kept, by why.", ("reason",), _by_one(figures.refusals)
    )
    yield _counters(
        "retransmissions", "Requests that came once more, and requests that were sent once more.", ("direction",),
        [(("in",), wire.retransmissions_received), (("out",), wire.retransmissions_sent)],
    )  # fmt: skip
    yield _counter("stray_responses", "Responses to nothing that was waited for.", wire.stray_responses)
    yield _counter("keepalives", "Keep-alives received: CRLF, STUN, WebSocket pings.", wire.keepalives)
    yield _counter("datagrams_unsendable", "Datagrams that the system did not take.", wire.sends_failed)


def _connections(figures: Figures) -> Iterator[Metric]:
    wire = figures.wire
    yield _gauges("connections", "Stream connections.", ("transport",), _by_one(wire.connections))
    yield _counters(
        "connections_closed", "Stream connections that ended, by why; peer: the other side closed it.", ("reason",),
        _by_one(wire.connections_closed),
    )  # fmt: skip


def _queues(figures: Figures) -> Iterator[Metric]:
    wire = figures.wire
    waiting = {
        "inbox": figures.inbox,
        "notify_lane": figures.outbox.lane,
        "paced": figures.notifier.paced,
    }
    yield _gauges("queue_length", "What waits, by where.", ("queue",), _by_one(waiting))
    held = {"server": wire.server_transactions, "client": wire.client_transactions}
    yield _gauges("transactions", "SIP transactions that are kept.", ("role",), _by_one(held))


def _store_and_loop(figures: Figures) -> Iterator[Metric]:
    outbox = figures.outbox
    age = 0.0 if outbox.waiting_since is None else figures.now - outbox.waiting_since
    yield _gauge("commit_age_seconds", "How long the oldest write has waited for its commit.", age)
    yield _histogram("commit_seconds", "From a batch of writes handed to the store to its commit.", outbox.commit_time)
    yield _counter("commits_failed", "Batches of writes that the store could not commit.", outbox.commits_failed)
    yield _gauge("store_up", "1 while the store commits, 0 after a commit that failed.", float(not outbox.failing))
    yield _gauge("bus_up", "1 while changes of state spread to all nodes.", float(figures.bus_up))
    yield _histogram("loop_delay_seconds", "How late the loop comes to what is due.", figures.loop_delay)


def _by_one(counts: Mapping[str, int]) -> Iterator[tuple[Labels, int]]:
    return (((name,), count) for name, count in counts.items())


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"sipresence_{name}", text, value)


def _gauges(name: str, text: str, labels: Labels, values: Iterable[tuple[Labels, int]]) -> Metric:
    family = GaugeMetricFamily(f"sipresence_{name}", text, labels=labels)
    for value_of, value in values:
        family.add_metric(value_of, value)
    return family


def _counter(name: str, text: str, value: int) -> Metric:
    return CounterMetricFamily(f"sipresence_{name}", text, value)


def _counters(name: str, text: str, labels: Labels, values: Iterable[tuple[Labels, int]]) -> Metric:
    family = CounterMetricFamily(f"sipresence_{name}", text, labels=labels)
    for value_of, value in values:
        family.add_metric(value_of, value)
    return family


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    buckets = [("+Inf" if bound == float("inf") else str(bound), count) for bound, count in histogram.cumulative()]
    return HistogramMetricFamily(f"sipresence_{name}", text, buckets=buckets, sum_value=histogram.sum)
