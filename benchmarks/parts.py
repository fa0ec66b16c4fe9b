"""The product's day once more, with its parts' CPU told apart; run by `python -m benchmarks parts`.

Parts that run in threads of their own are timed there; the thread pools of Arrow and Polars by their threads' names.
"""

import functools
import os
import runpy
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "peers"), str(HERE)]

import measured

from export_pipeline.exports.commit.stream import DuplicateFilter
from export_pipeline.files.content_hash import ContentHash
from export_pipeline.files.parquet import DayFile
from export_pipeline.object_store.protocol import ObjectStore
from export_pipeline.object_store.upload import BufferedUpload, PartUpload
from export_pipeline.runs.transform import RunTransform
from export_pipeline.sources.sql.read_ahead import ReadAhead

PARTS: dict[str, float] = defaultdict(float)
WALLS: dict[str, float] = defaultdict(float)
_inner = threading.local()


def timed(owner: Any, name: str, part: str) -> None:
    """Counts the thread's CPU and the wall time in a method for a part, less that of parts called within it."""
    method: Callable[..., Any] = getattr(owner, name)

    @functools.wraps(method)
    def counted(*args: Any, **named: Any) -> Any:
        outer = getattr(_inner, "spent", (0.0, 0.0))
        _inner.spent = (0.0, 0.0)
        cpu, wall = time.thread_time(), time.perf_counter()
        try:
            return method(*args, **named)
        finally:
            spent, lasted = time.thread_time() - cpu, time.perf_counter() - wall
            PARTS[part] += spent - _inner.spent[0]
            WALLS[part] += lasted - _inner.spent[1]
            _inner.spent = (outer[0] + spent, outer[1] + lasted)

    setattr(owner, name, counted)


def _pools() -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)
    tick = os.sysconf("SC_CLK_TCK")
    for task in Path("/proc/self/task").iterdir():
        name, fields = (task / "comm").read_text().strip(), (task / "stat").read_text().rsplit(")", 1)[1].split()
        if task.name != str(os.getpid()):
            found[name.rstrip("0123456789-")] += (int(fields[11]) + int(fields[12])) / tick
    return found


timed(RunTransform, "_together", "transform")
timed(ContentHash, "update", "content hash")
timed(DuplicateFilter, "kept", "duplicate check")
timed(DuplicateFilter, "found_more", "duplicate check")
timed(DayFile, "_flush", "encode")
timed(BufferedUpload, "write", "copy into parts, wait for upload")
timed(PartUpload, "_upload", "upload")
timed(ReadAhead, "_run", "fetch")
timed(ReadAhead, "__next__", "wait for fetch")
timed(ObjectStore, "__init__", "open the bucket")
_run = measured.run


def _measured(work: Callable[[], dict[str, Any] | None]) -> None:
    def with_parts() -> dict[str, Any]:
        pools = _pools()
        begun = time.thread_time()
        told = work() or {}
        PARTS["main thread"] = time.thread_time() - begun
        PARTS.update({f"pool {name}": cpu - pools.get(name, 0) for name, cpu in _pools().items()})
        parts = {name: round(cpu, 3) for name, cpu in PARTS.items()}
        return {**told, "parts": parts, "walls": {name: round(wall, 3) for name, wall in WALLS.items()}}

    _run(with_parts)


measured.run = _measured
runpy.run_path(str(HERE / "product.py"), run_name="__main__")
