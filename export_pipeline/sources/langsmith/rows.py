"""A run of the API as a raw row, in both shapes that the API has: `v2`, and `v1` while it lives."""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Literal

from export_pipeline.runs.schema import DEFAULT_FIELDS, RUN_FIELDS, Kind
from export_pipeline.runs.times import micros
from export_pipeline.sources.http.client import BadAnswerError
from export_pipeline.sources.http.exact import Cells, string_of
from export_pipeline.sources.http.rows import Row

Shape = Literal["v1", "v2"]

_COLUMNS = [(field.name, field.kind in {Kind.JSON, Kind.STRINGS}) for field in RUN_FIELDS]
_PLACES = {name: place for place, (name, _) in enumerate(_COLUMNS)}
_START_TIME, _EXTRA, _SESSION_ID, _PARENT_RUN_ID = (
    _PLACES[name] for name in ("start_time", "extra", "session_id", "parent_run_id")
)
_WORDS = [_PLACES[name] for name in ("run_type", "status", "trace_tier")]
"""Columns whose case is another one in v2."""
_ATTACHMENT = "attachment."
_ATTACHMENTS = ("attachments", "s3_urls")
_NONE = frozenset({None, "null", "{}"})
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
    own, start = _text(run, "id"), micros(_text(run, "start_time"))
    if own is None or start is None:
        raise BadAnswerError("a run has no id or no readable start_time")
    of = _text(run, "project_id") or _text(run, "session_id")
    if of is not None and of.lower() != project.lower():
        raise BadAnswerError(f"the run {own} is one of another project, {of}")
    cells = _cells(run.texts)
    cells[_START_TIME], cells[_EXTRA], cells[_SESSION_ID] = None, _extra(run), of
    if "parent_run_id" not in run.texts:
        cells[_PARENT_RUN_ID] = _last(run)
    for place in _WORDS:
        if (word := cells[place]) is not None:
            cells[place] = word.lower()
    return Row(start, own, tuple(cells))


def with_feedbacks(row: Row, records: str) -> Row:
    """The row with the records of its feedback, a JSON list."""
    place = _PLACES["feedbacks"]
    return replace(row, cells=(*row.cells[:place], records, *row.cells[place + 1 :]))


def _cells(texts: Mapping[str, str]) -> list[str | None]:
    """The cells of all columns as far as a member's own text gives them: it is the whole of what a day costs."""
    get = texts.get
    return [
        None
        if (text := get(name)) is None or text == "null"
        else text
        if is_json or text[0] != '"'
        else text[1:-1]
        if "\\" not in text
        else string_of(text)
        for name, is_json in _COLUMNS
    ]


def _text(run: Cells, name: str) -> str | None:
    text = run.texts.get(name)
    return string_of(text) if text is not None and text[0] == '"' else None


def _last(run: Cells) -> str | None:
    if run.texts.get("parent_run_ids", "[]") in {"[]", "null"}:
        return None
    ancestors = run["parent_run_ids"].value
    last = ancestors[-1] if isinstance(ancestors, list) and ancestors else None
    return last if isinstance(last, str) else None


def _extra(run: Cells) -> str | None:
    """What the API gives beside each other and LangSmith's own files have in one, and which attachments there are."""
    extra, metadata = run.texts.get("extra", "null"), run.texts.get("metadata", "null")
    added = {} if metadata == "null" or _EMPTY_OBJECT.fullmatch(metadata) else {"metadata": metadata}
    if attachments := _attachments(run):
        added["attachments"] = json.dumps(attachments, ensure_ascii=False)
    if not added:
        return None if extra == "null" else extra
    if extra == "null" or _EMPTY_OBJECT.fullmatch(extra):
        return f"{{{_members(added)}}}"
    if any(f'"{name}"' in extra for name in added):
        own = run["extra"].value
        added = {name: text for name, text in added.items() if name not in own}
    return f"{{{_members(added)},{extra[1:]}" if added and extra[0] == "{" else extra


def _members(texts: Mapping[str, str]) -> str:
    return ",".join(f'"{name}":{text}' for name, text in texts.items())


def _attachments(run: Cells) -> list[dict[str, str]]:
    """Names, and types where they are told; not the addresses, which are others each time and let anybody read."""
    listed, stored = (run.get(name) if run.texts.get(name) not in _NONE else None for name in _ATTACHMENTS)
    if listed is not None and isinstance(listed.value, dict):
        return [{"name": name} for name in sorted(listed.value)]
    if stored is None or not isinstance(stored.value, dict):
        return []
    found = {
        name.removeprefix(_ATTACHMENT): each for name, each in stored.value.items() if name.startswith(_ATTACHMENT)
    }
    types = {name: each.get("mime_type") if isinstance(each, dict) else None for name, each in found.items()}
    return [{"name": name, **({"mime_type": each} if (each := types[name]) else {})} for name in sorted(types)]
