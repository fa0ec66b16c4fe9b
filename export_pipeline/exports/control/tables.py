"""The tables of the control database, as SQLAlchemy Core.

Instants are BIGINT microseconds since 1970-01-01 UTC, always taken from the database's clock
(`Transaction.now`), so that hosts whose clocks differ agree on leases.
UUIDs are text of 36 characters, `uuid.UUID` in Python.
`control/migrations` brings a database to this form; a test compares the two.
"""

import sqlalchemy as sa

from export_pipeline.exports.control.column_types import ErrorText, ErrorTexts, UuidText

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
    sa.Column("tenant_id", UuidText(), primary_key=True),
    sa.Column("session_id", UuidText(), primary_key=True, comment="the id as a UUID"),
    sa.Column("project", sa.Text, nullable=False, comment="the id as the trace store writes it"),
    sa.Column("tenant_key", sa.Text, comment="the tenant as the trace store writes it; null: it names none"),
    sa.Column("untold", sa.Boolean, nullable=False, comment="rows that name no tenant are this project's"),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("is_experiment", sa.Boolean, nullable=False),
    sa.Column("asset_name", sa.String(255), nullable=False, unique=True, comment="given once, never changed"),
    sa.Column("group_name", sa.String(255), nullable=False, comment="given once, never changed"),
    sa.Column("first_seen_at", sa.BigInteger, nullable=False),
    sa.Column("last_seen_at", sa.BigInteger, nullable=False),
    sa.Column("removed_at", sa.BigInteger, comment="when a sync no longer found it in the trace store"),
    comment="a project is one of a tenant: two tenants may have the same id",
)

exports = sa.Table(
    "exports",
    metadata,
    sa.Column("export_id", UuidText(), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False, comment="standing or bulk"),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("tenant_id", UuidText(), nullable=False),
    sa.Column("session_id", UuidText(), nullable=False),
    sa.Column("bucket", sa.Text, nullable=False),
    sa.Column("prefix", sa.Text, nullable=False),
    sa.Column("endpoint_url", sa.Text),
    sa.Column("region", sa.Text),
    sa.Column("format_version", sa.String(16), nullable=False),
    sa.Column("compression", sa.String(16), nullable=False),
    sa.Column("fields", JSON, nullable=False, comment="column names, in the schema's order"),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("superseded_at", sa.BigInteger, comment="when a changed setting began a new table"),
    sa.Column("layout_id", UuidText(), comment="the id in `export_id=…` of its paths; null: export_id itself"),
    sa.Column("filter", sa.Text, comment="canonical text of the filter; null: every row"),
    sa.Column("bulk_id", UuidText(), comment="the bulk export that it is a part of; null for standing ones"),
    sa.Column("destination_id", UuidText(), comment="a stored destination; null: the settings name the bucket"),
    sa.Column("tenant_key", sa.Text, comment="as the project has it"),
    sa.Column("untold", sa.Boolean, nullable=False, server_default=sa.false(), comment="as the project has it"),
    sa.Index(None, "project", "kind"),
    sa.Index(None, "bulk_id"),
)

