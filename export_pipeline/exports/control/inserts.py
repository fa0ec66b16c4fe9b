"""Inserts that leave rows alone which are already there."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite


def insert_missing(connection: sa.Connection, table: sa.Table, row: Mapping[str, Any]) -> Mapping[Any, Any] | None:
    """Inserts a row and returns it as it is now; None, and nothing changed, where its primary key is there already.

    Other processes may do the same at the same time.
    """
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    inserted = connection.execute(insert(table).values(**row).on_conflict_do_nothing().returning(table))
    return inserted.mappings().one_or_none()
