"""A trace store in MySQL or MariaDB."""

import uuid
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

from typing_extensions import override

from export_pipeline.errors import SourceUnreachableError
from export_pipeline.runs.filter_tree import Filter
from export_pipeline.runs.window import Window
from export_pipeline.sources.mysql.catalog import MysqlCatalog
from export_pipeline.sources.mysql.client import Mysql
from export_pipeline.sources.mysql.dialect import MysqlDialect
from export_pipeline.sources.mysql.errors import RefusedByServerError
from export_pipeline.sources.mysql.queries import MysqlQueries
from export_pipeline.sources.mysql.session import MysqlSession
from export_pipeline.sources.mysql.tables import Tables, tables_of
from export_pipeline.sources.presets.choose import Choice
from export_pipeline.sources.protocol import DayFingerprint, ProjectKey
from export_pipeline.sources.sql.counting import Counted, count_days
from export_pipeline.sources.sql.plan import Catalog, Plan
from export_pipeline.sources.sql.queries import RunQueries
from export_pipeline.sources.sql.source import FIRST_DAY, PATIENCE, Session, SqlSource, fingerprint_of

_BEGINNINGS = 3


class MysqlSource(SqlSource):
    """A trace store in MySQL or MariaDB. `url` is a SQLAlchemy URL."""

    def __init__(
        self,
        url: Any,
        *,
        choice: Choice,
        unassigned: str | None = None,
        workspace: uuid.UUID | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self._mysql = Mysql(url)
        self._words_of_mysql = MysqlDialect(choice.mapping.epoch_unit)
        self._tables: Tables | None = None
        super().__init__(
            choice=choice,
            dialect=self._words_of_mysql,
            words=None,
            place=self._mysql.place,
            unassigned=unassigned,
            workspace=workspace,
            patience=patience,
        )

    def _connected(self) -> MysqlSession:
        return MysqlSession(self._mysql, None)

    def _begin(self, project: ProjectKey | None) -> MysqlSession:
        refused: RefusedByServerError | None = None
        for _ in range(_BEGINNINGS):
            if (tables := self._tables or self._survey()) is None:
                return MysqlSession(self._mysql, project)  # whoever asks is told the problems
            try:
                session = MysqlSession(self._mysql, project, tables=tables)
            except RefusedByServerError as error:
                refused = error  # a table is there no more, or by another name
            else:
                if session.definition == tables.definition:
                    return session
                session.close()
            self._forget(tables)
        raise refused or SourceUnreachableError(f"the trace store ({self._place}): its tables are being changed")

    def _survey(self) -> Tables | None:
        """The tables that the plan reads; None where there is no plan yet, because there are problems."""
        session = MysqlSession(self._mysql, None)
        try:
            plan = self._made_plan(session)
            if plan.problems:
                return None
            tables = tables_of(plan)
            tables = replace(tables, definition=session.defined(tables))
        finally:
            session.close()
        with self._lock:
            self._tables, self._known = tables, (tables.definition, plan)
        return tables

    def _forget(self, tables: Tables) -> None:
        with self._lock:
            if self._tables is tables:
                self._tables = None

    def _catalog(self, session: Session) -> Catalog:
        assert isinstance(session, MysqlSession)  # noqa: S101
        return MysqlCatalog(session, self._words_of_mysql)

    @override
    def _made_queries(self, plan: Plan, project: ProjectKey, tree: Filter | None) -> MysqlQueries:
        return MysqlQueries(plan, project, tree=tree)

    @override
    def _days(self, session: Session, queries: RunQueries, window: Window) -> dict[date, DayFingerprint]:
        if queries.matching is None:
            return super()._days(session, queries, window)
        by_day = self._counted(session, queries, window)
        has_feedback = queries.plan.feedbacks is not None
        return {
            FIRST_DAY + timedelta(days=number): _fingerprint(by_day[number], has_feedback=has_feedback)
            for number in sorted(by_day)
        }

    @override
    def _changed(self, session: Session, queries: RunQueries, window: Window, since: datetime) -> int | None:
        runs, _ = queries.plan.usable()
        if queries.matching is None or runs.modified_at is None:
            return super()._changed(session, queries, window, since)
        return sum(each.rows for each in self._counted(session, queries, window, since=since).values())

    def _counted(
        self, session: Session, queries: RunQueries, window: Window, *, since: datetime | None = None
    ) -> dict[int, Counted]:
        assert isinstance(session, MysqlSession)  # noqa: S101
        assert isinstance(queries, MysqlQueries)  # noqa: S101
        session.tell(window)
        return count_days(session.stream, queries, window, unit=self.epoch_unit, since=since)

    def _release(self) -> None:
        """Connections end with their sessions."""


def _fingerprint(totals: Counted, *, has_feedback: bool) -> DayFingerprint:
    counted = totals.rows, totals.newest, totals.rows + totals.superseded, totals.digest
    return fingerprint_of(counted, (totals.records, totals.newest_record) if has_feedback else None)
