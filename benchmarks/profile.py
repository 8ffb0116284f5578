"""Where the CPU time goes: py-spy (extra `bench`) looks 500 times a second at a server under one workload.

    python -m benchmarks.profile storm | fanout-10000 | steady

Shares by module of the innermost frame; what a call into the system takes counts for the module that makes it.
"""

import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile

from benchmarks.servers import Sipresence
from benchmarks.workloads import WORKLOADS, Scale

PY_SPY = Path(sys.executable).with_name("py-spy")
RATE = 797  # looks per second; not 500, which would beat with 500 changes a second


def main(arguments: Sequence[str]) -> int:
    (workload,) = arguments
    with NamedTemporaryFile("r") as samples, Sipresence("memory:", name="memory") as server:
        command = [str(PY_SPY), "record", "--rate", str(RATE), "--format", "raw", "--output", samples.name, "--pid"]
        spy = subprocess.Popen([*command, str(server.pid)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        WORKLOADS[workload](server, Scale(subscriptions=50_000, seconds=10, later=0))
        spy.send_signal(2)
        spy.wait(60)
        shares = by_module(samples.read())
    for module, share in shares.most_common(20):
        print(f"{share / shares.total():7.1%}  {module}")
    return 0


def by_module(samples: str) -> Counter[str]:
    """Count the samples by the file of their innermost frame: `outer (file:line);inner (file:line) count`."""
    shares: Counter[str] = Counter()
    for line in samples.splitlines():
        stack, _, count = line.rpartition(" ")
        innermost = stack.rpartition(";")[2]
        shares[innermost.rpartition("(")[2].partition(":")[0].removesuffix(")")] += int(count)
    return shares


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
