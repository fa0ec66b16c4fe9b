"""What has been committed since: for loads that follow an export from elsewhere."""

import re
import uuid
from dataclasses import dataclass
from datetime import date, datetime

import sqlalchemy as sa

from export_pipeline.errors import InputError
from export_pipeline.exports.bulk.records import read_export
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import bulk_exports, commits, days, exports, projects
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline.exports.projects.standing import STANDING
from export_pipeline.exports.proof.manifests import ManifestReader, TableId, choose, list_manifests
from export_pipeline.files.manifest import Manifest
from export_pipeline.files.signing import PublicKeys
from export_pipeline.object_store.protocol import ObjectStore
from export_pipeline.runs.times import instant

MOST_CHANGES = 10_000

_CURSOR = re.compile(r"(?P<sequence>[0-9]{1,18})-(?P<commit>[0-9a-f]{8})")


@dataclass(frozen=True)
class Change:
    """One commit of one day.

    `superseded` says that a later commit of the day has taken its place: its file is gone, nothing is to be loaded.
    Of any other, `uri` is None where the day is empty: what was loaded of it is to be removed. `rows` and `bytes` are
    those of the commit; `sha256`, `etag` and `version_id` are told of files that are there. `sequence` is None where
    the bucket alone was asked, and `project`, the name, where the project is not known.
    """

    sequence: int | None
    project: str | None
    export_id: uuid.UUID
    tenant_id: uuid.UUID
    session_id: uuid.UUID
    day: date
    epoch: int
    commit_id: uuid.UUID
    superseded: bool
    rows: int
    bytes: int
    uri: str | None
    sha256: str | None
    etag: str | None
    version_id: str | None
    manifest_uri: str
    committed_at: datetime


def changes_since(
    control: ControlDatabase,
    export_id: uuid.UUID,
    cursor: str | None = None,
    limit: int = 1000,
    *,
    current: bool = False,
) -> tuple[list[Change], str | None]:
    """The commits of an export after `cursor` (None: from the first one on), in order, and the cursor after them.

    With `current` superseded ones are left out: one commit a day. A commit that is seen stays where it is, and none
    ever appears before it. Whoever stores the cursor after the changes are processed sees each at least once. Raises
    `InputError` for an unknown export, a limit outside 1 to 10,000, and a cursor that is not one of this control
    database: after `recover` on an empty one begin anew.
    """
    with control.read() as transaction:
        if transaction.execute(sa.select(exports.c.kind).where(exports.c.export_id == export_id)).first() is None:
            raise InputError(f"unknown export {export_id}; `export-pipeline projects list` shows the exports")
        return _since(transaction, exports.c.export_id == export_id, cursor, limit, current=current)


def all_changes_since(
    control: ControlDatabase, cursor: str | None = None, limit: int = 1000, *, current: bool = False
) -> tuple[list[Change], str | None]:
    """The same of the tables in use of all projects, under one cursor."""
    in_use = sa.and_(exports.c.kind == STANDING, exports.c.superseded_at.is_(None))
    with control.read() as transaction:
        return _since(transaction, in_use, cursor, limit, current=current)


def bulk_changes_since(
    control: ControlDatabase,
    bulk_id: uuid.UUID,
    *,
    tenant_id: uuid.UUID,
    cursor: str | None = None,
    limit: int = 1000,
    current: bool = False,
) -> tuple[list[Change], str | None]:
    """The same of a bulk export, or of all that a schedule has spawned; raises `NotFoundError` where there is none."""
    parts = sa.select(bulk_exports.c.id).where(
        sa.or_(bulk_exports.c.id == bulk_id, bulk_exports.c.source_id == bulk_id)
    )
    with control.read() as transaction:
        read_export(transaction, bulk_id, tenant_id=tenant_id)
        return _since(transaction, exports.c.bulk_id.in_(parts), cursor, limit, current=current)


