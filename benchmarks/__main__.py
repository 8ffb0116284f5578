"""The bench: every workload on every server, in turn, round after round.

python -m benchmarks                                  everything, three rounds, and benchmarks/RESULTS.md
python -m benchmarks --only storm --rounds 1 --subscriptions 20000 --servers memory,kamailio-memory
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.servers import Contender, Kamailio, Sipresence
from benchmarks.table import Results, comparison, everything
from benchmarks.workloads import LATER_S, WORKLOADS, Figures, Scale

FOLDER = Path(__file__).parent
COMPILED_PYTHON = Path(f"{sys.prefix}-compiled") / "bin" / "python"  # beside the environment that this one runs in
PEERS = ("kamailio-memory", "kamailio-durable")
DURABLE_SUBSCRIPTIONS = 2000


def contenders() -> dict[str, Callable[[], Contender]]:
    """Every server that can be measured here, by name; the compiled ones where they are installed."""
    known: dict[str, Callable[[], Contender]] = {
        "sqlite": lambda: Sipresence("sqlite:presence.db", name="sqlite"),
        "memory": lambda: Sipresence("memory:", name="memory"),
        "kamailio-memory": lambda: Kamailio("memory"),
        "kamailio-durable": lambda: Kamailio("durable"),
    }
    if COMPILED_PYTHON.exists():
        python = str(COMPILED_PYTHON)
        known["compiled-sqlite"] = lambda: Sipresence("sqlite:presence.db", name="compiled-sqlite", python=python)
        known["compiled-memory"] = lambda: Sipresence("memory:", name="compiled-memory", python=python)
    return known


def main(arguments: Sequence[str]) -> int:
    known = contenders()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure sipresence beside Kamailio.")
    parser.add_argument("--only", default=",".join(WORKLOADS), help="workloads, by comma")
    parser.add_argument("--servers", default=",".join(known), help="servers, by comma")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--subscriptions", type=int, default=100_000, help="of the storms")
    parser.add_argument("--seconds", type=int, default=20, help="of the steady state")
    parser.add_argument("--later", type=int, default=LATER_S, help="seconds until memory is looked at again")
    parser.add_argument("--write", action="store_true", help="write RESULTS.md")
    asked = parser.parse_args(arguments)
    scale = Scale(subscriptions=asked.subscriptions, seconds=asked.seconds, later=asked.later)
    results: dict[tuple[str, str], list[Figures]] = defaultdict(list)
    for number in range(1, asked.rounds + 1):
        for workload in asked.only.split(","):
            for server in asked.servers.split(","):
                if server == "kamailio-durable" and workload != "storm":
                    continue  # nothing else is compared with it
                with known[server]() as contender:
                    figures = WORKLOADS[workload](contender, _scale(scale, server))
                results[workload, server].append(figures)
                shown = {name: round(value, 2) for name, value in figures.items()}
                print(f"round {number} {workload} {server} {json.dumps(shown)}", flush=True)
        if asked.write:  # after each round: the next takes a quarter of an hour
            (FOLDER / "RESULTS.md").write_text(_page(results, rounds=number))
    print(f"\n{_ratios(results)}")
    return 0


def _ratios(results: Results) -> str:
    variants = {"pure": ("sqlite", "memory"), "compiled": ("compiled-sqlite", "compiled-memory")}
    measured = {server for _, server in results}
    return comparison(results, {name: pair for name, pair in variants.items() if measured.intersection(pair)})


def _scale(scale: Scale, server: str) -> Scale:
    if server != "kamailio-durable":
        return scale
    return Scale(subscriptions=min(DURABLE_SUBSCRIPTIONS, scale.subscriptions), seconds=scale.seconds, later=0)


def _page(results: Results, *, rounds: int) -> str:
    cpu = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    kamailio = subprocess.run(["kamailio", "-v"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    introduction = (FOLDER / "introduction.md").read_text()
    return (
        f"{introduction}\n## Measured {datetime.now(UTC):%Y-%m-%d}\n\n"
        f"{cpu.partition(':')[2].strip()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}{' as a shared library' if _is_shared() else ''}, "
        f"{kamailio.partition('(')[0].removeprefix('version: ').strip()}; {_times(rounds)}.\n\n"
        f"{_ratios(results)}\n\n## Every figure\n\n{everything(results)}\n"
    )


def _times(rounds: int) -> str:
    return f"medians of {rounds} rounds" if rounds > 1 else "one round, so a figure may be a tenth off"


def _is_shared() -> bool:
    """Whether this Python comes as a shared library, which costs a fifth to a quarter more."""
    return "/libpython" in Path("/proc/self/maps").read_text()


sys.exit(main(sys.argv[1:]))
