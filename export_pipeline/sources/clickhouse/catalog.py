"""What ClickHouse says about the tables of a trace store."""

import re
from collections.abc import Collection

from typing_extensions import override

from export_pipeline.errors import ExportPipelineError, SourceUnusableError
from export_pipeline.settings import PREFIX
from export_pipeline.sources.clickhouse.dialect import ClickhouseDialect, Table, bound
from export_pipeline.sources.clickhouse.errors import NOT_PERMITTED, RefusedByServerError
from export_pipeline.sources.clickhouse.session import ClickhouseSession
from export_pipeline.sources.mapping import RelationMapping
from export_pipeline.sources.presets.store import Tables
from export_pipeline.sources.sql.dialect import Column, Index, Relation
from export_pipeline.sources.sql.plan import Catalog

_MERGING = ("Replacing", "Collapsing", "Coalescing", "Summing", "Aggregating")
"""What the names of engines begin with, behind Replicated or Shared, that make one row of those with the same key."""
_COLUMNS = "SELECT table, name FROM system.columns WHERE database = currentDatabase()"
_UNKNOWN_TABLE, _UNKNOWN_DATABASE = 60, 81
_ONE_COLUMN = re.compile(r"to[A-Z]\w*\(`?(\w+)`?(?:, '[^']*'|, \d+)*\)|`?(\w+)`?")
"""A column, or a function of one that keeps its order, such as `toStartOfHour`; others, as hashes, find no range."""
_PARTIAL = (
    "a row policy hides rows from the user of the URL; let it see all, or set "
    f"{PREFIX}ALLOW_ROW_SECURITY=true where only the rows that it may see are meant"
)
_PART_IS_MEANT = "a row policy applies; only the rows that the user of the URL may see are exported"


