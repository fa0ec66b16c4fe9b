"""Whose a project is: a project is one of a tenant, and what was recorded does not go over to another one by itself.

Two tenants whose rows have the same project id have a project each. Rows that say no tenant are those of the project
that has had the id first; where several claim it from the start, of none. `assign` is how an operator decides it.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from export_pipeline.exports.control.records import ProjectRecord
from export_pipeline.runs.ids import uuid_of
from export_pipeline.sources.protocol import UNASSIGNED, Project

ProjectId = tuple[uuid.UUID, uuid.UUID]
"""Tenant and session id."""


@dataclass(frozen=True)
class Claim:
    """A project of one tenant as the trace store lists it; without a `tenant_key` the settings name the tenant."""

    tenant_id: uuid.UUID
    tenant_key: str | None
    project: str
    name: str
    is_experiment: bool
    start_time: datetime | None
    untold: bool

    @property
    def by_settings(self) -> bool:
        """Whether the trace store does not say whose it is."""
        return self.tenant_key is None


@dataclass(frozen=True)
class Placement:
    """What a sync makes of the claims: each with its session id, and `untold` as it is decided.

    `kept` are recorded projects that no claim names, whose id another tenant claims now: they stay. `moved` are those
    whose tenant the settings name anew, by their former id. `claimants` names the new projects whose id belongs to
    another one, with its owner; `disputed` the ids that several tenants claim and none has had.
    """

    projects: Mapping[ProjectId, Claim]
    kept: frozenset[ProjectId]
    moved: Mapping[ProjectId, ProjectId]
    claimants: Mapping[ProjectId, ProjectRecord]
    disputed: Mapping[str, tuple[Claim, ...]]


def claims_of(projects: Iterable[Project], *, default: uuid.UUID, known: Sequence[ProjectRecord]) -> list[Claim]:
    """The projects that a trace store lists, those of one tenant and id as one; `default` owns what names no tenant."""
    listed = list(projects)
    tenants = {uuid_of(project.tenant_key) for project in listed if project.tenant_key is not None}
    merged: dict[tuple[uuid.UUID, str], Claim] = {}
    for project in listed:
        tenant_id = default if project.tenant_key is None else uuid_of(project.tenant_key)
        if project.key == UNASSIGNED and project.tenant_key is None:
            recorded = [each.tenant_id for each in known if each.project == UNASSIGNED and each.removed_at is None]
            tenant_id = recorded[0] if recorded else tenants.pop() if len(tenants) == 1 else default
        claim = Claim(
            tenant_id=tenant_id,
            tenant_key=project.tenant_key,
            project=project.key,
            name=project.name,
            is_experiment=project.is_experiment,
            start_time=project.start_time,
            untold=project.untold,
        )
        first = merged.setdefault((tenant_id, project.key), claim)
        if first is not claim:
            merged[tenant_id, project.key] = replace(first, untold=first.untold or claim.untold)
    return list(merged.values())


def place(claims: Sequence[Claim], known: Sequence[ProjectRecord]) -> Placement:
    """Decides which claim is which recorded project, and to which one the rows that say no tenant belong."""
    by_key = {(record.tenant_id, record.project): record for record in known}
    by_id = {(record.tenant_id, record.session_id): record for record in known}
    claimed = {(claim.tenant_id, claim.project) for claim in claims}
    owners = {record.project: record for record in known if record.untold and record.last_seen_at}
    moved = _moved_by_settings(claims, owners, by_key)
    projects: dict[ProjectId, Claim] = {}
    claimants: dict[ProjectId, ProjectRecord] = {}
    rivals = _rivals(claims)
    for claim in claims:
        record = by_key.get((claim.tenant_id, claim.project)) or moved.get((claim.tenant_id, claim.project))
        id_ = _id(claim, record, projects, by_id, claimed)
        record = record or by_id.get(id_)
        untold = _untold(claim, record, owner=owners.get(claim.project), alone=len(rivals[claim.project]) == 1)
        projects[id_] = replace(claim, untold=untold)
        owner = owners.get(claim.project)
        if owner is not None and claim.untold and not untold and (record is None or not record.last_seen_at):
            claimants[id_] = owner
    renamed = {(record.tenant_id, record.session_id): (key[0], record.session_id) for key, record in moved.items()}
    contested = {claim.project for claim in claims if claim.untold}
    kept = {
        id_
        for id_, record in by_id.items()
        if record.untold and record.removed_at is None and record.project in contested
        if id_ not in projects and id_ not in renamed
    }
    disputed = {key: several for key, several in rivals.items() if len(several) > 1 and key not in owners}
    return Placement(projects, frozenset(kept), renamed, claimants, disputed)


def _rivals(claims: Sequence[Claim]) -> dict[str, tuple[Claim, ...]]:
    """For each id those that claim the rows which say no tenant."""
    by_project: dict[str, tuple[Claim, ...]] = {claim.project: () for claim in claims}
    for claim in claims:
        if claim.untold:
            by_project[claim.project] += (claim,)
    return by_project


def _moved_by_settings(
    claims: Sequence[Claim],
    owners: Mapping[str, ProjectRecord],
    by_key: Mapping[tuple[uuid.UUID, str], ProjectRecord],
) -> dict[tuple[uuid.UUID, str], ProjectRecord]:
    """Projects of which the trace store says no tenant, then as now: the settings name another one."""
    moved = {}
    for claim in claims:
        owner = owners.get(claim.project)
        same_key = (claim.tenant_id, claim.project) in by_key
        if claim.by_settings and not same_key and owner is not None and owner.tenant_key is None:
            moved[claim.tenant_id, claim.project] = owner
    return moved


def _id(
    claim: Claim,
    record: ProjectRecord | None,
    taken: Mapping[ProjectId, Claim],
    by_id: Mapping[ProjectId, ProjectRecord],
    claimed: set[tuple[uuid.UUID, str]],
) -> ProjectId:
    """The recorded id; else the UUID that the id writes; one of its own where another of the tenant's has that."""
    if record is not None:
        return claim.tenant_id, record.session_id
    plain = claim.tenant_id, uuid_of(claim.project)
    other = by_id.get(plain)
    is_free = other is None or other.project == claim.project or (other.tenant_id, other.project) not in claimed
    if plain not in taken and is_free:
        return plain
    return claim.tenant_id, uuid.uuid5(plain[1], claim.project.encode(errors="backslashreplace").decode())


def _untold(claim: Claim, record: ProjectRecord | None, *, owner: ProjectRecord | None, alone: bool) -> bool:
    if not claim.untold:
        return False
    if owner is not None:
        return record is not None and (owner.tenant_id, owner.session_id) == (record.tenant_id, record.session_id)
    # What is recorded without the rows that say no tenant gets them by an operator's decision only.
    return alone and (record is None or not record.last_seen_at)
