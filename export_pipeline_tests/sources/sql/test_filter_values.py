"""The values of a filter are bound: no text becomes SQL, and the largest filter can be asked."""

import json
from contextlib import closing

from export_pipeline.runs.filter import parse_filter
from export_pipeline.runs.window import Window
from export_pipeline.sources.protocol import ProjectKey
from export_pipeline.sources.sql.source import SqlSource
from export_pipeline_tests.sources.stores import DAY, EVERYWHERE, PROJECT, TWO, Store, matching

WINDOW = Window.of_day(DAY)
START = "2026-03-14 10:00:00+00:00"
INJECTIONS = [
    "'; DROP TABLE runs; --", "' OR '1'='1", '" OR ""="', "\\' OR 1=1 --", "$1", "?", ":filter_1", "%s", "{0}",
    "{name}", "E'\\x27'", "'||current_setting('export_pipeline.p1')||'", "/*", "$$", "\u02bc OR 1=1", "\n; SELECT 1",
    "')) OR TRUE --",
]  # fmt: skip


@EVERYWHERE
def test_texts_that_look_like_sql_are_texts(store: Store) -> None:
    store.runs({"error": "TEXT", "tags": "TEXT", "extra": "TEXT"}, unique=True)
    for number, text in enumerate(INJECTIONS):
        extra = json.dumps({"metadata": {text: text}})
        store.add(number, START, name=text, error=text, tags=json.dumps([text]), extra=extra)
    source = store.source()
    for number, text in enumerate(INJECTIONS):
        quoted = json.dumps(text)
        pair = f"and(eq(metadata_key, {quoted}), eq(metadata_value, {quoted}))"
        conditions = f"eq(name, {quoted}), in(error, [{quoted}]), has(tags, {quoted}), {pair}"
        assert matching(source, f"and({conditions})") == [number]
        assert number in matching(source, f"search({quoted})")
    assert len(matching(source, 'like(name, "%")')) == len(INJECTIONS)
    source.close()


@TWO
def test_no_value_of_a_filter_stands_in_the_sql(store: Store) -> None:
    store.runs(dict.fromkeys(("error", "inputs", "outputs", "extra", "tags", "total_tokens", "end_time"), "TEXT"))
    store.table("feedbacks", {"id": "{uuid}", "run_id": "{uuid}", "key": "TEXT", "score": "TEXT"})
    source = store.source()
    assert isinstance(source, SqlSource)
    texts = "and(eq(X_key, 'Q'), in(X_value, ['Q', 987654]), like(X_value, '%Q%'), gt(X_value, 987654))"
    families = ", ".join(texts.replace("X", family) for family in ("metadata", "input", "output"))
    tree = parse_filter(
        f"and({families}, eq(name, 'Q'), eq(id, 'Q'), like(error, 'Q'), has(tags, 'Q'), search('Q'), eq(status, 'Q'), "
        "gt(latency, 987654), in(total_tokens, [987654]), lt(start_time, '1987-06-05'), "
        "and(eq(feedback_key, 'Q'), gt(feedback_score, 987654)))".replace("Q", "quux")
    )
    with closing(source._begin(ProjectKey(PROJECT))) as session:
        queries = source._queries(session, ProjectKey(PROJECT), tree)
        found = [queries.days(WINDOW), queries.fingerprint(WINDOW), queries.stream(WINDOW)]
    assert queries.matching is not None
    assert len(queries.matching.values) == 29
    assert [sql for sql in found if "quux" in sql.lower() or "987654" in sql or "1987" in sql] == []
    assert matching(source, str(tree)) == []
    source.close()


@EVERYWHERE
def test_the_largest_filter_that_is_accepted_can_be_asked(store: Store) -> None:
    store.runs({"total_tokens": "BIGINT"})
    store.add(1, START, total_tokens=5)
    source = store.source()
    assert matching(source, f"in(total_tokens, [{', '.join(map(str, range(1000)))}])") == [1]
    assert matching(source, f"in(metadata_value, [{', '.join(map(str, range(1000)))}])") == []
    wide = ", ".join(f'eq(name, "{number}")' for number in range(199))
    assert matching(source, f'or({wide}, eq(name, "run"))') == [1]
    assert matching(source, f'not(or({wide}, eq(name, "run")))') == []
    deep = "not(" * 49 + 'eq(name, "run")' + ")" * 49
    assert matching(source, deep) == []
    long = "x" * 19_980
    assert matching(source, f'eq(name, "{long}")') == []
    assert matching(source, f'like(name, "%{"%a" * 5000}")') == []
    source.close()


def test_the_index_of_the_day_is_searched_whatever_else_a_filter_asks(sqlite_store: Store) -> None:
    sqlite_store.runs({"status": "TEXT", "error": "TEXT"}, unique=True)
    for columns in ("session_id, start_time", "name", "status", "error"):
        sqlite_store.run(f"CREATE INDEX by_{columns.replace(', ', '_')} ON runs ({columns})")
    source = sqlite_store.source()
    assert isinstance(source, SqlSource)
    tree = parse_filter('and(eq(name, "a"), eq(status, "error"), eq(error, "b"), neq(id, "c"))')
    with closing(source._begin(ProjectKey(PROJECT))) as session:
        sql = source._queries(session, ProjectKey(PROJECT), tree).keys(WINDOW)
        steps = [row[3].decode() for row in session.rows(f"EXPLAIN QUERY PLAN {sql}")]
    assert len([step for step in steps if "by_session_id_start_time" in step]) == 5
    assert [step for step in steps if step.startswith("SCAN r") or "by_name" in step or "by_error" in step] == []
    source.close()


def test_a_bound_value_does_not_keep_postgresql_from_streaming(postgres_store: Store) -> None:
    postgres_store.runs({"inputs": "TEXT"}, unique=True)
    for number in range(16):
        postgres_store.add(number, START, inputs="x")
    postgres_store.run("UPDATE runs SET inputs = repeat('x', 3000000)")
    source = postgres_store.source()
    with source.open(ProjectKey(PROJECT), WINDOW, filter=parse_filter('like(name, "r%")')) as snapshot:
        sizes = [batch.num_rows for batch in snapshot.batches()]
    assert sum(sizes) == 16
    assert max(sizes) <= 2
    source.close()
