"""A project is one of a tenant: rows that name another tenant are not among its own."""

from datetime import date
from typing import Any

import pytest

from export_pipeline.runs.filter import parse_filter
from export_pipeline.runs.window import Window
from export_pipeline.sources.protocol import UNASSIGNED, ProjectKey, RunSource
from export_pipeline_tests.sources.stores import BASIC, DAY, EVERYWHERE, OTHER, PROJECT, Store, uuid

A = "aaaaaaaa-0000-4000-8000-00000000000a"
B = "bbbbbbbb-0000-4000-8000-00000000000b"
AT = "2026-03-14 10:00:00+00:00"
FROM_RUNS = "projects: {from_runs: true}"


def ids(source: RunSource, key: ProjectKey) -> list[int]:
    """The numbers of the key's runs, as read and as counted."""
    with source.open(key, Window.of_day(DAY)) as snapshot:
        found = [value.as_py() for batch in snapshot.batches() for value in batch.column("id")]
        counted = snapshot.fingerprint.rows
    days = source.days(key)
    assert counted == len(found) == sum(day.rows for day in days.values())
    return sorted(int((each.decode() if isinstance(each, bytes) else str(each))[-12:], 16) for each in found)


def keys(source: RunSource) -> set[tuple[str, str | None, bool]]:
    """What the source lists."""
    return {(project.key, project.tenant_key, project.untold) for project in source.projects()}


def listed(store: Store, *projects: tuple[str, str | None], kind: str = "{uuid}", tenant: str = "TEXT") -> None:
    """Tables of projects, each with its tenant, and of runs that say theirs."""
    store.table("sessions", {"id": kind, "name": "TEXT", "tenant_id": tenant})
    for number, (key, owner) in enumerate(projects):
        store.insert("sessions", id=key, name=f"project {number}", tenant_id=owner)
    store.table("runs", {**BASIC, "session_id": kind, "tenant_id": tenant, "modified_at": "{time}"})


@EVERYWHERE
@pytest.mark.parametrize("mapping", [FROM_RUNS, "projects: {from_runs: true, tenant_id: tenant_id}"])
def test_one_row_of_another_tenant_moves_no_project_that_is_taken_from_the_runs(store: Store, mapping: str) -> None:
    store.table("runs", {**BASIC, "tenant_id": "{uuid}"})
    for number in (1, 2, 3):
        store.add(number, AT, tenant_id=A)
    store.add(4, AT, tenant_id=B)
    store.add(5, AT, tenant_id=None)
    source = store.source(mapping)
    assert keys(source) == {(PROJECT, A, False), (PROJECT, B, False), (PROJECT, None, True)}
    assert ids(source, ProjectKey(PROJECT, A, untold=False)) == [1, 2, 3]
    assert ids(source, ProjectKey(PROJECT, B, untold=False)) == [4]
    assert ids(source, ProjectKey(PROJECT, uuid(99))) == [5]
    assert source.unassigned().missing(exported_as=None) == 0
    source.close()


@EVERYWHERE
def test_the_mapping_may_say_that_a_column_of_the_usual_name_is_not_the_tenant(store: Store) -> None:
    store.table("runs", {**BASIC, "tenant_id": "TEXT"})
    store.add(1, AT, tenant_id="customer 1")
    store.add(2, AT, tenant_id="customer 2")
    for mapping in (FROM_RUNS + "\nruns: {tenant_id: null}", FROM_RUNS + f"\ntenant: {A}"):
        source = store.source(mapping)
        assert [project.key for project in source.projects()] == [PROJECT]
        assert ids(source, ProjectKey(PROJECT, A)) == [1, 2]
        source.close()


@EVERYWHERE
@pytest.mark.parametrize("tenant", ["TEXT", "{uuid}"])
def test_rows_that_name_another_tenant_than_their_project_are_counted_and_not_exported(
    store: Store, tenant: str
) -> None:
    listed(store, (PROJECT, A), (OTHER, B), tenant=tenant)
    for number, owner in enumerate([A, A, None, B, B], 1):
        store.add(number, AT, tenant_id=owner)
    store.add(6, AT, tenant_id=B, session_id=OTHER)
    store.add(7, AT, tenant_id=B, session_id=uuid(77))
    source = store.source()
    assert ids(source, ProjectKey(PROJECT, A)) == [1, 2, 3]
    assert ids(source, ProjectKey(PROJECT, A, untold=False)) == [1, 2]
    assert ids(source, ProjectKey(PROJECT, B, untold=False)) == [4, 5]
    assert ids(source, ProjectKey(OTHER, B)) == [6]
    found = source.unassigned()
    assert (found.rows, found.foreign, found.tenants) == (0, 3, ((B, 3),))
    told = f"3 rows name a workspace that does not have their project: '{B}' (3); they are not exported"
    assert told in source.check().warnings
    source.close()


