"""Places for runs of bulk exports: a workspace without a running one comes first, if need be in another one's place.

A pure function; what a place is, and how many there are, is said by the limits of Dagster's queue.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from export_pipeline.exports.bulk.plan import Run

PATIENCE = 20 * 1_000_000
"""For how many microseconds a workspace waits for a place that becomes free by itself."""


@dataclass(frozen=True)
class Moves:
    """Ids of Dagster runs: queued ones that go before all others, and a running one that is ended, where one is."""

    first: tuple[str, ...] = ()
    ended: str | None = None


def share_places(runs: Iterable[Run], *, places: int | None) -> Moves:
    """What gives each workspace a place, as far as there are enough: `runs` are the live ones, places None: no limit.

    While only one workspace has runs it keeps whatever it has. Where all places are taken and a workspace without one
    has waited for some time, one of those that have most of them, and at least two, loses its youngest run.
    """
    live = [run for run in runs if run.live]
    running = [run for run in live if not run.queued]
    used = Counter(run.workspace for run in running)
    waiting: dict[str, Run] = {}
    for run in sorted(live, key=lambda run: -run.age):
        if run.queued and run.workspace is not None and not used[run.workspace]:
            waiting.setdefault(run.workspace, run)
    if len({run.workspace for run in live}) < 2:
        return Moves()
    first = tuple(run.run_id for run in waiting.values())
    if places is None or len(running) < places or all(run.age < PATIENCE for run in waiting.values()):
        return Moves(first)
    return Moves(first, _youngest_of_most(running, used))


def _youngest_of_most(running: list[Run], used: Counter[str | None]) -> str | None:
    """None where nobody has two, and while another run is being ended already."""
    most = max(used.values())
    able = [run for run in running if used[run.workspace] == most and run.status == "STARTED"]
    if most < 2 or not able or any(run.status == "CANCELING" for run in running):
        return None
    return min(able, key=lambda run: (run.cleans, run.age)).run_id
