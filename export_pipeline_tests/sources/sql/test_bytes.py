"""Ids, projects and versions are told apart by their bytes, whatever the database takes for equal."""

import pytest

from export_pipeline.runs.window import Window
from export_pipeline.sources.protocol import ProjectKey
from export_pipeline_tests.sources.stores import DAY, Store, matching, rows_of

AT = "2026-03-14 10:00:00+00:00"
OLD, NEW = "2026-03-20 00:00:00+00:00", "2026-03-21 00:00:00+00:00"
LOOSE = {
    "sqlite": ["TEXT COLLATE NOCASE", "TEXT COLLATE RTRIM"],
    "postgresql": ["CITEXT", "LOOSE"],
    "mysql": ["VARCHAR(100) COLLATE utf8mb4_unicode_ci", "VARCHAR(100) CHARACTER SET latin1"],
}


@pytest.fixture(params=range(2))
def loose(request: pytest.FixtureRequest, store: Store) -> Store:
    """A store whose ids and project ids are compared loosely by the database."""
    if store.dialect == "postgresql":
        store.run("CREATE EXTENSION IF NOT EXISTS citext SCHEMA pg_catalog")
        store.run("CREATE DOMAIN loose AS citext")
    kind = LOOSE[store.dialect][request.param]
    store.table("sessions", {"id": kind, "name": kind})
    columns = {"id": kind, "session_id": kind, "name": kind, "run_type": kind, "start_time": kind, "modified_at": kind}
    store.table("runs", {**columns, "is_deleted": kind})
    store.table("feedbacks", {"id": "TEXT", "run_id": kind, "key": kind})
    return store


def test_projects_that_differ_in_case_or_blanks_only_are_two(loose: Store) -> None:
    for key in ("Bot", "bot", "bot "):
        loose.insert("sessions", id=key, name=key)
        loose.add(f"run of {key!r}", AT, session_id=key)
    source = loose.source()
    assert [project.key for project in source.projects()] == ["Bot", "bot", "bot "]
    for key in ("Bot", "bot", "bot "):
        assert [row["id"] for row in rows_of(source, project=key)] == [f"run of {key!r}".encode()]
        assert source.days(ProjectKey(key))[DAY].rows == 1
    assert source.unassigned().rows == 0
    source.close()


def test_projects_taken_from_the_runs_are_told_apart_alike(loose: Store) -> None:
    for key in ("Bot", "bot", "bot "):
        loose.add(f"run of {key!r}", AT, session_id=key)
    source = loose.source("projects: {from_runs: true}")
    assert sorted(project.key for project in source.projects()) == ["Bot", "bot", "bot "]
    assert [row["id"] for row in rows_of(source, project="bot")] == [b"run of 'bot'"]
    source.close()


def test_ids_that_differ_in_case_or_blanks_only_are_no_versions_of_each_other(loose: Store) -> None:
    loose.insert("sessions", id="p", name="p")
    for number, key in enumerate(("a", "A", "a ", "b")):
        loose.add(key, f"2026-03-14 10:00:0{number}+00:00", session_id="p", modified_at=OLD, name="old")
        loose.add(key, f"2026-03-14 10:00:0{number}+00:00", session_id="p", modified_at=NEW, name="new")
    loose.insert("feedbacks", id="1", run_id="A", key="score")
    for mapping in ("{}", "runs: {query: SELECT * FROM runs}"):
        source = loose.source(mapping)
        rows = rows_of(source, project="p", fields=["id", "name", "feedbacks"])
        assert [(row["id"], row["name"]) for row in rows] == [
            (b"a", b"new"), (b"A", b"new"), (b"a ", b"new"), (b"b", b"new"),
        ]  # fmt: skip
        assert [b'"run_id"' in row["feedbacks"] for row in rows] == [False, True, False, False]
        assert source.days(ProjectKey("p"))[DAY].superseded == 4
        source.close()


def test_filters_compare_bytes(loose: Store) -> None:
    project = "0190aaaa-0000-7000-8000-000000000001"
    loose.insert("sessions", id=project, name="p")
    for number, name in enumerate(("Answer", "answer", "answer ", "änswer"), 1):
        loose.add(number, AT, name=name, session_id=project)
    source = loose.source()
    assert matching(source, 'eq(name, "answer")') == [2]
    assert matching(source, 'in(name, ["Answer", "änswer"])') == [1, 4]
    assert matching(source, 'like(name, "ans%")') == [2, 3]
    source.close()


def test_an_index_with_a_loose_collation_still_serves(sqlite_store: Store) -> None:
    sqlite_store.projects("p")
    sqlite_store.table("runs", {"id": "TEXT", "session_id": "TEXT COLLATE NOCASE", "name": "TEXT", "run_type": "TEXT",
                                "start_time": "TEXT"})  # fmt: skip
    sqlite_store.run("CREATE INDEX by_day ON runs (session_id, start_time)")
    source = sqlite_store.source()
    assert source.check().index == "by_day"
    source.close()


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("-5", "-5"),
        ("9223372036854775807", "9223372036854775807"),
        ("x'00ff'", "00FF"),
        ("CAST(x'6162ff' AS TEXT)", "ab\\xff"),
        ("'01'", "01"),
    ],
)
def test_project_ids_of_any_form_find_their_rows_in_sqlite(sqlite_store: Store, value: str, key: str) -> None:
    sqlite_store.table("sessions", {"id": "", "name": "TEXT"})
    sqlite_store.table("runs", {"id": "TEXT", "session_id": "", "name": "TEXT", "run_type": "TEXT",
                                "start_time": "TEXT"})  # fmt: skip
    sqlite_store.run(f"INSERT INTO sessions VALUES ({value}, 'p')")
    sqlite_store.run(f"INSERT INTO runs VALUES ('a', {value}, 'run', 'llm', '{AT}'), ('b', 1, 'run', 'llm', '{AT}')")
    source = sqlite_store.source()
    assert [project.key for project in source.projects()] == [key]
    assert [row["id"] for row in rows_of(source, project=key, window=Window.of_day(DAY))] == [b"a"]
    assert source.unassigned().rows == 1
    source.close()
