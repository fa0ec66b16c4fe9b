"""Where standing tables go: the bucket that the settings name, or a stored destination."""

import uuid
from collections.abc import Callable

from export_pipeline.errors import NotFoundError, SettingsError
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline.exports.destinations.opened import unlock
from export_pipeline.exports.destinations.records import DestinationRecord, read_destination
from export_pipeline.object_store.config import Credentials, DestinationConfig
from export_pipeline.object_store.protocol import ObjectStore
from export_pipeline.object_store.s3.store import S3Store
from export_pipeline.settings import PREFIX, Settings


def with_place(transaction: Transaction, settings: Settings, *, hold: bool = False) -> Settings:
    """The settings with bucket, prefix, region and endpoint of the stored destination where they name one.

    With `hold` the destination cannot be deleted before the transaction ends. Raises `SettingsError` where it is not
    there.
    """
    if settings.destination_id is None:
        return settings
    config = _named(transaction, settings.destination_id, hold=hold).config
    place = {name: getattr(config, name) for name in ("bucket", "prefix", "region", "endpoint_url")}
    return settings.model_copy(update=place)


def standing_access(control: ControlDatabase, settings: Settings) -> tuple[DestinationConfig, Credentials | None]:
    """What a client of the standing tables' bucket is made of, as it is now.

    Raises `SettingsError` where the settings name no place, or one that is not there, and `SecretsError` where the
    stored credentials do not open.
    """
    if settings.destination_id is None:
        return DestinationConfig.from_settings(settings), Credentials.from_settings(settings)
    with control.read() as transaction:
        record = _named(transaction, settings.destination_id)
        return unlock(transaction, record, settings=settings)


class StandingBucket:
    """The bucket of the standing tables for a process that goes on: after a rotation it is opened anew."""

    def __init__(
        self,
        control: ControlDatabase,
        settings: Settings,
        *,
        make: Callable[[DestinationConfig, Credentials | None], ObjectStore] = S3Store,
    ) -> None:
        self._control = control
        self._settings = settings
        self._make = make
        self._opened: ObjectStore | None = None
        self._version: int | None = None

    def store(self) -> ObjectStore:
        """The bucket, with the credentials that are stored now; raises as `standing_access` does."""
        version = self._stored_version()
        if self._opened is None or version != self._version:
            # One that is replaced is not closed: uploads of other threads may still go through it.
            self._opened = self._make(*standing_access(self._control, self._settings))
            self._version = version
        return self._opened

    def close(self) -> None:
        """Closes the connections."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _stored_version(self) -> int | None:
        if self._settings.destination_id is None:
            return None
        with self._control.read() as transaction:
            return _named(transaction, self._settings.destination_id).updated_at


def _named(transaction: Transaction, destination_id: uuid.UUID, *, hold: bool = False) -> DestinationRecord:
    try:
        return read_destination(transaction, destination_id, tenant_id=None, hold=hold)
    except NotFoundError:
        raise SettingsError(
            f"{PREFIX}DESTINATION_ID names {destination_id}, which is not a stored destination; "
            "`export-pipeline destinations list` shows all."
        ) from None
