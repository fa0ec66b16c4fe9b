"""Opens the trace store that the settings name."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export_pipeline.database_url import parse_database_url
from export_pipeline.errors import SettingsError
from export_pipeline.settings import MIB, PREFIX, Settings
from export_pipeline.sources.http.address import Address
from export_pipeline.sources.http.budget import Budgets, OwnBudget, budget_id
from export_pipeline.sources.mapping import DEFAULT_MAPPING, load_mapping
from export_pipeline.sources.presets.choose import Choice, choose, of_mapping
from export_pipeline.sources.protocol import RunSource

if TYPE_CHECKING:
    from export_pipeline.sources.http.client import Access, Client
    from export_pipeline.sources.langfuse_cloud.source import LangfuseCloudSource
    from export_pipeline.sources.langsmith.source import LangSmithSource
    from export_pipeline.sources.sql.source import SqlSource

_ACCEPTED = (
    "it looks like postgresql://user:password@host:5432/database, mysql://user:password@host:3306/database, "
    "clickhouse://user:password@host:8123/database or sqlite:///traces.db"
)

_LANGSMITH = Address(
    scheme="langsmith", example="langsmith://api.smith.langchain.com", suffixes=("/api/v1", "/api/v2", "/api")
)

_LANGFUSE = Address(scheme="langfuse-cloud", example="langfuse-cloud://cloud.langfuse.com", suffixes=("/api/public",))


def open_source(settings: Settings, *, budgets: Budgets | None = None) -> RunSource:
    """The trace store, connected to once, with the mapping that its kind needs.

    `budgets` are those that all workers share, of stores behind an API; without them this process has its own.

    Raises `SettingsError` (no URL, another kind of database, a wrong mapping), `SourceUnusableError` (no such file or
    database, refused, a version of a known store that cannot be read) or `SourceUnreachableError`; the text names the
    setting and never holds the password. Whether the tables fit is told by `check`, or by the first read.
    """
    if settings.source_url is None:
        raise SettingsError(f"{PREFIX}SOURCE_URL is not set")
    if _LANGSMITH.fits(settings.source_url.get_secret_value()):
        return _langsmith(settings, budgets)
    if _LANGFUSE.fits(settings.source_url.get_secret_value()):
        return _langfuse_cloud(settings, budgets)
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


def _langsmith(settings: Settings, budgets: Budgets | None) -> RunSource:
    from export_pipeline.sources.http.client import Access
    from export_pipeline.sources.http.files import FileLimits
    from export_pipeline.sources.langsmith.api import RATES, LangSmithApi
    from export_pipeline.sources.langsmith.source import LangSmithSource

    key = _api_key(settings, "LangSmith")
    headers = {"X-API-Key": key}
    if settings.source_workspace_id is not None:
        headers["X-Tenant-Id"] = str(settings.source_workspace_id)
    advice = f"{PREFIX}SOURCE_API_KEY, and {PREFIX}SOURCE_WORKSPACE_ID for a key of several workspaces"
    access = Access(service="LangSmith", headers=headers, secrets=(key,), advice=advice)
    clients = _Clients(settings, _LANGSMITH, access, budgets)
    api = LangSmithApi(clients.made(key, rate=settings.source_rate or RATES["v2"]), rate=settings.source_rate)
    files = FileLimits(settings.attachment_mib * MIB, settings.private_endpoints)
    return _connected(LangSmithSource(api, at_once=settings.source_intervals, files=files))


def _langfuse_cloud(settings: Settings, budgets: Budgets | None) -> RunSource:
    from export_pipeline.sources.http.client import Access
    from export_pipeline.sources.langfuse_cloud.api import METRICS_RATE, RATE, LangfuseApi
    from export_pipeline.sources.langfuse_cloud.source import LangfuseCloudSource

    key = _api_key(settings, "Langfuse")
    public, _, secret = key.partition(":")
    if not public or not secret or settings.source_workspace_id is not None:
        raise SettingsError(
            f"{PREFIX}SOURCE_API_KEY must be the public and the secret key of a Langfuse project, pk-lf-…:sk-lf-…, "
            f"which is that project's alone: {PREFIX}SOURCE_WORKSPACE_ID is not set beside it"
        )
    basic = base64.b64encode(key.encode()).decode()
    access = Access(
        service="Langfuse",
        headers={"Authorization": f"Basic {basic}"},
        secrets=(basic, secret),
        advice=f"{PREFIX}SOURCE_API_KEY, and whether {PREFIX}SOURCE_URL names the region of its project",
    )
    clients = _Clients(settings, _LANGFUSE, access, budgets)
    observations = clients.made(key, rate=settings.source_rate or RATE)
    api = LangfuseApi(observations, clients.made(f"metrics of {key}", rate=METRICS_RATE))
    return _connected(LangfuseCloudSource(api, at_once=settings.source_intervals))


def _api_key(settings: Settings, service: str) -> str:
    if settings.mapping is not None or settings.source_kind is not None:
        raise SettingsError(
            f"{PREFIX}MAPPING and {PREFIX}SOURCE_KIND are for databases; remove them where {PREFIX}SOURCE_URL names a "
            f"{service}"
        )
    key = "" if settings.source_api_key is None else settings.source_api_key.get_secret_value().strip()
    if not key:
        raise SettingsError(f"{PREFIX}SOURCE_API_KEY must be set, because {PREFIX}SOURCE_URL names a {service}")
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise SettingsError(f"{PREFIX}SOURCE_API_KEY holds a character that no key has")
    return key


@dataclass(frozen=True)
class _Clients:
    """Makes clients of one API."""

    settings: Settings
    address: Address
    access: "Access"
    budgets: Budgets | None

    def made(self, owner: str, *, rate: float) -> "Client":
        """One that shares a budget with all that have the same owner."""
        from export_pipeline.sources.http.client import Client

        assert self.settings.source_url is not None  # noqa: S101
        base = self.address.base(self.settings.source_url.get_secret_value(), private=self.settings.private_endpoints)
        budget = OwnBudget() if self.budgets is None else self.budgets(budget_id(base, owner))
        patience = self.settings.source_minutes * 60
        return Client(base, access=self.access, patience=patience, budget=budget, rate=rate)


def _connected(source: "LangSmithSource | LangfuseCloudSource") -> RunSource:
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
        "mysql://, mariadb://, clickhouse://, clickhouses://, langsmith:// or langfuse-cloud:// only"
    )
