"""A trace store in ClickHouse."""

import uuid
from datetime import date, datetime, timedelta
from typing import Any

from typing_extensions import override

from export_pipeline.runs.filter_tree import Filter
from export_pipeline.runs.window import Window
from export_pipeline.sources.clickhouse.catalog import ClickhouseCatalog
from export_pipeline.sources.clickhouse.client import Clickhouse
from export_pipeline.sources.clickhouse.dialect import ClickhouseDialect
from export_pipeline.sources.clickhouse.queries import ClickhouseQueries
from export_pipeline.sources.clickhouse.session import ClickhouseSession
from export_pipeline.sources.presets.choose import Choice
from export_pipeline.sources.protocol import DayFingerprint, ProjectKey
from export_pipeline.sources.sql.counting import Counted, count_days
from export_pipeline.sources.sql.plan import Catalog, Plan
from export_pipeline.sources.sql.queries import RunQueries
from export_pipeline.sources.sql.source import FIRST_DAY, PATIENCE, Session, SqlSource, fingerprint_of


class ClickhouseSource(SqlSource):
    """A trace store in ClickHouse. `url` is a SQLAlchemy URL; `row_security`: export the rows that the user may see."""

    def __init__(
        self,
        url: Any,
        *,
        choice: Choice,
        unassigned: str | None = None,
        workspace: uuid.UUID | None = None,
        row_security: bool = False,
        patience: float = PATIENCE,
    ) -> None:
        self._clickhouse, self._row_security = Clickhouse(url, seconds=patience), row_security
        self._words_of_clickhouse = ClickhouseDialect(choice.mapping.epoch_unit)
        super().__init__(
            choice=choice,
            dialect=self._words_of_clickhouse,
            words=None,
            place=self._clickhouse.place,
            unassigned=unassigned,
            workspace=workspace,
            patience=patience,
        )

    def _connected(self) -> ClickhouseSession:
        return self._begin(None)

    def _begin(self, project: ProjectKey | None) -> ClickhouseSession:  # noqa: ARG002 - it stands in the queries
        return ClickhouseSession(self._clickhouse, unit=self.epoch_unit)

    def _catalog(self, session: Session) -> Catalog:
        assert isinstance(session, ClickhouseSession)  # noqa: S101
        return ClickhouseCatalog(session, self._words_of_clickhouse, row_security=self._row_security)

    @override
    def _made_queries(self, plan: Plan, project: ProjectKey, tree: Filter | None) -> ClickhouseQueries:
        return ClickhouseQueries(plan, project, tree=tree)

    @override
    def _days(self, session: Session, queries: RunQueries, window: Window) -> dict[date, DayFingerprint]:
        assert isinstance(queries, ClickhouseQueries)  # noqa: S101
        by_day = count_days(session.rows, queries, window, unit=self.epoch_unit)
        has_feedback = queries.plan.feedbacks is not None
        return {
            FIRST_DAY + timedelta(days=number): _fingerprint(by_day[number], has_feedback=has_feedback)
            for number in sorted(by_day)
        }

    @override
    def _changed(self, session: Session, queries: RunQueries, window: Window, since: datetime) -> int | None:
        assert isinstance(queries, ClickhouseQueries)  # noqa: S101
        runs, _ = queries.plan.usable()
        if runs.modified_at is None:
            return None
        by_day = count_days(session.rows, queries, window, unit=self.epoch_unit, since=since)
        return sum(each.rows for each in by_day.values())

    def _release(self) -> None:
        self._clickhouse.close()


def _fingerprint(totals: Counted, *, has_feedback: bool) -> DayFingerprint:
    counted = totals.rows, totals.newest, totals.rows + totals.superseded, totals.digest
    return fingerprint_of(counted, (totals.records, totals.newest_record) if has_feedback else None)
