"""A run's `dotted_order`, built from the ids and start times of its ancestors, for a store that has only parents."""

from collections.abc import Mapping

from export_pipeline.sources.sql.dialect import Column, Dialect, Relation

_LIKE_A_SEGMENT = "%.________T____________Z%"
MAX_DEPTH = 256
"""Runs on a path; a longer one, such as one that goes round in circles, is none."""


def path_column(
    dialect: Dialect,
    relation: Relation,
    fields: Mapping[str, Column],
    *,
    tenant: Column | None,
    upwards: bool,
    within_project: bool,
) -> Column:
    """The column for the row r: null where an ancestor is not there. Not `upwards`: of root runs only.

    `tenant` is the column that tells whose a run is, where there is one; an ancestor is of the same. `within_project`:
    and lies in the same project.
    """
    parent = fields["parent_run_id"]
    above, segment = above_of(dialect, parent), segment_of(dialect, fields)
    is_above = dialect.look_up(fields["id"], Column("up.above", parent.type, parent.detail))
    if upwards and is_above is not None:
        project = fields["session_id"]
        same = f" AND {dialect.same(project, Column('up.project', project.type, project.detail))}"
        is_same_project = same if within_project else ""
        owner = "NULL" if tenant is None else f"COALESCE({dialect.canonical_id(tenant)}, '')"
        is_same_tenant = "" if tenant is None else f" AND {owner} = up.owner"
        sql = (
            f"(WITH RECURSIVE up(above, project, owner, path, depth) AS "
            f"(SELECT {above}, {project.sql}, {owner}, {segment}, 1 "
            f"UNION ALL SELECT {above}, {project.sql}, {owner}, {segment} || '.' || up.path, up.depth + 1 "
            f"FROM up JOIN {relation.from_('r')} ON {is_above} "
            f"WHERE up.depth < {MAX_DEPTH}{is_same_project}{is_same_tenant}) "
            f"SELECT up.path FROM up WHERE up.above IS NULL)"
        )
    else:
        sql = f"(CASE WHEN {above} IS NULL THEN {segment} END)"
    return Column(sql, "text", "from parent_run_id, id and start_time", reads=parent.plain)


def segment_of(dialect: Dialect, fields: Mapping[str, Column]) -> str:
    """A run's own segment of its path; null where its id could be read as several."""
    own = dialect.id(fields["id"])
    return f"(CASE WHEN {own} NOT LIKE '{_LIKE_A_SEGMENT}' THEN {dialect.stamp(fields['start_time'])} || {own} END)"


def above_of(dialect: Dialect, parent: Column) -> str:
    """The parent, or null where it is an empty text."""
    is_text = dialect.name == "sqlite" or parent.type.lower() not in {"uuid", *map(str.lower, dialect.numbers)}
    return f"NULLIF({parent.sql}, '')" if is_text else parent.sql
