"""Locks before the snapshot: a table that is rewritten after a snapshot was taken looks empty to it.

`ALTER TABLE` that rewrites, `TRUNCATE` and `REFRESH MATERIALIZED VIEW` give a table a new file whose rows are newer
than a snapshot that was taken while they ran. So the tables are locked by name first, which waits for such a command,
and then the snapshot is taken. Which tables these are is asked of the server itself: planning a query locks all that it
reads, those behind views and partitions included. What was not locked by name (a materialized view, a table inside a
function, a partition that was attached since) is found out at the end, by `REWRITTEN`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

_FIRST_USER_OID = 16384
_LOCKED = f"l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.relation >= {_FIRST_USER_OID}"

TOUCHED = f"""SELECT DISTINCT format('%I.%I', n.nspname, c.relname) FROM pg_locks l
JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE {_LOCKED} AND c.relkind IN ('r', 'p', 'v') AND has_table_privilege(c.oid, 'SELECT')
AND has_schema_privilege(n.oid, 'USAGE') AND NOT EXISTS (
  SELECT FROM pg_inherits i JOIN pg_locks l ON l.relation = i.inhparent WHERE i.inhrelid = c.oid AND {_LOCKED})
ORDER BY 1"""
"""The tables and views that this transaction has read, as far as they can be locked by name; children come along."""

REWRITTEN = f"""SELECT l.relation::regclass::text FROM pg_locks l LEFT JOIN pg_class c ON c.oid = l.relation
WHERE {_LOCKED} AND pg_index_has_property(l.relation, 'clusterable') IS NULL
AND (c.oid IS NULL OR NULLIF(c.relfilenode, 0) IS DISTINCT FROM pg_relation_filenode(l.relation)) LIMIT 1"""
"""A relation that this transaction has read and whose file is not the one of its snapshot.

`pg_class` is read as the snapshot has it, the functions look at what is now; what was read stays locked.
"""


@dataclass(frozen=True)
class Tables:
    """Tables by their full names, quoted, and their `definition`."""

    names: tuple[str, ...]
    definition: str | None

    @property
    def lock(self) -> str:
        """The statement that locks them, to be put behind another; it needs the right to SELECT and no snapshot."""
        return f"; LOCK TABLE {', '.join(self.names)} IN ACCESS SHARE MODE" if self.names else ""


NO_TABLES = Tables((), None)


def definition(names: Sequence[str]) -> str:
    """An expression that changes where one of the tables is another one, or its columns or indexes change."""
    if not names:
        return "NULL"
    listed = ", ".join("'" + name.replace("'", "''") + "'" for name in names)
    versions = ", ".join(
        f"(SELECT concat(count(*), '/', sum(x.xmin::text::int8)) FROM {catalog} x WHERE x.{column} = t.oid)"
        for catalog, column in (("pg_attribute", "attrelid"), ("pg_index", "indrelid"))
    )
    return (
        f"(SELECT string_agg(concat_ws(' ', t.oid, {versions}), ', ' ORDER BY t.oid) "
        f"FROM (SELECT to_regclass(name)::oid AS oid FROM unnest(ARRAY[{listed}]) AS name) AS t)"
    )
