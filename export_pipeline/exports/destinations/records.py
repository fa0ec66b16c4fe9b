"""What the control database holds of stored destinations; nothing here decrypts."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from export_pipeline.errors import NotFoundError
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import destinations
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline.object_store.config import DestinationConfig
from export_pipeline.object_store.form import parse_config
from export_pipeline.object_store.s3.check import Capabilities


@dataclass(frozen=True)
class DestinationRecord:
    """A stored destination; instants are control database microseconds.

    `credentials_keys` are the names of the stored credentials, empty where a role or the process's own are used.
    `config` says nothing of what the settings allow: `exports.destinations.opened.open_destination` adds that.
    """

    id: uuid.UUID
    tenant_id: uuid.UUID
    display_name: str
    config: DestinationConfig
    credentials_keys: tuple[str, ...]
    capabilities: Capabilities
    checked_at: int
    created_at: int
    updated_at: int


_COLUMNS = [column for column in destinations.columns if column.name != "credentials"]


def list_destinations(
    control: ControlDatabase, *, tenant_id: uuid.UUID, limit: int | None = None, offset: int = 0
) -> list[DestinationRecord]:
    """The workspace's destinations, the newest first."""
    query = (
        sa.select(*_COLUMNS)
        .where(destinations.c.tenant_id == tenant_id)
        .order_by(destinations.c.created_at.desc(), destinations.c.id)
        .limit(limit)
        .offset(offset)
    )
    with control.read() as transaction:
        return [_record_of(row) for row in transaction.execute(query).mappings()]


def get_destination(control: ControlDatabase, destination_id: uuid.UUID, *, tenant_id: uuid.UUID) -> DestinationRecord:
    """A destination of the workspace; raises `NotFoundError`."""
    with control.read() as transaction:
        return read_destination(transaction, destination_id, tenant_id=tenant_id)


def read_destination(
    transaction: Transaction, destination_id: uuid.UUID, *, tenant_id: uuid.UUID | None, hold: bool = False
) -> DestinationRecord:
    """A destination, of any workspace where `tenant_id` is None; raises `NotFoundError`.

    With `hold` it cannot be deleted before the transaction ends: for those who store a reference to it.
    """
    query = sa.select(*_COLUMNS).where(destinations.c.id == destination_id)
    if tenant_id is not None:
        query = query.where(destinations.c.tenant_id == tenant_id)
    if hold:
        query = query.with_for_update(read=True)
    row = transaction.execute(query).mappings().one_or_none()
    if row is None:
        raise unknown(destination_id, tenant_id)
    return _record_of(row)


def unknown(destination_id: uuid.UUID, tenant_id: uuid.UUID | None) -> NotFoundError:
    """The error for an id that names no destination of the workspace, or of any."""
    where = "" if tenant_id is None else f" in workspace {tenant_id}"
    return NotFoundError(
        f"There is no destination {destination_id}{where}; `export-pipeline destinations list` shows all.",
        missing=destination_id,
    )


def _record_of(row: Mapping[Any, Any]) -> DestinationRecord:
    return DestinationRecord(
        id=row["id"],
        tenant_id=row["tenant_id"],
        display_name=row["display_name"],
        config=parse_config(row["config"]),
        credentials_keys=tuple(row["credentials_keys"]),
        capabilities=Capabilities(**row["capabilities"]),
        checked_at=row["checked_at"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
