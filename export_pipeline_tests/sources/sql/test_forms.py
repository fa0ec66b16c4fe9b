"""Every form in which a store may hold a value, on both databases, from the same tables of cases."""

from typing import Any

import pytest

from export_pipeline.sources.protocol import ProjectKey
from export_pipeline_tests.sources.stores import BASIC, EVERYWHERE, PROJECT, Store, ids_of, micros, rows_of, uuid

NOON = micros("2026-03-14T12:00:00.123456+00:00")
SECONDS = NOON // 1_000_000

# form: (type of the column in SQLite, in PostgreSQL, unit, values that all mean NOON or, for seconds, its second)
START_FORMS: dict[str, tuple[str, str, str, list[Any]]] = {
    "text": (
        "TEXT",
        "TEXT",
        "s",
        [
            "2026-03-14 12:00:00.123456",
            "2026-03-14T12:00:00.123456",
            "2026-03-14T12:00:00.123456Z",
            "2026-03-14T13:00:00.123456+01:00",
            "2026-03-14 02:00:00.123456-10",
            "2026-03-15T03:00:00.1234569+1500",
            "2026-03-14 12:00:00.123456 UTC",
            "2026-03-14 12:00:00.123456789 +0000 UTC",
            "2026-03-14 17:30:00.123456789 +0530 IST m=+12.345678901",
            "2026-03-14 09:00:00.123456 -0300 -03",
            "1773489600.123456",
        ],
    ),
    "varchar with another collation": (
        "VARCHAR(40)",
        'VARCHAR(40) COLLATE "pg_c_utf8"',
        "s",
        ["2026-03-14T12:00:00.123456Z", "1773489600.123456"],
    ),
    "timestamp": ("TIMESTAMP", "TIMESTAMP", "s", ["2026-03-14 12:00:00.123456"]),
    "timestamptz": ("TIMESTAMP", "TIMESTAMPTZ", "s", ["2026-03-14T14:00:00.123456+02:00"]),
    "real seconds": ("REAL", "DOUBLE PRECISION", "s", [1773489600.123456]),
    "numeric seconds": ("NUMERIC", "NUMERIC", "s", [1773489600.123456]),
    "integer microseconds": ("INTEGER", "BIGINT", "us", [NOON]),
    "integer nanoseconds": ("INTEGER", "BIGINT", "ns", [NOON * 1000 + 999]),
    "milliseconds as text": ("TEXT", "TEXT", "ms", ["1773489600123.456"]),
    "anything": ("", "TEXT", "us", [str(NOON)]),
}


IN_MARIADB = {
    "TEXT": "VARCHAR(80)",
    'VARCHAR(40) COLLATE "pg_c_utf8"': "VARCHAR(40) COLLATE utf8mb4_unicode_ci",
    "TIMESTAMP": "DATETIME(6)",
    "TIMESTAMPTZ": "TIMESTAMP(6)",
    "NUMERIC": "NUMERIC(30, 6)",
}


@pytest.mark.parametrize("form", START_FORMS)
def test_start_time_in_every_form_is_the_same_instant(store: Store, form: str) -> None:
    sqlite_type, postgres_type, unit, values = START_FORMS[form]
    kinds = {"sqlite": sqlite_type, "postgresql": postgres_type, "mysql": IN_MARIADB.get(postgres_type, postgres_type)}
    store.runs({"start_time": kinds[store.dialect]})
    store.run("CREATE INDEX by_day ON runs (session_id, start_time)")
    for number, value in enumerate(values):
        store.add(number, value)
    source = store.source(f"epoch_unit: {unit}")
    assert source.epoch_unit == unit
    assert [row["start_time"] for row in rows_of(source)] == [NOON] * len(values)
    assert ids_of(source) == list(range(len(values)))
    source.close()


@EVERYWHERE
def test_integer_seconds_and_dates_are_times(store: Store) -> None:
    store.runs({"start_time": "INTEGER"})
    store.add(1, SECONDS)
    source = store.source()
    assert [row["start_time"] for row in rows_of(source)] == [SECONDS * 1_000_000]
    source.close()


def test_forms_may_be_mixed_within_a_column_of_sqlite(sqlite_store: Store) -> None:
    sqlite_store.runs({"start_time": ""})
    sqlite_store.run("CREATE INDEX by_day ON runs (session_id, start_time)")
    values = [SECONDS, SECONDS + 0.5, str(SECONDS), "2026-03-14T12:00:00+00:00", b"2026-03-14", "noon", None]
    for number, value in enumerate(values):
        sqlite_store.add(number, value)
    source = sqlite_store.source()
    assert ids_of(source) == [0, 2, 3, 1]
    source.close()


