"""What tells runs apart: which rows are versions of one run, and how many are set aside for a newer one."""

import pytest

from export_pipeline.errors import SourceUnusableError
from export_pipeline.runs.filter import parse_filter
from export_pipeline.runs.window import Window
from export_pipeline.sources.protocol import ProjectKey
from export_pipeline_tests.sources.stores import DAY, EVERYWHERE, OTHER, PROJECT, Store, ids_of, rows_of

AT = "2026-03-14 10:00:00+00:00"
OLD, NEW = "2026-03-20 00:00:00+00:00", "2026-03-21 00:00:00+00:00"
KEYS = {
    "a primary key of project and id": ", PRIMARY KEY (session_id, id)",
    "a unique key of id and project": ", UNIQUE (id, session_id)",
    "no key": "",
}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS.keys())
def test_another_projects_rows_with_the_same_ids_take_nothing_away(store: Store, key: str) -> None:
    store.projects(PROJECT, OTHER)
    columns = {"id": "{uuid}", "session_id": "{uuid}", "name": "TEXT", "run_type": "TEXT", "start_time": "{time}"}
    store.table("runs", {**columns, "modified_at": "{time}"}, extra=key)
    for number in (1, 2, 3, 4, 5):
        store.add(number, AT, modified_at=OLD)
    for number in (1, 2, 3):
        store.add(number, AT, modified_at=NEW, session_id=OTHER)
    source = store.source()
    assert ids_of(source) == [1, 2, 3, 4, 5]
    assert ids_of(source, project=OTHER) == [1, 2, 3]
    assert {day: (each.rows, each.superseded) for day, each in source.days(ProjectKey(PROJECT)).items()} == {
        DAY: (5, 0)
    }
    source.close()


def test_a_unique_key_with_a_version_in_it_tells_versions_of_a_run_apart(store: Store) -> None:
    store.projects(PROJECT)
    columns = {"id": "{uuid}", "session_id": "{uuid}", "name": "TEXT", "run_type": "TEXT", "start_time": "{time}"}
    store.table("runs", {**columns, "modified_at": "{time}", "version": "INTEGER"}, extra=", PRIMARY KEY (id, version)")
    for version, name in enumerate(("first", "second", "third")):
        store.add(1, AT, version=version, name=name, modified_at=f"2026-03-2{version} 00:00:00+00:00")
    source = store.source()
    assert [row["name"] for row in rows_of(source)] == [b"third"]
    report = source.check()
    assert report.extra["a run is identified by"] == (
        "id and session_id; of rows that agree in them the newest is exported, 2 are set aside"
    )
    source.close()


@EVERYWHERE
def test_the_mapping_says_what_tells_runs_apart(store: Store) -> None:
    store.runs({"modified_at": "{time}", "trace_id": "{uuid}", "cell": "TEXT"})
    trace, other_trace = "0190bbbb-0000-7000-8000-000000000001", "0190bbbb-0000-7000-8000-000000000002"
    store.add(1, AT, modified_at=OLD, trace_id=trace, cell="a", name="old")
    store.add(1, AT, modified_at=NEW, trace_id=trace, cell="a", name="new")
    store.add(1, AT, modified_at=OLD, trace_id=other_trace, cell="b", name="another trace")
    store.add(1, AT, modified_at=OLD, trace_id=None, cell=None, name="no trace")
    store.add(2, AT, modified_at=OLD, trace_id=trace, cell="a", name="moved away")
    store.add(2, AT, modified_at=NEW, trace_id=trace, cell="a", name="there", session_id=OTHER)
    expected = {
        "[trace_id, id]": ({"new", "another trace", "no trace"}, 2),
        "[session_id, trace_id, id]": ({"new", "another trace", "no trace", "moved away"}, 1),
        "[cell]": ({"new", "another trace", "no trace"}, 2),
        "[id]": ({"new"}, 4),
    }
    for identity, (names, superseded) in expected.items():
        source = store.source(f"runs: {{identity: {identity}}}")
        assert {row["name"].decode() for row in rows_of(source)} == names
        assert source.days(ProjectKey(PROJECT))[DAY].superseded == superseded
        source.close()
    source = store.source("runs: {identity: [span, id]}")
    with pytest.raises(SourceUnusableError, match=r"runs\.identity: table runs has no column span"):
        source.days(ProjectKey(PROJECT))
    source.close()


@EVERYWHERE
@pytest.mark.parametrize("relation", ["table: runs", "table: seen", "query: SELECT * FROM runs"])
def test_set_aside_rows_are_counted_with_a_filter_too(store: Store, relation: str) -> None:
    store.runs({"modified_at": "{time}", "is_deleted": "{flag}"})
    store.run("CREATE VIEW seen AS SELECT * FROM runs")
    for number, name in ((1, "kept"), (2, "other")):
        store.add(number, AT, modified_at=OLD, name=name, is_deleted=False)
        store.add(number, AT, modified_at=NEW, name=name, is_deleted=False)
    store.add(1, "2026-03-13 10:00:00+00:00", modified_at=OLD, name="kept", is_deleted=False)
    store.add(3, AT, modified_at=OLD, name="kept", is_deleted=False)
    store.add(3, AT, modified_at=NEW, name="kept", is_deleted=True)
    source = store.source(f"runs: {{{relation}}}")
    tree = parse_filter('eq(name, "kept")')
    with source.open(ProjectKey(PROJECT), Window.of_day(DAY), filter=tree) as snapshot:
        assert sum(batch.num_rows for batch in snapshot.batches()) == 1
        assert (snapshot.fingerprint.rows, snapshot.fingerprint.superseded) == (1, 2)
    counted = {
        str(day): (each.rows, each.superseded) for day, each in source.days(ProjectKey(PROJECT), filter=tree).items()
    }
    assert counted == {"2026-03-13": (0, 1), "2026-03-14": (1, 2)}
    source.close()
