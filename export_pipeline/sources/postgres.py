"""A trace store in PostgreSQL."""

from typing import Any

from export_pipeline.sources.adbc import Adbc
from export_pipeline.sources.mapping import Mapping
from export_pipeline.sources.plan import Catalog
from export_pipeline.sources.postgres_catalog import PostgresCatalog
from export_pipeline.sources.postgres_filter import PostgresFilterWords
from export_pipeline.sources.postgres_session import PostgresSession
from export_pipeline.sources.postgres_sql import PostgresDialect
from export_pipeline.sources.source import Session, SqlSource


class PostgresSource(SqlSource):
    """See `RunSource`. `url` is a SQLAlchemy URL."""

    def __init__(self, url: Any, *, mapping: Mapping, unassigned: str | None = None) -> None:
        self._adbc = Adbc(url)
        dialect = PostgresDialect(mapping.epoch_unit)
        words = PostgresFilterWords(dialect)
        super().__init__(mapping=mapping, dialect=dialect, words=words, place=self._adbc.place, unassigned=unassigned)

    def _begin(self, project: str | None) -> PostgresSession:
        return PostgresSession(self._adbc, project)

    def _catalog(self, session: Session) -> Catalog:
        assert isinstance(session, PostgresSession)  # noqa: S101
        return PostgresCatalog(session)

    def _release(self) -> None:
        self._adbc.close()
