"""Changes of the control database past the code under test."""

import sqlalchemy as sa

from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import projects


def known_for_years(control: ControlDatabase) -> None:
    """Every project has been known since 1970, so that each schedule since then could have exported its days."""
    with control.begin() as connection:
        connection.execute(sa.update(projects).values(first_seen_at=0))
