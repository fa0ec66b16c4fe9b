"""When to clean up after workers that died in exports that have ended; a pure function."""

import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from export_pipeline.exports.bulk.records import BulkUnit

MOST = 20
"""Cleaning runs of one export, at most."""


@dataclass(frozen=True)
class Cleaning:
    """A Dagster run to be started that reads no rows; `number` counts the export's earlier ones."""

    bulk_id: uuid.UUID
    units: tuple[BulkUnit, ...]
    number: int

    @property
    def run_key(self) -> str:
        """Dagster starts each key once, for ever."""
        return f"{self.bulk_id}:clean:{self.number}"


def plan_cleaning(
    left: Iterable[BulkUnit],
    *,
    live: Collection[uuid.UUID],
    earlier: Mapping[uuid.UUID, Sequence[float]],
    pause: float,
    now: float,
) -> list[Cleaning]:
    """The cleaning that is due: of exports without a live run, with a pause that doubles after each one.

    `left` are units of exports that have ended; `earlier` holds when cleaning runs of an export ended. Seconds.
    """
    by_export: dict[uuid.UUID, list[BulkUnit]] = defaultdict(list)
    for unit in left:
        if unit.bulk_id not in live:
            by_export[unit.bulk_id].append(unit)
    due = []
    for bulk_id, units in by_export.items():
        ends = earlier.get(bulk_id, ())
        if len(ends) < MOST and (not ends or now - max(ends) >= pause * 2 ** (len(ends) - 1)):
            due.append(Cleaning(bulk_id, tuple(units), len(ends)))
    return due
