"""Stored destinations: made, checked, changed and forgotten.

A destination is checked before anything is stored. Its credentials are encrypted where they enter and decrypted where
a client is made (`opened.unlock`), and nowhere else.
"""

import uuid
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import sqlalchemy as sa

from export_pipeline.errors import ConflictError, DestinationError, InputError, LimitError
from export_pipeline.exports.access.audit import record
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import bulk_exports, destinations, exports
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline.exports.destinations.opened import effective, open_destination
from export_pipeline.exports.destinations.records import (
    DestinationRecord,
    get_destination,
    list_destinations,
    read_destination,
    unknown,
)
from export_pipeline.object_store.config import Credentials, DestinationConfig
from export_pipeline.object_store.form import check_credentials, check_display_name, check_size, checked, config_values
from export_pipeline.object_store.s3.check import Capabilities, DestinationCheck, check_destination
from export_pipeline.object_store.s3.store import S3Store
from export_pipeline.object_store.secrets import Vault
from export_pipeline.settings import PREFIX, Settings

__all__ = [
    "DestinationRecord",
    "NewDestination",
    "check_stored",
    "create_destination",
    "delete_destination",
    "get_destination",
    "list_destinations",
    "read_destination",
    "rotate_credentials",
]

_HOUR = 3600

UNFINISHED = ("Created", "Running", "IntervalScheduled")
"""The statuses of bulk exports that still need their destination."""


@dataclass(frozen=True)
class NewDestination:
    """A destination to be made; without credentials and role the process's own credentials are used."""

    display_name: str
    config: DestinationConfig
    credentials: Credentials | None = None


def create_destination(
    control: ControlDatabase, new: NewDestination, *, tenant_id: uuid.UUID, settings: Settings, actor: str
) -> DestinationRecord:
    """Checks a destination by writing to it, and stores it.

    Raises `InputError` for a malformed value, `LimitError` where the workspace has too many, `SettingsError` where
    SECRET_KEYS is needed and missing, and `DestinationError` (with its class, the cause and a cure) where exports could
    not be written there. Nothing is stored then.
    """
    check_display_name(new.display_name)
    config = checked(new.config)
    check_size(config)
    with control.read() as transaction:  # before the bucket is written to
        _refuse_beyond_limit(transaction, tenant_id=tenant_id, settings=settings)
    row_id = uuid.uuid4()
    note = partial(record, tenant_id=tenant_id, actor=actor, subject=row_id)
    sealed = _sealed(config, new.credentials, row_id=row_id, tenant_id=tenant_id, settings=settings)
    can = _capabilities(effective(config, new.credentials, tenant_id=tenant_id, settings=settings), new.credentials)

    def insert(transaction: Transaction) -> None:
        if transaction.execute(sa.select(destinations.c.id).where(destinations.c.id == row_id)).first():
            return  # the answer of the commit was lost
        _refuse_beyond_limit(transaction, tenant_id=tenant_id, settings=settings)
        now = transaction.now()
        keys = _keys(new.credentials)
        values = {"tenant_id": tenant_id, "display_name": new.display_name, "created_at": now}
        changed = _changed(config, sealed, keys, can, now)
        transaction.execute(sa.insert(destinations).values(id=row_id, **values, **changed))
        detail = {"display_name": new.display_name, "config": config_values(config), "credentials_keys": keys}
        note(transaction, at=now, action="destination.create", detail=detail)

    control.run(insert)
    return get_destination(control, row_id, tenant_id=tenant_id)


def rotate_credentials(
    control: ControlDatabase,
    destination_id: uuid.UUID,
    *,
    tenant_id: uuid.UUID,
    credentials: Credentials | None = None,
    aws_role_arn: str | None = None,
    settings: Settings,
    actor: str,
) -> DestinationRecord:
    """Checks new credentials, or a role, and puts them in the place of the former ones.

    Whoever opens the destination from then on gets the new ones. Raises as `create_destination` does, and
    `NotFoundError`; the former ones stay in force then.
    """
    if (credentials is None) == (aws_role_arn is None):
        raise InputError("Give either credentials or aws_role_arn.")
    note = partial(record, tenant_id=tenant_id, actor=actor, subject=destination_id)
    existing = get_destination(control, destination_id, tenant_id=tenant_id)
    config = checked(replace(existing.config, aws_role_arn=aws_role_arn))
    sealed = _sealed(config, credentials, row_id=destination_id, tenant_id=tenant_id, settings=settings)
    can = _capabilities(effective(config, credentials, tenant_id=tenant_id, settings=settings), credentials)

    def update(transaction: Transaction) -> None:
        read_destination(transaction, destination_id, tenant_id=tenant_id)
        now = transaction.now()
        keys = _keys(credentials)
        changed = _changed(config, sealed, keys, can, now)
        transaction.execute(sa.update(destinations).where(destinations.c.id == destination_id).values(**changed))
        detail = {"aws_role_arn": aws_role_arn, "credentials_keys": keys}
        note(transaction, at=now, action="destination.rotate", detail=detail)

    control.run(update)
    return get_destination(control, destination_id, tenant_id=tenant_id)


