"""Opens the trace store that the settings name."""

from pathlib import Path
from typing import Any

from export_pipeline.errors import SettingsError
from export_pipeline.settings import PREFIX, Settings
from export_pipeline.sources.mapping import load_mapping
from export_pipeline.sources.protocol import RunSource


def open_source(settings: Settings) -> RunSource:
    """The trace store, connected to once.

    Raises `SettingsError` (no URL, another kind of database, a wrong mapping), `SourceUnusableError` (no such file or
    database, refused) or `SourceUnreachableError`; the text names the setting and never holds the password. Whether
    the tables fit is told by `check`, or by the first read.
    """
    if settings.source_url is None:
        raise SettingsError(f"{PREFIX}SOURCE_URL is not set")
    mapping = load_mapping(settings.mapping)
    url = _parse(settings.source_url.get_secret_value())
    backend = url.get_backend_name()
    if backend == "sqlite":
        from export_pipeline.sources.sqlite import SqliteSource

        if not url.database or url.database == ":memory:":
            raise SettingsError(
                f"{PREFIX}SOURCE_URL must name a SQLite file: sqlite:///relative.db or sqlite:////absolute.db"
            )
        sqlite = SqliteSource(Path(url.database), mapping=mapping, unassigned=settings.unassigned_project)
        sqlite.connect()
        return sqlite
    if backend in {"postgresql", "postgres"}:
        from export_pipeline.sources.postgres import PostgresSource

        postgres = PostgresSource(url, mapping=mapping, unassigned=settings.unassigned_project)
        postgres.connect()
        return postgres
    raise SettingsError(
        f"{PREFIX}SOURCE_URL names a {backend} database; trace stores can be sqlite:/// or postgresql:// only"
    )


def _parse(text: str) -> Any:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(text)
    except (ArgumentError, ValueError):
        raise SettingsError(
            f"{PREFIX}SOURCE_URL is no database URL; it looks like postgresql://user:password@host:5432/database "
            "or sqlite:///traces.db"
        ) from None
