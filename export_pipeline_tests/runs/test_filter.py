"""The filter language: what is read how, what is refused where, and that a tree survives being written."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_pipeline.errors import FilterError, InputError
from export_pipeline.runs.filter import MAX_CHARACTERS, MAX_CONDITIONS, MAX_DEPTH, MAX_VALUES, parse_filter, read_filter
from export_pipeline.runs.filter_fields import FIELDS, OPERATORS, documentation_table
from export_pipeline.runs.filter_tree import (
    And,
    Compare,
    Entry,
    Filter,
    Has,
    In,
    Like,
    Not,
    Or,
    Search,
    is_quick,
    paired,
)
from export_pipeline_tests.runs.filter_trees import trees

DOCUMENT = Path(__file__).parents[2] / "docs" / "filters.md"

READ: list[tuple[str, Filter]] = [
    ('eq(name, "ChatOpenAI")', Compare("name", "eq", "ChatOpenAI")),
    ("eq(name, 'a \"b\"')", Compare("name", "eq", 'a "b"')),
    ('eq(name, "it\'s")', Compare("name", "eq", "it's")),
    (r'eq(name, "a\"b\\c\n\u00e9\ud83d\ude00\/")', Compare("name", "eq", 'a"b\\c\né😀/')),
    ("eq( name ,\n\t'x' )", Compare("name", "eq", "x")),
    ("neq(error, null)", Compare("error", "neq", None)),
    ('gt(latency, "5s")', Compare("latency", "gt", Decimal(5))),
    ('gt(latency, "0.25 s")', Compare("latency", "gt", Decimal("0.25"))),
    ("lte(latency, 1.5)", Compare("latency", "lte", Decimal("1.5"))),
    ("eq(is_root, true)", Compare("is_root", "eq", True)),
    ("gte(total_tokens, 1e3)", Compare("total_tokens", "gte", Decimal(1000))),
    ('eq(run_type, " LLM ")', Compare("run_type", "eq", "llm")),
    ('like(status, "ERR%")', Like("status", "err%")),
    ('has(tags, "x")', Has("x")),
    ('in(status, ["error", "pending"])', In("status", ("error", "pending"))),
    ('in(metadata_value, ["a", 1, true])', In("metadata_value", ("a", Decimal(1), True))),
    (r'like(name, "50\%")', Like("name", "50\\%")),
    (r'like(name, "50\\%")', Like("name", "50\\%")),
    ('search("parcel")', Search("parcel")),
    ('eq(id, "{0190AAAA-0000-7000-8000-000000000001}")', Compare("id", "eq", "0190aaaa-0000-7000-8000-000000000001")),
    ('eq(id, "run-42")', Compare("id", "eq", "run-42")),
    ('not(eq(name, "a"))', Not(Compare("name", "eq", "a"))),
    ('and(eq(name, "a"))', And((Compare("name", "eq", "a"),))),
    ('or(eq(name, "a"), has(tags, "b"))', Or((Compare("name", "eq", "a"), Has("b")))),
]

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
TIMES = [
    "2026-01-31T12:00:00Z", "2026-01-31T12:00:00+00:00", "2026-01-31 12:00", "2026-01-31t12:00:00.000000000z",
    "2026-01-31T14:00:00+02:00", "2026-01-31T14:00:00+02", "2026-01-31T06:30:00-0530", "2026-01-31 12:00:00 UTC",
    "2026-01-31T12:00:00,000", "20260131T120000Z", "20260131T120000", "2026-W05-6T12:00:00",
]  # fmt: skip

WRONG: list[tuple[str, int, str]] = [
    ("", 1, "expected and, or, not, search"),
    ("   ", 4, "found the end"),
    ('foo(name, "a")', 1, "found foo"),
    ('AND(eq(name, "a"))', 1, "found AND"),
    ("eq", 3, "expected ( after eq, found the end"),
    ("eq(", 4, "expected the name of a field"),
    ('eq(nam, "a")', 4, "nam is not a field; known are id, trace_id, name"),
    ('eq("name", "a")', 4, "expected the name of a field, found \"name\""),
    ('eq(name "a")', 9, "expected , after name"),
    ("eq(name, 5)", 10, "expected a text in quotes, found 5"),
    ('eq(name, "a"', 13, "expected ), found the end"),
    ('eq(name, "a)', 10, "no closing quote"),
    ('eq(name, "a") x', 15, "expected the end of the filter, found x"),
    ('eq(name, "a"); DROP TABLE runs', 14, "belongs to no filter"),
    ('eq(name, "\\q")', 11, "is not an escape"),
    ('eq(name, "\\ud800")', 10, "half a character"),
    ('eq(name, "a\\u0000")', 10, "NUL"),
    ('gt(name, null)', 10, "expected a text in quotes, found null"),
    ('eq(metadata_key, null)', 18, "expected a text in quotes"),
    ('gt(status, "a")', 1, "status cannot be used with gt, only with eq, neq, in, like"),
    ('eq(tags, "a")', 1, "only with has"),
    ('has(name, "a")', 1, "name cannot be used with has"),
    ("eq(is_root, 1)", 13, "expected true or false"),
    ("gt(metadata_value, true)", 20, "expected a text in quotes or a number"),
    ("eq(total_tokens, 1.5)", 18, "a whole number within 64 bits"),
    ("eq(total_tokens, 9223372036854775808)", 18, "within 64 bits"),
    ("eq(latency, 0.0000001)", 13, "to the microsecond"),
    ('eq(latency, "5 minutes")', 13, 'seconds such as 5 or "5s"'),
    ('gt(start_time, "yesterday")', 16, "a time such as"),
    ('gt(start_time, "1700000000")', 16, "a time such as"),
    ('gt(start_time, "2026-02-30")', 16, "a time such as"),
    ("gt(feedback_score, 1.)", 20, "1. is not a number"),
    ("gt(feedback_score, 01)", 20, "01 is not a number"),
    ("gt(feedback_score, NaN)", 20, "expected a number, found NaN"),
    ("gt(feedback_score, 1e9999)", 20, "beyond the numbers"),
    ("in(name, [])", 11, "expected a text in quotes, found ]"),
    ('in(name, ["a", null])', 16, "found null"),
    ('in(name, "a")', 10, "expected a list"),
    ('in(name, ["a" "b"])', 15, "expected , or ]"),
    ('eq(metadata_value, ["a"])', 20, "expected a text in quotes, a number, true or false, found ["),
    ('like(name, "a\\\\")', 12, "single backslash"),
    ('search("")', 8, "expected a text in quotes"),
    ("and()", 5, "found )"),
    ('and(eq(name, "a") eq(name, "b"))', 19, "expected , or )"),
    ('not(eq(name, "a"), eq(name, "b"))', 18, "expected ), found ,"),
    ('and(eq(name, "a"),\n  eq(nam, "b"))', 25, "nam is not a field"),
    (
        'and(eq(name, "x"), eq(input_value, 1), eq(input_key, "a"), eq(input_key, "b"))',
        20,
        "stands before several input_key",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "tree"), READ, ids=[text for text, _ in READ])
def test_a_filter_becomes_this_tree(text: str, tree: Filter) -> None:
    assert parse_filter(text) == tree


@pytest.mark.parametrize("text", TIMES)
def test_a_time_in_any_iso_form_is_this_instant(text: str) -> None:
    assert parse_filter(f'gte(start_time, "{text}")') == Compare("start_time", "gte", NOON)


@pytest.mark.parametrize(("text", "position", "reason"), WRONG, ids=[text[:40] for text, _, _ in WRONG])
def test_an_error_names_the_character_and_what_was_expected(text: str, position: int, reason: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse_filter(text)
    assert isinstance(caught.value, InputError)
    assert caught.value.position == position
    assert str(caught.value).startswith(f"filter, character {position}: ")
    assert reason in str(caught.value)


@pytest.mark.slow
@given(trees())
def test_a_tree_written_and_read_is_the_same_tree(tree: Filter) -> None:
    assert parse_filter(str(tree)) == tree
    assert str(parse_filter(str(tree))) == str(tree)


_ANY = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
_ESCAPED = st.sampled_from('\x01\x1f\x7f\u2028\\"')


@given(st.lists(st.text(_ANY, max_size=400) | st.text(_ESCAPED, max_size=900)))
def test_what_is_accepted_is_read_again_as_it_is_stored(texts: list[str]) -> None:
    stored = str(Or(tuple(Compare("name", "eq", text) for text in texts))) if texts else 'eq(name, "")'
    try:
        tree = parse_filter(stored)
    except FilterError:
        assert len(stored) > MAX_CHARACTERS or len(texts) > MAX_CONDITIONS
        return
    assert parse_filter(str(tree)) == read_filter(str(tree)) == tree


@given(st.text(max_size=60) | st.text("andoreq(),name\"'[] \\1null", max_size=60))
def test_any_text_is_a_tree_or_a_filter_error_within_it(text: str) -> None:
    place: int | None = None
    try:
        tree = parse_filter(text)
    except FilterError as error:
        place = error.position
    else:
        assert parse_filter(str(tree)) == tree
    assert place is None or 1 <= place <= len(text) + 1


@pytest.mark.parametrize("head", ["not", "and", "or"])
def test_a_bomb_of_depth_is_refused(head: str) -> None:
    text = f"{head}(" * MAX_DEPTH + 'eq(name, "a")' + ")" * MAX_DEPTH
    with pytest.raises(FilterError, match=f"at most {MAX_DEPTH} deep") as caught:
        parse_filter(text)
    assert caught.value.position == MAX_DEPTH * (len(head) + 1) + 1
    parse_filter(text.removeprefix(f"{head}(").removesuffix(")"))
    with pytest.raises(FilterError):
        parse_filter(f"{head}(" * 10_000)


def test_size_is_limited() -> None:
    with pytest.raises(FilterError, match="at most 20,000 characters"):
        parse_filter('eq(name, "' + "a" * MAX_CHARACTERS + '")')
    with pytest.raises(FilterError, match=f"at most {MAX_CONDITIONS} conditions"):
        parse_filter(f"or({', '.join(['eq(latency, 1)'] * (MAX_CONDITIONS + 1))})")
    with pytest.raises(FilterError, match=r"lists hold at most 1,000 values"):
        parse_filter(f"in(total_tokens, [{', '.join(['1'] * (MAX_VALUES + 1))}])")


def test_a_key_takes_the_values_that_follow_it() -> None:
    tree = parse_filter(
        'and(eq(metadata_key, "a"), gt(metadata_value, 1), eq(status, "error"), lt(metadata_value, 5), '
        'eq(metadata_key, "b"), eq(metadata_value, 2), eq(input_value, 7), eq(output_key, "c"))'
    )
    assert isinstance(tree, And)
    status, first, second, *others = paired(tree.operands)
    assert status == Compare("status", "eq", "error")
    assert first == Entry(
        "metadata",
        (Compare("metadata_key", "eq", "a"),),
        (Compare("metadata_value", "gt", Decimal(1)), Compare("metadata_value", "lt", Decimal(5))),
    )
    assert second == Entry(
        "metadata", (Compare("metadata_key", "eq", "b"),), (Compare("metadata_value", "eq", Decimal(2)),)
    )
    assert others == [Compare("input_value", "eq", Decimal(7)), Compare("output_key", "eq", "c")]


def test_a_value_before_the_only_key_belongs_to_it() -> None:
    tree = parse_filter('and(eq(metadata_value, 1), eq(metadata_key, "a"))')
    assert isinstance(tree, And)
    assert list(paired(tree.operands)) == [
        Entry("metadata", (Compare("metadata_key", "eq", "a"),), (Compare("metadata_value", "eq", Decimal(1)),))
    ]


@pytest.mark.parametrize(
    ("text", "quick"),
    [
        ('eq(status, "error")', True),
        ('and(has(tags, "a"), or(gt(latency, 5), not(like(name, "x%"))))', True),
        ('search("refund")', False),
        ('or(eq(name, "x"), not(and(eq(metadata_key, "user"), eq(metadata_value, "7"))))', True),
        ('or(eq(name, "x"), not(eq(input_key, "user")))', False),
        ('and(eq(name, "x"), in(feedback_score, [1, 2]))', False),
    ],
)
def test_a_filter_is_quick_where_it_reads_neither_inputs_nor_outputs_nor_feedback(text: str, quick: bool) -> None:
    assert is_quick(parse_filter(text)) is quick


def test_the_table_of_the_documentation_is_the_allow_list() -> None:
    assert documentation_table() in DOCUMENT.read_text()
    assert all(set(field.operators) <= set(OPERATORS) for field in FIELDS.values())
