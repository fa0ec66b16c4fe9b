"""What LangSmith's own SDK has written comes out of the source as that SDK reads it."""

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import pytest
from typing_extensions import override

from export_pipeline.runs.window import Window
from export_pipeline.sources.protocol import AttachmentSink, KeptAttachment, ProjectKey
from export_pipeline_tests.servers.langsmith import KEY, LangSmith, langsmith
from export_pipeline_tests.sources.langsmith import sdk_process
from export_pipeline_tests.sources.langsmith.runs import source_of
from export_pipeline_tests.sources.presets.known_stores import DAY, answer_of, exported

pytestmark = pytest.mark.slow

PROJECT = "support bot"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LangSmith, Any]]:
    """A server that the SDK has written to, and what it reads there."""
    with langsmith() as server:
        folder = tmp_path_factory.mktemp("sdk")
        server.storage = f"http://127.0.0.1:{server.port}"
        told = answer_of(sdk_process.__file__, f"http://127.0.0.1:{server.port}", KEY, PROJECT, folder=folder)
        yield server, told


@pytest.mark.parametrize("has_v2", [True, False])
def test_the_source_and_the_sdk_tell_the_same_runs(written: tuple[LangSmith, Any], has_v2: bool) -> None:
    server, told = written
    server.has_v2 = has_v2
    source = source_of(server)
    (project,) = source.projects()

    found = exported(source, project.key)

    runs = [expected_of(run, has_types=not has_v2) for run in told["runs"]]
    expected = sorted(runs, key=lambda run: (run["start_time"], run["id"]))
    assert [run["id"][-1] for run in expected] == ["4", "1", "2", "3", "6", "5"]
    assert [comparable(row, expected[0]) for row in found] == expected


def test_the_source_and_the_sdk_tell_the_same_feedback(written: tuple[LangSmith, Any]) -> None:
    server, told = written
    source = source_of(server)
    (project,) = source.projects()

    texts = {row["id"]: row["feedbacks"] for row in exported(source, project.key)}

    (rated,) = {each["run_id"] for each in told["feedback"]}
    assert {run for run, text in texts.items() if text != "[]"} == {rated}
    names = ("id", "run_id", "key", "score", "value", "comment", "correction")
    found = [[each[name] for name in names] for each in json.loads(texts[rated])]
    assert sorted(found) == sorted([each[name] for name in names] for each in told["feedback"])
    assert [each["comment"] for each in told["feedback"] if each["correction"]] == ['it said "no"']


@pytest.mark.parametrize("has_v2", [True, False])
def test_the_source_and_the_sdk_fetch_the_same_attachments(written: tuple[LangSmith, Any], has_v2: bool) -> None:
    server, told = written
    server.has_v2 = has_v2
    source, kept = source_of(server), Kept()
    (project,) = source.projects()

    with source.open(ProjectKey(project.key), Window.of_day(DAY)) as snapshot:
        assert snapshot.keep_attachments(kept)
        extras = [
            (run, json.loads(extra or "{}"))
            for batch in snapshot.batches()
            for run, extra in zip(batch.column("id").to_pylist(), batch.column("extra").to_pylist(), strict=True)
        ]

    found = {
        run: {each["name"]: kept.contents[each["sha256"]] for each in extra["attachments"]}
        for run, extra in extras
        if "attachments" in extra
    }
    (attached,) = told["attachments"]
    assert found == {attached: {name: content for name, (_, content) in sdk_process.ATTACHMENTS.items()}}
    fetched = told["attachments"][attached].items()
    assert found[attached] == {name: base64.b64decode(content) for name, content in fetched}


class Kept(AttachmentSink):
    """Keeps attachments by the hashes of their bytes."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}

    @override
    def keep(self, pieces: Iterable[bytes]) -> KeptAttachment:
        content = b"".join(pieces)
        digest = hashlib.sha256(content).hexdigest()
        self.contents[digest] = content
        return KeptAttachment(digest, digest, len(content))

    @override
    def miss(self) -> None:
        raise AssertionError("an attachment is not to be had")


def expected_of(run: dict[str, Any], *, has_types: bool) -> dict[str, Any]:
    """What is exported of a run, from what the SDK tells of it; `has_types`: with the types of attachments."""
    extra = {**run["extra"], **({"metadata": run["metadata"]} if run["metadata"] else {})}
    if run["attachments"]:
        kinds = {name: {"mime_type": kind} if has_types else {} for name, (kind, _) in sdk_process.ATTACHMENTS.items()}
        extra["attachments"] = [{"name": name, **kinds[name]} for name in sorted(run["attachments"])]
    return {
        "id": run["id"],
        "trace_id": run["trace_id"],
        "parent_run_id": run["parent_run_ids"][-1] if run["parent_run_ids"] else None,
        "parent_run_ids": run["parent_run_ids"],
        "name": run["name"],
        "run_type": run["run_type"].lower(),
        "start_time": datetime.fromisoformat(run["start_time"]),
        "end_time": None if run["end_time"] is None else datetime.fromisoformat(run["end_time"]),
        "status": run["status"].lower(),
        "is_root": run["is_root"],
        "dotted_order": run["dotted_order"],
        "inputs": run["inputs"],
        "outputs": run["outputs"],
        "extra": extra,
        "events": run["events"] and [{**each, "time": datetime.fromisoformat(each["time"])} for each in run["events"]],
        "feedback_stats": run["feedback_stats"],
        "tags": run["tags"] or [],
        "error": run["error"],
    }


def comparable(row: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """These columns of an exported row, JSON read."""
    found = {name: row[name] for name in names}
    for name in ("inputs", "outputs", "extra", "events", "feedback_stats"):
        found[name] = None if row[name] is None else json.loads(row[name])
    if not found["extra"].get("metadata", True):
        del found["extra"]["metadata"]  # none, and an empty one, are the same in v2
    for event in found["events"] or ():
        event["time"] = datetime.fromisoformat(event["time"])
    return found
