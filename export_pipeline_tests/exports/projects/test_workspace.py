"""The workspace that commands work in where none is named."""

import uuid

import pytest

from export_pipeline.errors import InputError
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.projects.registry import list_projects, sync_projects
from export_pipeline.exports.projects.workspace import owner_of, workspace_of
from export_pipeline.runs.ids import uuid_of
from export_pipeline.settings import Settings, load_settings
from export_pipeline.sources.protocol import UNASSIGNED, Project
from export_pipeline_tests.exports.conftest import project
from export_pipeline_tests.exports.memory_source import MemorySource

ACME, GLOBEX = uuid.UUID(int=0xA), uuid.UUID(int=0xB)


@pytest.fixture
def unset() -> Settings:
    """Settings that say nothing of a workspace."""
    return load_settings(source_url="sqlite:///traces.db", control_url="sqlite:///control.db", bucket="traces")


def sync(control: ControlDatabase, settings: Settings, *found: Project) -> None:
    sync_projects(control, MemorySource(listed=list(found)), settings)


def test_the_only_one_of_the_store_is_taken(control: ControlDatabase, unset: Settings) -> None:
    sync(control, unset, project("a", 1, tenant_key=str(ACME)), project("b", 2, tenant_key=str(ACME)))
    assert workspace_of(control, unset) == ACME


def test_the_setting_goes_first(control: ControlDatabase, settings: Settings) -> None:
    sync(control, settings, project("a", 1, tenant_key=str(ACME)))
    assert workspace_of(control, settings) == settings.tenant_id


def test_a_store_without_workspaces_and_one_without_projects_have_the_default(
    control: ControlDatabase, unset: Settings
) -> None:
    default = Settings.model_fields["tenant_id"].default
    assert workspace_of(control, unset) == default
    sync(control, unset, project("a"))
    assert workspace_of(control, unset) == default


def test_of_several_none_is_guessed(control: ControlDatabase, unset: Settings) -> None:
    sync(control, unset, project("a", 1, tenant_key=str(ACME)), project("b", 2, tenant_key=str(GLOBEX)))
    with pytest.raises(InputError, match=f"has 2 workspaces: {ACME}, {GLOBEX}; name one by --workspace or EXPORT_"):
        workspace_of(control, unset)
    sync(control, unset, project("b", 2, tenant_key=str(GLOBEX)))
    assert workspace_of(control, unset) == GLOBEX


def test_rows_of_no_project_are_in_the_only_workspace(control: ControlDatabase, unset: Settings) -> None:
    orphans = Project(UNASSIGNED, "orphans")
    sync(control, unset, project("a", 1, tenant_key=str(ACME)), orphans)
    assert {one.tenant_id for one in list_projects(control, only_assets=False, settings=unset)} == {ACME}
    assert workspace_of(control, unset) == ACME
    assert owner_of(control, uuid_of(UNASSIGNED)) == ACME
    assert owner_of(control, uuid.uuid4()) is None
