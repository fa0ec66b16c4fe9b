"""Opens the trace store that the settings name."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export_pipeline.database_url import parse_database_url
from export_pipeline.errors import SettingsError
from export_pipeline.settings import PREFIX, Settings
from export_pipeline.sources.langsmith.address import base_url, is_langsmith
from export_pipeline.sources.mapping import DEFAULT_MAPPING, load_mapping
from export_pipeline.sources.presets.choose import Choice, choose, of_mapping
from export_pipeline.sources.protocol import RunSource

if TYPE_CHECKING:
    from export_pipeline.sources.sql.source import SqlSource

_ACCEPTED = (
    "it looks like postgresql://user:password@host:5432/database, mysql://user:password@host:3306/database, "
    "clickhouse://user:password@host:8123/database or sqlite:///traces.db"
)


def open_source(settings: Settings) -> RunSource:
    """The trace store, connected to once, with the mapping that its kind needs.

    Raises `SettingsError` (no URL, another kind of database, a wrong mapping), `SourceUnusableError` (no such file or
    database, refused, a version of a known store that cannot be read) or `SourceUnreachableError`; the text names the
    setting and never holds the password. Whether the tables fit is told by `check`, or by the first read.
    """
    if settings.source_url is None:
        raise SettingsError(f"{PREFIX}SOURCE_URL is not set")
    if is_langsmith(settings.source_url.get_secret_value()):
        return _langsmith(settings)
    if settings.mapping is not None and settings.source_kind not in {None, "runs"}:
        raise SettingsError(
            f"{PREFIX}MAPPING takes the place of {PREFIX}SOURCE_KIND={settings.source_kind}; set one of them"
        )
    mapping = None if settings.mapping is None else of_mapping(load_mapping(settings.mapping))
    opened = _opener(settings)
    source = opened(mapping or Choice(DEFAULT_MAPPING, "runs"))
    tables = source.connect()
    if mapping is not None:
        return source
    try:
        source.choice = choose(settings.source_kind, tables)
    except BaseException:
        source.close()
        raise
    if source.choice.mapping is DEFAULT_MAPPING:
        return source
    source.close()
    return opened(source.choice)


def _langsmith(settings: Settings) -> RunSource:
    from export_pipeline.sources.langsmith.api import Api
    from export_pipeline.sources.langsmith.client import Client
    from export_pipeline.sources.langsmith.source import LangSmithSource

    assert settings.source_url is not None  # noqa: S101
    if settings.mapping is not None or settings.source_kind is not None:
        raise SettingsError(
            f"{PREFIX}MAPPING and {PREFIX}SOURCE_KIND are for databases; remove them where {PREFIX}SOURCE_URL names a "
            "LangSmith"
        )
    key = "" if settings.source_api_key is None else settings.source_api_key.get_secret_value().strip()
    if not key:
        raise SettingsError(f"{PREFIX}SOURCE_API_KEY must be set, because {PREFIX}SOURCE_URL names a LangSmith")
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise SettingsError(f"{PREFIX}SOURCE_API_KEY holds a character that no key has")
    client = Client(
        base_url(settings.source_url.get_secret_value(), private=settings.private_endpoints),
        key=key,
        workspace=settings.source_workspace_id,
        patience=settings.source_minutes * 60,
    )
    source = LangSmithSource(Api(client))
    try:
        source.connect()
    except BaseException:
        source.close()
        raise
    return source


def _opener(settings: Settings) -> "Callable[[Choice], SqlSource]":
    """Makes a source of the database that the URL names."""
    assert settings.source_url is not None  # noqa: S101
    url = parse_database_url(settings.source_url.get_secret_value(), setting=f"{PREFIX}SOURCE_URL", accepted=_ACCEPTED)
    shared: dict[str, Any] = {
        "unassigned": settings.unassigned_project,
        "workspace": settings.tenant_id,
        "patience": settings.source_minutes * 60,
    }
    backend = url.get_backend_name()
    if backend == "sqlite":
        from export_pipeline.sources.sqlite.source import SqliteSource

        if not url.database or url.database == ":memory:":
            raise SettingsError(
                f"{PREFIX}SOURCE_URL must name a SQLite file: sqlite:///relative.db or sqlite:////absolute.db"
            )
        path = Path(url.database)
        return lambda choice: SqliteSource(path, choice=choice, **shared)
    if backend in {"postgresql", "postgres"}:
        from export_pipeline.sources.postgres.source import PostgresSource

        return lambda choice: PostgresSource(url, choice=choice, row_security=settings.allow_row_security, **shared)
    if url.drivername in {"clickhouse", "clickhouses"}:
        from export_pipeline.sources.clickhouse.source import ClickhouseSource

        return lambda choice: ClickhouseSource(url, choice=choice, row_security=settings.allow_row_security, **shared)
    if backend in {"mysql", "mariadb"}:
        from export_pipeline.sources.mysql.source import MysqlSource

        if url.drivername != backend:
            raise SettingsError(f"{PREFIX}SOURCE_URL begins with {url.drivername}://; write {backend}:// instead")
        return lambda choice: MysqlSource(url, choice=choice, **shared)
    named = url.drivername if backend == "clickhouse" else backend
    raise SettingsError(
        f"{PREFIX}SOURCE_URL names a {named} database; trace stores can be sqlite:///, postgresql://, "
        "mysql://, mariadb://, clickhouse://, clickhouses:// or langsmith:// only"
    )
