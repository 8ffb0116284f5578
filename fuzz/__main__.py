"""`python -m fuzz TARGET [libFuzzer options]`: run a fuzzer, guided by the coverage of sipresence (atheris, libFuzzer).

What it learns is kept in var/fuzz/TARGET below the current folder. An input that breaks an invariant is written to
var/fuzz/TARGET-crash-…, and belongs into tests/fuzz/findings then, where every test run plays it again.
"""

import importlib
import sys
from pathlib import Path

import atheris

KEPT = Path("var", "fuzz")
MAX_BYTES = 8192


def main() -> None:
    name, *options = sys.argv[1:]
    with atheris.instrument_imports(include=["sipresence"]):
        one_input = importlib.import_module(f"fuzz.fuzz_{name}").one_input
        seeds = importlib.import_module("fuzz.seeds")
    learned, given = (KEPT / folder for folder in (name, f"{name}-seeds"))
    for folder in (learned, given):
        folder.mkdir(parents=True, exist_ok=True)
    for seed, data in {"datagram": seeds.datagrams, "stream": seeds.streams, "body": seeds.bodies}[name]():
        (given / seed).write_bytes(data)
    atheris.Setup(
        [
            *(sys.argv[0], str(learned), str(given), f"-dict={Path(__file__).parent / 'sip.dict'}"),
            *(f"-artifact_prefix={learned}-", f"-max_len={MAX_BYTES}", "-timeout=10", *options),
        ],
        one_input,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
