"""Rejected rows beside the days and units that they belong to, and what a bulk export's end is to be told with."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True)


def upgrade() -> None:
    """Adds the columns, and fills them from the manifests of what is committed."""
    for table in ("days", "bulk_units"):
        op.add_column(table, sa.Column("rows_rejected", sa.BigInteger))
        op.add_column(table, sa.Column("rejected", JSON))
    op.add_column("bulk_exports", sa.Column("warning", sa.Text))
    _fill_days()
    _fill_units()


def _fill_days() -> None:
    connection = op.get_bind()
    days = sa.table(
        "days",
        sa.column("export_id", sa.String),
        sa.column("day", sa.Date),
        sa.column("manifest", JSON),
        sa.column("rows_rejected", sa.BigInteger),
        sa.column("rejected", JSON),
    )
    for export_id in connection.execute(sa.select(days.c.export_id).distinct()).scalars().all():
        mine = sa.select(days.c.day, days.c.manifest).where(days.c.export_id == export_id, days.c.manifest.is_not(None))
        for row in connection.execute(mine).all():
            told = row.manifest.get("rejected") or {"count": 0}
            if told["count"]:
                here = sa.and_(days.c.export_id == export_id, days.c.day == row.day)
                values = {"rows_rejected": told["count"], "rejected": told["by_reason"]}
                connection.execute(sa.update(days).where(here).values(values))


def _fill_units() -> None:
    op.execute(
        "UPDATE bulk_units SET rows_rejected = days.rows_rejected, rejected = days.rejected FROM days "
        "WHERE days.export_id = bulk_units.export_id AND days.day = bulk_units.day "
        "AND bulk_units.status = 'Completed'"
    )
