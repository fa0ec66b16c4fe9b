"""Stored destinations, bulk exports, API keys, the audit log, notices."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True)


def upgrade() -> None:
    """Adds the tables of what is asked for through the API and the command line."""
    op.add_column("exports", sa.Column("layout_id", sa.String(36)))
    op.add_column("exports", sa.Column("filter", sa.Text))
    op.add_column("exports", sa.Column("bulk_id", sa.String(36)))
    op.add_column("exports", sa.Column("destination_id", sa.String(36)))
    op.create_index("ix_exports_bulk_id", "exports", ["bulk_id"])
    _destinations()
    _bulk_exports()
    _bulk_units()
    _keys_and_audit()
    _notices()


def _destinations() -> None:
    op.create_table(
        "destinations",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("tenant_id", sa.String(36), nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("config", JSON, nullable=False),
        sa.Column("credentials", sa.Text),
        sa.Column("credentials_keys", JSON, nullable=False),
        sa.Column("capabilities", JSON, nullable=False),
        sa.Column("checked_at", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_destinations"),
    )
    op.create_index("ix_destinations_tenant_id_created_at", "destinations", ["tenant_id", "created_at"])


def _bulk_exports() -> None:
    op.create_table(
        "bulk_exports",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("tenant_id", sa.String(36), nullable=False),
        sa.Column("destination_id", sa.String(36), nullable=False),
        sa.Column("session_id", sa.String(36)),
        sa.Column("all_experiments", sa.Boolean, nullable=False),
        sa.Column("start_at", sa.BigInteger, nullable=False),
        sa.Column("end_at", sa.BigInteger),
        sa.Column("filter", sa.Text),
        sa.Column("format_version", sa.String(16), nullable=False),
        sa.Column("compression", sa.String(16), nullable=False),
        sa.Column("export_fields", JSON),
        sa.Column("interval_hours", sa.Integer),
        sa.Column("reexport_late", sa.Boolean, nullable=False),
        sa.Column("source_id", sa.String(36)),
        sa.Column("status", sa.String(24), nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("planned_at", sa.BigInteger),
        sa.Column("started_at", sa.BigInteger),
        sa.Column("finished_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_bulk_exports"),
        sa.UniqueConstraint("source_id", "start_at", name="uq_bulk_exports_source_id_start_at"),
    )
    op.create_index("ix_bulk_exports_tenant_id_created_at", "bulk_exports", ["tenant_id", "created_at"])
    op.create_index("ix_bulk_exports_status", "bulk_exports", ["status"])


def _bulk_units() -> None:
    op.create_table(
        "bulk_units",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("bulk_id", sa.String(36), nullable=False),
        sa.Column("export_id", sa.String(36), nullable=False),
        sa.Column("session_id", sa.String(36), nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("start_at", sa.BigInteger, nullable=False),
        sa.Column("end_at", sa.BigInteger, nullable=False),
        sa.Column("status", sa.String(24), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("first_attempt", sa.Integer, nullable=False),
        sa.Column("not_before", sa.BigInteger),
        sa.Column("errors", JSON, nullable=False),
        sa.Column("dagster_run_id", sa.String(36)),
        sa.Column("planned_rows", sa.BigInteger),
        sa.Column("rows", sa.BigInteger),
        sa.Column("bytes", sa.BigInteger),
        sa.Column("key", sa.Text),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("started_at", sa.BigInteger),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_bulk_units"),
        sa.ForeignKeyConstraint(["bulk_id"], ["bulk_exports.id"], name="fk_bulk_units_bulk_id_bulk_exports"),
        sa.ForeignKeyConstraint(["export_id"], ["exports.export_id"], name="fk_bulk_units_export_id_exports"),
        sa.UniqueConstraint("export_id", "day", name="uq_bulk_units_export_id_day"),
    )
    op.create_index("ix_bulk_units_bulk_id_day", "bulk_units", ["bulk_id", "day"])
    op.create_index("ix_bulk_units_status", "bulk_units", ["status"])


def _keys_and_audit() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("tenant_id", sa.String(36), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("hint", sa.String(16), nullable=False),
        sa.Column("scopes", JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("revoked_at", sa.BigInteger),
        sa.Column("last_used_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("hash", name="uq_api_keys_hash"),
    )
    op.create_table(
        "audit_log",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("tenant_id", sa.String(36), nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("detail", JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_log"),
    )
    op.create_index("ix_audit_log_tenant_id_at", "audit_log", ["tenant_id", "at"])


def _notices() -> None:
    op.create_table(
        "notices",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("body", JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("not_before", sa.BigInteger, nullable=False),
        sa.Column("sent_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_notices"),
        sa.UniqueConstraint("kind", "subject", name="uq_notices_kind_subject"),
    )
