"""Opens the stores that a command works on, from the settings, and closes them again.

Everything is imported when it is first needed, so that `--help` and wrong usage answer at once.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import uuid

    from export_pipeline.exports.control.database import ControlDatabase
    from export_pipeline.exports.control.records import TableRecord
    from export_pipeline.object_store.protocol import ObjectStore
    from export_pipeline.object_store.s3.store import S3Store
    from export_pipeline.settings import Settings
    from export_pipeline.sources.protocol import RunSource


def load(*, bucket_only: bool = False) -> "Settings":
    """The settings of this process, with the embedded parts filled in; with `bucket_only` a bucket is enough."""
    from export_pipeline.settings import load_bucket_settings, load_settings

    return (load_bucket_settings() if bucket_only else load_settings()).resolved()


@contextmanager
def open_control(settings: "Settings", *, check: bool = True) -> Iterator["ControlDatabase"]:
    """The control database; with `check` its schema must be the one that this version needs."""
    from export_pipeline.exports.control.database import open_control as connect

    control = connect(settings)
    try:
        if check:
            control.check_schema()
        yield control
    finally:
        control.close()


@contextmanager
def in_workspace(
    control: "ControlDatabase", settings: "Settings", workspace: "uuid.UUID | None"
) -> Iterator["uuid.UUID"]:
    """The workspace that a command works in; what is not found there is told with the workspace that it belongs to."""
    from export_pipeline.errors import NotFoundError
    from export_pipeline.exports.projects.workspace import owner_of, workspace_of

    tenant_id = workspace or workspace_of(control, settings)
    try:
        yield tenant_id
    except NotFoundError as error:
        owner = None if error.missing is None else owner_of(control, error.missing)
        if owner is None or owner == tenant_id:
            raise
        raise type(error)(f"{error} It belongs to workspace {owner}: give --workspace {owner}") from None


@contextmanager
def open_source(settings: "Settings") -> Iterator["RunSource"]:
    """The trace store; the limits of an API are shared with the workers."""
    from export_pipeline.exports.budget import shared_budgets
    from export_pipeline.sources.factory import open_source as connect

    with (
        open_control(settings, check=False) as control,
        closing(connect(settings, budgets=shared_budgets(control))) as source,
    ):
        yield source


PATIENCE = 20.0
"""For how many seconds a bucket that does not answer is asked again: less than a worker asks, somebody is waiting."""


@contextmanager
def open_store(*, bucket_only: bool = False) -> Iterator["S3Store"]:
    """The bucket of the standing tables; the embedded one is served meanwhile, unless it is served already.

    With `bucket_only` a bucket that the settings name is opened without a control database.
    """
    from export_pipeline.exports.projects.standing_place import standing_access
    from export_pipeline.local.embedded import EmbeddedStore
    from export_pipeline.object_store.config import Credentials, DestinationConfig
    from export_pipeline.object_store.s3.store import S3Store
    from export_pipeline.settings import load_bucket_settings, load_settings

    with EmbeddedStore(load_bucket_settings() if bucket_only else load_settings()) as embedded:
        embedded.wait_ready()
        settings = embedded.resolved
        if bucket_only and settings.destination_id is None:
            access = DestinationConfig.from_settings(settings), Credentials.from_settings(settings)
        else:
            with open_control(settings, check=False) as control:
                access = standing_access(control, settings)
        store = S3Store(*access, patience=PATIENCE)
        try:
            yield store
        finally:
            store.close()


def find_tables(control: "ControlDatabase", name_or_id: str) -> "list[TableRecord]":
    """The tables that a person means: those of a bulk export by its id, else what `find_table` finds."""
    from export_pipeline.exports.bulk.read import tables_of
    from export_pipeline.runs.ids import parse_uuid

    as_uuid = parse_uuid(name_or_id)
    tables = [] if as_uuid is None else tables_of(control, as_uuid)
    return tables or [find_table(control, name_or_id)]


@contextmanager
def open_store_of(
    table: "TableRecord", standing: "ObjectStore", control: "ControlDatabase | None", settings: "Settings"
) -> Iterator["ObjectStore"]:
    """The bucket that an export lies in: that of its stored destination, or `standing`."""
    if table.bulk_id is None or table.destination_id is None or control is None:
        yield standing
        return
    from export_pipeline.exports.destinations.opened import open_destination

    store = open_destination(control, table.destination_id, tenant_id=table.tenant_id, settings=settings)
    try:
        yield store
    finally:
        store.close()


def find_table(control: "ControlDatabase", name_or_id: str) -> "TableRecord":
    """The export that a person means: by its own id, or the one in use of a project (name, asset or id).

    Raises `UnknownProjectError` for neither, `InputError` where the project has not been exported yet.
    """
    from export_pipeline.errors import InputError
    from export_pipeline.exports.projects.registry import find_project
    from export_pipeline.exports.projects.standing import find_table as by_id
    from export_pipeline.exports.projects.standing import list_tables
    from export_pipeline.runs.ids import parse_uuid

    as_uuid = parse_uuid(name_or_id)
    if as_uuid is not None and (export := by_id(control, as_uuid)):
        return export
    project = find_project(control, name_or_id)
    in_use = [export for export in list_tables(control, project) if export.superseded_at is None]
    if not in_use:
        raise InputError(f"project {project.name!r} has no standing export yet; it begins with its first exported day")
    return in_use[-1]


def location(table: "TableRecord") -> str:
    """The folder in the bucket below which the export's days lie."""
    from export_pipeline.files.paths import project_root

    root = project_root(table.prefix, table.layout_id, table.tenant_id, table.session_id, table.format_version)
    return f"s3://{table.bucket}/{root}"
