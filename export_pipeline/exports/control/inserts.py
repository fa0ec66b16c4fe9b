"""Inserts that leave rows alone which are already there."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite


def insert_missing(connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
    """Inserts the rows whose primary key is not there yet; other processes may do the same at the same time."""
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    for row in rows:
        connection.execute(insert(table).values(**row).on_conflict_do_nothing())
