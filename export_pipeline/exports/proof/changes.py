"""What has been committed since: for loads that follow an export from elsewhere."""

import re
import uuid
from dataclasses import dataclass
from datetime import date

import sqlalchemy as sa

from export_pipeline.errors import InputError
from export_pipeline.exports.bulk.records import read_export
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import bulk_exports, commits, exports

MOST_CHANGES = 10_000

_CURSOR = re.compile(r"(?P<sequence>[0-9]{1,18})-(?P<commit>[0-9a-f]{8})")


@dataclass(frozen=True)
class Change:
    """One commit of one day. `uri` is None where the day is empty: what was loaded of it is to be removed.

    `rows` and `bytes` are those of the file as of this commit; a later change of the same day replaces them.
    """

    sequence: int
    export_id: uuid.UUID
    session_id: uuid.UUID
    day: date
    epoch: int
    commit_id: uuid.UUID
    rows: int
    bytes: int
    uri: str | None
    manifest_uri: str
    committed_at: int
    """Control database microseconds."""


def changes_since(
    control: ControlDatabase, export_id: uuid.UUID, cursor: str | None = None, limit: int = 1000
) -> tuple[list[Change], str | None]:
    """The commits of an export after `cursor` (None: from the first one on), in order, and the cursor after them.

    A commit that is seen stays where it is, and none ever appears before it. Whoever stores the cursor after the
    changes are processed sees each at least once. Raises `InputError` for an unknown export, a limit outside 1 to
    10,000, and a cursor that is not one of this control database: after `recover` on an empty one begin anew.
    """
    _check_limit(limit)
    with control.read() as connection:
        if connection.execute(sa.select(exports.c.kind).where(exports.c.export_id == str(export_id))).first() is None:
            raise InputError(f"unknown export {export_id}; `export-pipeline projects list` shows the exports")
        return _since(connection, commits.c.export_id == str(export_id), cursor, limit)


def bulk_changes_since(
    control: ControlDatabase, bulk_id: uuid.UUID, *, tenant_id: uuid.UUID, cursor: str | None = None, limit: int = 1000
) -> tuple[list[Change], str | None]:
    """The same of a bulk export, or of all that a schedule has spawned; raises `NotFoundError` where there is none."""
    _check_limit(limit)
    parts = sa.select(bulk_exports.c.id).where(
        sa.or_(bulk_exports.c.id == str(bulk_id), bulk_exports.c.source_id == str(bulk_id))
    )
    with control.read() as connection:
        read_export(connection, bulk_id, tenant_id=tenant_id)
        return _since(connection, exports.c.bulk_id.in_(parts), cursor, limit)


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= MOST_CHANGES:
        raise InputError(f"a limit lies between 1 and {MOST_CHANGES}, not {limit}")


def _since(
    connection: sa.Connection, wanted: sa.ColumnElement[bool], cursor: str | None, limit: int
) -> tuple[list[Change], str | None]:
    query = (
        sa.select(commits, exports.c.bucket, exports.c.session_id)
        .join(exports, exports.c.export_id == commits.c.export_id)
        .where(wanted)
        .order_by(commits.c.sequence)
        .limit(limit)
    )
    if cursor is not None:
        query = query.where(commits.c.sequence > _position(connection, cursor))
    found = [_change(row) for row in connection.execute(query)]
    return found, _cursor(found[-1]) if found else cursor


def _cursor(change: Change) -> str:
    """The place in the sequence, with the commit there: the same number of another database is another commit."""
    return f"{change.sequence}-{change.commit_id.hex[:8]}"


def _position(connection: sa.Connection, cursor: str) -> int:
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise InputError(f"{cursor!r} is no cursor; take the one that the last answer gave, or none to begin anew")
    sequence = int(match["sequence"])
    commit_id = connection.execute(sa.select(commits.c.commit_id).where(commits.c.sequence == sequence)).scalar()
    if commit_id is None or not commit_id.startswith(match["commit"]):
        raise InputError(
            f"the cursor {cursor!r} is not of this control database, or of one that was lost and rebuilt since; "
            "begin anew without a cursor"
        )
    return sequence


def _change(row: sa.Row[tuple[object, ...]]) -> Change:
    return Change(
        sequence=row.sequence,
        export_id=uuid.UUID(row.export_id),
        session_id=uuid.UUID(row.session_id),
        day=row.day,
        epoch=row.epoch,
        commit_id=uuid.UUID(row.commit_id),
        rows=row.rows,
        bytes=row.bytes,
        uri=None if row.key is None else f"s3://{row.bucket}/{row.key}",
        manifest_uri=f"s3://{row.bucket}/{row.manifest_key}",
        committed_at=row.committed_at,
    )
