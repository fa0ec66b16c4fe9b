"""Days of a trace store as the files have them."""

import json
from datetime import UTC, date, datetime
from typing import Any
from uuid import uuid4

from export_pipeline.runs.schema import FIELD_BY_NAME, select_fields
from export_pipeline.runs.transform import RunTransform
from export_pipeline.runs.window import Window
from export_pipeline.sources.protocol import ProjectKey, RunSource
from export_pipeline_tests.sources.stores import DAY

CHAT = ProjectKey("chat")


def exported(source: RunSource, *, day: date = DAY, project: ProjectKey = CHAT) -> list[dict[str, Any]]:
    """The rows of a day as the file has them."""
    transform = RunTransform(
        tenant_id=uuid4(), session_id=uuid4(), fields=select_fields(FIELD_BY_NAME), format_version="v2_beta",
        window=Window.of_day(day),
    )  # fmt: skip
    found: list[dict[str, Any]] = []
    with source.open(project, Window.of_day(day), FIELD_BY_NAME) as snapshot:
        for batch in transform.stream(snapshot.batches()):
            assert batch.rejected == ()
            found += batch.rows.to_pylist()
        assert snapshot.fingerprint.rows == len(found)
        assert source.days(project)[day] == snapshot.fingerprint
    return found


def original(row: dict[str, Any], name: str = "id") -> str:
    """An id as the store has it."""
    return str(json.loads(row["extra"])["export_pipeline"]["original_ids"][name])


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
