"""One day in SQL, as somebody without this project would ask for it: the same rows and columns for every program."""

from datetime import date, timedelta

from export_pipeline.runs.schema import DEFAULT_FIELDS, FIELD_BY_NAME, Kind
from export_pipeline_sample.rows import RUN_COLUMNS

_AS_STORED = {Kind.TEXT, Kind.TIME, Kind.COUNT, Kind.FLAG}
COLUMNS = tuple(name for name in DEFAULT_FIELDS if name in RUN_COLUMNS)
TEXTS = tuple(name for name in COLUMNS if FIELD_BY_NAME[name].kind not in {Kind.TIME, Kind.COUNT, Kind.FLAG})
"""The columns that come as text."""


def day_sql(session_id: str, day: date) -> str:
    """For the server: ids, JSON and costs as text, ordered by start_time and id."""
    columns = ", ".join(
        f"r.{name}" if FIELD_BY_NAME[name].kind in _AS_STORED else f"r.{name}::text AS {name}" for name in COLUMNS
    )
    return f"SELECT {columns} FROM runs AS r WHERE {_rows(session_id, day)} ORDER BY r.start_time, r.id"


def duckdb_sql(session_id: str, day: date) -> str:
    """For DuckDB over its attached tables, so that it sorts."""
    columns = ", ".join(
        f"r.{name}" if FIELD_BY_NAME[name].kind in _AS_STORED else f"r.{name}::VARCHAR AS {name}" for name in COLUMNS
    )
    return f"SELECT {columns} FROM store.public.runs AS r WHERE {_rows(session_id, day)} ORDER BY r.start_time, r.id"


def _rows(session_id: str, day: date) -> str:
    return (
        f"r.session_id = '{session_id}' AND r.start_time >= '{day} 00:00:00+00' "
        f"AND r.start_time < '{day + timedelta(days=1)} 00:00:00+00'"
    )
