"""A run of the API as a raw row, in both shapes that the API has: `v2`, and `v1` while it lives."""

import json
import re
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Literal

from export_pipeline.runs.schema import DEFAULT_FIELDS, RUN_FIELDS, Kind
from export_pipeline.runs.times import micros
from export_pipeline.sources.http.client import BadAnswerError
from export_pipeline.sources.http.exact import Cell, Cells
from export_pipeline.sources.http.rows import Row

Shape = Literal["v1", "v2"]

_WORDS = frozenset({"run_type", "status", "trace_tier"})
_FEEDBACKS_AT = [field.name for field in RUN_FIELDS].index("feedbacks")
_ATTACHMENT = "attachment."
_NOTHING = Cell({}, "{}")
_EMPTY_OBJECT = re.compile(r"\{\s*\}")
_V2: dict[str, tuple[str, ...]] = {
    "tenant_id": (),
    "session_id": ("PROJECT_ID",),
    "parent_run_id": ("PARENT_RUN_IDS",),
    "trace_tier": (),
    "extra": ("EXTRA", "METADATA", "ATTACHMENTS"),
    "feedbacks": ("FEEDBACK_STATS",),
}
_V1: dict[str, tuple[str, ...]] = {
    "tenant_id": (),
    "is_root": (),
    "extra": ("extra", "s3_urls"),
    "feedbacks": ("feedback_stats",),
}
"""What a field is selected by, where that is not its own name."""
OPTIONAL = frozenset({"ATTACHMENTS", "s3_urls"})
"""Selects that not every server knows, and without which a run is whole."""
MISSING: dict[Shape, tuple[str, ...]] = {"v2": ("trace_tier",), "v1": ()}
"""Fields that the API does not give."""
_FEEDBACKS = "the API's list of feedback, asked for the runs that have any"
DERIVED: dict[Shape, dict[str, str]] = {
    "v2": {
        "tenant_id": "the project's workspace",
        "parent_run_id": "the last of parent_run_ids",
        "extra": "extra, with metadata and the names of attachments in it",
        "feedbacks": _FEEDBACKS,
    },
    "v1": {
        "tenant_id": "the project's workspace",
        "is_root": "from parent_run_id",
        "extra": "extra, with names and types of attachments in it",
        "feedbacks": _FEEDBACKS,
    },
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
    return Row(start, own, tuple([make(run) for make in _COLUMNS]))


def with_feedbacks(row: Row, records: str) -> Row:
    """The row with the records of its feedback, a JSON list."""
    return replace(row, cells=(*row.cells[:_FEEDBACKS_AT], records, *row.cells[_FEEDBACKS_AT + 1 :]))


def _column(name: str, kind: Kind) -> Callable[[Cells], str | None]:
    """Makes the cell of a column."""
    if name == "start_time":
        return lambda run: None
    if name == "extra":
        return _extra
    if name == "parent_run_id":
        return lambda run: _last(run.get("parent_run_ids")) if name not in run else _text(run[name])
    if name == "session_id":
        return lambda run: _text(run.get(name) or run.get("project_id"))
    if name in _WORDS:
        return lambda run: None if (text := _text(run.get(name))) is None else text.lower()
    if kind is Kind.JSON or kind is Kind.STRINGS:
        return lambda run: None if (cell := run.get(name)) is None or cell[0] is None else cell[1]

    def made(run: Cells) -> str | None:
        cell = run.get(name)
        if cell is None:
            return None
        value, text = cell
        return value if isinstance(value, str) or value is None else text

    return made


def _text(cell: Cell | None) -> str | None:
    return cell.value if cell is not None and isinstance(cell.value, str) else None


def _last(ancestors: Cell | None) -> str | None:
    if ancestors is None or not isinstance(ancestors.value, list) or not ancestors.value:
        return None
    last = ancestors.value[-1]
    return last if isinstance(last, str) else None


def _extra(run: Cells) -> str | None:
    """What the API gives beside each other and LangSmith's own files have in one, and which attachments there are."""
    extra, metadata = run.get("extra"), run.get("metadata")
    if extra is None or extra.value is None:
        extra = _NOTHING
    if not isinstance(extra.value, dict):
        return extra.text
    added = {"metadata": metadata.text} if metadata is not None and metadata.value else {}
    if attachments := _attachments(run):
        added["attachments"] = json.dumps(attachments, ensure_ascii=False)
    members = ",".join(f'"{name}":{text}' for name, text in added.items() if name not in extra.value)
    if not members:
        return None if extra is _NOTHING else extra.text
    rest = "}" if _EMPTY_OBJECT.fullmatch(extra.text) else f",{extra.text[1:]}"
    return f"{{{members}{rest}"


def _attachments(run: Cells) -> list[dict[str, str]]:
    """Names, and types where they are told; not the addresses, which are others each time and let anybody read."""
    listed, stored = (run.get(name) for name in ("attachments", "s3_urls"))
    if listed is not None and isinstance(listed.value, dict):
        return [{"name": name} for name in sorted(listed.value)]
    if stored is None or not isinstance(stored.value, dict):
        return []
    found = {
        name.removeprefix(_ATTACHMENT): each for name, each in stored.value.items() if name.startswith(_ATTACHMENT)
    }
    types = {name: each.get("mime_type") if isinstance(each, dict) else None for name, each in found.items()}
    return [{"name": name, **({"mime_type": each} if (each := types[name]) else {})} for name in sorted(types)]


_COLUMNS = [_column(field.name, field.kind) for field in RUN_FIELDS]
