"""Sample traces: the same seed gives the same rows; trees, payloads, tokens and times fit together."""

import json
import random
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from export_pipeline.runs.schema import RUN_TYPES, STATUSES
from export_pipeline_sample.payloads import MODELS
from export_pipeline_sample.rows import Trace
from export_pipeline_sample.write import SampleReport, write_sample

pytestmark = pytest.mark.slow  # whole sample stores

LAST = date(2026, 3, 20)
Rows = list[dict[str, Any]]


def _rows(path: Path, table: str = "runs") -> Rows:
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY id")]


def _write(path: Path, **options: Any) -> SampleReport:
    return write_sample(f"sqlite:///{path}", **{"last_day": LAST, **options})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sample") / "traces.db"
    _write(path, days=14, runs_per_day=150)
    return path


@pytest.fixture(scope="module")
def runs(store: Path) -> Rows:
    return _rows(store)


@pytest.fixture(scope="module")
def traces(runs: Rows) -> dict[str, Rows]:
    found: dict[str, Rows] = defaultdict(list)
    for run in sorted(runs, key=lambda run: run["dotted_order"]):
        found[run["trace_id"]].append(run)
    return found


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_the_same_seed_gives_the_same_rows_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        _write(tmp_path / name, seed=seed, days=2, runs_per_day=40)
    for table in ("runs", "sessions", "feedbacks"):
        assert _rows(tmp_path / "a", table) == _rows(tmp_path / "b", table)
    assert not {run["id"] for run in _rows(tmp_path / "a")} & {run["id"] for run in _rows(tmp_path / "c")}


@pytest.mark.parametrize("larger", [{"days": 5}, {"projects": 4}, {"runs_per_day": 90}])
def test_a_larger_sample_holds_the_rows_of_a_smaller_one(tmp_path: Path, larger: dict[str, int]) -> None:
    smaller = {"days": 3, "projects": 3, "runs_per_day": 30, "experiments": 0}
    _write(tmp_path / "small", **smaller)
    _write(tmp_path / "large", **{**smaller, **larger})
    small = {run["id"]: run for run in _rows(tmp_path / "small")}
    large = {run["id"]: run for run in _rows(tmp_path / "large")}
    assert len(large) > len(small) > 100
    assert {name: large[name] for name in small} == small


def test_the_trees_are_whole_up_to_six_levels_and_children_lie_within_their_parents(traces: dict[str, Rows]) -> None:
    depths = set()
    for trace_id, tree in traces.items():
        by_id = {run["id"]: run for run in tree}
        for run in tree:
            segments = run["dotted_order"].split(".")
            ids = [segment.partition("Z")[2] for segment in segments]
            depths.add(len(ids))
            assert ids[0] == trace_id
            assert ids[-1] == run["id"]
            assert run["parent_run_id"] == (ids[-2] if len(ids) > 1 else None)
            assert run["is_root"] == int(len(ids) == 1)
            assert segments[-1].partition("Z")[0] == _time(run["start_time"]).strftime("%Y%m%dT%H%M%S%f")
            parent = by_id.get(run["parent_run_id"])
            if parent:
                assert run["dotted_order"].startswith(parent["dotted_order"] + ".")
                assert parent["start_time"] <= run["start_time"]
                assert parent["end_time"] is None or run["end_time"] <= parent["end_time"]
    assert depths == {1, 2, 3, 4, 5, 6}


def test_every_type_and_status_occurs_and_agrees_with_times_and_errors(runs: Rows) -> None:
    assert {run["run_type"] for run in runs} == set(RUN_TYPES)
    assert {run["status"] for run in runs} == set(STATUSES)
    for run in runs:
        assert (run["status"] == "pending") == (run["end_time"] is None)
        assert (run["status"] == "error") == (run["error"] is not None)
        assert run["end_time"] is None or run["start_time"] <= run["end_time"]
        assert run["status"] == "success" or run["outputs"] is None
    errors = [run["error"] for run in runs if run["error"]]
    assert all("Traceback (most recent call last):\n" in error and "\n  File " in error for error in errors)


