"""What all workers with one key may still ask of an API."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the table."""
    op.create_table(
        "request_budgets",
        sa.Column("id", sa.String(64), nullable=False, comment="a slow hash of the API's address and the key"),
        sa.Column("next_at", sa.BigInteger, nullable=False, comment="when the next request may be made"),
        sa.Column(
            "minute", sa.BigInteger, nullable=False, comment="start of the minute in which the last one was made"
        ),
        sa.Column("requests", sa.BigInteger, nullable=False, comment="requests of that minute"),
        sa.Column("before", sa.BigInteger, nullable=False, comment="requests of the minute before it"),
        sa.Column("refused_at", sa.BigInteger, comment="when the API last refused a request for being too many"),
        sa.PrimaryKeyConstraint("id", name="pk_request_budgets"),
        comment="what all workers with one key may still ask of an API",
    )
