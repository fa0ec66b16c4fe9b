"""What Langfuse's own SDK has written comes out of the source as that SDK reads it."""

import json
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from export_pipeline.runs.ids import NAMESPACE
from export_pipeline.runs.schema import FIELD_BY_NAME, RUN_FIELDS
from export_pipeline.runs.transform import RunTransform
from export_pipeline.runs.window import Window
from export_pipeline_tests.servers.langfuse import PROJECT, PUBLIC, SECRET, Langfuse, langfuse
from export_pipeline_tests.sources.langfuse_cloud import sdk_process
from export_pipeline_tests.sources.langfuse_cloud.observations import CHAT, source_of
from export_pipeline_tests.sources.presets.known_stores import answer_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Langfuse, list[dict[str, Any]]]]:
    """A server that the SDK has written to, and what it reads there."""
    with langfuse() as server:
        assert server.server is not None
        address, folder = server.server.url, tmp_path_factory.mktemp("sdk")
        yield server, answer_of(sdk_process.__file__, address, PUBLIC, SECRET, folder=folder)


def test_the_source_and_the_sdk_tell_the_same_runs(written: tuple[Langfuse, list[dict[str, Any]]]) -> None:
    server, told = written
    expected = {run_id(each["traceId"], each["id"]): expected_of(each, told) for each in told}

    found = {row["id"]: {name: row[name] for name in expected[row["id"]]} for row in exported(server)}

    assert len(told) == 3
    assert found == expected


def exported(server: Langfuse) -> list[dict[str, Any]]:
    """The runs of the last hour as they stand in a file."""
    now = datetime.now(UTC)
    window = Window(now - timedelta(hours=1), now + timedelta(hours=1))
    transform = RunTransform(
        tenant_id=uuid.UUID(int=1), session_id=uuid.UUID(int=2), fields=RUN_FIELDS, format_version="v2_beta",
        epoch_unit="s", window=window,
    )  # fmt: skip
    rows: list[dict[str, Any]] = []
    with closing(source_of(server)) as source, source.open(CHAT, window, FIELD_BY_NAME) as snapshot:
        for batch in transform.stream(snapshot.batches()):
            assert not batch.rejected
            rows += [{**row, "extra": json.loads(row["extra"])} for row in batch.rows.to_pylist()]
    return rows


def run_id(trace: str, own: str) -> str:
    return str(uuid.uuid5(NAMESPACE, f"{trace}:{own}"))


def expected_of(observation: dict[str, Any], told: list[dict[str, Any]]) -> dict[str, Any]:
    """What is exported of an observation, from what the SDK tells of it."""
    trace, parent = observation["traceId"], observation["parentObservationId"]
    (root,) = (run_id(trace, each["id"]) for each in told if each["parentObservationId"] is None)
    usage, cost = observation["usageDetails"], observation["costDetails"]
    metadata = {**observation["metadata"], "environment": "default", "trace_name": "support"}
    metadata |= {"thread_id": observation["sessionId"], "user_id": observation["userId"]}
    metadata |= {} if observation["model"] is None else {"ls_model_name": observation["model"]}
    is_error = observation["level"] == "ERROR"
    return {
        "name": observation["name"],
        "run_type": {"GENERATION": "llm", "TOOL": "tool", "CHAIN": "chain"}[observation["type"]],
        "trace_id": root,
        "parent_run_id": None if parent is None else run_id(trace, parent),
        "parent_run_ids": [] if parent is None else [root],
        "is_root": parent is None,
        "start_time": datetime.fromisoformat(observation["startTime"]),
        "end_time": datetime.fromisoformat(observation["endTime"]),
        "first_token_time": moment(observation["completionStartTime"]),
        "status": "error" if is_error else "success",
        "error": observation["statusMessage"] if is_error else None,
        "inputs": payload("input", observation["input"]),
        "outputs": payload("output", observation["output"]),
        "tags": observation["tags"],
        "prompt_tokens": usage.get("input"),
        "completion_tokens": usage.get("output"),
        "total_tokens": usage.get("total"),
        "total_cost": decimal(cost.get("total")),
        "prompt_cost": decimal(cost.get("input")),
        "completion_cost": decimal(cost.get("output")),
        "extra": {
            "metadata": metadata,
            **({} if observation["modelParameters"] is None else {"invocation_params": observation["modelParameters"]}),
            "export_pipeline": {"original_ids": original_ids(trace, observation["id"], parent)},
        },
    }


def original_ids(trace: str, own: str, parent: str | None) -> dict[str, str]:
    above = {} if parent is None else {"parent_run_id": f"{trace}:{parent}"}
    return {"id": f"{trace}:{own}", "session_id": PROJECT, "trace_id": trace, **above}


def moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def payload(name: str, text: str | None) -> str | None:
    """Objects as they were sent, anything else under the payload's name."""
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return json.dumps({name: text}, ensure_ascii=False)
    return text if isinstance(value, dict) else f'{{"{name}":{text}}}'


def decimal(number: float | None) -> Decimal | None:
    return None if number is None else Decimal(repr(number)).quantize(Decimal(1).scaleb(-12))