@EVERYWHERE
def test_runs_that_do_not_say_whose_they_are_belong_to_one_tenant_only(store: Store) -> None:
    store.table("sessions", {"id": "{uuid}", "name": "TEXT", "tenant_id": "TEXT"})
    store.insert("sessions", id=PROJECT, name="chatbot", tenant_id=A)
    store.insert("sessions", id=PROJECT, name="chatbot", tenant_id=B)
    store.table("runs", BASIC)
    store.add(1, AT)
    source = store.source()
    assert keys(source) == {(PROJECT, A, True), (PROJECT, B, True)}
    assert ids(source, ProjectKey(PROJECT, A, untold=True)) == [1]
    assert ids(source, ProjectKey(PROJECT, B, untold=False)) == []
    source.close()


SPELLINGS = [A.upper(), A.replace("-", ""), A.replace("-", "").upper(), f"{{{A}}}", f"urn:uuid:{A}", f" {A}"]


@EVERYWHERE
def test_a_tenant_may_be_spelled_in_every_way(store: Store) -> None:
    store.table("runs", {**BASIC, "tenant_id": "TEXT"})
    for number, spelling in enumerate([A, *SPELLINGS], 1):
        store.add(number, AT, tenant_id=spelling)
    store.add(50, AT, tenant_id=A[:-1])
    store.add(51, AT, tenant_id=A + "0")
    store.add(52, AT, tenant_id=f"{A[:-1]}b")
    source = store.source(FROM_RUNS)
    for spelling in (A, *SPELLINGS):
        assert ids(source, ProjectKey(PROJECT, spelling, untold=False)) == [1, 2, 3, 4, 5, 6, 7]
    source.close()


@EVERYWHERE
@pytest.mark.parametrize(("kind", "values"), [("TEXT", ["acme", "Acme", "acme "]), ("BIGINT", [1, 10, -1])])
def test_tenants_that_are_no_uuids_are_compared_by_their_bytes(store: Store, kind: str, values: list[Any]) -> None:
    store.table("runs", {**BASIC, "tenant_id": kind})
    for number, value in enumerate(values, 1):
        store.add(number, AT, tenant_id=value)
    source = store.source(FROM_RUNS)
    assert keys(source) == {(PROJECT, str(value), False) for value in values}
    for number, value in enumerate(values, 1):
        assert ids(source, ProjectKey(PROJECT, str(value), untold=False)) == [number]
    source.close()


@EVERYWHERE
def test_sessions_whose_ids_are_one_uuid_in_two_spellings_have_their_own_rows(store: Store) -> None:
    listed(store, (PROJECT, A), (PROJECT.upper(), B), kind="TEXT")
    store.add(1, AT, tenant_id=A)
    store.add(2, AT, tenant_id=None, session_id=PROJECT.upper())
    source = store.source()
    assert ids(source, ProjectKey(PROJECT, A)) == [1]
    assert ids(source, ProjectKey(PROJECT.upper(), B)) == [2]
    source.close()


def test_spellings_that_find_the_same_rows_are_one_key(postgres_store: Store) -> None:
    store = postgres_store
    store.table("sessions", {"id": "TEXT", "name": "TEXT", "tenant_id": "TEXT"})
    for key, tenant in ((PROJECT, A), (PROJECT.upper(), B)):
        store.insert("sessions", id=key, name="chatbot", tenant_id=tenant)
    store.table("runs", {**BASIC, "session_id": "UUID"})
    store.add(1, AT)
    source = store.source()
    assert keys(source) == {(PROJECT, A, True), (PROJECT, B, True)}
    source.close()


@EVERYWHERE
@pytest.mark.parametrize("mapping", [FROM_RUNS, None])
def test_nobody_s_rows_are_not_to_be_had_by_a_project_of_their_name(store: Store, mapping: str | None) -> None:
    listed(store, (PROJECT, A), (UNASSIGNED, B), kind="TEXT")
    store.add(1, AT, tenant_id=A)
    store.add(2, AT, tenant_id=None, session_id=None)
    store.add(3, AT, tenant_id=None, session_id=UNASSIGNED)
    store.add(4, AT, tenant_id=B, session_id=UNASSIGNED)
    source = store.source(mapping)
    assert {key for key, _, _ in keys(source)} == {PROJECT}
    found = source.unassigned()
    assert (found.rows, found.foreign, found.tenants) == (2, 1, ((B, 1),))
    source.close()


@EVERYWHERE
def test_tenants_of_numbers_and_of_text_are_the_same_only_where_their_text_is(store: Store) -> None:
    store.table("sessions", {"id": "{uuid}", "name": "TEXT", "tenant_id": "TEXT"})
    for tenant in ("1", "01"):
        store.insert("sessions", id=PROJECT, name="chatbot", tenant_id=tenant)
    store.table("runs", {**BASIC, "tenant_id": "BIGINT"})
    store.add(1, AT, tenant_id=1)
    source = store.source()
    assert ids(source, ProjectKey(PROJECT, "1", untold=False)) == [1]
    assert ids(source, ProjectKey(PROJECT, "01", untold=False)) == []
    source.close()


