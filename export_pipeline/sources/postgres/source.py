"""A trace store in PostgreSQL."""

import uuid
from typing import Any

from export_pipeline.errors import SourceUnreachableError
from export_pipeline.sources.postgres.adbc import Adbc
from export_pipeline.sources.postgres.catalog import PostgresCatalog
from export_pipeline.sources.postgres.dialect import PostgresDialect
from export_pipeline.sources.postgres.errors import RefusedByServerError
from export_pipeline.sources.postgres.filter import PostgresFilterWords
from export_pipeline.sources.postgres.session import PostgresSession
from export_pipeline.sources.postgres.tables import NO_TABLES, TOUCHED, Tables, definition
from export_pipeline.sources.presets.choose import Choice
from export_pipeline.sources.protocol import ProjectKey
from export_pipeline.sources.sql.plan import Catalog
from export_pipeline.sources.sql.source import PATIENCE, Session, SqlSource

_BEGINNINGS = 3


class PostgresSource(SqlSource):
    """A trace store in PostgreSQL. `url` is a SQLAlchemy URL; `row_security`: export the rows that the role may see."""

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
        self._adbc, self._row_security = Adbc(url), row_security
        self._tables: Tables | None = None
        dialect = PostgresDialect(choice.mapping.epoch_unit)
        words = PostgresFilterWords(dialect, self._adbc)
        super().__init__(
            choice=choice,
            dialect=dialect,
            words=words,
            place=self._adbc.place,
            unassigned=unassigned,
            workspace=workspace,
            patience=patience,
        )

    def _connected(self) -> PostgresSession:
        return self._open(None)

    def _open(self, project: ProjectKey | None, tables: Tables = NO_TABLES) -> PostgresSession:
        return PostgresSession(self._adbc, project, tables=tables, row_security=self._row_security)

    def _begin(self, project: ProjectKey | None) -> PostgresSession:
        refused: RefusedByServerError | None = None
        for _ in range(_BEGINNINGS):
            if (tables := self._tables or self._survey()) is None:
                return self._open(project)  # whoever asks is told the problems
            try:
                session = self._open(project, tables)
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
        session = self._open(None)
        try:
            plan = self._made_plan(session)
            if plan.problems:
                return None
            for relation in plan.relations:
                session.names(f"SELECT 1 FROM {relation.from_('x')} LIMIT 0")
            names = tuple(name for (name,) in session.rows(TOUCHED))
            tables = Tables(names, session.rows(f"SELECT {definition(names)}")[0][0])
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
        assert isinstance(session, PostgresSession)  # noqa: S101
        return PostgresCatalog(session, row_security=self._row_security)

    def _release(self) -> None:
        self._adbc.close()
