"""A project is one of a tenant: the key of `projects` is both, and exports know by what their rows are found."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes `projects` anew with its rows; each has been the only one of its id, so rows without a tenant are its own.

    SQLite cannot change a table's primary key.
    """
    connection = op.get_bind()
    former = sa.Table("projects", sa.MetaData(), autoload_with=connection)
    rows = [dict(row) for row in connection.execute(sa.select(former)).mappings()]
    op.drop_table("projects")
    projects = op.create_table(
        "projects",
        sa.Column("tenant_id", sa.String(36), nullable=False),
        sa.Column("session_id", sa.String(36), nullable=False, comment="the id as a UUID"),
        sa.Column("project", sa.Text, nullable=False, comment="the id as the trace store writes it"),
        sa.Column("tenant_key", sa.Text, comment="the tenant as the trace store writes it; null: it names none"),
        sa.Column("untold", sa.Boolean, nullable=False, comment="rows that name no tenant are this project's"),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("is_experiment", sa.Boolean, nullable=False),
        sa.Column("asset_name", sa.String(255), nullable=False, comment="given once, never changed"),
        sa.Column("group_name", sa.String(255), nullable=False, comment="given once, never changed"),
        sa.Column("first_seen_at", sa.BigInteger, nullable=False),
        sa.Column("last_seen_at", sa.BigInteger, nullable=False),
        sa.Column("removed_at", sa.BigInteger, comment="when a sync no longer found it in the trace store"),
        sa.PrimaryKeyConstraint("tenant_id", "session_id", name="pk_projects"),
        sa.UniqueConstraint("asset_name", name="uq_projects_asset_name"),
        comment="a project is one of a tenant: two tenants may have the same id",
    )
    if rows:
        connection.execute(sa.insert(projects), [{**row, "tenant_key": None, "untold": True} for row in rows])
    op.add_column("exports", sa.Column("tenant_key", sa.Text, comment="as the project has it"))
    untold = sa.Column("untold", sa.Boolean, nullable=False, server_default=sa.false(), comment="as the project has it")
    op.add_column("exports", untold)
    op.execute("UPDATE exports SET untold = true")