CELLS: list[tuple[str, dict[str, str], Any, Any]] = [
    # field, types, value as inserted, bytes (or number) as they arrive
    ("inputs", {"sqlite": "TEXT", "postgresql": "TEXT"}, '{"a":  1, "a": 2}', b'{"a":  1, "a": 2}'),
    ("inputs", {"sqlite": "JSON", "postgresql": "JSON"}, '{"a":  NULL}'.lower(), b'{"a":  null}'),
    ("outputs", {"sqlite": "BLOB", "postgresql": "JSONB"}, '{"a": 1}', b'{"a": 1}'),
    ("outputs", {"postgresql": "INT[]"}, [1, 2], b"[1,2]"),
    ("extra", {"sqlite": "TEXT", "postgresql": "TEXT"}, "", b""),
    ("events", {"sqlite": "TEXT", "postgresql": "JSONB[]"}, None, None),
    ("tags", {"sqlite": "TEXT", "postgresql": "TEXT[]"}, {"postgresql": ["a", 'b"', ""]}, b'["a","b\\"",""]'),
    ("tags", {"sqlite": "JSON", "postgresql": "JSONB"}, '["a"]', b'["a"]'),
    ("parent_run_ids", {"postgresql": "UUID[]"}, "{" + uuid(1) + "}", f'["{uuid(1)}"]'.encode()),
    ("total_tokens", {"sqlite": "INTEGER", "postgresql": "INTEGER"}, 7, {"sqlite": b"7", "postgresql": 7}),
    ("total_tokens", {"sqlite": "INTEGER", "postgresql": "BIGINT"}, 2**62, {"sqlite": b"4611686018427387904",
     "postgresql": 2**62}),
    ("total_tokens", {"sqlite": "TEXT", "postgresql": "NUMERIC"}, str(2**70), b"1180591620717411303424"),
    ("total_tokens", {"sqlite": "REAL", "postgresql": "TEXT"}, {"sqlite": 7.0, "postgresql": "7.0"}, b"7.0"),
    ("total_cost", {"sqlite": "TEXT", "postgresql": "NUMERIC(18, 12)"}, "0.000000000001", b"0.000000000001"),
    ("total_cost", {"sqlite": "REAL", "postgresql": "DOUBLE PRECISION"}, 1e-05, b"1e-05"),
    ("total_cost", {"postgresql": "DOUBLE PRECISION"}, float("nan"), b"NaN"),
    ("total_cost", {"sqlite": "REAL"}, float("inf"), b"inf"),
    ("total_cost", {"postgresql": "MONEY"}, "12.5", b"12.50"),
    ("is_root", {"sqlite": "BOOLEAN", "postgresql": "BOOLEAN"}, True, {"sqlite": b"1", "postgresql": True}),
    ("is_root", {"sqlite": "TEXT", "postgresql": "TEXT"}, "false", b"false"),
    ("reference_example_id", {"sqlite": "BLOB"}, bytes(range(16)), b"000102030405060708090A0B0C0D0E0F"),
    ("reference_example_id", {"postgresql": "UUID"}, uuid(5).upper(), uuid(5).encode()),
    ("reference_example_id", {"sqlite": "INTEGER", "postgresql": "INTEGER"}, 12, b"12"),
    ("end_time", {"postgresql": "TIMESTAMPTZ"}, "infinity", micros("9999-12-31T00:00:00+00:00") + 86_400_000_000),
    ("end_time", {"postgresql": "TIMESTAMP"}, "-infinity", micros("0001-01-01T00:00:00+00:00") - 86_400_000_000),
    ("end_time", {"postgresql": "TIMESTAMP"}, "9999-12-31 23:59:59.999999", micros("9999-12-31T23:59:59.999999+00:00")),
    ("end_time", {"postgresql": "TIMESTAMPTZ"}, "0001-01-01 00:00:00+00", micros("0001-01-01T00:00:00+00:00")),
    ("end_time", {"postgresql": "TIMESTAMPTZ"}, "2026-03-14 00:00:00-05", micros("2026-03-14T05:00:00+00:00")),
    ("end_time", {"postgresql": "DATE"}, "2026-03-14", micros("2026-03-14T00:00:00+00:00")),
    ("end_time", {"sqlite": "TEXT", "postgresql": "TEXT"}, "whenever", b"whenever"),
    ("end_time", {"sqlite": "REAL", "postgresql": "DOUBLE PRECISION"}, 1773489600.123456, b"1773489600.123456"),
    ("end_time", {"sqlite": "INTEGER", "postgresql": "BIGINT"}, 1773489600, b"1773489600"),
    ("error", {"sqlite": "TEXT", "postgresql": "TEXT"}, "\u202e\n\t💥" * 3, ("\u202e\n\t💥" * 3).encode()),
    ("error", {"sqlite": "TEXT"}, "before\0after", b"before\0after"),
    ("trace_tier", {"postgresql": "VARCHAR(20)"}, "longlived", b"longlived"),
    ("dotted_order", {"postgresql": "CHAR(4)"}, "ab", b"ab"),
]  # fmt: skip


def for_dialect(value: Any, dialect: str) -> Any:
    return value.get(dialect) if isinstance(value, dict) else value


