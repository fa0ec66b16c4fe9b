"""What the schedule starts, as pure functions: which projects and days go into one run together."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from export_pipeline.exports.projects.planning import DayRange, day_ranges

PROJECTS_PER_RUN = 8
"""A run takes some seconds to start: small projects share one, large ones still run side by side."""


@dataclass(frozen=True, order=True)
class PlannedRun:
    """One run: every day of the range, of each of the assets."""

    days: DayRange
    assets: tuple[str, ...]


def plan_runs(
    missing: Mapping[str, Iterable[date]], *, under_way: Mapping[str, set[date]] | None = None
) -> list[PlannedRun]:
    """The runs that publish the missing days of each asset, oldest days first, leaving out what is under way.

    A run holds at most 31 days, all in a row, because a range of partitions has no holes.
    """
    assets_of: dict[DayRange, list[str]] = defaultdict(list)
    for asset in sorted(missing):
        busy = (under_way or {}).get(asset, set())
        for days in day_ranges(day for day in missing[asset] if day not in busy):
            assets_of[days].append(asset)
    return [
        PlannedRun(days, tuple(assets[start : start + PROJECTS_PER_RUN]))
        for days, assets in sorted(assets_of.items())
        for start in range(0, len(assets), PROJECTS_PER_RUN)
    ]
