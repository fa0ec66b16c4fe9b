"""Stored destinations as they are used: with the credentials that are stored now, and what the settings allow.

Where a destination has credentials of its own, or a role, nothing else is ever used for it.
"""

import uuid
from dataclasses import replace

import sqlalchemy as sa

from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import destinations
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline.exports.destinations.permitted import permit
from export_pipeline.exports.destinations.records import DestinationRecord, read_destination
from export_pipeline.object_store.config import Credentials, DestinationConfig
from export_pipeline.object_store.s3.store import S3Store
from export_pipeline.object_store.secrets import Vault
from export_pipeline.settings import Settings


def open_destination(
    control: ControlDatabase, destination_id: uuid.UUID, *, tenant_id: uuid.UUID, settings: Settings
) -> S3Store:
    """The bucket of a stored destination, with the credentials that are stored now.

    Raises `NotFoundError`, `SecretsError` where the credentials do not open, and `DestinationRefusedError` where the
    settings forbid the endpoint, the role, the process's own credentials or an argument of uploads.
    """
    with control.read() as transaction:
        record = read_destination(transaction, destination_id, tenant_id=tenant_id)
        config, credentials = unlock(transaction, record, settings=settings)
    return S3Store(config, credentials)


def unlock(
    transaction: Transaction, record: DestinationRecord, *, settings: Settings
) -> tuple[DestinationConfig, Credentials | None]:
    """What a client of a destination is made of, with the credentials that are stored now.

    Raises `SecretsError`, and `DestinationRefusedError` where the workspace may not write in this way (any more).
    """
    query = sa.select(destinations.c.credentials).where(destinations.c.id == record.id)
    sealed = transaction.execute(query).scalar_one()
    credentials = None
    if sealed is not None:
        credentials = Vault.from_settings(settings).open(sealed, row_id=record.id, tenant_id=record.tenant_id)
    return effective(record.config, credentials, tenant_id=record.tenant_id, settings=settings), credentials


def effective(
    config: DestinationConfig, credentials: Credentials | None, *, tenant_id: uuid.UUID, settings: Settings
) -> DestinationConfig:
    """The config with what the settings allow, and with what is the workspace's; raises as `permit` does."""
    permit(config, credentials, tenant_id=tenant_id, settings=settings)
    return replace(
        config,
        allow_private=settings.private_endpoints,
        use_proxy=settings.allow_proxy,
        process_credentials=credentials is None,
        external_id=str(tenant_id),
    )
