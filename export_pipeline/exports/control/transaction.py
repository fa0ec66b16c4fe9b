"""A transaction in the control database: its statements, and the database's clock."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite


class Transaction:
    """What `ControlDatabase.read`, `begin` and `run` give; `execute`, `scalar` and `scalars` are SQLAlchemy's.

    `connection` is for what is not a statement: inspecting the schema, migrating it.
    """

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        self.execute = connection.execute
        self.scalar = connection.scalar
        self.scalars = connection.scalars
        self._is_sqlite = connection.dialect.name == "sqlite"

    @property
    def now_sql(self) -> sa.ColumnElement[int]:
        """The database's clock as an SQL expression, in microseconds since 1970."""
        text = (
            "(control_now_ns() / 1000)"
            if self._is_sqlite
            else "(extract(epoch from clock_timestamp()) * 1000000)::bigint"
        )
        return sa.literal_column(text, sa.BigInteger)

    def now(self) -> int:
        """The database's clock, in microseconds since 1970; it goes on while the transaction waits for a lock."""
        return self.execute(sa.select(self.now_sql)).scalar_one()

    def insert_missing(self, table: sa.Table, row: Mapping[str, Any]) -> Mapping[Any, Any] | None:
        """Inserts a row and returns it as it is now; None, and nothing changed, where its primary key is there already.

        Other processes may do the same at the same time.
        """
        insert = sqlite.insert if self._is_sqlite else postgresql.insert
        inserted = self.execute(insert(table).values(**row).on_conflict_do_nothing().returning(table))
        return inserted.mappings().one_or_none()
