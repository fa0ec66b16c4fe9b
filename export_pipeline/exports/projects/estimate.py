"""What a back-fill would bring, and how long a store behind an API takes for it, before it starts.

Days and rows are counted by the store, bytes are those of a sample of the newest day. What an API's limit allows is a
lower bound: answers may be slower, and others may use the same key.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from export_pipeline.errors import UnknownProjectError
from export_pipeline.exports.projects.registry import is_wanted
from export_pipeline.exports.projects.sync import widest_key
from export_pipeline.runs.window import Window
from export_pipeline.settings import Settings
from export_pipeline.sources.protocol import Project, ProjectKey, RunSource

SAMPLE_ROWS = 1_000


@dataclass(frozen=True)
class Estimate:
    """Of one project: its days with rows, and the text that they hold before it is compressed, in bytes.

    `bytes` is None where nothing could be sampled; `requests` and `seconds` where the store has no limit.
    """

    project: str
    first: date | None
    last: date | None
    days: int
    rows: int
    bytes: int | None
    requests: int | None
    seconds: float | None


def wanted_projects(source: RunSource, settings: Settings, name_or_id: str | None) -> list[Project]:
    """Those that become assets, or the ones of that name or id; raises `UnknownProjectError` where there is none."""
    listed = source.projects()
    if name_or_id is None:
        return [each for each in listed if is_wanted(each.name, settings, is_experiment=each.is_experiment)]
    found = [each for each in listed if name_or_id in {each.name, each.key}]
    if not found:
        raise UnknownProjectError(f"the trace store has no project {name_or_id!r}")
    return found


def estimates(source: RunSource, projects: Sequence[Project], window: Window) -> Iterator[Estimate]:
    """One for each project, as it is counted."""
    for project in projects:
        key = widest_key(project)
        counted = {day: found.rows for day, found in source.days(key, window).items() if found.rows}
        rows, pace = sum(counted.values()), source.pace
        a_row = _bytes_of_a_row(source, key, max(counted)) if counted else 0.0
        requests = None if pace is None else sum(map(pace.requests, counted.values()))
        yield Estimate(
            project=project.name,
            first=min(counted, default=None),
            last=max(counted, default=None),
            days=len(counted),
            rows=rows,
            bytes=None if a_row is None else round(rows * a_row),
            requests=requests,
            seconds=None if pace is None or requests is None else requests / pace.rate,
        )


def _bytes_of_a_row(source: RunSource, project: ProjectKey, day: date) -> float | None:
    rows = size = 0
    with source.open(project, Window.of_day(day)) as snapshot:
        for batch in snapshot.batches():
            rows, size = rows + batch.num_rows, size + batch.nbytes
            if rows >= SAMPLE_ROWS:
                break
    return size / rows if rows else None