days = sa.Table(
    "days",
    metadata,
    sa.Column("export_id", UuidText(), sa.ForeignKey("exports.export_id"), primary_key=True),
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("status", sa.String(16), nullable=False, comment="Running, Completed, Failed, Cancelled"),
    sa.Column("epoch", sa.BigInteger, nullable=False, comment="the fencing token; grows at every claim"),
    sa.Column("owner", sa.Text, comment="who holds the lease: dagster:<run id> or process:<host>:<pid>"),
    sa.Column("claim_id", UuidText(), comment="one claim; finds its own claim again when an answer was lost"),
    sa.Column("lease_until", sa.BigInteger),
    sa.Column("cancel_requested", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("rows_read", sa.BigInteger, comment="progress of the attempt under way"),
    sa.Column("bytes_uploaded", sa.BigInteger, comment="progress of the attempt under way"),
    sa.Column("intent", JSON, comment="a commit decided on but not yet finished; see exports.commit.intent"),
    sa.Column("manifest", JSON, comment="the last finished commit: the manifest's content"),
    sa.Column("manifest_key", sa.Text, comment="where that manifest lies in the bucket"),
    sa.Column("commit_epoch", sa.BigInteger, comment="the epoch of the last finished commit"),
    sa.Column("rows", sa.BigInteger, comment="rows of the last finished commit"),
    sa.Column("rows_rejected", sa.BigInteger, comment="rows that it has set aside"),
    sa.Column("rejected", JSON, comment="the same by reason; null where there are none"),
    sa.Column("bytes", sa.BigInteger, comment="size of its file; 0 where the day is empty"),
    sa.Column("fingerprint", JSON, comment="the source's fingerprint of the day when it was last read and agreed"),
    sa.Column(
        "snapshot_at",
        sa.BigInteger,
        comment="control database time just before the source was last read and agreed with the commit",
    ),
    sa.Column("completed_at", sa.BigInteger),
    sa.Column("error", ErrorText, comment="why the last attempt failed; null after a success"),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
    sa.Index(None, "export_id", "status"),
)

uploads = sa.Table(
    "uploads",
    metadata,
    sa.Column("export_id", UuidText(), primary_key=True),
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
    sa.Column("export_id", UuidText(), nullable=False),
    sa.Column("day", sa.Date, nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("commit_id", UuidText(), nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("key", sa.Text, comment="null where the day is empty"),
    sa.Column("manifest_key", sa.Text, nullable=False),
    sa.Column("committed_at", sa.BigInteger, nullable=False),
    sa.Index(None, "export_id", "sequence"),
    comment="every finished commit; `sequence` is the cursor of `export-pipeline changes`",
)

destinations = sa.Table(
    "destinations",
    metadata,
    sa.Column("id", UuidText(), primary_key=True),
    sa.Column("tenant_id", UuidText(), nullable=False),
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("config", JSON, nullable=False, comment="destinations.config.DestinationConfig, without anything secret"),
    sa.Column("credentials", sa.Text, comment="Fernet token; null: a role, or the process's own credentials"),
    sa.Column("credentials_keys", JSON, nullable=False, comment="names of the credentials that are stored"),
    sa.Column("capabilities", JSON, nullable=False, comment="what the last check found: destinations.check"),
    sa.Column("checked_at", sa.BigInteger, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
    sa.Index(None, "tenant_id", "created_at"),
)

bulk_exports = sa.Table(
    "bulk_exports",
    metadata,
    sa.Column("id", UuidText(), primary_key=True),
    sa.Column("tenant_id", UuidText(), nullable=False),
    sa.Column("destination_id", UuidText(), nullable=False),
    sa.Column("session_id", UuidText(), comment="null where all experiments are exported"),
    sa.Column("all_experiments", sa.Boolean, nullable=False),
    sa.Column("start_at", sa.BigInteger, nullable=False),
    sa.Column("end_at", sa.BigInteger, comment="null for a schedule"),
    sa.Column("filter", sa.Text),
    sa.Column("format_version", sa.String(16), nullable=False),
    sa.Column("compression", sa.String(16), nullable=False),
    sa.Column("export_fields", JSON, comment="as asked for; null: the default columns"),
    sa.Column("interval_hours", sa.Integer, comment="set for a schedule only"),
    sa.Column("reexport_late", sa.Boolean, nullable=False, comment="a schedule whose days follow late changes"),
    sa.Column("source_id", UuidText(), comment="the schedule that spawned it"),
    sa.Column("status", sa.String(24), nullable=False, comment="the contract's words: exports.bulk"),
    sa.Column("error", ErrorText),
    sa.Column("warning", ErrorText, comment="what of its rows is not in the files although it is Completed"),
    sa.Column("created_by", sa.Text, nullable=False, comment="who asked: cli, key:<id>, schedule"),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
    sa.Column("planned_at", sa.BigInteger, comment="when its units were recorded"),
    sa.Column("started_at", sa.BigInteger),
    sa.Column("finished_at", sa.BigInteger),
    sa.UniqueConstraint("source_id", "start_at"),
    sa.Index(None, "tenant_id", "created_at"),
    sa.Index(None, "status"),
)

bulk_units = sa.Table(
    "bulk_units",
    metadata,
    sa.Column("id", UuidText(), primary_key=True, comment="the API's run id"),
    sa.Column("bulk_id", UuidText(), sa.ForeignKey("bulk_exports.id"), nullable=False),
    sa.Column("export_id", UuidText(), sa.ForeignKey("exports.export_id"), nullable=False),
    sa.Column("session_id", UuidText(), nullable=False),
    sa.Column("day", sa.Date, nullable=False),
    sa.Column("start_at", sa.BigInteger, nullable=False, comment="the day, cut at the window's ends"),
    sa.Column("end_at", sa.BigInteger, nullable=False),
    sa.Column("status", sa.String(24), nullable=False, comment="the contract's words: exports.bulk"),
    sa.Column("attempt", sa.Integer, nullable=False, comment="retries so far; part of the Dagster run key"),
    sa.Column("first_attempt", sa.Integer, nullable=False, comment="where retries are counted from: retried by hand"),
    sa.Column("not_before", sa.BigInteger, comment="when the next attempt may start"),
    sa.Column("errors", ErrorTexts, nullable=False, comment="retry_0, retry_1, … to text"),
    sa.Column("dagster_run_id", sa.String(36), comment="the run that works, or last worked, on it"),
    sa.Column("planned_rows", sa.BigInteger, comment="rows counted at planning; negative: so many at most"),
    sa.Column("rows", sa.BigInteger, comment="rows committed"),
    sa.Column("rows_rejected", sa.BigInteger, comment="rows that the commit has set aside"),
    sa.Column("rejected", JSON, comment="the same by reason; null where there are none"),
    sa.Column("bytes", sa.BigInteger),
    sa.Column("key", sa.Text, comment="the file's key; null where there is none"),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("started_at", sa.BigInteger),
    sa.Column("finished_at", sa.BigInteger),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("export_id", "day"),
    sa.Index(None, "bulk_id", "day"),
    sa.Index(None, "status"),
    comment="one UTC day of one project of one bulk export: what the API calls a run",
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", UuidText(), primary_key=True),
    sa.Column("tenant_id", UuidText(), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("hash", sa.String(64), nullable=False, unique=True, comment="sha256 of the key, in hexadecimal"),
    sa.Column("hint", sa.String(16), nullable=False, comment="its last characters"),
    sa.Column("scopes", JSON, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger),
    sa.Column("revoked_at", sa.BigInteger),
    sa.Column("last_used_at", sa.BigInteger),
)

audit_log = sa.Table(
    "audit_log",
    metadata,
    sa.Column("id", UuidText(), primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("tenant_id", UuidText(), nullable=False),
    sa.Column("actor", sa.Text, nullable=False, comment="cli, key:<id>, schedule"),
    sa.Column("action", sa.String(64), nullable=False, comment="destination.create, export.cancel, …"),
    sa.Column("subject", sa.Text, nullable=False, comment="id of what was changed"),
    sa.Column("detail", JSON, nullable=False, comment="what was asked, without anything secret"),
    sa.Index(None, "tenant_id", "at"),
    sa.Index(None, "subject", "at"),
)

notices = sa.Table(
    "notices",
    metadata,
    sa.Column("id", UuidText(), primary_key=True),
    sa.Column("kind", sa.String(64), nullable=False, comment="export.failed, day.overdue, …"),
    sa.Column("subject", sa.Text, nullable=False, comment="what it is about; told once for each kind"),
    sa.Column("body", ErrorTexts, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("not_before", sa.BigInteger, nullable=False),
    sa.Column("sent_at", sa.BigInteger, comment="null: still to be sent"),
    sa.UniqueConstraint("kind", "subject"),
    comment="an outbox: written with the change that it tells of, sent afterwards",
)

request_budgets = sa.Table(
    "request_budgets",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True, comment="a slow hash of the API's address and the key"),
    sa.Column("next_at", sa.BigInteger, nullable=False, comment="when the next request may be made"),
    sa.Column("minute", sa.BigInteger, nullable=False, comment="start of the minute in which the last one was made"),
    sa.Column("requests", sa.BigInteger, nullable=False, comment="requests of that minute"),
    sa.Column("before", sa.BigInteger, nullable=False, comment="requests of the minute before it"),
    sa.Column("refused_at", sa.BigInteger, comment="when the API last refused a request for being too many"),
    comment="what all workers with one key may still ask of an API",
)
