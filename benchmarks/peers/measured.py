"""The frame of a measured program, in whatever environment: standard library only.

Started with its options as JSON in the first argument, it imports, says `ready`, waits for a line, does its work, and
prints what that took as JSON.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def options() -> dict[str, Any]:
    """What the benchmark asked for."""
    given: dict[str, Any] = json.loads(sys.argv[1])
    return given


def run(work: Callable[[], dict[str, Any] | None]) -> None:
    """Measures `work`, whose answer is passed on; what was imported before counts for memory only."""
    print("ready", flush=True)
    sys.stdin.readline()
    before, begun = _cpu(), time.perf_counter()
    told = work()
    wall, cpu = time.perf_counter() - begun, _cpu() - before
    print(json.dumps({"wall": wall, "cpu": cpu, "peak_mb": _peak_mb(), **(told or {})}), flush=True)


def _cpu() -> float:
    return sum(os.times()[:4])


def _peak_mb() -> float:
    """Of this process, or of a child it waited for, the greater. `ru_maxrss` of oneself would count the parent too."""
    own = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return max(int(own.split()[1]), children) * 1024 / 1e6
