"""Changes of whose a project is: recorded with an audit line and a notice, followed by the project's exports."""

import uuid
from collections.abc import Sequence

import sqlalchemy as sa

from export_pipeline.errors import InputError
from export_pipeline.exports.access.audit import record
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import ProjectRecord, project_of
from export_pipeline.exports.control.tables import exports, projects
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline.exports.projects.claims import Claim, ProjectId
from export_pipeline.exports.watch.notices import add_notice


def is_project(id_: ProjectId) -> sa.ColumnElement[bool]:
    """The condition that a row of `projects` is this one."""
    return sa.and_(projects.c.tenant_id == id_[0], projects.c.session_id == id_[1])


def follow_project(transaction: Transaction, id_: ProjectId) -> None:
    """Makes the exports of a project find its rows as the project does now."""
    query = sa.select(projects.c.project, projects.c.tenant_key, projects.c.untold).where(is_project(id_))
    row = transaction.execute(query).mappings().one()
    mine = sa.and_(exports.c.tenant_id == id_[0], exports.c.session_id == id_[1])
    transaction.execute(sa.update(exports).where(mine).values(**row))


def assign(control: ControlDatabase, project: ProjectRecord) -> list[ProjectRecord]:
    """Gives the rows that name no workspace to this one of the projects with its id; those that had them.

    With an audit line in each workspace and a notice. Raises `InputError` where they are this project's already.
    """

    def write(transaction: Transaction) -> list[ProjectRecord]:
        at = transaction.now()
        same = sa.select(projects).where(projects.c.project == project.project).with_for_update()
        candidates = [project_of(row) for row in transaction.execute(same).mappings()]
        mine = next((each for each in candidates if _id(each) == _id(project)), None)
        if mine is None or mine.untold:
            raise InputError(f"the rows of {project.name!r} that name no workspace are its own already")
        former = [each for each in candidates if each.untold]
        for each in (*former, mine):
            transaction.execute(sa.update(projects).where(is_project(_id(each))).values(untold=each is mine))
            follow_project(transaction, _id(each))
        for each in former or [mine]:
            record_move(transaction, mine, former=each.tenant_id, actor="cli", at=at)
        return former

    return control.run(write)


def record_move(transaction: Transaction, project: ProjectRecord, *, former: uuid.UUID, actor: str, at: int) -> None:
    """Notes that a project's rows belong to its workspace now, and not to `former`."""
    detail = {"project": project.project, "from": str(former), "to": str(project.tenant_id)}
    for tenant_id in dict.fromkeys((former, project.tenant_id)):
        record(
            transaction,
            at=at,
            tenant_id=tenant_id,
            actor=actor,
            action="project.move",
            subject=project.session_id,
            detail=detail,
        )
    add_notice(
        transaction,
        "project.moved",
        subject=f"{project.session_id}:{at}:{former}",
        text=f"project {project.name!r} belongs to workspace {project.tenant_id} now; it was {former}'s",
        detail=detail,
        at=at,
    )


def claimant_sentence(project: ProjectRecord, owner: ProjectRecord) -> str:
    """That a second workspace claims a project, and what came of it."""
    return (
        f"workspace {project.tenant_id} claims {project.name!r}, whose id {project.project!r} belongs to workspace "
        f"{owner.tenant_id}: it is a project of its own, runs/{project.asset_name}, and rows that name no workspace "
        f"stay with {owner.tenant_id}; `export-pipeline projects assign {project.asset_name}` hands them over"
    )


def disputed_sentence(project: str, rivals: Sequence[Claim]) -> str:
    """That several workspaces have claimed a project from the start."""
    tenants = ", ".join(str(claim.tenant_id) for claim in rivals)
    return (
        f"{len(rivals)} workspaces claim the project {project!r}: {tenants}. Each has a project of its own; rows that "
        "name no workspace are not exported until `export-pipeline projects assign` says whose they are"
    )


def _id(project: ProjectRecord) -> ProjectId:
    return project.tenant_id, project.session_id
