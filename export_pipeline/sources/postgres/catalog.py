"""What PostgreSQL's catalog says about the tables of a trace store."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

from typing_extensions import override

from export_pipeline.settings import PREFIX
from export_pipeline.sources.mapping import RelationMapping
from export_pipeline.sources.postgres.dialect import C_TEXT, LOOSE_TEXT
from export_pipeline.sources.postgres.errors import NOT_PERMITTED, RefusedByServerError
from export_pipeline.sources.postgres.session import PostgresSession
from export_pipeline.sources.presets.store import VERSIONS, Tables
from export_pipeline.sources.sql.dialect import Column, Index, Relation
from export_pipeline.sources.sql.plan import Catalog

# A domain counts as the type it is made of.
_TYPE = f"""CASE WHEN b.typcategory = 'A' THEN 'array' WHEN b.typcategory = 'C' THEN 'composite'
  WHEN b.typname = 'citext' OR b.typname IN ('text', 'varchar', 'bpchar')
    AND {{collation}} IN (SELECT oid FROM pg_collation WHERE NOT collisdeterministic) THEN '{LOOSE_TEXT}'
  WHEN b.typname IN ('text', 'varchar') AND (
    {{collation}} IN (SELECT oid FROM pg_collation WHERE collcollate IN ('C', 'POSIX'))
    OR {{collation}} = 'pg_catalog."default"'::regcollation
    AND (SELECT datcollate IN ('C', 'POSIX') FROM pg_database WHERE datname = current_database())
  ) THEN '{C_TEXT}' ELSE b.typname::text END"""
_COLUMN_TYPE = _TYPE.format(collation="a.attcollation")
_FIND = """SELECT c.oid::int8, c.relkind::text, has_table_privilege(c.oid, 'SELECT') FROM pg_class c
WHERE c.oid = to_regclass($1)"""
_COLUMNS = f"""SELECT a.attname::text, {_COLUMN_TYPE}, has_column_privilege(a.attrelid, a.attnum, 'SELECT')
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
WHERE a.attrelid = $1::int8::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"""
_INDEXES = """SELECT i.indexrelid::regclass::text, i.indisunique, k.position::int8, a.attname::text
FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, position)
LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum AND k.attnum > 0
WHERE i.indrelid = $1::int8::oid AND i.indisvalid AND i.indpred IS NULL AND k.position <= i.indnkeyatts
ORDER BY 1, 3"""
_TABLES = """SELECT c.relname::text, a.attname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relname = ANY (string_to_array($1, ' ')) AND c.relkind IN ('r', 'p', 'v', 'm') AND pg_table_is_visible(c.oid)
AND a.attnum > 0 AND NOT a.attisdropped AND has_column_privilege(c.oid, a.attnum, 'SELECT')"""
_TYPE_BY_OID = f"""SELECT {_TYPE.format(collation="$2::regcollation")} FROM pg_type t
JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END WHERE t.oid = $1::int8::oid"""


_PARTIAL = (
    "row-level security hides rows from the user of the URL; give that role BYPASSRLS, or set "
    f"{PREFIX}ALLOW_ROW_SECURITY=true where only the rows that it may see are meant"
)
_PART_IS_MEANT = "row-level security applies; only the rows that the user of the URL may see are exported"


class PostgresCatalog(Catalog):
    """The tables and views as PostgreSQL's catalog describes them to a session."""

    def __init__(self, session: PostgresSession, *, row_security: bool) -> None:
        """`row_security`: whether the rows that the role may see are all that is meant."""
        self._session, self._rows, self._row_security = session, session.rows, row_security

    @override
    def relation(self, mapping: RelationMapping) -> Relation | str | None:
        if mapping.query is not None:
            return self._query(mapping)
        quoted = ".".join(_quote(part) for part in (mapping.in_schema, mapping.table) if part is not None)
        rows = self._rows(_FIND, [quoted])
        if not rows:
            return None
        oid, kind, whole = rows[0]
        columns = self._rows(_COLUMNS, [str(oid)])
        if not any(allowed for _, _, allowed in columns):
            return f"no right to read {mapping}; grant SELECT on it to the user of the URL"
        partial = self._is_partial(quoted)
        if partial and not self._row_security:
            return f"{mapping}: {_PARTIAL}"
        return Relation(
            warnings=(f"{mapping}: {_PART_IS_MEANT}",) if partial else (),
            source=quoted,
            label=str(mapping),
            columns={name: type_ for name, type_, _ in columns},
            # The right to read some columns does not include the row's place.
            identity=("tableoid", "ctid") if kind in {"r", "p", "m"} and whole else (),
            indexes=_indexes(self._rows(_INDEXES, [str(oid)])),
            forbidden=frozenset(name for name, _, allowed in columns if not allowed),
        )

    def _query(self, mapping: RelationMapping) -> Relation | str:
        source = f"({str(mapping.query).strip().rstrip(';')}\n)"
        probe = f"SELECT * FROM {source} AS r LIMIT 0"
        names = self._try(lambda: self._session.names(probe), sql=probe)
        if isinstance(names, str):
            return f"{mapping} fails: {names}"
        warnings = (f"{mapping}: {_PART_IS_MEANT}",) if self._is_partial(source) else ()
        relation = Relation(source=source, label=str(mapping), columns={}, warnings=warnings)
        for name in names:
            column = self.expression(relation, alias="r", sql=f"r.{_quote(name)}")
            if isinstance(column, str):
                return f"{mapping} fails at its column {name}: {column}"
            relation.columns[name] = column.type
        return relation

    @override
    def expression(self, relation: Relation, *, alias: str, sql: str) -> Column | str:
        probe = (
            "SELECT pg_typeof(x.value)::oid::int8, CASE WHEN "
            "(SELECT t.typcollation FROM pg_type t WHERE t.oid = pg_typeof(x.value)) <> 0 "
            "THEN pg_collation_for(x.value) END FROM (SELECT 1) AS one LEFT JOIN LATERAL "
            f"(SELECT ({sql}\n) AS value FROM {relation.from_(alias)} LIMIT 0) AS x ON true"
        )
        described = self._try(lambda: self._rows(probe)[0], sql=probe)
        if isinstance(described, str):
            return described
        oid, collation = described
        kind = self._rows(_TYPE_BY_OID, [str(oid), collation or '"default"'])[0][0]
        return Column(f"({sql}\n)", kind, "expression")

    @override
    def tables(self, names: Collection[str]) -> Tables:
        columns: dict[str, set[str]] = {}
        for table, column in self._rows(_TABLES, [" ".join([*names, VERSIONS])]):
            columns.setdefault(table, set()).add(column)
        recorded = columns.pop(VERSIONS, None) and self._rows(f"SELECT version_num FROM {VERSIONS}")
        version = recorded[0][0] if recorded else None
        return Tables("postgresql", {name: frozenset(of_table) for name, of_table in columns.items()}, version)

    def _is_partial(self, source: str) -> bool:
        """Whether row-level security leaves out rows for this role: the server then refuses where it is `off`."""
        probe = f"SELECT 1 FROM {source} AS r LIMIT 0"
        return not self._runs(probe, row_security="off") and self._runs(probe, row_security="on")

    def _runs(self, sql: str, *, row_security: str) -> bool:
        self._session.run(f"SAVEPOINT export_pipeline; SET LOCAL row_security = {row_security}")
        try:
            self._session.names(sql)
        except RefusedByServerError:
            return False
        else:
            return True
        finally:
            self._session.run("ROLLBACK TO SAVEPOINT export_pipeline")

    def _try(self, attempt: Callable[[], Any], *, sql: str) -> Any:
        """The answer, or the server's complaint about `sql`; the transaction stays usable."""
        self._session.run("SAVEPOINT export_pipeline")
        try:
            return attempt()
        except RefusedByServerError as error:
            self._session.run("ROLLBACK TO SAVEPOINT export_pipeline")
            if error.sqlstate == NOT_PERMITTED and not self._row_security and self._runs(sql, row_security="on"):
                return _PARTIAL
            return str(error).partition("cannot be read: ")[2].removeprefix("ERROR: ")


def _indexes(rows: Sequence[tuple[Any, ...]]) -> tuple[Index, ...]:
    by_name: dict[str, tuple[bool, list[str]]] = {}
    for name, unique, _, column in rows:
        by_name.setdefault(name, (unique, []))[1].append(column or "")
    return tuple(Index(name, tuple(columns), unique) for name, (unique, columns) in by_name.items())


def _quote(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'
