"""A run of the API as a raw row, in both shapes that the API has: `v2`, and `v1` while it lives."""

import re
from collections.abc import Collection
from typing import Literal

from export_pipeline.runs.schema import DEFAULT_FIELDS, RUN_FIELDS, Kind
from export_pipeline.runs.times import micros
from export_pipeline.sources.http.client import BadAnswerError
from export_pipeline.sources.http.exact import Cell, Cells
from export_pipeline.sources.http.rows import Row

Shape = Literal["v1", "v2"]

_WORDS = frozenset({"run_type", "status", "trace_tier"})
_EMPTY_OBJECT = re.compile(r"\{\s*\}")
_V2: dict[str, tuple[str, ...]] = {
    "tenant_id": (),
    "session_id": ("PROJECT_ID",),
    "parent_run_id": ("PARENT_RUN_IDS",),
    "trace_tier": (),
    "extra": ("EXTRA", "METADATA"),
    "feedbacks": (),
}
_V1: dict[str, tuple[str, ...]] = {"tenant_id": (), "is_root": (), "feedbacks": ()}
"""What a field is selected by, where that is not its own name."""
MISSING: dict[Shape, tuple[str, ...]] = {"v2": ("trace_tier", "feedbacks"), "v1": ("feedbacks",)}
"""Fields that the API does not give."""
DERIVED: dict[Shape, dict[str, str]] = {
    "v2": {
        "tenant_id": "the project's workspace",
        "parent_run_id": "the last of parent_run_ids",
        "extra": "extra, with metadata in it",
    },
    "v1": {"tenant_id": "the project's workspace", "is_root": "from parent_run_id"},
}


def selects(shape: Shape, fields: Collection[str] | None) -> list[str]:
    """What is asked of the API so that an export of the fields has all that there is."""
    wanted = DEFAULT_FIELDS if fields is None else fields
    names: dict[str, None] = {}
    for field in RUN_FIELDS:
        if field.payload and field.name not in wanted:
            continue
        names.update(dict.fromkeys(selected_by(shape, field.name)))
    return list(names)


def selected_by(shape: Shape, field: str) -> tuple[str, ...]:
    """What a field is made of, in the words of the API."""
    return _V2.get(field, (field.upper(),)) if shape == "v2" else _V1.get(field, (field,))


def row_of(run: Cells, project: str) -> Row:
    """The row of a run; raises `BadAnswerError` for one without id or time, or of another project."""
    own, start = _text(run.get("id")), micros(_text(run.get("start_time")))
    if own is None or start is None:
        raise BadAnswerError("a run has no id or no readable start_time")
    of = _text(run.get("project_id")) or _text(run.get("session_id"))
    if of is not None and of.lower() != project.lower():
        raise BadAnswerError(f"the run {own} is one of another project, {of}")
    return Row(start, own, tuple(_cell(run, field.name, field.kind) for field in RUN_FIELDS))


def _cell(run: Cells, name: str, kind: Kind) -> str | None:
    if name == "start_time":
        return None
    if name == "extra":
        return _extra(run)
    if name == "parent_run_id" and name not in run:
        return _last(run.get("parent_run_ids"))
    cell = run.get("project_id") if name == "session_id" and name not in run else run.get(name)
    if cell is None or cell.value is None:
        return None
    if kind is Kind.JSON or kind is Kind.STRINGS or not isinstance(cell.value, str):
        return cell.text
    return cell.value.lower() if name in _WORDS else cell.value


def _text(cell: Cell | None) -> str | None:
    return cell.value if cell is not None and isinstance(cell.value, str) else None


def _last(ancestors: Cell | None) -> str | None:
    if ancestors is None or not isinstance(ancestors.value, list) or not ancestors.value:
        return None
    last = ancestors.value[-1]
    return last if isinstance(last, str) else None


def _extra(run: Cells) -> str | None:
    """What `v2` gives beside each other and LangSmith's own files have in one."""
    extra, metadata = run.get("extra"), run.get("metadata")
    if metadata is None or not metadata.value:
        return None if extra is None or extra.value is None else extra.text
    if extra is None or extra.value is None or _EMPTY_OBJECT.fullmatch(extra.text):
        return f'{{"metadata":{metadata.text}}}'
    if not isinstance(extra.value, dict) or "metadata" in extra.value:
        return extra.text
    return f'{{"metadata":{metadata.text},{extra.text[1:]}'
