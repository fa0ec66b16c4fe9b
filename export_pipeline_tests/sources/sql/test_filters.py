"""Filters: on each database the rows that the reference names, whatever the rows and the filter hold."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from export_pipeline.runs.filter import parse_filter
from export_pipeline.runs.filter_fields import Kind
from export_pipeline.runs.filter_tree import Filter, Not
from export_pipeline_tests.runs.filter_trees import conditions, trees
from export_pipeline_tests.servers import ClickhouseServer, MariadbServer
from export_pipeline_tests.sources.filter_rows import HOSTILE, IDS, LONG, NOON, Filled
from export_pipeline_tests.sources.stores import Store, uuid

pytestmark = pytest.mark.slow

JSON_TEXTS = [
    "a",
    "b",
    "a.b",
    "prod",
    'x\ny\t"z\\',
    "😀",
    "é",
    "É",
    "",
    ".",
    "a.a",
    LONG[:1000],
    LONG,
    '"',
    "a_b",
    "\ufffd",
    ".",
]
TEXTS = st.sampled_from([*HOSTILE, *JSON_TEXTS])
SOME_PATTERNS = [
    "%",
    "_",
    "%a%",
    "a%",
    "%b",
    "__",
    "a\\_b",
    "50\\%",
    "a\\\\b",
    "%\\%%",
    "%a%b%",
    "_%_",
    "",
    "%.%",
    "%é",
    "\\a",
    "x%x",
    "%🙂%",
]
PATTERNS = st.sampled_from(SOME_PATTERNS) | TEXTS.map(lambda text: text.replace("\\", "\\\\"))
SOME_AMOUNTS = [
    "0", "1", "2", "5", "12", "12.5", "100", "0.5", "-5", "1e300", "9007199254740993", "9223372036854775807",
    "12345678901234567890.1", "9.99e399",
]  # fmt: skip
AMOUNTS = st.sampled_from(SOME_AMOUNTS).map(Decimal)
VALUES: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.ID: st.sampled_from([*IDS, *(uuid(number) for number in (7, 8, 9, 10, 50)), UUID(int=60).hex]),
    Kind.TEXT: TEXTS,
    Kind.WORD: st.sampled_from(
        ["llm", "LLM", "agent", "chain", "error", "success", "Pending", "odd", "k", "i", "ſ", ""]
    ),
    Kind.TIME: st.sampled_from([NOON + timedelta(seconds=step) for step in (-1, 0, 5, 30)])
    | st.just(datetime(2026, 3, 14, 12, 0, 5, 1, tzinfo=UTC))
    | st.sampled_from([datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)]),
    Kind.SECONDS: st.sampled_from([Decimal(text) for text in ("0", "5", "4.9", "0.000001", "-3", "1000000")]),
    Kind.FLAG: st.booleans(),
    Kind.COUNT: AMOUNTS.filter(lambda amount: amount == int(amount) and abs(amount) < 2**63),
    Kind.KEY: TEXTS,
    Kind.SCALAR: TEXTS | AMOUNTS | st.booleans(),
    Kind.NUMBER: AMOUNTS,
}
LEAVES = conditions(values=VALUES, patterns=PATTERNS, texts=TEXTS)
EACH = pytest.mark.parametrize("filled", ["filled_sqlite", "filled_postgres", "filled_clickhouse", "filled_mysql"])
OFTEN = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def filled_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    folder = tmp_path_factory.mktemp("filters")
    store = Store("sqlite", f"sqlite:///{folder / 'traces.db'}", folder)
    filled = Filled(store)
    yield filled
    filled.source.close()
    store.close()


@pytest.fixture(scope="module")
def filled_postgres(postgres_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    name = f"test_{uuid4().hex}"
    store = Store(
        "postgresql", f"{postgres_database}?options=-csearch_path%3D{name}", tmp_path_factory.mktemp("filters")
    )
    store.run(f"CREATE SCHEMA {name}")
    filled = Filled(store)
    yield filled
    filled.source.close()
    store.close()


@pytest.fixture(scope="module")
def filled_clickhouse(clickhouse: ClickhouseServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    store = Store("clickhouse", clickhouse.url(clickhouse.new_database()), tmp_path_factory.mktemp("filters"))
    filled = Filled(store)
    yield filled
    filled.source.close()


@pytest.fixture(scope="module")
def filled_mysql(mariadb: MariadbServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    store = Store("mysql", mariadb.url(mariadb.new_database()), tmp_path_factory.mktemp("filters"))
    filled = Filled(store)
    yield filled
    filled.source.close()
    store.close()


@EACH
@OFTEN
@given(tree=trees(LEAVES))
def test_a_filter_gives_the_rows_that_the_reference_names(
    filled: str, tree: Filter, request: pytest.FixtureRequest
) -> None:
    store: Filled = request.getfixturevalue(filled)
    assert store.found(parse_filter(str(tree))) == store.wanted(tree)


@EACH
@OFTEN
@given(leaf=LEAVES)
def test_each_row_is_matched_by_a_condition_or_by_its_complement(
    filled: str, leaf: Filter, request: pytest.FixtureRequest
) -> None:
    store: Filled = request.getfixturevalue(filled)
    found, others = store.found(leaf), store.found(Not(leaf))
    assert found == store.wanted(leaf)
    assert sorted(found + others) == sorted(row["id"] for row in store.rows)
