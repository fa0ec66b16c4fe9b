"""A trace store in an SQLite file."""

import uuid
from collections.abc import Collection
from pathlib import Path

from typing_extensions import override

from export_pipeline.errors import SourceUnusableError
from export_pipeline.sources.mapping import RelationMapping
from export_pipeline.sources.presets.choose import Choice
from export_pipeline.sources.presets.store import VERSIONS, Tables
from export_pipeline.sources.protocol import ProjectKey
from export_pipeline.sources.sql.dialect import Column, Index, Relation
from export_pipeline.sources.sql.plan import Catalog
from export_pipeline.sources.sql.source import PATIENCE, Session, SqlSource
from export_pipeline.sources.sqlite.dialect import SqliteDialect
from export_pipeline.sources.sqlite.filter import SqliteFilterWords
from export_pipeline.sources.sqlite.session import SqliteSession
from export_pipeline.sources.sqlite.spool import ROW_KEYS

_TYPES = '"export pipeline types"'


class SqliteSource(SqlSource):
    """A trace store in an SQLite file."""

    def __init__(
        self,
        path: Path,
        *,
        choice: Choice,
        unassigned: str | None = None,
        workspace: uuid.UUID | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self._path = path
        dialect = SqliteDialect(choice.mapping.epoch_unit)
        words = SqliteFilterWords(dialect)
        place = f"sqlite:///{path}"
        super().__init__(
            choice=choice,
            dialect=dialect,
            words=words,
            place=place,
            unassigned=unassigned,
            workspace=workspace,
            patience=patience,
        )

    def _connected(self) -> SqliteSession:
        return self._begin(None)

    def _begin(self, project: ProjectKey | None) -> SqliteSession:
        return SqliteSession(self._path, unit=self.epoch_unit, project=project)

    def _catalog(self, session: Session) -> Catalog:
        assert isinstance(session, SqliteSession)  # noqa: S101
        return SqliteCatalog(session)

    def _release(self) -> None:
        """Connections end with their sessions."""


class SqliteCatalog(Catalog):
    """The tables and views as SQLite describes them to a session."""

    def __init__(self, session: SqliteSession) -> None:
        self._session = session

    @override
    def relation(self, mapping: RelationMapping) -> Relation | str | None:
        if mapping.query is not None:
            source = f"({mapping.query.strip().rstrip(';')}\n)"
            names = self._names(source)
            if isinstance(names, str):
                return f"{mapping} fails: {names}"
            return Relation(source=source, label=str(mapping), columns=dict.fromkeys(names, "") | self._types(source))
        if mapping.in_schema is not None:
            return f"{mapping}: SQLite has no schemas; name the table alone"
        quoted = _quote(str(mapping.table))
        # hidden 1 marks the columns of virtual tables that SELECT * leaves out
        columns = {
            name.decode(): kind.decode()
            for _, name, kind, _, _, _, hidden in self._session.rows(f"PRAGMA table_xinfo({quoted})")
            if hidden != 1
        }
        if not columns:
            return None
        if isinstance(names := self._names(quoted), str):
            return f"{mapping} fails: {names}"
        key = self._row_key(quoted, columns)
        return Relation(
            source=quoted,
            label=str(mapping),
            columns=columns,
            identity=() if key is None else (key,),
            indexes=self._indexes(quoted),
        )

    def _names(self, source: str) -> list[str] | str:
        try:
            return self._session.names(f"SELECT * FROM {source} AS r LIMIT 0")
        except SourceUnusableError as error:
            return str(error).rpartition("cannot be read: ")[2]

    def _row_key(self, quoted: str, columns: dict[str, str]) -> str | None:
        """The name of the row's number; views and tables WITHOUT ROWID have none."""
        key = next((name for name in ROW_KEYS if name not in {column.lower() for column in columns}), None)
        literal = "'" + quoted[1:-1].replace('""', '"').replace("'", "''") + "'"
        kinds = self._session.rows(f"SELECT type FROM sqlite_master WHERE name = {literal} COLLATE NOCASE")
        if key is None or (b"table",) not in kinds:
            return None
        try:
            self._session.names(f"SELECT {key} FROM {quoted} LIMIT 0")
        except SourceUnusableError:
            return None
        return key

    def _indexes(self, quoted: str) -> tuple[Index, ...]:
        indexes = []
        for row in self._session.rows(f"PRAGMA index_list({quoted})"):
            name, unique, partial = row[1].decode(), bool(row[2]), bool(row[4])
            columns = [item[2] for item in self._session.rows(f"PRAGMA index_info({_quote(name)})")]
            if not partial:
                indexes.append(Index(name, tuple("" if item is None else item.decode() for item in columns), unique))
        key = [row for row in self._session.rows(f"PRAGMA table_info({quoted})") if row[5]]
        if len(key) == 1:
            indexes.append(Index("the primary key", (key[0][1].decode(),), unique=True))
        return tuple(indexes)

    @override
    def expression(self, relation: Relation, *, alias: str, sql: str) -> Column | str:
        try:
            self._session.names(f"SELECT ({sql}\n) FROM {relation.from_(alias)} LIMIT 0")
        except SourceUnusableError as error:
            return str(error).rpartition("cannot be read: ")[2]
        types = self._types(f"(SELECT ({sql}\n) AS value FROM {relation.from_(alias)})")
        return Column(f"({sql}\n)", types.get("value", ""), "expression")

    @override
    def tables(self, names: Collection[str]) -> Tables:
        listed = self._session.rows(
            "SELECT t.name, c.name FROM sqlite_master AS t JOIN pragma_table_xinfo(t.name) AS c "
            "WHERE t.type IN ('table', 'view') AND c.hidden <> 1"
        )
        columns: dict[str, set[str]] = {}
        for table, column in listed:
            columns.setdefault(table.decode().lower(), set()).add(column.decode().lower())
        recorded = columns.get(VERSIONS) and self._session.rows(f"SELECT version_num FROM {VERSIONS}")
        version = recorded[0][0].decode() if recorded else None
        return Tables("sqlite", {name: frozenset(columns[name]) for name in names if name in columns}, version)

    def _types(self, source: str) -> dict[str, str]:
        """The declared types of a query's columns, which only a view of it tells; empty for computed ones."""
        try:
            self._session.run(f"CREATE TEMP VIEW {_TYPES} AS SELECT * FROM {source}")
        except SourceUnusableError:
            return {}
        try:
            columns = self._session.rows(f"PRAGMA temp.table_xinfo({_TYPES})")
        finally:
            self._session.run(f"DROP VIEW temp.{_TYPES}")
        return {name.decode(): kind.decode() for _, name, kind, *_ in columns}


def _quote(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'