def delete_destination(
    control: ControlDatabase,
    destination_id: uuid.UUID,
    *,
    tenant_id: uuid.UUID,
    actor: str,
    settings: Settings | None = None,
) -> None:
    """Forgets a destination and its credentials; what was exported to it stays there.

    Raises `NotFoundError`, and `ConflictError` while an unfinished export, a schedule or a standing table uses it.
    """
    if settings is not None and settings.destination_id == destination_id:
        raise ConflictError(
            f"{PREFIX}DESTINATION_ID names destination {destination_id}: point the standing exports elsewhere first."
        )
    note = partial(record, tenant_id=tenant_id, actor=actor, subject=destination_id)

    def delete(transaction: Transaction) -> None:
        locked = sa.select(destinations.c.id).where(
            destinations.c.id == destination_id, destinations.c.tenant_id == tenant_id
        )
        if transaction.execute(locked.with_for_update()).first() is None:
            raise unknown(destination_id, tenant_id)
        _refuse_used(transaction, destination_id)
        transaction.execute(sa.delete(destinations).where(destinations.c.id == destination_id))
        now = transaction.now()
        note(transaction, at=now, action="destination.delete", detail={})

    with control.begin() as transaction:
        delete(transaction)


def check_stored(
    control: ControlDatabase, destination_id: uuid.UUID, *, tenant_id: uuid.UUID, settings: Settings, actor: str
) -> DestinationCheck:
    """Checks a stored destination anew; what it can do now is recorded where exports can be written there.

    Raises `NotFoundError`, also where it was deleted meanwhile, and `SecretsError` where its credentials do not open.
    """
    try:
        store = open_destination(control, destination_id, tenant_id=tenant_id, settings=settings)
    except DestinationError as error:
        return DestinationCheck(Capabilities(), error)
    result = _check(store)
    if result.ok:
        can = asdict(result.capabilities)
        with control.begin() as transaction:
            read_destination(transaction, destination_id, tenant_id=tenant_id, hold=True)
            now = transaction.now()
            here = destinations.c.id == destination_id
            transaction.execute(sa.update(destinations).where(here).values(capabilities=can, checked_at=now))
            note = partial(record, tenant_id=tenant_id, actor=actor, subject=destination_id)
            note(transaction, at=now, action="destination.check", detail={"capabilities": can})
    return result


def _refuse_beyond_limit(transaction: Transaction, *, tenant_id: uuid.UUID, settings: Settings) -> None:
    mine = sa.select(sa.func.count()).where(destinations.c.tenant_id == tenant_id)
    if (count := transaction.execute(mine).scalar_one()) >= settings.max_destinations:
        raise LimitError(
            f"This workspace has {count:,} destinations, as many as {PREFIX}MAX_DESTINATIONS allows: delete one first.",
            retry_after=_HOUR,
        )


def _sealed(
    config: DestinationConfig,
    credentials: Credentials | None,
    *,
    row_id: uuid.UUID,
    tenant_id: uuid.UUID,
    settings: Settings,
) -> str | None:
    if credentials is None:
        return None
    if config.aws_role_arn is not None:
        raise InputError("Give either credentials or aws_role_arn, not both.")
    check_credentials(credentials)
    return Vault.from_settings(settings).seal(credentials, row_id=row_id, tenant_id=tenant_id)


def _capabilities(config: DestinationConfig, credentials: Credentials | None) -> Capabilities:
    result = _check(S3Store(config, credentials))
    if result.error is not None:
        raise result.error
    return result.capabilities


def _check(store: S3Store) -> DestinationCheck:
    try:
        return check_destination(store, store.config.prefix)
    finally:
        store.close()


def _keys(credentials: Credentials | None) -> list[str]:
    return [] if credentials is None else list(credentials.keys)


def _changed(
    config: DestinationConfig, sealed: str | None, keys: list[str], can: Capabilities, now: int
) -> dict[str, Any]:
    return {
        "config": config_values(config),
        "credentials": sealed,
        "credentials_keys": keys,
        "capabilities": asdict(can),
        "checked_at": now,
        "updated_at": now,
    }


def _refuse_used(transaction: Transaction, destination_id: uuid.UUID) -> None:
    bulk = sa.select(sa.func.count()).where(
        bulk_exports.c.destination_id == destination_id, bulk_exports.c.status.in_(UNFINISHED)
    )
    standing = sa.select(sa.func.count()).where(
        exports.c.destination_id == destination_id,
        exports.c.kind == "standing",
        exports.c.superseded_at.is_(None),
    )
    if used := transaction.execute(bulk).scalar_one():
        raise ConflictError(
            f"Destination {destination_id} is in use by {used} unfinished export{'s' * (used > 1)}: cancel them, or "
            "wait for their end."
        )
    if used := transaction.execute(standing).scalar_one():
        raise ConflictError(
            f"Destination {destination_id} is in use by the standing exports of {used} project{'s' * (used > 1)}: "
            f"set {PREFIX}DESTINATION_ID or {PREFIX}BUCKET to another place and let a day of each be exported first."
        )