def test_tokens_and_costs_add_up(runs: Rows, traces: dict[str, Rows]) -> None:
    prices = {model.name: model for model in MODELS}
    for run in runs:
        if run["total_tokens"] is None:
            assert run["total_cost"] is None
            continue
        assert run["total_tokens"] == run["prompt_tokens"] + run["completion_tokens"]
        assert Decimal(run["total_cost"]) == Decimal(run["prompt_cost"]) + Decimal(run["completion_cost"])
        if run["run_type"] == "llm":
            model = prices[json.loads(run["extra"])["metadata"]["ls_model_name"]]
            assert Decimal(run["prompt_cost"]) == run["prompt_tokens"] * Decimal(model.prompt_price).scaleb(-12)
    # What runs after the sample's last midnight is not in it.
    ended = [tree for tree in traces.values() if (tree[0]["end_time"] or "9") < "2026-03-21"]
    whole = [tree for tree in ended if tree[0]["status"] == "success"]
    for tree in whole:
        spent = sum(run["total_tokens"] or 0 for run in tree if run["run_type"] == "llm")
        assert (tree[0]["total_tokens"] or 0) == spent
        assert spent > 0


def _find(runs: Rows, **wanted: str) -> Rows:
    return [run for run in runs if all(run[name] == value for name, value in wanted.items())]


