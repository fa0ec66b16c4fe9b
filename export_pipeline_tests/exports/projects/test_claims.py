"""Whose a project is: what was recorded does not go over to another tenant by itself."""

import uuid
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from export_pipeline.errors import InputError
from export_pipeline.exports.access.audit import read_audit
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import ProjectRecord
from export_pipeline.exports.control.tables import projects
from export_pipeline.exports.projects.claims import claims_of, place
from export_pipeline.exports.projects.owners import assign
from export_pipeline.exports.projects.registry import find_project, list_projects, sync_projects
from export_pipeline.exports.projects.standing import find_table, standing_table
from export_pipeline.exports.watch.notices import due_notices
from export_pipeline.runs.ids import uuid_of
from export_pipeline.settings import Settings
from export_pipeline.sources.protocol import Project
from export_pipeline_tests.exports.conftest import TENANT, project
from export_pipeline_tests.exports.memory_source import MemorySource

A, B = str(uuid.UUID(int=0xA)), str(uuid.UUID(int=0xB))


def owners(control: ControlDatabase, settings: Settings) -> dict[str, tuple[str, bool, bool]]:
    """By asset: the tenant, whether it has the rows that name none, and whether it is still there."""
    found = list_projects(control, only_assets=False, settings=settings)
    return {each.asset_name: (str(each.tenant_id), each.untold, each.removed_at is None) for each in found}


def test_a_second_claimant_gets_a_project_of_its_own_and_the_first_one_keeps_its(
    control: ControlDatabase, settings: Settings, source: MemorySource
) -> None:
    source.listed = [project("chatbot", tenant_key=A)]
    sync_projects(control, source, settings)
    source.listed = [project("chatbot", tenant_key=A), project("chatbot", tenant_key=B)]
    report = sync_projects(control, source, settings)
    second = "chatbot_00000000"
    assert owners(control, settings) == {"chatbot": (A, True, True), second: (B, False, True)}
    (warning,) = report.warnings
    assert warning.startswith(f"workspace {B} claims 'chatbot', whose id '{uuid.UUID(int=1)}' belongs to workspace {A}")
    (notice,) = [each for each in due_notices(control, limit=10, oldest=0) if each.kind == "project.claimed"]
    assert notice.text == warning
    assert sync_projects(control, source, settings).warnings == ()
    assert str(find_project(control, "chatbot").tenant_id) == A


def test_a_project_that_another_tenant_has_taken_over_in_the_store_stays_with_the_first(
    control: ControlDatabase, settings: Settings, source: MemorySource
) -> None:
    source.listed = [project("chatbot", tenant_key=A)]
    sync_projects(control, source, settings)
    table = standing_table(control, find_project(control, "chatbot"), settings)
    source.listed = [project("chatbot", tenant_key=B)]
    for _ in range(2):
        report = sync_projects(control, source, settings)
        assert report.removed == ()
        assert owners(control, settings) == {"chatbot": (A, True, True), "chatbot_00000000": (B, False, True)}
    known = find_table(control, table.export_id)
    assert known is not None
    assert (known.project_key.tenant, known.project_key.untold, known.superseded_at) == (A, True, None)


def test_an_operator_hands_it_over_with_an_audit_line_and_a_notice(
    control: ControlDatabase, settings: Settings, source: MemorySource
) -> None:
    source.listed = [project("chatbot", tenant_key=A)]
    sync_projects(control, source, settings)
    former = standing_table(control, find_project(control, "chatbot"), settings)
    source.listed = [project("chatbot", tenant_key=B)]
    sync_projects(control, source, settings)
    taken = find_project(control, "chatbot_00000000")
    new = standing_table(control, taken, settings)
    (was,) = assign(control, taken)
    assert was.asset_name == "chatbot"
    report = sync_projects(control, source, settings)
    assert report.removed == ("chatbot",)
    assert owners(control, settings) == {"chatbot": (A, False, False), "chatbot_00000000": (B, True, True)}
    tables = [find_table(control, each.export_id) for each in (former, new)]
    assert [table is not None and table.project_key.untold for table in tables] == [False, True]
    for tenant in (A, B):
        lines = read_audit(control, tenant_id=uuid.UUID(tenant))
        (line,) = (line for line in lines if line.action == "project.move")
        assert (line.actor, line.detail["from"], line.detail["to"]) == ("cli", A, B)
    kinds = [each.kind for each in due_notices(control, limit=10, oldest=0)]
    assert sorted(kinds) == ["project.claimed", "project.moved"]
    with pytest.raises(InputError, match="its own already"):
        assign(control, find_project(control, "chatbot_00000000"))


