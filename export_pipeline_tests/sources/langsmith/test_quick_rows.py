"""A page that is read quickly says what the same page says that is read value by value, or is left to that."""

import json
import random
from typing import Any

import pytest

from export_pipeline.runs.schema import RUN_FIELDS
from export_pipeline.sources.http.client import BadAnswerError
from export_pipeline.sources.http.rows import RowPage
from export_pipeline.sources.langsmith.pages import page_of
from export_pipeline.sources.langsmith.quick_rows import quick_page
from export_pipeline.sources.langsmith.rows import row_of

PROJECT = "3c5f76e2-b4dd-474b-aab3-c0e5d925e80b"
OWN = "0190aaaa-0000-7000-8000-000000000001"
START = "2026-03-14T10:00:00.123456Z"
PLAIN = {
    "id": OWN, "project_id": PROJECT, "trace_id": OWN, "name": "é", "run_type": "LLM", "status": "SUCCESS",
    "start_time": START, "end_time": None, "error": 'it "failed"\n', "parent_run_ids": ["a", "b"], "is_root": False,
    "inputs": {"a": [1, {"b": None}]}, "outputs": None, "extra": {"x": 1}, "metadata": {"m": "✈"}, "events": [],
    "feedback_stats": {}, "tags": ["t"], "total_tokens": 12, "total_cost": 0.001, "dotted_order": "o",
    "reference_example_id": None, "attachments": {"photo": "https://storage.example/p"}, "thread_id": "t",
}  # fmt: skip
VALUES: list[Any] = [
    *(None, True, False, 0, -1.5, 10**30, "", "x", "null", "true", '"', "é✈", "\0", {}, [], {"a": 1}, [1], [None]),
    *(["a"], [["a"]], {"metadata": 1}, {"attachments": 2}, START, PROJECT, OWN, "2026-02-30T00:00:00Z", "12"),
]
NAMES = [*{*PLAIN, *(field.name for field in RUN_FIELDS), "s3_urls", "unknown"}]


def answer_of(*runs: dict[str, Any], cursor: str | None = None, **more: Any) -> str:
    return json.dumps({"items": list(runs), "next_cursor": cursor, **more}, ensure_ascii=False)


def slowly(answer: str, *, with_addresses: bool) -> RowPage | None:
    """What the page says value by value; None where it is refused."""
    try:
        page = page_of(answer, runs="items")
        rows = [row_of(run, PROJECT, with_addresses=with_addresses) for run in page.runs]
        return RowPage(rows, page.cursor, len(answer))
    except BadAnswerError:
        return None


@pytest.mark.parametrize("seed", range(6))
def test_both_ways_say_the_same_of_any_page(seed: int) -> None:
    chance, read = random.Random(seed), 0
    for _ in range(500):
        runs = [dict(PLAIN) for _ in range(chance.randrange(3))]
        for run in runs:
            for name in chance.sample(NAMES, chance.randrange(4)):
                if chance.random() < 0.3:
                    run.pop(name, None)
                else:
                    run[name] = chance.choice(VALUES)
        cursor = chance.choice([None, "", "next"])
        answer, with_addresses = answer_of(*runs, cursor=cursor), chance.random() < 0.5
        quick = quick_page(answer, PROJECT, with_addresses=with_addresses)
        if quick is not None:
            assert quick == slowly(answer, with_addresses=with_addresses), answer
            read += 1
    assert read > 150


def test_an_ordinary_page_is_read_quickly() -> None:
    bare = {"id": OWN, "start_time": START}
    page = quick_page(answer_of(PLAIN, bare, cursor="next"), PROJECT, with_addresses=False)
    assert page is not None
    names = [field.name for field in RUN_FIELDS]
    first, second = (dict(zip(names, row.cells, strict=True)) for row in page.rows)
    assert {name: cell for name, cell in second.items() if cell is not None} == {"id": OWN}
    assert {name: cell for name, cell in first.items() if cell is not None} == {
        "id": OWN, "session_id": PROJECT, "trace_id": OWN, "name": "é", "run_type": "llm", "status": "success",
        "error": 'it "failed"\n', "parent_run_id": "b", "parent_run_ids": '["a", "b"]', "is_root": "false",
        "inputs": '{"a": [1, {"b": null}]}', "events": "[]", "feedback_stats": "{}", "tags": '["t"]',
        "extra": '{"metadata":{"m": "✈"},"attachments":[{"name": "photo"}],"x": 1}', "total_tokens": "12",
        "total_cost": "0.001", "dotted_order": "o",
    }  # fmt: skip
    assert (page.cursor, page.rows[0].start) == ("next", 1_773_482_400_123_456)


@pytest.mark.parametrize(
    "answer",
    [
        *('{"items":[', "[]", "{}", answer_of({"id": OWN}), answer_of({"start_time": START})),
        answer_of({**PLAIN, "project_id": OWN}),
        answer_of(cursors={"next": "x"}),
        answer_of(PLAIN).replace('"name": "é"', '"name": "\\ud83d"'),
        answer_of(PLAIN).replace('"total_cost": 0.001', '"total_cost": NaN'),
    ],
)
def test_a_page_with_anything_unusual_is_left_to_the_other_way(answer: str) -> None:
    assert quick_page(answer, PROJECT, with_addresses=False) is None