class ClickhouseCatalog(Catalog):
    """The tables and views as ClickHouse describes them to a session."""

    def __init__(self, session: ClickhouseSession, dialect: ClickhouseDialect, *, row_security: bool) -> None:
        """`row_security`: whether the rows that the user may see are all that is meant."""
        self._session, self._dialect, self._row_security = session, dialect, row_security

    @override
    def relation(self, mapping: RelationMapping) -> Relation | str | None:
        if mapping.query is not None:
            source = f"({mapping.query.strip().rstrip(';')}\n)"
            return self._described(mapping, source, of=source)
        parts = (mapping.in_schema, mapping.table)
        source = ".".join(self._dialect.quote(part) for part in parts if part is not None)
        return self._described(mapping, source, of=f"TABLE {source}")

    def _described(self, mapping: RelationMapping, source: str, *, of: str) -> Relation | str | None:
        try:
            columns = self._columns(mapping, of=of)
            permitted = self._permitted(source, columns)
            is_partial = self._is_partial(source, permitted)
        except RefusedByServerError as error:
            if error.code in {_UNKNOWN_TABLE, _UNKNOWN_DATABASE} and mapping.query is None:
                return None
            if error.code == NOT_PERMITTED:
                return f"no right to read {mapping}; grant SELECT on it to the user of the URL: {_reason(error)}"
            return f"{mapping} fails: {_reason(error)}"
        if is_partial and not self._row_security:
            return f"{mapping}: {_PARTIAL}"
        engine, keys = ("", ()) if mapping.query is not None else self._keys(mapping)
        final = engine.removeprefix("Replicated").removeprefix("Shared").startswith(_MERGING)
        if len(permitted) < len(columns):  # whatever means all columns of a row must not name the others
            listed = ", ".join(map(self._dialect.quote, permitted))
            source = f"(SELECT {listed} FROM {source}{' FINAL' if final else ''})"
        return Table(
            warnings=(f"{mapping}: {_PART_IS_MEANT}",) if is_partial else (),
            source=source,
            label=str(mapping),
            columns=columns,
            indexes=tuple(replace_unique(key, unique=key.unique and final) for key in keys),
            forbidden=frozenset(columns.keys() - set(permitted)),
            final=final and len(permitted) == len(columns),
        )

    def _columns(self, mapping: RelationMapping, *, of: str) -> dict[str, str]:
        """Names and types. Who may read some columns of a table alone may not have it described, but see these."""
        try:
            rows = self._session.rows(f"DESCRIBE {of}")
        except RefusedByServerError as error:
            if error.code != NOT_PERMITTED or mapping.query is not None:
                raise
            rows = self._session.rows(
                f"SELECT name, type FROM system.columns WHERE {self._is_table(mapping, name='table')}"
            )
            if not rows:
                raise
        return {name.decode(): kind.decode() for name, kind, *_ in rows}

    def _permitted(self, source: str, columns: Collection[str]) -> list[str]:
        """The columns that the user may read; raises where there are none."""
        try:
            self._session.rows(f"SELECT {self._listed(columns)} FROM {source} AS r LIMIT 0")
        except RefusedByServerError as error:
            permitted = []
            if error.code == NOT_PERMITTED and len(columns) > 1:
                permitted = [name for name in columns if self._may_read(source, name)]
            if not permitted:
                raise
            return permitted
        return list(columns)

    def _may_read(self, source: str, column: str) -> bool:
        try:
            return bool(self._permitted(source, [column]))
        except RefusedByServerError:
            return False

    def _listed(self, columns: Collection[str]) -> str:
        return ", ".join(f"r.{self._dialect.quote(name)}" for name in columns)

    def _is_partial(self, source: str, columns: Collection[str]) -> bool:
        """Whether a row policy leaves out rows for this user: ClickHouse then filters before everything else."""
        steps = self._session.rows(f"EXPLAIN actions = 1 SELECT {self._listed(columns)} FROM {source} AS r")
        return any(b"Row level filter" in step for (step,) in steps)

    def _keys(self, mapping: RelationMapping) -> tuple[str, tuple[Index, ...]]:
        """The engine, and what rows are found by: the sorting key and the partitions, by the columns in them."""
        rows = self._session.rows(
            "SELECT engine, sorting_key, primary_key, partition_key FROM system.tables "
            f"WHERE {self._is_table(mapping, name='name')}"
        )
        if not rows:
            return "", ()
        engine, sorting, primary, partition = (each.decode() for each in rows[0])
        by_row, by_part = columns_of(sorting), columns_of(partition)
        unique = bool(sorting) and "" not in by_row and set(by_part) <= set(by_row)
        keys = [Index(f"the sorting key ({sorting})", by_row, unique=unique and _is_plain(sorting))] if sorting else []
        keys += [Index(f"the primary key ({primary})", columns_of(primary), unique=False)] if primary != sorting else []
        keys += [Index(f"the partitions ({partition})", by_part, unique=False)] if partition else []
        return engine, tuple(keys)

    @staticmethod
    def _is_table(mapping: RelationMapping, *, name: str) -> str:
        """The condition on a table of the system's, which has the table's name in this column."""
        database = "currentDatabase()" if mapping.in_schema is None else bound(mapping.in_schema)
        return f"database = {database} AND {name} = {bound(str(mapping.table))}"

    @override
    def tables(self, names: Collection[str]) -> Tables:
        columns: dict[str, set[str]] = {}
        for table, column in self._session.rows(_COLUMNS):
            columns.setdefault(table.decode(), set()).add(column.decode())
        return Tables("clickhouse", {name: frozenset(columns[name]) for name in names if name in columns})

    @override
    def expression(self, relation: Relation, *, alias: str, sql: str) -> Column | str:
        try:
            described = self._session.rows(f"DESCRIBE (SELECT ({sql}\n) AS value FROM {relation.from_(alias)})")
        except SourceUnusableError as error:
            return _reason(error)
        return Column(f"({sql}\n)", described[0][1].decode(), "expression")


def replace_unique(index: Index, *, unique: bool) -> Index:
    """The index, with another answer to whether it is unique."""
    return Index(index.name, index.columns, unique)


def _is_plain(key: str) -> bool:
    return "(" not in key


def columns_of(key: str) -> tuple[str, ...]:
    """The columns of a key, of each expression its one column, or an empty text for one with several."""
    columns = []
    for part in _parts(key.removeprefix("(").removesuffix(")") if key.startswith("(") else key):
        match = _ONE_COLUMN.fullmatch(part.strip())
        columns.append("" if match is None else match[1] or match[2])
    return tuple(columns)


def _parts(key: str) -> list[str]:
    parts, depth = [""], 0
    for char in key:
        depth += (char == "(") - (char == ")")
        if char == "," and not depth:
            parts.append("")
        else:
            parts[-1] += char
    return [part for part in parts if part.strip()]


def _reason(error: ExportPipelineError) -> str:
    return str(error).rpartition("cannot be read: ")[2]
