"""Views, queries and tables WITHOUT ROWID are copied into a temporary table before they are sorted.

SQLite would hold sixteen whole rows and more in memory to sort them. In a table with row numbers only keys are sorted,
and the payloads wait in the temporary file.
"""

from dataclasses import replace

from export_pipeline.runs.schema import FIELD_BY_NAME
from export_pipeline.runs.window import Window
from export_pipeline.sources.sql.dialect import Column, Relation
from export_pipeline.sources.sql.plan import RunsPlan
from export_pipeline.sources.sql.queries import RunQueries

ROW_KEYS = ("rowid", "_rowid_", "oid")
"""SQLite's names for a row's number, where no column has them."""

_TABLE = 'temp."export pipeline rows"'


def spool(queries: RunQueries, window: Window, *, fields: frozenset[str]) -> tuple[str, RunQueries]:
    """The statement that copies the rows near a window, and the queries over the copy.

    `fields` are those that are read; all versions of a run come along.
    """
    runs, _ = queries.plan.usable()
    # A missing status is derived from the error.
    read = fields | ({"error"} if "status" not in runs.fields else set())
    read |= queries.asked
    kept = {name: column for name, column in runs.fields.items() if name in read or not _is_payload(name)}
    extras = {"deleted": runs.deleted, "inserted_at": runs.inserted_at, "modified_at": runs.modified_at}
    extras["digest"] = runs.digest
    extras["tenant"] = runs.tenant
    # Small columns first: SQLite reads a row's pages only as far as it has to.
    order = sorted(kept, key=_is_payload)
    named = {f"field {name}": kept[name] for name in order if not _is_payload(name)}
    named |= {f"extra {name}": column for name, column in extras.items() if column is not None}
    named |= {f"identity {place}": column for place, column in enumerate(runs.identity.columns)}
    named |= {f"field {name}": kept[name] for name in order if _is_payload(name)}
    columns = ", ".join(f'{column.sql} AS "{name}"' for name, column in named.items())
    statement = (
        f"CREATE TEMP TABLE {_TABLE.removeprefix('temp.')} AS SELECT {columns} "
        f"FROM {queries.source} WHERE {queries.all_versions(window)}"
    )
    return statement, queries.over(replace(queries.plan, runs=_copied(runs, named)))


def spool_whole(queries: RunQueries, window: Window) -> tuple[str, RunQueries]:
    """The same with all columns of the relation, over which expressions are evaluated later, row by row."""
    runs, _ = queries.plan.usable()
    names = {name.lower() for name in runs.relation.columns}
    key = next(name for name in ROW_KEYS if name not in names)
    statement = (
        f"CREATE TEMP TABLE {_TABLE.removeprefix('temp.')} AS SELECT r.* "
        f"FROM {queries.source} WHERE {queries.all_versions(window)}"
    )
    copy = replace(runs.relation, source=_TABLE, identity=(key,), indexes=())
    return statement, queries.over(replace(queries.plan, runs=replace(runs, relation=copy)))


def _is_payload(name: str) -> bool:
    return FIELD_BY_NAME[name].payload


def _copied(runs: RunsPlan, named: dict[str, Column]) -> RunsPlan:
    copies = {name: replace(column, sql=f'r."{name}"', reads=None) for name, column in named.items()}
    return replace(
        runs,
        relation=Relation(_TABLE, runs.relation.label, dict.fromkeys(copies, ""), identity=("rowid",)),
        fields={name.removeprefix("field "): column for name, column in copies.items() if name.startswith("field ")},
        deleted=copies.get("extra deleted"),
        inserted_at=copies.get("extra inserted_at"),
        modified_at=copies.get("extra modified_at"),
        digest=copies.get("extra digest"),
        tenant=copies.get("extra tenant"),
        identity=replace(
            runs.identity,
            columns=tuple(column for name, column in copies.items() if name.startswith("identity ")),
        ),
        plain=True,
        columns=tuple(copies),
    )