def test_where_several_claim_it_from_the_start_nobody_has_the_rows_that_name_no_workspace(
    control: ControlDatabase, settings: Settings, source: MemorySource
) -> None:
    source.listed = [project("chatbot", tenant_key=A), project("chatbot", tenant_key=B)]
    report = sync_projects(control, source, settings)
    assert owners(control, settings) == {"chatbot": (A, False, True), "chatbot_00000000": (B, False, True)}
    (warning,) = report.warnings
    assert warning.startswith(f"2 workspaces claim the project '{uuid.UUID(int=1)}': {A}, {B}.")
    source.listed = source.listed[:1]
    sync_projects(control, source, settings)
    assert owners(control, settings)["chatbot"] == (A, False, True)
    assert assign(control, find_project(control, "chatbot")) == []
    assert owners(control, settings)["chatbot"] == (A, True, True)


def test_a_project_that_came_back_from_the_bucket_has_no_rows_until_a_sync_says_whose_they_are(
    control: ControlDatabase, settings: Settings, source: MemorySource
) -> None:
    session = str(uuid.UUID(int=1))
    row: dict[str, Any] = {"project": session, "session_id": session, "tenant_id": B, "untold": False, "name": session}
    row |= {"is_experiment": False, "asset_name": "recovered", "group_name": "projects", "removed_at": 0}
    with control.begin() as connection:
        connection.execute(sa.insert(projects).values(**row, first_seen_at=0, last_seen_at=0))
    source.listed = [project("chatbot", tenant_key=A)]
    sync_projects(control, source, settings)
    assert owners(control, settings) == {"recovered": (B, False, False), "chatbot": (A, True, True)}


def test_rows_that_name_no_workspace_are_a_project_of_the_default_one_where_runs_list_the_projects(
    control: ControlDatabase, settings: Settings, source: MemorySource
) -> None:
    source.listed = [
        project("chatbot", tenant_key=A, untold=False),
        project("chatbot", tenant_key=None, untold=True),
        project("chatbot", tenant_key=str(TENANT).upper(), untold=False),
    ]
    report = sync_projects(control, source, settings)
    assert report.warnings == ()
    assert owners(control, settings) == {"chatbot": (A, False, True), "chatbot_00000000": (str(TENANT), True, True)}


def test_a_project_whose_rows_are_gone_is_removed_though_another_tenant_has_its_id(
    control: ControlDatabase, settings: Settings, source: MemorySource
) -> None:
    source.listed = [project("chatbot", tenant_key=None), project("chatbot", tenant_key=A, untold=False)]
    sync_projects(control, source, settings)
    source.listed = [project("chatbot", tenant_key=A, untold=False)]
    assert sync_projects(control, source, settings).removed == ("chatbot",)
    assert owners(control, settings) == {"chatbot": (str(TENANT), True, False), "chatbot_00000000": (A, False, True)}


TENANTS = st.sampled_from([None, "acme", "ACME", A, B, A.upper()])
KEYS = st.sampled_from(["1", "01", A, A.upper(), A.replace("-", ""), "bot"])
CLAIMS = st.builds(Project, key=KEYS, name=st.just("bot"), tenant_key=TENANTS, untold=st.booleans())
LISTS = st.lists(CLAIMS, max_size=8)


def recorded(found: list[Project], known: list[ProjectRecord], at: int) -> list[ProjectRecord]:
    """The projects as a sync would record them."""
    placed = place(claims_of(found, default=TENANT, known=known), known)
    former = {(each.tenant_id, each.session_id): each for each in known}
    for old, new in placed.moved.items():
        former[new] = former.pop(old)
    records = {
        id_: ProjectRecord(
            project=claim.project,
            session_id=id_[1],
            tenant_id=id_[0],
            name=claim.name,
            is_experiment=False,
            asset_name="",
            group_name="",
            first_seen_at=at,
            last_seen_at=at,
            removed_at=None,
            tenant_key=claim.tenant_key,
            untold=claim.untold,
        )
        for id_, claim in placed.projects.items()
    }
    return list((former | records).values())


@given(st.lists(LISTS, min_size=1, max_size=4))
def test_whatever_stores_say_one_after_the_other_no_two_tenants_ever_share_rows(lists: list[list[Project]]) -> None:
    known: list[ProjectRecord] = []
    for at, found in enumerate(lists, 1):
        before = {each.project: each.tenant_id for each in known if each.untold}
        known = recorded(found, known, at)
        ids = [(each.tenant_id, each.session_id) for each in known]
        assert len(ids) == len(set(ids))
        owner: dict[str, uuid.UUID] = {}
        for each in known:
            if each.untold:
                assert owner.setdefault(each.project, each.tenant_id) == each.tenant_id
        # Nobody but an operator takes rows away from a tenant.
        assert {key: owner[key] for key in before if key in owner} == {
            key: before[key] for key in before if key in owner
        }
        listed = {(TENANT if each.tenant_key is None else uuid_of(each.tenant_key), each.key) for each in found}
        assert listed <= {(each.tenant_id, each.project) for each in known}
