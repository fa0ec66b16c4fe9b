"""The control database: what was asked, how far it is, and who may write.

It is the only place where writers meet. Instants are microseconds of the database's own clock, so that the clocks of
worker hosts do not matter.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import sqlalchemy as sa

from export_pipeline.backoff import Backoff
from export_pipeline.database_url import shown
from export_pipeline.errors import ControlSchemaError, ControlUnreachableError, SettingsError
from export_pipeline.exports.control.engine import (
    CONTROL_URL,
    WRITE,
    create_sqlite_file,
    explain,
    make_engine,
    parse_control_url,
)
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline.settings import Settings

SCHEMA_VERSION = "0006"
"""The newest of `exports/control/migrations/versions`: the one that this code reads and writes."""

_MIGRATION_LOCK = 0x65787069  # any constant number; PostgreSQL's advisory locks are known by number
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0

T = TypeVar("T")


class ControlDatabase:
    """Transactions on the control database; connects at the first use.

    May be used from several threads; a process that forks makes its own afterwards. Every method raises
    `ControlUnreachableError` where the database does not answer or stays locked for `timeout` seconds, and
    `ControlSchemaError` where tables are missing.
    """

    def __init__(self, url: str, *, timeout: float = 30.0) -> None:
        self.url = parse_control_url(url)
        self._timeout = timeout
        self._engine = make_engine(self.url, timeout=timeout)
        self._write_engine = self._engine.execution_options(**WRITE)
        self._turn = threading.Lock()

    def __repr__(self) -> str:
        return f"ControlDatabase({shown(self.url)!r})"

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is an SQLite file, which serves one machine only."""
        return self.url.drivername == "sqlite"

    def now(self, *, patience: float = 0.0) -> int:
        """The database's clock, in microseconds since 1970; asked for again for `patience` seconds."""

        def ask() -> int:
            with self.read() as transaction:
                return transaction.now()

        return _again(ask, patience=patience)

    @contextlib.contextmanager
    def begin(self) -> Iterator[Transaction]:
        """One write transaction: committed at the end, rolled back when an exception leaves it.

        When it raises `ControlUnreachableError` the commit may or may not have happened: look before doing it again.
        """
        with self._in_turn(), self._explained(), self._write_engine.begin() as connection:
            yield Transaction(connection)

    @contextlib.contextmanager
    def read(self) -> Iterator[Transaction]:
        """One read transaction."""
        with self._explained(), self._engine.begin() as connection:
            yield Transaction(connection)

    def run(self, work: Callable[[Transaction], T], *, patience: float = 60.0) -> T:
        """The value of `work` in one write transaction, tried again for `patience` seconds while there is no answer.

        The answer of a commit may have been lost, so `work` must find out by itself whether it already happened.
        """

        def once() -> T:
            with self.begin() as transaction:
                return work(transaction)

        return _again(once, patience=patience)

    def schema_version(self) -> str | None:
        """The version of the database's schema, or None where it holds none."""
        with self.read() as transaction:
            if not sa.inspect(transaction.connection).has_table("alembic_version"):
                return None
            return transaction.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one_or_none()

    def check_schema(self) -> None:
        """Raises `ControlSchemaError` where the schema is not the one of this version; changes nothing."""
        version = self.schema_version()
        if version == SCHEMA_VERSION:
            return
        if version is None:
            raise ControlSchemaError(
                f"the control database {shown(self.url)} holds no schema of export-pipeline yet; "
                f"run `export-pipeline migrate`, or correct {CONTROL_URL}"
            )
        if version < SCHEMA_VERSION:
            raise ControlSchemaError(
                f"the control database {shown(self.url)} has schema {version}, this version needs {SCHEMA_VERSION}; "
                "run `export-pipeline migrate`"
            )
        raise self._newer(version)

    def _newer(self, version: str) -> ControlSchemaError:
        return ControlSchemaError(
            f"the control database {shown(self.url)} has schema {version}, newer than {SCHEMA_VERSION}, which this "
            "version of export-pipeline knows; upgrade export-pipeline here too"
        )

    def migrate(self) -> None:
        """Brings the schema to this version; safe when several processes do it at once, quick when nothing is to do.

        Makes the SQLite file where it is missing. All or nothing: a failure leaves the schema as it was.
        """
        if self.is_sqlite:
            create_sqlite_file(self.url, timeout=self._timeout)
        if self.schema_version() == SCHEMA_VERSION:
            return
        import alembic.command
        import alembic.config

        config = alembic.config.Config()
        config.set_main_option("script_location", "export_pipeline.exports.control:migrations")
        config.set_main_option("path_separator", "os")
        with self.begin() as transaction:
            if not self.is_sqlite:
                transaction.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
            self._refuse_newer(transaction)
            config.attributes["connection"] = transaction.connection
            alembic.command.upgrade(config, "head")

    def _refuse_newer(self, transaction: Transaction) -> None:
        if sa.inspect(transaction.connection).has_table("alembic_version"):
            version = transaction.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
            if version is not None and version > SCHEMA_VERSION:
                raise self._newer(version)

    def close(self) -> None:
        """Gives back all connections; the object connects again when it is used again."""
        self._engine.dispose()

    @contextlib.contextmanager
    def _in_turn(self) -> Iterator[None]:
        """One writing thread at a time on SQLite, which lets one in anyway and makes the others sleep ever longer."""
        if not self.is_sqlite:
            yield
            return
        if not self._turn.acquire(timeout=self._timeout):
            raise ControlUnreachableError(
                f"the control database {shown(self.url)} cannot be used: another thread has kept it for "
                f"{self._timeout:g} s"
            )
        try:
            yield
        finally:
            self._turn.release()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.SQLAlchemyError as error:
            if explained := explain(error, self.url):
                raise explained from error
            raise


def _again(call: Callable[[], T], *, patience: float) -> T:
    backoff = Backoff(patience, first=_FIRST_PAUSE, longest=_LONGEST_PAUSE)
    while True:
        try:
            return call()
        except ControlUnreachableError:
            if not backoff.wait():
                raise


def open_control(settings: Settings) -> ControlDatabase:
    """The control database of resolved settings; connects at the first use."""
    if settings.control_url is None:
        raise SettingsError(f"{CONTROL_URL} is not set")
    return ControlDatabase(settings.control_url.get_secret_value())
