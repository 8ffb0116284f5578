"""What a server costs, as the system counts it: CPU and memory of a process and all that it has started."""

import os
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
SERVER_CORE, LOAD_CORE = 0, 1


def pinned(core: int, *command: str) -> list[str]:
    """The command, on one core only."""
    return ["taskset", "--cpu-list", str(core), *command]


def family(pid: int) -> list[int]:
    """The process and its descendants."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            parents[int(entry.name)] = int(fields[1])
    found = [pid]
    for known in found:
        found += [child for child, parent in parents.items() if parent == known]
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of the whole family, in seconds."""
    total = 0
    for member in family(pid):
        fields = _stat(member)
        total += int(fields[11]) + int(fields[12]) if fields else 0
    return total / _TICK


def memory_bytes(pid: int) -> int:
    """The memory of the whole family; what several of them share is counted once (PSS)."""
    return sum(_pss(member) for member in family(pid))


def _pss(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the command's name; none for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
