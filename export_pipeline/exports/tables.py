"""The tables of the control database, as SQLAlchemy Core.

Instants are BIGINT microseconds since 1970-01-01 UTC, always taken from the database's clock
(`ControlDatabase.now`), so that hosts whose clocks differ agree on leases. UUIDs are text of 36 characters.
`exports/migrations` brings a database to this form; a test compares the two.
"""

import sqlalchemy as sa

JSON = sa.JSON(none_as_null=True)

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)

facts = sa.Table(
    "facts",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    comment="Single values recorded once: partitions_start (ISO date), commit_sequence (last number given).",
)

projects = sa.Table(
    "projects",
    metadata,
    sa.Column("project", sa.Text, primary_key=True, comment="id as the trace store writes it"),
    sa.Column("session_id", sa.String(36), nullable=False, unique=True, comment="the id as a UUID"),
    sa.Column("tenant_id", sa.String(36), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("is_experiment", sa.Boolean, nullable=False),
    sa.Column("asset_name", sa.String(255), nullable=False, unique=True, comment="given once, never changed"),
    sa.Column("group_name", sa.String(255), nullable=False, comment="given once, never changed"),
    sa.Column("first_seen_at", sa.BigInteger, nullable=False),
    sa.Column("last_seen_at", sa.BigInteger, nullable=False),
    sa.Column("removed_at", sa.BigInteger, comment="when a sync no longer found it in the trace store"),
)

exports = sa.Table(
    "exports",
    metadata,
    sa.Column("export_id", sa.String(36), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False, comment="standing or bulk"),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("tenant_id", sa.String(36), nullable=False),
    sa.Column("session_id", sa.String(36), nullable=False),
    sa.Column("bucket", sa.Text, nullable=False),
    sa.Column("prefix", sa.Text, nullable=False),
    sa.Column("endpoint_url", sa.Text),
    sa.Column("region", sa.Text),
    sa.Column("format_version", sa.String(16), nullable=False),
    sa.Column("compression", sa.String(16), nullable=False),
    sa.Column("fields", JSON, nullable=False, comment="column names, in the schema's order"),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("superseded_at", sa.BigInteger, comment="when a changed setting began a new table"),
    sa.Index(None, "project", "kind"),
)

days = sa.Table(
    "days",
    metadata,
    sa.Column("export_id", sa.String(36), sa.ForeignKey("exports.export_id"), primary_key=True),
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("status", sa.String(16), nullable=False, comment="Running, Completed, Failed, Cancelled"),
    sa.Column("epoch", sa.BigInteger, nullable=False, comment="the fencing token; grows at every claim"),
    sa.Column("owner", sa.Text, comment="who holds the lease: dagster:<run id> or process:<host>:<pid>"),
    sa.Column("claim_id", sa.String(36), comment="one claim; finds its own claim again when an answer was lost"),
    sa.Column("lease_until", sa.BigInteger),
    sa.Column("cancel_requested", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("rows_read", sa.BigInteger, comment="progress of the attempt under way"),
    sa.Column("bytes_uploaded", sa.BigInteger, comment="progress of the attempt under way"),
    sa.Column("intent", JSON, comment="a commit decided on but not yet finished; see exports.commit_intent"),
    sa.Column("manifest", JSON, comment="the last finished commit: the manifest's content"),
    sa.Column("manifest_key", sa.Text, comment="where that manifest lies in the bucket"),
    sa.Column("commit_epoch", sa.BigInteger, comment="the epoch of the last finished commit"),
    sa.Column("rows", sa.BigInteger, comment="rows of the last finished commit"),
    sa.Column("bytes", sa.BigInteger, comment="size of its file; 0 where the day is empty"),
    sa.Column("fingerprint", JSON, comment="the source's fingerprint of the day when it was last read and agreed"),
    sa.Column(
        "snapshot_at",
        sa.BigInteger,
        comment="control database time just before the source was last read and agreed with the commit",
    ),
    sa.Column("completed_at", sa.BigInteger),
    sa.Column("error", sa.Text, comment="why the last attempt failed; null after a success"),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
    sa.Index(None, "export_id", "status"),
)

uploads = sa.Table(
    "uploads",
    metadata,
    sa.Column("export_id", sa.String(36), primary_key=True),
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("epoch", sa.BigInteger, primary_key=True),
    sa.Column("upload_id", sa.String(1024), primary_key=True),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    comment="multipart uploads that may still be open: announced with an empty upload_id before they are created; "
    "a row goes when its upload was completed or aborted",
)

commits = sa.Table(
    "commits",
    metadata,
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False, comment="dense, in order of commit"),
    sa.Column("export_id", sa.String(36), nullable=False),
    sa.Column("day", sa.Date, nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("commit_id", sa.String(36), nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("key", sa.Text, comment="null where the day is empty"),
    sa.Column("manifest_key", sa.Text, nullable=False),
    sa.Column("committed_at", sa.BigInteger, nullable=False),
    sa.Index(None, "export_id", "sequence"),
    comment="every finished commit; `sequence` is the cursor of `export-pipeline changes`",
)
