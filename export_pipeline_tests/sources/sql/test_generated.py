"""The SQL that is made for each database, as it lies in `generated/`: to be read, and seen to change.

`make sql` writes the files anew. A database that is added to the fixture `store` gets a folder of its own.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from export_pipeline.runs.filter import parse_filter
from export_pipeline.runs.filter_fields import FIELDS as FIELDS_OF_FILTERS
from export_pipeline.runs.filter_fields import OPERATORS, Kind
from export_pipeline.runs.window import Window
from export_pipeline.sources.protocol import ProjectKey
from export_pipeline.sources.sql.source import SqlSource
from export_pipeline_tests.sources.sql.statements import laid_out, sent
from export_pipeline_tests.sources.stores import BASIC, DAY, EVERYWHERE, PROJECT, Store

GENERATED = Path(__file__).with_name("generated")
TENANT = "0190bbbb-0000-7000-8000-000000000001"
KEY = ProjectKey(PROJECT, tenant=TENANT)
FIELDS = ("id", "name", "start_time", "inputs", "total_cost", "tags")
COLUMNS = {
    "tenant_id": "{uuid}",
    "end_time": "{time}",
    "modified_at": "{time}",
    "parent_run_id": "{uuid}",
    "dotted_order": "TEXT",
    "is_root": "{flag}",
    "status": "TEXT",
    "error": "TEXT",
    "inputs": "{json}",
    "outputs": "{json}",
    "extra": "{json}",
    "tags": "{json}",
    "total_tokens": "BIGINT",
    "total_cost": "NUMERIC",
}
MERGING = "ENGINE = ReplacingMergeTree ORDER BY (session_id, id) SETTINGS allow_nullable_key = 1"
FEEDBACK = {"id": "{uuid}", "run_id": "{uuid}", "key": "TEXT", "score": "NUMERIC"}
FILTERS = {
    "an id": 'eq(id, "0190cccc-0000-7000-8000-000000000001")',
    "a text": 'neq(name, "draft")',
    "a pattern": 'like(error, "%timed out%")',
    "one of several": 'in(run_type, ["llm", "tool"])',
    "a derived column": 'eq(status, "error")',
    "a time": 'gt(end_time, "2026-03-14T12:00:00Z")',
    "a duration": 'lte(latency, "2.5s")',
    "a place in the trace": "eq(is_root, true)",
    "a number": "lt(total_tokens, 100)",
    "a tag": 'has(tags, "prod")',
    "a key and its value": 'and(eq(metadata_key, "user.id"), eq(metadata_value, "7"))',
    "a number in a payload": "gt(input_value, 0.5)",
    "feedback": 'and(eq(feedback_key, "helpful"), gte(feedback_score, 0.9))',
    "a search": 'search("naïve")',
    "conditions together": 'or(not(eq(name, "a")), and(eq(error, null), eq(is_root, false)))',
}


SINCE = datetime(2026, 3, 15, tzinfo=UTC)
WINDOW = Window.of_day(DAY)


def rows_of_a_day(source: SqlSource) -> None:
    with source.open(KEY, WINDOW, FIELDS) as snapshot:
        assert list(snapshot.batches()) == []


def count(source: SqlSource) -> None:
    with source.open(KEY, WINDOW, FIELDS) as snapshot:
        assert snapshot.fingerprint.rows == 0


def days(source: SqlSource) -> None:
    assert source.days(KEY, WINDOW) == {}


def changed(source: SqlSource) -> None:
    assert source.changed(KEY, WINDOW, SINCE) == 0


@dataclass(frozen=True)
class Layout:
    """Tables of a store, and what is asked of them; their files end with `suffix`."""

    suffix: str
    asked: tuple[Callable[[SqlSource], None], ...]
    unique: bool = True
    without: frozenset[str] = frozenset()

    def make(self, store: Store) -> None:
        """Makes them."""
        store.table("sessions", {"id": "{uuid}", "name": "TEXT", "tenant_id": "{uuid}"})
        columns = {**BASIC, "id": f"{{uuid}}{' PRIMARY KEY' if self.unique else ''}", **COLUMNS}
        kinds = {name: kind for name, kind in columns.items() if name not in self.without}
        store.table("runs", kinds, extra=MERGING if self.unique and store.dialect == "clickhouse" else "")
        store.table("feedbacks", FEEDBACK)


LAYOUTS = [
    Layout("", (rows_of_a_day, count, days, changed)),
    Layout("_with_versions", (rows_of_a_day, count, days, changed), unique=False),
    Layout("_with_derived_paths", (rows_of_a_day,), without=frozenset({"dotted_order"})),
]


def condition(source: SqlSource, text: str) -> str:
    """What is asked of a run r for a filter, and the values that are bound by their numbers."""
    found = source._answer(lambda session: source._queries(session, KEY, parse_filter(text)).matching, KEY)
    assert found is not None
    values = "".join(f"-- {number}: {value}\n" for number, value in enumerate(found.values, 1))
    return f"-- {text}\n{values}{laid_out(found.condition)}\n"


def generated(store: Store, layout: Layout) -> dict[str, str]:
    """The files for a store of that layout, by name."""
    layout.make(store)
    source = store.source()
    assert isinstance(source, SqlSource)
    days(source)  # which reads the catalog
    files = {}
    for asked in layout.asked:
        with sent(source) as statements:
            asked(source)
        files[asked.__name__] = "".join(f"{laid_out(statement)};\n" for statement in statements)
    if not layout.suffix:
        files["filters"] = "\n".join(condition(source, text) for text in FILTERS.values())
    source.close()
    return {f"{name}{layout.suffix}.sql": store.without_its_schema(text) for name, text in files.items()}


@EVERYWHERE
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.suffix.strip("_") or "unique_ids")
def test_the_sql_is_the_one_that_lies_in_the_folder_of_the_database(store: Store, layout: Layout) -> None:
    files, folder = generated(store, layout), GENERATED / store.dialect
    if os.environ.get("RENEW_GENERATED_SQL"):
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text)
    assert {name: (folder / name).read_text() for name in files} == files


@pytest.mark.parametrize("folder", sorted(GENERATED.iterdir()), ids=lambda folder: folder.name)
def test_no_file_lies_there_that_nothing_makes(folder: Path) -> None:
    made = {f"{asked.__name__}{layout.suffix}.sql" for layout in LAYOUTS for asked in layout.asked}
    assert {path.name for path in folder.iterdir()} == {*made, "filters.sql"}


def test_there_is_a_filter_of_each_kind() -> None:
    asked = {name for text in FILTERS.values() for name in re.findall(r"\((\w+)", text)}
    assert {FIELDS_OF_FILTERS[name].kind for name in asked & FIELDS_OF_FILTERS.keys()} == set(Kind)
    assert set(OPERATORS) - set(re.findall(r"(\w+)\(", " ".join(FILTERS.values()))) == set()


def test_laying_out_changes_nothing_but_spaces() -> None:
    text = "SELECT a, '(  SELECT x ' AS \"b  c\" FROM (SELECT 1 WHERE a IN (1, 2) AND b) AS r ORDER BY 1"
    assert re.sub(r"\s+", "", laid_out(text)) == re.sub(r"\s+", "", text)
    assert laid_out(text).splitlines() == [
        "SELECT a, '(  SELECT x ' AS \"b  c\"",
        "FROM (",
        "  SELECT 1",
        "  WHERE a IN (1, 2)",
        "    AND b",
        ") AS r",
        "ORDER BY 1",
    ]
