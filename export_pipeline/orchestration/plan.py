"""What the schedule starts, as pure functions: which projects and days go into one run together."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from export_pipeline.orchestration.partitions import DAYS_PER_RUN

PROJECTS_PER_RUN = 8
"""A run takes some seconds to start: small projects share one, large ones still run side by side."""


@dataclass(frozen=True, order=True)
class PlannedRun:
    """One run: every day from `first` to `last`, both included, of each of the assets."""

    first: date
    last: date
    assets: tuple[str, ...]

    @property
    def days(self) -> int:
        """How many days each of the assets publishes."""
        return (self.last - self.first).days + 1


def plan_runs(
    missing: Mapping[str, Iterable[date]], *, under_way: Mapping[str, set[date]] | None = None
) -> list[PlannedRun]:
    """The runs that publish the missing days of each asset, oldest days first, leaving out what is under way.

    A run holds at most 31 days, all in a row, because a range of partitions has no holes.
    """
    assets_of: dict[tuple[date, date], list[str]] = defaultdict(list)
    for asset in sorted(missing):
        busy = (under_way or {}).get(asset, set())
        for stretch in stretches(day for day in missing[asset] if day not in busy):
            assets_of[stretch].append(asset)
    return [
        PlannedRun(first, last, tuple(assets[start : start + PROJECTS_PER_RUN]))
        for (first, last), assets in sorted(assets_of.items())
        for start in range(0, len(assets), PROJECTS_PER_RUN)
    ]


def stretches(days: Iterable[date], *, longest: int = DAYS_PER_RUN) -> list[tuple[date, date]]:
    """The days as stretches (first, last) without holes, oldest first, none longer than `longest`."""
    found: list[tuple[date, date]] = []
    for day in sorted(set(days)):
        if found:
            first, last = found[-1]
            if day - last == timedelta(days=1) and (day - first).days < longest:
                found[-1] = (first, day)
                continue
        found.append((day, day))
    return found
