"""Opens the trace store that the settings name."""

from pathlib import Path

from export_pipeline.database_url import parse_database_url
from export_pipeline.errors import SettingsError
from export_pipeline.settings import PREFIX, Settings
from export_pipeline.sources.mapping import load_mapping
from export_pipeline.sources.protocol import RunSource

_ACCEPTED = "it looks like postgresql://user:password@host:5432/database or sqlite:///traces.db"


def open_source(settings: Settings) -> RunSource:
    """The trace store, connected to once.

    Raises `SettingsError` (no URL, another kind of database, a wrong mapping), `SourceUnusableError` (no such file or
    database, refused) or `SourceUnreachableError`; the text names the setting and never holds the password. Whether
    the tables fit is told by `check`, or by the first read.
    """
    if settings.source_url is None:
        raise SettingsError(f"{PREFIX}SOURCE_URL is not set")
    mapping = load_mapping(settings.mapping)
    url = parse_database_url(settings.source_url.get_secret_value(), setting=f"{PREFIX}SOURCE_URL", accepted=_ACCEPTED)
    backend = url.get_backend_name()
    if backend == "sqlite":
        from export_pipeline.sources.sqlite.source import SqliteSource

        if not url.database or url.database == ":memory:":
            raise SettingsError(
                f"{PREFIX}SOURCE_URL must name a SQLite file: sqlite:///relative.db or sqlite:////absolute.db"
            )
        sqlite = SqliteSource(
            Path(url.database),
            mapping=mapping,
            unassigned=settings.unassigned_project,
            workspace=settings.tenant_id,
            patience=settings.source_minutes * 60,
        )
        sqlite.connect()
        return sqlite
    if backend in {"postgresql", "postgres"}:
        from export_pipeline.sources.postgres.source import PostgresSource

        postgres = PostgresSource(
            url,
            mapping=mapping,
            unassigned=settings.unassigned_project,
            workspace=settings.tenant_id,
            patience=settings.source_minutes * 60,
            row_security=settings.allow_row_security,
        )
        postgres.connect()
        return postgres
    raise SettingsError(
        f"{PREFIX}SOURCE_URL names a {backend} database; trace stores can be sqlite:/// or postgresql:// only"
    )
