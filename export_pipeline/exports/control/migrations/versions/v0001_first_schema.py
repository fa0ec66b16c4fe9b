"""The first schema: projects, exports, days, uploads, commits."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True)


def upgrade() -> None:
    """Makes all tables in an empty database."""
    facts = op.create_table(
        "facts",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_facts"),
    )
    op.bulk_insert(facts, [{"name": "commit_sequence", "value": "0"}])
    _projects_and_exports()
    _days_and_uploads()
    op.create_table(
        "commits",
        sa.Column("sequence", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("export_id", sa.String(36), nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("commit_id", sa.String(36), nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("key", sa.Text),
        sa.Column("manifest_key", sa.Text, nullable=False),
        sa.Column("committed_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_commits"),
    )
    op.create_index("ix_commits_export_id_sequence", "commits", ["export_id", "sequence"])


def _projects_and_exports() -> None:
    op.create_table(
        "projects",
        sa.Column("project", sa.Text, nullable=False),
        sa.Column("session_id", sa.String(36), nullable=False),
        sa.Column("tenant_id", sa.String(36), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("is_experiment", sa.Boolean, nullable=False),
        sa.Column("asset_name", sa.String(255), nullable=False),
        sa.Column("group_name", sa.String(255), nullable=False),
        sa.Column("first_seen_at", sa.BigInteger, nullable=False),
        sa.Column("last_seen_at", sa.BigInteger, nullable=False),
        sa.Column("removed_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("project", name="pk_projects"),
        sa.UniqueConstraint("session_id", name="uq_projects_session_id"),
        sa.UniqueConstraint("asset_name", name="uq_projects_asset_name"),
    )
    op.create_table(
        "exports",
        sa.Column("export_id", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("project", sa.Text, nullable=False),
        sa.Column("tenant_id", sa.String(36), nullable=False),
        sa.Column("session_id", sa.String(36), nullable=False),
        sa.Column("bucket", sa.Text, nullable=False),
        sa.Column("prefix", sa.Text, nullable=False),
        sa.Column("endpoint_url", sa.Text),
        sa.Column("region", sa.Text),
        sa.Column("format_version", sa.String(16), nullable=False),
        sa.Column("compression", sa.String(16), nullable=False),
        sa.Column("fields", JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("superseded_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("export_id", name="pk_exports"),
    )
    op.create_index("ix_exports_project_kind", "exports", ["project", "kind"])


def _days_and_uploads() -> None:
    op.create_table(
        "days",
        sa.Column("export_id", sa.String(36), nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("owner", sa.Text),
        sa.Column("claim_id", sa.String(36)),
        sa.Column("lease_until", sa.BigInteger),
        sa.Column("cancel_requested", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("rows_read", sa.BigInteger),
        sa.Column("bytes_uploaded", sa.BigInteger),
        sa.Column("intent", JSON),
        sa.Column("manifest", JSON),
        sa.Column("manifest_key", sa.Text),
        sa.Column("commit_epoch", sa.BigInteger),
        sa.Column("rows", sa.BigInteger),
        sa.Column("bytes", sa.BigInteger),
        sa.Column("fingerprint", JSON),
        sa.Column("snapshot_at", sa.BigInteger),
        sa.Column("completed_at", sa.BigInteger),
        sa.Column("error", sa.Text),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("export_id", "day", name="pk_days"),
        sa.ForeignKeyConstraint(["export_id"], ["exports.export_id"], name="fk_days_export_id_exports"),
    )
    op.create_index("ix_days_export_id_status", "days", ["export_id", "status"])
    op.create_table(
        "uploads",
        sa.Column("export_id", sa.String(36), nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("upload_id", sa.String(1024), nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("export_id", "day", "epoch", "upload_id", name="pk_uploads"),
    )
