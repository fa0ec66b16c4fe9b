"""The projects that the control database knows: which there are, which become assets, and how one is named."""

import difflib
import uuid
from collections.abc import Iterable
from datetime import date
from fnmatch import fnmatchcase

import sqlalchemy as sa

from export_pipeline.errors import InputError, UnknownProjectError
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import ProjectRecord, project_of
from export_pipeline.exports.control.tables import facts, projects
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline.exports.projects.sync import SyncReport, sync_projects
from export_pipeline.runs.ids import parse_uuid
from export_pipeline.settings import Settings

__all__ = [
    "SyncReport",
    "find_project",
    "is_asset",
    "list_projects",
    "partitions_start",
    "project_by_session",
    "sync_projects",
]

_MOST_CLOSE_MATCHES = 3


def list_projects(control: ControlDatabase, *, only_assets: bool, settings: Settings) -> list[ProjectRecord]:
    """The known projects, in the order of their asset names: all, or those that become assets."""
    with control.read() as transaction:
        rows = transaction.execute(sa.select(projects).order_by(projects.c.asset_name)).mappings().all()
    records = [project_of(row) for row in rows]
    return [project for project in records if not only_assets or is_asset(project, settings)]


def is_asset(project: ProjectRecord, settings: Settings) -> bool:
    """Whether a project has an asset: still in the trace store, included by the settings, not excluded by them.

    Patterns are shell patterns of names in which upper and lower case differ.
    """
    return project.removed_at is None and is_wanted(project.name, settings, is_experiment=project.is_experiment)


def is_wanted(name: str, settings: Settings, *, is_experiment: bool) -> bool:
    """Whether the settings make an asset of a project of that name."""
    if is_experiment and not settings.include_experiments:
        return False
    return _matches(name, settings.projects_include) and not _matches(name, settings.projects_exclude)


def find_project(control: ControlDatabase, name_or_id: str) -> ProjectRecord:
    """The project that a person means: by its name, its asset's name, or its id in any form.

    Raises `UnknownProjectError` that lists names close to the one that was given, and `InputError` where several
    projects have it.
    """
    with control.read() as transaction:
        rows = transaction.execute(sa.select(projects).order_by(projects.c.first_seen_at)).mappings().all()
    known = [project_of(row) for row in rows]
    as_uuid = parse_uuid(name_or_id)
    by_id = [project for project in known if name_or_id == project.project or project.session_id == as_uuid]
    by_asset = [project for project in known if project.asset_name == name_or_id.removeprefix("runs/")]
    by_name = [project for project in known if project.name == name_or_id]
    present = [project for project in by_name if project.removed_at is None]
    for record in (by_id, _first_of_several(present or by_name, by_asset), by_asset):
        if len(record) > 1:
            raise InputError(
                f"{len(record)} projects are named {name_or_id!r}; name one by its asset or its id: "
                + ", ".join(f"{project.asset_name} ({project.project} of {project.tenant_id})" for project in record)
            )
        if record:
            return record[0]
    raise UnknownProjectError(_unknown(name_or_id, known))


def _first_of_several(by_name: list[ProjectRecord], by_asset: list[ProjectRecord]) -> list[ProjectRecord]:
    """Projects of a name; where those beside the one whose asset has it are other tenants', that one.

    Whoever gives a project the name of a neighbour's must not stop the commands that name it.
    """
    own = [project for project in by_name if project in by_asset]
    is_alone = own and all(project.tenant_id != own[0].tenant_id for project in by_name if project != own[0])
    return own if is_alone else by_name


def project_by_session(
    transaction: Transaction, session_id: uuid.UUID, *, tenant_id: uuid.UUID
) -> ProjectRecord | None:
    """The tenant's project with this id."""
    here = sa.and_(projects.c.session_id == session_id, projects.c.tenant_id == tenant_id)
    query = sa.select(projects).where(here)
    row = transaction.execute(query).mappings().one_or_none()
    return None if row is None else project_of(row)


def partitions_start(control: ControlDatabase) -> date | None:
    """The first partition of all assets, or None where no project has had a row yet."""
    with control.read() as transaction:
        value = transaction.execute(sa.select(facts.c.value).where(facts.c.name == "partitions_start")).scalar()
    return None if value is None else date.fromisoformat(value)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _unknown(wanted: str, known: list[ProjectRecord]) -> str:
    if not known:
        return f"unknown project {wanted!r}: no project is known yet; run `export-pipeline projects sync`"
    names = {name.casefold(): name for project in known for name in (project.asset_name, project.name)}
    close = difflib.get_close_matches(wanted.casefold(), names, n=_MOST_CLOSE_MATCHES, cutoff=0.5)
    hint = f"did you mean {' or '.join(repr(names[name]) for name in close)}?" if close else "no name is close to it;"
    return f"unknown project {wanted!r}: {hint} `export-pipeline projects list --all` shows all"
