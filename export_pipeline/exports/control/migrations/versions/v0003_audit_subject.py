"""An index by which what happened to one thing is found in a long audit log."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the index."""
    op.create_index("ix_audit_log_subject_at", "audit_log", ["subject", "at"])
