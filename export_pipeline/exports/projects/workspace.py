"""The workspace that is meant where none is named, and whose an id is."""

import uuid

import sqlalchemy as sa

from export_pipeline.errors import InputError
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import bulk_exports, destinations, projects
from export_pipeline.settings import PREFIX, Settings
from export_pipeline.sources.protocol import UNASSIGNED

_MOST_NAMED = 5


def workspace_of(control: ControlDatabase, settings: Settings) -> uuid.UUID:
    """The setting TENANT_ID where it is given; else the only workspace that the known projects have.

    Its default where no project is known, or one has it. Raises `InputError` where the projects have several others.
    """
    if "tenant_id" in settings.model_fields_set:
        return settings.tenant_id
    query = (
        sa.select(projects.c.tenant_id)
        .where(projects.c.removed_at.is_(None), projects.c.project != UNASSIGNED)
        .group_by(projects.c.tenant_id)
        .order_by(sa.func.count().desc(), projects.c.tenant_id)
    )
    with control.read() as transaction:
        tenants: list[uuid.UUID] = list(transaction.execute(query).scalars())
    if not tenants or settings.tenant_id in tenants:
        return settings.tenant_id
    if len(tenants) > 1:
        named = ", ".join(map(str, tenants[:_MOST_NAMED])) + (", …" if len(tenants) > _MOST_NAMED else "")
        raise InputError(
            f"the trace store has {len(tenants)} workspaces: {named}; name one by --workspace or {PREFIX}TENANT_ID"
        )
    return tenants[0]


def owner_of(control: ControlDatabase, id_: uuid.UUID) -> uuid.UUID | None:
    """The workspace of the project, destination or bulk export with this id; for operators, who may see all of them."""
    owner = sa.union_all(
        sa.select(projects.c.tenant_id).where(projects.c.session_id == id_),
        *(sa.select(table.c.tenant_id).where(table.c.id == id_) for table in (destinations, bulk_exports)),
    )
    with control.read() as transaction:
        return transaction.execute(owner).scalars().first()
