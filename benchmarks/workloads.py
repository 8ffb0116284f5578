"""The workloads: what is done to a server, and the figures that come of it.

Each runs against a server that has just started, and gives figures by name: microseconds of the server's CPU for one
operation, bytes of memory, milliseconds. Whatever goes wrong on the wire ends the run (load.py).
"""

import time
from collections.abc import Callable
from typing import TypeAlias
from urllib.request import Request, urlopen

from benchmarks.load import Load, Report
from benchmarks.servers import ACCOUNT, TOKEN, Contender

Figures: TypeAlias = dict[str, float]
Workload: TypeAlias = Callable[[Contender, "Scale"], Figures]

WINDOW = 200  # SUBSCRIBEs under way
LATER_S = 40  # when the transactions of a storm are over
KEYS = 10
PAUSE_MS = 1100  # between two changes: a phone takes ten NOTIFYs a second
CHANGES_PER_S = 500
IDLE_S = 10
MOST_LISTED = 100_000  # subscriptions; a list of a million is a gigabyte


class Scale:
    """How large the workloads are: `subscriptions` of the storms, `seconds` of the steady state, how often the lamp of
    a fan-out `changes`, and how many seconds `later` memory is looked at again, when the transactions are over."""

    def __init__(
        self, *, subscriptions: int = 100_000, seconds: int = 20, changes: int = 10, later: int = LATER_S
    ) -> None:
        self.subscriptions = subscriptions
        self.seconds = seconds
        self.changes = changes
        self.later = later


def storm(server: Contender, scale: Scale) -> Figures:
    """Every phone subscribes with ten keys, then refreshes them; memory between, and 40 s after the storm."""
    phones = scale.subscriptions // KEYS
    before = server.memory
    with Load(server, phones=phones, keys=KEYS, resources=phones) as load:
        subscribed = load.perform("subscribe", WINDOW)
        full = (server.memory - before) / scale.subscriptions
        load.perform("idle", scale.later)
        later = (server.memory - before) / scale.subscriptions
        refreshed = load.perform("subscribe", WINDOW)
        listed = _listed(server) if server.has_http and scale.subscriptions <= MOST_LISTED else {}
        load.perform("unsubscribe", WINDOW)
    return {
        "subscribe_cpu_us": _each(subscribed),
        "subscribe_per_s": subscribed["done"] / subscribed["seconds"],
        "subscribe_load_us": subscribed["load_cpu"] / subscribed["done"] * 1e6,
        "refresh_cpu_us": _each(refreshed),
        "refresh_per_s": refreshed["done"] / refreshed["seconds"],
        "memory_full": full,
        "memory_later": later,
        **listed,
    }


def _each(report: Report) -> float:
    return float(report["cpu"] / report["done"] * 1e6)


def _listed(server: Contender) -> Figures:
    """GET of the whole account's list, as one answer."""
    url = f"http://127.0.0.1:{server.http_port}/v2/accounts/{ACCOUNT}/presence"
    before, started = server.cpu, time.monotonic()
    with urlopen(Request(url, headers={"X-Auth-Token": TOKEN})) as answer:
        size = len(answer.read())
    return {"list_s": time.monotonic() - started, "list_cpu_s": server.cpu - before, "list_mb": size / 1e6}


def fan_out(phones: int) -> Workload:
    """One resource changes, and so many phones are told, one change after the other."""

    def run(server: Contender, scale: Scale) -> Figures:
        with Load(server, phones=phones, keys=1, resources=1) as load:
            load.perform("subscribe", WINDOW)
            changed = load.perform("change", scale.changes, PAUSE_MS)
        if changed["changes_seen"] != phones * scale.changes:
            raise RuntimeError(f"{server.name}: {changed['changes_seen']} of {phones * scale.changes} lamps changed")
        return {
            "cpu_us": float(changed["cpu"] / changed["notifies"] * 1e6),
            "last_ms": changed["last_us"]["p50"] / 1000,
            "again": float(changed["notifies_again"]),
        }

    return run


def steady(server: Contender, scale: Scale) -> Figures:
    """500 changes a second over 1,000 resources, each with ten phones; then as many on resources without any."""
    with Load(server, phones=10_000, keys=1, resources=1000) as load:
        load.perform("subscribe", WINDOW)
        load.perform("steady", CHANGES_PER_S, 2)
        told = load.perform("steady", CHANGES_PER_S, scale.seconds)
        unwatched = load.perform("unwatched", CHANGES_PER_S, scale.seconds)
    if told["changes_seen"] != told["changes_expected"]:
        raise RuntimeError(f"{server.name}: {told['changes_seen']} of {told['changes_expected']} lamps changed")
    return {
        "cpu_us": float(told["cpu"] / told["notifies"] * 1e6),
        "net_cpu_us": float((told["cpu"] - unwatched["cpu"]) / told["notifies"] * 1e6),
        "p50_ms": told["latency_us"]["p50"] / 1000,
        "p99_ms": told["latency_us"]["p99"] / 1000,
    }


def tcp(server: Contender, scale: Scale) -> Figures:
    """1,000 phones on connections of their own, ten subscriptions each."""
    with Load(server, phones=1000, keys=KEYS, resources=1000, tcp=True) as load:
        load.perform("connect")
        subscribed = load.perform("subscribe", WINDOW)
        refreshed = load.perform("subscribe", WINDOW)
        load.perform("unsubscribe", WINDOW)
    return {"subscribe_cpu_us": _each(subscribed), "refresh_cpu_us": _each(refreshed)}


def idle(server: Contender, scale: Scale) -> Figures:
    """10,000 phones on TCP, each with one subscription, of which nothing is heard."""
    phones = 10_000
    before = server.memory
    with Load(server, phones=phones, keys=1, resources=1000, tcp=True) as load:
        connected = load.perform("connect")
        load.perform("subscribe", WINDOW)
        memory = (server.memory - before) / phones
        quiet = load.perform("idle", IDLE_S)
        load.perform("unsubscribe", WINDOW)
    return {
        "connect_cpu_us": float(connected["cpu"] / phones * 1e6),
        "memory": memory,
        "idle_cpu_percent": quiet["cpu"] / quiet["seconds"] * 100,
    }


WORKLOADS: dict[str, Workload] = {
    "storm": storm,
    "fanout-1000": fan_out(1000),
    "fanout-10000": fan_out(10_000),
    "steady": steady,
    "tcp": tcp,
    "idle": idle,
}