def _since(
    transaction: Transaction, wanted: sa.ColumnElement[bool], cursor: str | None, limit: int, *, current: bool
) -> tuple[list[Change], str | None]:
    if not 1 <= limit <= MOST_CHANGES:
        raise InputError(f"a limit lies between 1 and {MOST_CHANGES}, not {limit}")
    newest = (
        sa.select(commits.c.export_id, commits.c.day, sa.func.max(commits.c.sequence).label("sequence"))
        .join(exports, exports.c.export_id == commits.c.export_id)
        .where(wanted)
        .group_by(commits.c.export_id, commits.c.day)
        .subquery()
    )
    superseded = commits.c.sequence < newest.c.sequence
    file = days.c.manifest["file"]
    of_day = sa.and_(
        days.c.export_id == commits.c.export_id, days.c.day == commits.c.day, days.c.commit_epoch == commits.c.epoch
    )
    of_project = sa.and_(projects.c.tenant_id == exports.c.tenant_id, projects.c.session_id == exports.c.session_id)
    query = (
        sa.select(
            commits,
            *(exports.c.bucket, exports.c.tenant_id, exports.c.session_id),
            projects.c.name.label("project"),
            superseded.label("superseded"),
            *(file[name].as_string().label(name) for name in ("sha256", "etag", "version_id")),
        )
        .join(exports, exports.c.export_id == commits.c.export_id)
        .join(newest, sa.and_(newest.c.export_id == commits.c.export_id, newest.c.day == commits.c.day))
        .outerjoin(days, of_day)
        .outerjoin(projects, of_project)
        .where(wanted)
        .order_by(commits.c.sequence)
        .limit(limit)
    )
    if current:
        query = query.where(~superseded)
    if cursor is not None:
        query = query.where(commits.c.sequence > _position(transaction, cursor))
    rows = transaction.execute(query).all()
    after = f"{rows[-1].sequence}-{rows[-1].commit_id.hex[:8]}" if rows else cursor
    return [_change(row) for row in rows], after


def _position(transaction: Transaction, cursor: str) -> int:
    """The place in the sequence; the commit that a cursor names must be there: another database has another one."""
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise InputError(f"{cursor!r} is not a cursor; take the one that the last answer gave, or none to begin anew")
    sequence = int(match["sequence"])
    commit_id = transaction.execute(sa.select(commits.c.commit_id).where(commits.c.sequence == sequence)).scalar()
    if commit_id is None or not commit_id.hex.startswith(match["commit"]):
        raise InputError(
            f"the cursor {cursor!r} is not of this control database, or of one that was lost and rebuilt since; "
            "begin anew without a cursor"
        )
    return sequence


def _change(row: sa.Row[tuple[object, ...]]) -> Change:
    superseded = bool(row.superseded)
    gone = superseded or row.key is None
    return Change(
        sequence=row.sequence,
        project=row.project,
        export_id=row.export_id,
        tenant_id=row.tenant_id,
        session_id=row.session_id,
        day=row.day,
        epoch=row.epoch,
        commit_id=row.commit_id,
        superseded=superseded,
        rows=row.rows,
        bytes=row.bytes,
        uri=None if gone else f"s3://{row.bucket}/{row.key}",
        sha256=None if gone else row.sha256,
        etag=None if gone else row.etag,
        version_id=None if gone else row.version_id,
        manifest_uri=f"s3://{row.bucket}/{row.manifest_key}",
        committed_at=instant(row.committed_at),
    )


def days_in_bucket(
    store: ObjectStore, prefix: str, *, keys: PublicKeys, wanted: uuid.UUID | None = None
) -> list[Change]:
    """The commit in force of each day, as the bucket's manifests tell; `wanted` is an export or a project, None all.

    A bucket has no order of commits, so there is no cursor: compare the commit ids with those that were loaded.
    Days whose manifests are all damaged are left out; `export-pipeline verify` names them.
    """
    changes = []
    for table, index in sorted(list_manifests(store, prefix).tables.items()):
        if wanted not in {None, table.export_id, table.session_id}:
            continue
        reader = ManifestReader(store, index, keys=keys)
        for day in reader.days:
            valid = choose(reader.newest_first(day)).valid
            if valid is not None and valid.manifest is not None:
                changes.append(
                    _change_of_manifest(table, day, valid.manifest, f"s3://{store.config.bucket}/{valid.key}")
                )
    return changes


def _change_of_manifest(table: TableId, day: date, manifest: Manifest, manifest_uri: str) -> Change:
    file = manifest.file
    return Change(
        sequence=None,
        project=None,
        export_id=table.export_id,
        tenant_id=table.tenant_id,
        session_id=table.session_id,
        day=day,
        epoch=manifest.epoch,
        commit_id=manifest.commit_id,
        superseded=False,
        rows=manifest.rows,
        bytes=0 if file is None else file.bytes,
        uri=None if file is None else f"s3://{file.bucket}/{file.key}",
        sha256=None if file is None else file.sha256,
        etag=None if file is None else file.etag,
        version_id=None if file is None else file.version_id,
        manifest_uri=manifest_uri,
        committed_at=manifest.committed_at,
    )
