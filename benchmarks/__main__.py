"""The bench: every workload on every server, in turn, round after round.

python -m benchmarks                                  everything, three rounds, and benchmarks/RESULTS.md
python -m benchmarks --only storm --rounds 1 --subscriptions 20000 --servers memory,kamailio-memory
"""

import argparse
import json
import platform
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.servers import Contender, Kamailio, Sipresence
from benchmarks.table import comparison, everything
from benchmarks.workloads import WORKLOADS, Figures, Scale

FOLDER = Path(__file__).parent
COMPILED_PYTHON = FOLDER.parent / ".venv-compiled" / "bin" / "python"
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
    parser.add_argument("--write", action="store_true", help="write RESULTS.md")
    asked = parser.parse_args(arguments)
    scale = Scale(subscriptions=asked.subscriptions, seconds=asked.seconds)
    results: dict[tuple[str, str], list[Figures]] = defaultdict(list)
    for number in range(asked.rounds):
        for workload in asked.only.split(","):
            for server in asked.servers.split(","):
                if server == "kamailio-durable" and workload != "storm":
                    continue  # nothing else is compared with it
                measured = _scale(scale, server)
                with known[server]() as contender:
                    figures = WORKLOADS[workload](contender, measured)
                results[workload, server].append(figures)
                shown = {name: round(value, 2) for name, value in figures.items()}
                print(f"round {number + 1} {workload} {server} {json.dumps(shown)}", flush=True)
    variants = {"pure": ("sqlite", "memory"), "compiled": ("compiled-sqlite", "compiled-memory")}
    shown_variants = {name: pair for name, pair in variants.items() if any((w, pair[1]) in results for w in WORKLOADS)}
    tables = f"{comparison(results, shown_variants)}\n"
    print(f"\n{tables}")
    if asked.write:
        (FOLDER / "RESULTS.md").write_text(_page(tables, everything(results), asked))
    return 0


def _scale(scale: Scale, server: str) -> Scale:
    if server != "kamailio-durable":
        return scale
    return Scale(subscriptions=min(DURABLE_SUBSCRIPTIONS, scale.subscriptions), seconds=scale.seconds)


def _page(tables: str, details: str, asked: argparse.Namespace) -> str:
    cpu = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    kamailio = subprocess.run(["kamailio", "-v"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    introduction = (FOLDER / "introduction.md").read_text()
    return (
        f"{introduction}\n## Measured {datetime.now(UTC):%Y-%m-%d}\n\n"
        f"{cpu.partition(':')[2].strip()}, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, "
        f"{kamailio.partition('(')[0].removeprefix('version: ').strip()}; {asked.rounds} rounds, medians.\n\n"
        f"{tables}\n## Every figure\n\n{details}\n"
    )


sys.exit(main(sys.argv[1:]))
