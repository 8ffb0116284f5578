"""The tables: medians of the rounds, ours divided by Kamailio's, beside the bars that were set."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple, TypeAlias

from benchmarks.workloads import Figures

Results: TypeAlias = Mapping[tuple[str, str], Sequence[Figures]]
"""By workload and server, the figures of each round."""

MEMORY, DURABLE = "kamailio-memory", "kamailio-durable"


class Bar(NamedTuple):
    """What one figure of ours may be at most, as a part of the peer's."""

    text: str
    workload: str
    figure: str
    peer: str
    sqlite: float
    memory: float | None = None


BARS = (
    Bar("SUBSCRIBE storm: CPU per SUBSCRIBE, 200, NOTIFY, 200 (µs)", "storm", "subscribe_cpu_us", MEMORY, 0.8, 0.7),
    Bar("the same, Kamailio durable (µs)", "storm", "subscribe_cpu_us", DURABLE, 0.2),
    Bar("refresh storm: CPU per refresh (µs)", "storm", "refresh_cpu_us", MEMORY, 0.8, 0.7),
    Bar("fan-out to 1,000: CPU per NOTIFY and 200 (µs)", "fanout-1000", "cpu_us", MEMORY, 0.4, 0.4),
    Bar("fan-out to 10,000: until the last arrived (ms)", "fanout-10000", "last_ms", MEMORY, 0.25, 0.25),
    Bar("steady state: CPU per NOTIFY, changes included (µs)", "steady", "cpu_us", MEMORY, 0.55, 0.55),
    Bar("steady state: the same without the changes (µs)", "steady", "net_cpu_us", MEMORY, 0.45, 0.45),
    Bar("steady state: change to NOTIFY, p50 (ms)", "steady", "p50_ms", MEMORY, 1.0, 1.0),
    Bar("steady state: change to NOTIFY, p99 (ms)", "steady", "p99_ms", MEMORY, 1.0, 1.0),
    Bar("memory per subscription after the storm (bytes)", "storm", "memory_full", MEMORY, 0.5, 0.5),
    Bar("memory per subscription 40 s later (bytes)", "storm", "memory_later", MEMORY, 0.5, 0.5),
    Bar("TCP, 1,000 connections: CPU per SUBSCRIBE (µs)", "tcp", "subscribe_cpu_us", MEMORY, 0.9, 0.65),
)


def middle(results: Results, workload: str, server: str, figure: str) -> float | None:
    """The median over the rounds, None for what was not measured."""
    values = [round_[figure] for round_ in results.get((workload, server), ()) if figure in round_]
    return median(values) if values else None


def comparison(results: Results, variants: Mapping[str, tuple[str, str]]) -> str:
    """A table of ratios: for each variant of ours its SQLite and its memory server."""
    heads = [f"{variant}, {store} | ratio" for variant in variants for store in ("SQLite", "memory:")]
    lines = [f"| figure | bars | Kamailio | {' | '.join(heads)} |", "| --- |" + " --- |" * (2 + 2 * len(heads))]
    for bar in BARS:
        peer = middle(results, bar.workload, bar.peer, bar.figure)
        if peer is None:
            continue
        bars = f"{bar.sqlite:g}" if bar.memory is None else f"{bar.sqlite:g}, {bar.memory:g}"
        cells = [bar.text, bars, _number(peer)]
        for sqlite, memory in variants.values():
            cells += _judged(middle(results, bar.workload, sqlite, bar.figure), peer, bar.sqlite)
            cells += _judged(middle(results, bar.workload, memory, bar.figure), peer, bar.memory)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def everything(results: Results) -> str:
    """Every figure of every server: median, and the lowest and highest of the rounds."""
    lines = ["| workload | figure | server | median | lowest | highest |", "| --- | --- | --- | --- | --- | --- |"]
    for (workload, server), rounds in sorted(results.items()):
        for figure in rounds[0]:
            values = [round_[figure] for round_ in rounds]
            shown = " | ".join(_number(value) for value in (median(values), min(values), max(values)))
            lines.append(f"| {workload} | {figure} | {server} | {shown} |")
    return "\n".join(lines)


def _judged(ours: float | None, peer: float, bar: float | None) -> list[str]:
    if ours is None:
        return ["-", "-"]
    ratio = ours / peer if peer else float("inf")
    missed = bar is not None and ratio > bar
    return [_number(ours), f"**{ratio:.2f}** (missed)" if missed else f"{ratio:.2f}"]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