def rounds_of(dialect: str) -> list[dict[str, tuple[str, Any, Any]]]:
    """The cases of a database, as few tables as possible: no field twice in one."""
    rounds: list[dict[str, tuple[str, Any, Any]]] = []
    for field, types, value, expected in CELLS:
        if dialect not in types or (isinstance(value, dict) and dialect not in value):
            continue
        free = next((table for table in rounds if field not in table), None)
        if free is None:
            rounds.append(free := {})
        free[field] = (types[dialect], for_dialect(value, dialect), for_dialect(expected, dialect))
    return rounds


@EVERYWHERE
def test_cells_of_every_type_arrive_as_they_are(store: Store) -> None:
    store.projects(PROJECT)
    for number, cells in enumerate(rounds_of(store.dialect)):
        store.table(f"runs_{number}", {**BASIC, **{field: kind for field, (kind, _, _) in cells.items()}})
        nothing = dict.fromkeys(cells)
        for row, values in ((1, nothing), (2, {field: value for field, (_, value, _) in cells.items()}), (3, nothing)):
            basic = {"session_id": PROJECT, "name": "n", "run_type": "llm", "start_time": "2026-03-14 12:00:00+00:00"}
            store.insert(f"runs_{number}", id=uuid(row), **basic, **values)
        source = store.source(f"runs: {{table: runs_{number}}}")
        first, second, third = rows_of(source)
        source.close()
        for field, (kind, _, expected) in cells.items():
            assert (first[field], second[field], third[field]) == (None, expected, None), (field, kind)


def test_bytes_that_are_not_utf8_pass_through_sqlite_unharmed(sqlite_store: Store) -> None:
    sqlite_store.runs({"inputs": "TEXT", "error": "TEXT"})
    sqlite_store.run(
        "INSERT INTO runs VALUES (?, ?, CAST(? AS TEXT), 'llm', '2026-03-14', CAST(? AS TEXT), CAST(? AS TEXT))",
        uuid(1), PROJECT, b"\xed\xa0\x80", b'{"a": "\xff\xfe"}', b"\0\0",
    )  # fmt: skip
    source = sqlite_store.source()
    row = rows_of(source)[0]
    source.close()
    assert (row["name"], row["inputs"], row["error"]) == (b"\xed\xa0\x80", b'{"a": "\xff\xfe"}', b"\0\0")


@EVERYWHERE
@pytest.mark.parametrize(
    ("sqlite_type", "postgres_type", "key", "other"),
    [
        ("TEXT", "TEXT", 'it\'s "a" project; DROP TABLE runs --', "another"),
        ("TEXT", "TEXT", "日本語/..=💥", "日本語"),
        ("TEXT", "TEXT", "x" * 5000, "x" * 4999),
        ("INTEGER", "INTEGER", 12, 13),
        ("", "BIGINT", 2**40, 7),
        ("TEXT", "UUID", PROJECT, uuid(3)),
        ("VARCHAR(36)", "VARCHAR(36)", PROJECT.upper(), PROJECT),
    ],
)
def test_a_project_is_found_by_whatever_its_key_is(
    store: Store, sqlite_type: str, postgres_type: str, key: Any, other: Any
) -> None:
    kind = sqlite_type if store.dialect == "sqlite" else postgres_type
    store.table("sessions", {"id": kind, "name": "TEXT"})
    store.insert("sessions", id=key, name="x" * 300 + "/../=\n")
    store.table("runs", {"id": "TEXT", "session_id": kind, "name": "TEXT", "run_type": "TEXT", "start_time": "{time}"})
    store.add("mine", "2026-03-14 12:00:00+00:00", session_id=key)
    store.add("other", "2026-03-14 12:00:00+00:00", session_id=other)
    source = store.source()
    (project,) = source.projects()
    assert (project.key, project.name) == (str(key), "x" * 300 + "/../=\n")
    assert [row["id"] for row in rows_of(source, project=project.key)] == [b"mine"]
    source.close()


def test_a_project_key_of_sixteen_bytes_is_found_in_sqlite(sqlite_store: Store) -> None:
    key = bytes(range(16))
    sqlite_store.table("sessions", {"id": "BLOB", "name": "TEXT"})
    sqlite_store.insert("sessions", id=key, name="bytes")
    sqlite_store.table(
        "runs", {"id": "BLOB", "session_id": "BLOB", "name": "TEXT", "run_type": "TEXT", "start_time": "TEXT"}
    )
    sqlite_store.add("run", "2026-03-14", session_id=key)
    source = sqlite_store.source()
    (project,) = source.projects()
    assert project.key == key.hex().upper()
    assert len(rows_of(source, project=project.key)) == 1
    source.close()


@EVERYWHERE
@pytest.mark.parametrize("project", ["no uuid", "", "nul\0", "\ud800", "9" * 40, "' OR 1=1 --", uuid(77)])
def test_a_project_that_cannot_exist_has_no_rows(store: Store, project: str) -> None:
    store.runs()
    store.add(1, "2026-03-14 12:00:00+00:00")
    source = store.source()
    assert rows_of(source, project=project) == []
    assert source.days(ProjectKey(project)) == {}
    source.close()