@EVERYWHERE
def test_the_tenant_of_projects_that_are_taken_from_the_runs_is_complained_of_by_its_own_name(store: Store) -> None:
    store.table("runs", BASIC)
    source = store.source("projects: {from_runs: true, tenant_id: workspace}")
    assert source.check().problems == ("projects.tenant_id: table runs has no column workspace",)
    source.close()


@EVERYWHERE
def test_a_run_of_another_tenant_is_no_version_of_a_run(store: Store) -> None:
    listed(store, (PROJECT, A))
    store.add(1, AT, tenant_id=A, modified_at="2026-03-20 00:00:00+00:00")
    store.add(1, AT, tenant_id=B, modified_at="2026-03-21 00:00:00+00:00")
    for mapping in (None, "runs: {identity: [id]}"):
        source = store.source(mapping)
        assert ids(source, ProjectKey(PROJECT, A)) == [1]
        assert source.days(ProjectKey(PROJECT, A))[DAY].superseded == 0
        source.close()


@EVERYWHERE
def test_feedback_of_another_tenant_is_neither_counted_nor_filtered_by(store: Store) -> None:
    listed(store, (PROJECT, A))
    store.table("feedbacks", {"id": "{uuid}", "run_id": "{uuid}", "key": "TEXT", "score": "INT", "tenant_id": "TEXT"})
    store.add(1, AT, tenant_id=A)
    store.add(2, AT, tenant_id=A)
    store.insert("feedbacks", id=uuid(11), run_id=uuid(1), key="ours", score=1, tenant_id=A)
    store.insert("feedbacks", id=uuid(12), run_id=uuid(2), key="theirs", score=1, tenant_id=B)
    source = store.source()
    key = ProjectKey(PROJECT, A)
    assert source.days(key)[DAY].feedbacks == 1
    for name, rows in (("ours", 1), ("theirs", 0)):
        found = source.days(key, filter=parse_filter(f'eq(feedback_key, "{name}")'))
        assert sum(day.rows for day in found.values()) == rows
    with source.open(key, Window.of_day(DAY), ["id", "feedbacks"]) as snapshot:
        records = [str(value.as_py()) for batch in snapshot.batches() for value in batch.column("feedbacks")]
    assert sorted("theirs" in record for record in records) == [False, False]
    assert sum("ours" in record for record in records) == 1
    source.close()


def test_the_place_of_a_run_in_its_trace_leads_through_no_other_tenant(store: Store) -> None:
    store.table(
        "runs",
        {**BASIC, "id": "{uuid}", "tenant_id": "TEXT", "parent_run_id": "{uuid}"},
        extra=", PRIMARY KEY (session_id, id)",
    )
    store.add(1, AT, tenant_id=A, parent_run_id=None)
    store.add(2, AT, tenant_id=A, parent_run_id=uuid(1))
    store.add(3, AT, tenant_id=B, parent_run_id=uuid(1))
    source = store.source(FROM_RUNS)
    for tenant, paths in ((A, [1, 2]), (B, [0])):
        with source.open(ProjectKey(PROJECT, tenant, untold=False), Window.of_day(DAY), ["dotted_order"]) as snapshot:
            found = [value.as_py() for batch in snapshot.batches() for value in batch.column("dotted_order")]
        assert [0 if path is None else len(str(path).split(".")) for path in found] == paths
    source.close()


@EVERYWHERE
def test_a_table_of_projects_without_tenants_asks_nothing_of_the_runs(store: Store) -> None:
    store.runs({"tenant_id": "TEXT"})
    store.add(1, AT, tenant_id="customer 1")
    store.add(2, AT, tenant_id="customer 2")
    source = store.source()
    assert keys(source) == {(PROJECT, None, True)}
    assert ids(source, ProjectKey(PROJECT, A)) == [1, 2]
    assert source.unassigned().missing(exported_as=None) == 0
    assert {day: each.rows for day, each in source.days(ProjectKey(PROJECT, A)).items()} == {date(2026, 3, 14): 2}
    source.close()


@EVERYWHERE
@pytest.mark.parametrize("relation", ["table: shown", "query: SELECT * FROM runs"])
@pytest.mark.parametrize("expression", ["", ", fields: {name: {sql: upper(run_type)}}"], ids=["columns", "expression"])
def test_tenants_are_told_apart_in_views_and_queries(store: Store, relation: str, expression: str) -> None:
    listed(store, (PROJECT, A))
    for number, owner in enumerate([A, B, A], 1):
        store.add(number, AT, tenant_id=owner)
    store.run("CREATE VIEW shown AS SELECT * FROM runs")
    source = store.source(f"runs: {{{relation}{expression}}}")
    assert ids(source, ProjectKey(PROJECT, A)) == [1, 3]
    assert ids(source, ProjectKey(PROJECT, B, untold=False)) == [2]
    source.close()
