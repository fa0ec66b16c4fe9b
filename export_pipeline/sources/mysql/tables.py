"""Locks before the snapshot: a table that is emptied or replaced after a snapshot was taken looks empty to it.

The snapshot is taken by the first read of a row. A statement that names tables locks all their definitions before that,
those behind views and in functions included, and waits for whoever is changing one; until the transaction ends nobody
can. So one statement that names everything comes first, and gives no rows.
"""

from collections.abc import Hashable
from dataclasses import dataclass

from export_pipeline.sources.mysql.dialect import bound
from export_pipeline.sources.sql.dialect import Column, Relation
from export_pipeline.sources.sql.plan import Plan


@dataclass(frozen=True)
class Tables:
    """What a plan reads, and the `definition` that it has been made from.

    `lock` is the statement that locks it, `first` one that reads a row, `keys` the one that lists the keys and engines
    of its tables.
    """

    lock: str | None = None
    first: str | None = None
    keys: str | None = None
    definition: Hashable = None


NO_TABLES = Tables()


def tables_of(plan: Plan) -> Tables:
    """What a plan without problems reads; its definition is still to be asked for."""
    runs, projects = plan.usable()
    extras = (runs.deleted, runs.inserted_at, runs.modified_at, runs.digest, runs.tenant)
    of_runs = [*runs.fields.values(), *runs.identity.columns, *filter(None, extras)]
    sections: list[tuple[Relation, str, list[Column]]] = [(runs.relation, "r", of_runs)]
    if projects.relation is not None:
        sections.append((projects.relation, "s", [*projects.columns.values()]))
    if plan.feedbacks is not None:
        sections.append((plan.feedbacks.relation, "f", [*plan.feedbacks.columns.values()]))
    named = ", ".join(_selected(plan, relation, alias, columns) for relation, alias, columns in sections)
    small = projects.relation or runs.relation
    return Tables(
        lock=f"SELECT * FROM {named} LIMIT 0",
        first=f"SELECT 1 FROM {small.from_('x')} LIMIT 1",
        keys=_keys([relation.source for relation, _, _ in sections]),
    )


def _selected(plan: Plan, relation: Relation, alias: str, columns: list[Column]) -> str:
    """Everything of a relation and the expressions over it, whose names are its own only by themselves."""
    expressions = dict.fromkeys(column.sql for column in columns if column.detail == "expression")
    named = [f'{sql} AS "expression {place}"' for place, sql in enumerate(expressions)]
    quote = plan.dialect.quote
    readable = [f"{alias}.{quote(name)}" for name in relation.columns if name not in relation.forbidden]
    return f"(SELECT {', '.join([*readable, *named])} FROM {relation.from_(alias)}) AS all_of_{alias}"


def _keys(sources: list[str]) -> str | None:
    """The keys and engines of the tables among some sources; queries are not in the list of any schema."""
    parts = [source.split('"."') for source in sources if source.startswith('"')]
    wanted = [
        f"(TABLE_SCHEMA = {f'CONVERT({bound(_plain(schema[0]))} USING utf8mb4)' if schema else 'DATABASE()'} "
        f"AND TABLE_NAME = CONVERT({bound(_plain(name))} USING utf8mb4))"
        for *schema, name in parts
    ]
    if not wanted:
        return None
    where = f"WHERE {' OR '.join(wanted)}"
    return (
        "SELECT TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX, NON_UNIQUE, COLUMN_NAME "
        f"FROM information_schema.STATISTICS {where} "
        f"UNION ALL SELECT TABLE_NAME, ENGINE, 0, 0, TABLE_TYPE FROM information_schema.TABLES {where}"
    )


def _plain(quoted: str) -> str:
    return quoted.strip('"').replace('""', '"')
