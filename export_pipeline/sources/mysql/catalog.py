"""What MySQL and MariaDB say about the tables of a trace store."""

import re
from collections.abc import Collection, Sequence

from typing_extensions import override

from export_pipeline.errors import ExportPipelineError, SourceUnusableError
from export_pipeline.sources.mapping import RelationMapping
from export_pipeline.sources.mysql.dialect import MysqlDialect, bound
from export_pipeline.sources.mysql.errors import NO_SUCH_TABLE, NOT_PERMITTED, UNKNOWN_DATABASE, RefusedByServerError
from export_pipeline.sources.mysql.session import MysqlSession
from export_pipeline.sources.mysql.types import type_of
from export_pipeline.sources.presets.store import VERSIONS, Tables
from export_pipeline.sources.sql.dialect import Column, Index, Relation
from export_pipeline.sources.sql.plan import Catalog

_JSON_CHECK = re.compile(r"json_valid\([`\"]((?:[^`\"]|``|\"\")+)[`\"]\)")
_QUOTED_PAIR = re.compile(r"`((?:[^`]|``)+)`\.`((?:[^`]|``)+)`")
_WORD = re.compile(r"[\w$]+")


_Place = tuple[str, str]
"""A table by its schema and name."""


class MysqlCatalog(Catalog):
    """The tables and views as the server describes them to a session."""

    def __init__(self, session: MysqlSession, dialect: MysqlDialect) -> None:
        self._session, self._dialect = session, dialect

    @override
    def relation(self, mapping: RelationMapping) -> Relation | str | None:
        try:
            return self._query(mapping) if mapping.query is not None else self._table(mapping)
        except RefusedByServerError as error:
            if error.number in {NO_SUCH_TABLE, UNKNOWN_DATABASE} and mapping.query is None:
                return None
            if error.number in NOT_PERMITTED:
                told = "no right to read {}, or there is none; grant SELECT on it to the user of the URL: {}"
                return told.format(mapping, _reason(error))
            return f"{mapping} fails: {_reason(error)}"

    def _query(self, mapping: RelationMapping) -> Relation | str:
        source = f"({str(mapping.query).strip().rstrip(';')}\n)"
        names = self._session.described(f"SELECT * FROM {source} AS r LIMIT 0")
        columns = self._columns(source, names)
        return self._without_snapshot(mapping, source) or Relation(source=source, label=str(mapping), columns=columns)

    def _table(self, mapping: RelationMapping) -> Relation | str:
        name, schema = str(mapping.table), "DATABASE()" if mapping.in_schema is None else _text(mapping.in_schema)
        place = f"TABLE_NAME = {_text(name)} AND {{}}_SCHEMA = {schema}"
        source = ".".join(self._dialect.quote(part) for part in (mapping.in_schema, name) if part is not None)
        rights = self._session.rows(
            "SELECT COLUMN_NAME, PRIVILEGES FROM information_schema.COLUMNS "
            f"WHERE {place.format('TABLE')} ORDER BY ORDINAL_POSITION"
        )
        forbidden = frozenset(name.decode() for name, allowed in rights if b"select" not in allowed.lower())
        readable = [name.decode() for name, _ in rights if name.decode() not in forbidden]
        listed = ", ".join(f"r.{self._dialect.quote(name)}" for name in readable) or "*"
        names = self._session.described(f"SELECT {listed} FROM {source} AS r LIMIT 0")
        columns = self._columns(source, names, json=self._json_columns(place))
        if complaint := self._without_snapshot(mapping, source):
            return complaint
        indexes = self._indexes(place)
        primary = next((index.columns for index in indexes if index.name == "PRIMARY"), ())
        return Relation(
            source=source,
            label=str(mapping),
            columns=columns | dict.fromkeys(forbidden, ""),
            identity=() if forbidden.intersection(primary) else tuple(map(self._dialect.quote, primary)),
            indexes=indexes,
            forbidden=forbidden,
            is_table=bool(indexes) or self._is_table(place),
        )

    def _columns(self, source: str, names: Sequence[tuple[str, int]], *, json: Collection[str] = ()) -> dict[str, str]:
        """The types: texts by their collations, which are told for a row without values too."""
        quoted = [self._dialect.quote(name) for name, _ in names]
        collations = self._collations(
            [f"x.{name}" for name in quoted], f"SELECT {', '.join(quoted)} FROM {source} AS r"
        )
        return {
            name: type_of(code, collation, is_json=name in json)
            for (name, code), collation in zip(names, collations, strict=True)
        }

    def _collations(self, columns: Sequence[str], query: str) -> list[str]:
        asked = ", ".join(f"COLLATION({column})" for column in columns)
        ((*told,),) = self._session.rows(
            f"SELECT {asked} FROM (SELECT 1) AS one LEFT JOIN ({query} LIMIT 0) AS x ON 1 = 1"
        )
        return [collation.decode() for collation in told]

    def _json_columns(self, place: str) -> set[str]:
        """The columns that MariaDB calls JSON: texts with a check of their own."""
        try:
            checks = self._session.rows(
                f"SELECT CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS WHERE {place.format('CONSTRAINT')}"
            )
        except SourceUnusableError:
            return set()  # MySQL's have no table's name, and its JSON is a type
        found = (_JSON_CHECK.fullmatch(clause.decode()) for (clause,) in checks)
        return {match[1].replace("``", "`") for match in found if match}

    def _indexes(self, place: str) -> tuple[Index, ...]:
        by_name: dict[str, tuple[bool, list[str]]] = {}
        for name, repeats, column in self._session.rows(
            "SELECT INDEX_NAME, NON_UNIQUE, COLUMN_NAME FROM information_schema.STATISTICS "
            f"WHERE {place.format('TABLE')} ORDER BY INDEX_NAME, SEQ_IN_INDEX"
        ):
            columns = by_name.setdefault(name.decode(), (not repeats, []))[1]
            columns.append("" if column is None else column.decode())
        return tuple(Index(name, tuple(columns), unique) for name, (unique, columns) in by_name.items())

    def _is_table(self, place: str) -> bool:
        told = self._session.rows(f"SELECT TABLE_TYPE FROM information_schema.TABLES WHERE {place.format('TABLE')}")
        return told == [(b"BASE TABLE",)]

    def _without_snapshot(self, mapping: RelationMapping, source: str) -> str | None:
        """What is wrong where a table behind the source is of an engine that has no transactions, and no snapshots."""
        safe = "SELECT e.ENGINE FROM information_schema.ENGINES AS e WHERE e.TRANSACTIONS = 'YES'"
        for place in sorted(self._read(mapping, source)):
            told = self._session.rows(
                f"SELECT t.ENGINE FROM information_schema.TABLES AS t WHERE {_is(place)} "
                f"AND t.TABLE_TYPE = 'BASE TABLE' AND t.ENGINE NOT IN ({safe})"
            )
            if told:
                name, engine = place[1], told[0][0].decode()
                return (
                    f"{mapping}: the table {name} is of the engine {engine}, which has no snapshots, so that a day "
                    f"might be read while it changes; run: ALTER TABLE {name} ENGINE = InnoDB"
                )
        return None

    def _read(self, mapping: RelationMapping, source: str) -> set[_Place]:
        """The tables that may be read, by schema and name: those in the query as the server has understood it.

        It leaves out a table with a single row, so that the words of queries and the tables of views count too.
        """
        ((database,),) = self._session.rows("SELECT DATABASE()")
        own, existing = database.decode(), self._existing()
        waiting = {(mapping.in_schema or own, str(mapping.table))}
        waiting |= {(own, word) for word in _WORD.findall(mapping.query or "")}
        waiting |= _pairs(" ".join([*self._explained(source), mapping.query or ""]))
        read: set[_Place] = set()
        while waiting := (waiting & existing) - read:
            place = waiting.pop()
            read.add(place)
            views = self._session.rows(
                f"SELECT t.VIEW_DEFINITION FROM information_schema.VIEWS AS t WHERE {_is(place)}"
            )
            waiting |= {pair for (text,) in views for pair in _pairs(text.decode())}
        return read

    def _existing(self) -> set[_Place]:
        named = self._session.rows(
            "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES "
            "WHERE TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema', 'mysql', 'sys')"
        )
        return {(schema.decode(), name.decode()) for schema, name in named}

    def _explained(self, source: str) -> list[str]:
        """The query as the server has understood it; nothing where the right to see a view's is missing."""
        try:
            return self._session.explained(f"SELECT * FROM {source} AS r")
        except SourceUnusableError:
            return []

    @override
    def expression(self, relation: Relation, *, alias: str, sql: str) -> Column | str:
        query = f"SELECT ({sql}\n) AS value FROM {relation.from_(alias)}"
        try:
            ((_, code),) = self._session.described(f"{query} LIMIT 0")
            (collation,) = self._collations(["x.value"], query)
        except SourceUnusableError as error:
            return _reason(error)
        return Column(f"({sql}\n)", type_of(code, collation), "expression")

    @override
    def tables(self, names: Collection[str]) -> Tables:
        listed = ", ".join(_text(name) for name in (*names, VERSIONS))
        columns: dict[str, set[str]] = {}
        for table, column in self._session.rows(
            "SELECT TABLE_NAME, COLUMN_NAME FROM information_schema.COLUMNS "
            f"WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME IN ({listed})"
        ):
            columns.setdefault(table.decode(), set()).add(column.decode())
        recorded = columns.pop(VERSIONS, None) and self._session.rows(f"SELECT version_num FROM {VERSIONS}")
        version = recorded[0][0].decode() if recorded else None
        return Tables("mysql", {name: frozenset(of_table) for name, of_table in columns.items()}, version)


def _text(text: str) -> str:
    return f"CONVERT({bound(text)} USING utf8mb4)"


def _is(place: _Place) -> str:
    return f"t.TABLE_SCHEMA = {_text(place[0])} AND t.TABLE_NAME = {_text(place[1])}"


def _pairs(text: str) -> set[_Place]:
    """All pairs of quoted names in a query; columns by their tables are among them."""
    pairs = _QUOTED_PAIR.findall(text.replace('"', "`"))
    return {(schema.replace("``", "`"), name.replace("``", "`")) for schema, name in pairs}


def _reason(error: ExportPipelineError) -> str:
    return str(error).rpartition("cannot be read: ")[2]