def test_payloads_have_the_forms_of_the_tracers(runs: Rows) -> None:
    answered = _find(runs, run_type="llm", status="success")
    by_langchain = wrapped = wrapped_anthropic = 0
    for run in answered:
        inputs, outputs, extra = (json.loads(run[name]) for name in ("inputs", "outputs", "extra"))
        assert {"sdk", "sdk_version", "runtime_version"} <= extra["runtime"].keys()
        assert {"ls_provider", "ls_model_name", "thread_id", "session_id"} <= extra["metadata"].keys()
        assert extra["invocation_params"]["model"] == extra["metadata"]["ls_model_name"]
        if "generations" in outputs:
            by_langchain += 1
            message = inputs["messages"][0][0]
            assert (message["lc"], message["type"], message["id"][-1]) == (1, "constructor", "SystemMessage")
            usage = outputs["generations"][0][0]["message"]["kwargs"]["usage_metadata"]
            assert outputs["llm_output"]["token_usage"]["total_tokens"] == run["total_tokens"]
        else:
            assert inputs["messages"][0]["role"] == "system"
            usage = outputs["usage_metadata"]
            wrapped += "choices" in outputs
            wrapped_anthropic += "stop_reason" in outputs
        assert usage["total_tokens"] == run["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert min(by_langchain, wrapped, wrapped_anthropic) > 20
    state = json.loads(_find(runs, name="support_agent", status="success")[0]["inputs"])
    assert {"content", "additional_kwargs", "type", "id"} <= state["messages"][-1].keys()
    found = json.loads(_find(runs, run_type="retriever", status="success")[0]["outputs"])
    assert {"page_content", "metadata", "type"} <= found["documents"][0].keys()
    vectors = json.loads(_find(runs, run_type="embedding", status="success")[0]["outputs"])["embeddings"]
    assert all(isinstance(number, float) for number in vectors[0])
    assert all(isinstance(json.loads(run["tags"]), list) for run in runs)


def test_streamed_answers_have_tokens_between_start_and_end(runs: Rows) -> None:
    streamed = [run for run in runs if run["first_token_time"] and run["status"] == "success"]
    assert len(streamed) > 50
    for run in streamed:
        events = json.loads(run["events"])
        assert [events[0]["name"], events[-1]["name"]] == ["start", "end"]
        assert {event["name"] for event in events[1:-1]} == {"new_token"}
        times = [event["time"] for event in events]
        assert times == sorted(times)
        assert run["start_time"] < run["first_token_time"] < run["end_time"]


def test_payload_sizes_are_log_normal_with_a_long_tail(runs: Rows) -> None:
    sizes = [len((run["inputs"] + (run["outputs"] or "")).encode()) for run in runs]
    assert 2_500 < median(sizes) < 3_500
    start = datetime(2026, 1, 1, tzinfo=UTC)
    drawn = sorted(Trace(random.Random(n), start=start, row_bytes=None, language="en").size() for n in range(40_000))
    assert drawn[-1] > 1_000_000
    assert 2_000 < drawn[20_000] < 3_000


def test_texts_are_in_several_languages_with_emoji(runs: Rows) -> None:
    text = "".join(run["inputs"] for run in runs)
    for sample in ("Rechnung", "factura", "garantie", "fatura", "заказ", "注文", "订单", "الفاتورة", "ऑर्डर", "🚀"):
        assert sample in text


def test_some_traces_go_on_over_midnight_and_each_project_has_a_day_without_rows(
    traces: dict[str, Rows], runs: Rows
) -> None:
    crossing = [tree for tree in traces.values() if len({run["start_time"][:10] for run in tree}) == 2]
    assert len(crossing) > 10
    assert any(run["start_time"].endswith("T00:00:00.000000+00:00") for run in runs)
    days: dict[str, Counter[str]] = defaultdict(Counter)
    for run in runs:
        days[run["session_id"]][run["start_time"][:10]] += 1
    span = {(LAST - timedelta(days=n)).isoformat() for n in range(14)}
    assert set().union(*days.values()) == span
    projects = [counts for counts in days.values() if len(counts) > 1]
    assert len(projects) == 3
    assert all(1 <= len(span - counts.keys()) <= 2 for counts in projects)


def test_an_experiment_has_a_dataset_and_examples_and_every_root_is_judged(store: Path, runs: Rows) -> None:
    sessions = {session["id"]: session for session in _rows(store, "sessions")}
    experiments = [session for session in sessions.values() if session["reference_dataset_id"]]
    assert [session["name"] for session in experiments] == ["docs-rag-eval-20260317"]
    roots = [run for run in runs if run["session_id"] == experiments[0]["id"] and run["is_root"]]
    assert len({root["reference_example_id"] for root in roots}) == len(roots) == 25
    assert all("correctness" in json.loads(root["feedback_stats"]) for root in roots if root["end_time"])
    assert not any(run["reference_example_id"] for run in runs if not run["is_root"])


def test_feedback_belongs_to_roots_and_agrees_with_its_statistics(store: Path, runs: Rows) -> None:
    by_id = {run["id"]: run for run in runs}
    feedback = _rows(store, "feedbacks")
    assert len(feedback) > 50
    assert any(record["comment"] for record in feedback)
    for record in feedback:
        root = by_id[record["run_id"]]
        assert root["is_root"]
        assert (record["trace_id"], record["session_id"]) == (root["id"], root["session_id"])
        assert json.loads(root["feedback_stats"])[record["key"]]["avg"] == record["score"]
        assert root["modified_at"] > root["inserted_at"]


def test_steady_days_have_exactly_the_rows_that_were_asked_for(tmp_path: Path) -> None:
    report = _write(tmp_path / "s", days=3, runs_per_day=101, steady=True, experiments=0)
    counted: Mapping[tuple[str, str], int] = Counter(
        (run["session_id"], run["start_time"][:10]) for run in _rows(tmp_path / "s")
    )
    assert set(counted.values()) == {101}
    assert report.runs == 101 * 9
    assert [project.runs for project in report.projects] == [303, 303, 303]


def test_rows_can_have_a_size(tmp_path: Path) -> None:
    _write(tmp_path / "s", days=1, projects=1, experiments=0, runs_per_day=3, steady=True, row_bytes=1_000_000)
    sizes = [len(run["inputs"]) + len(run["outputs"] or "") for run in _rows(tmp_path / "s")]
    assert len(sizes) == 3
    assert all(950_000 < size < 1_050_000 for size in sizes)


def test_progress_ends_with_all_rows(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = _write(
        tmp_path / "s", days=3, runs_per_day=200, on_progress=lambda done, total: seen.append((done, total))
    )
    assert len(seen) > 3
    assert seen == sorted(seen)
    assert seen[-1] == (report.runs, report.runs)
    assert all(done <= total for done, total in seen)
