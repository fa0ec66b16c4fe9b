"""What all trace stores behind an API are like: they cannot be asked what has changed, and list every project."""

from datetime import datetime

from typing_extensions import override

from export_pipeline.runs.filter_tree import Filter
from export_pipeline.runs.times import EpochUnit
from export_pipeline.runs.window import Window
from export_pipeline.sources.allocator import give_back_large_buffers
from export_pipeline.sources.http.rows import Row, batch_of
from export_pipeline.sources.protocol import ProjectKey, RunSource, UnassignedRows


class ApiSource(RunSource):
    """A trace store behind an API."""

    epoch_unit: EpochUnit = "s"

    def __init__(self) -> None:
        give_back_large_buffers()

    @override
    def changed(
        self,
        project: ProjectKey,
        window: Window,
        since: datetime,
        *,
        filter: Filter | None = None,
    ) -> int | None:
        """None: an API does not tell when a run was written."""
        return None

    @override
    def unassigned(self) -> UnassignedRows:
        """None: every run is one of a project, and all projects are listed."""
        return UnassignedRows()


def shown(row: Row) -> dict[str, str | None]:
    """A row as a person reads it, by column."""
    batch = batch_of([row])
    cells = {name: batch.column(name)[0].as_py() for name in batch.schema.names}
    return {name: None if cell is None else str(cell) for name, cell in cells.items()}
