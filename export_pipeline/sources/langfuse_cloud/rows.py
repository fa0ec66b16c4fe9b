"""An observation of the API as a raw row: the same run that the mapping of Langfuse 4's own tables makes of it."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from msgspec.structs import replace

from export_pipeline.runs.schema import DEFAULT_FIELDS, RUN_FIELDS
from export_pipeline.runs.times import micros
from export_pipeline.sources.http.client import BadAnswerError
from export_pipeline.sources.http.exact import Cell, Cells, cells_of
from export_pipeline.sources.http.rows import PLACES, Row

CORE = "core"
"""The group of fields with the ids, the type and the times."""
_GROUPS = {"inputs": "io", "outputs": "io", "extra": "metadata,model,trace_context"}
_ALWAYS = "core,basic,time,usage,trace_context"
_RUN_TYPES = {"GENERATION": "llm", "EMBEDDING": "embedding", "TOOL": "tool", "RETRIEVER": "retriever"}
_METADATA = {
    "ls_model_name": ("model", "providedModelName"),
    "thread_id": ("sessionId",),
    "user_id": ("userId",),
    "environment": ("environment",),
    "version": ("version",),
    "release": ("release",),
    "trace_name": ("traceName",),
}
ORIGINS = {
    "id": ("mapped", "traceId:id"),
    "tenant_id": ("derived", "the setting TENANT_ID"),
    "session_id": ("mapped", "projectId"),
    "trace_id": ("derived", "the first of the ancestors"),
    "parent_run_id": ("mapped", "traceId:parentObservationId"),
    "parent_run_ids": ("derived", "the ancestors in the trace"),
    "name": ("mapped", "name"),
    "run_type": ("mapped", "type"),
    "start_time": ("mapped", "startTime"),
    "end_time": ("mapped", "endTime; of an EVENT startTime"),
    "first_token_time": ("mapped", "completionStartTime"),
    "status": ("mapped", "level, endTime"),
    "is_root": ("derived", "parentObservationId"),
    "dotted_order": ("derived", "the ancestors in the trace"),
    "inputs": ("mapped", "input"),
    "outputs": ("mapped", "output"),
    "extra": ("mapped", "metadata, model, modelParameters, session, user, environment, version, release, trace name"),
    "feedback_stats": ("mapped", "scores of the observation; of a root also those of its trace"),
    "tags": ("mapped", "tags"),
    "error": ("mapped", "statusMessage, where level is ERROR"),
    "total_tokens": ("mapped", "usageDetails.total"),
    "prompt_tokens": ("mapped", "usageDetails.input"),
    "completion_tokens": ("mapped", "usageDetails.output"),
    "total_cost": ("mapped", "costDetails.total"),
    "prompt_cost": ("mapped", "costDetails.input"),
    "completion_cost": ("mapped", "costDetails.output"),
    "feedbacks": ("mapped", "scores of the observation; of a root also those of its trace"),
}
"""Where each field comes from, in the API's words."""


@dataclass(frozen=True, slots=True)
class Span:
    """A run's place in its trace, in the store's ids; `start` in microseconds."""

    id: str
    trace: str
    parent: str | None
    start: int


def groups(fields: Collection[str] | None) -> str:
    """The groups of fields that an export of these fields needs."""
    wanted = DEFAULT_FIELDS if fields is None else fields
    names = dict.fromkeys(_ALWAYS.split(","))
    for field, more in _GROUPS.items():
        if field in wanted:
            names.update(dict.fromkeys(more.split(",")))
    return ",".join(names)


def row_of(observation: Cells, project: str) -> Row:
    """The row of an observation; raises `BadAnswerError` for one without id or time, or of another project."""
    span = span_of(observation)
    if (of := _text(observation, "projectId")) != project:
        raise BadAnswerError(f"the observation {span.id} is one of another project, {of}")
    kind, is_error = _text(observation, "type") or "", _text(observation, "level") == "ERROR"
    end = _text(observation, "endTime") or (_text(observation, "startTime") if kind == "EVENT" else None)
    usage, cost = _numbers(observation, "usageDetails"), _numbers(observation, "costDetails")
    tags = observation.get("tags")
    cells = {
        "id": span.id,
        "session_id": project,
        "trace_id": span.trace,
        "parent_run_id": span.parent,
        "name": _text(observation, "name"),
        "run_type": _RUN_TYPES.get(kind, "chain"),
        "end_time": end,
        "first_token_time": _text(observation, "completionStartTime"),
        "status": "error" if is_error else "pending" if end is None else "success",
        "inputs": _payload(observation, "input"),
        "outputs": _payload(observation, "output"),
        "extra": _extra(observation),
        "tags": None if tags is None or tags.value is None else tags.text,
        "error": (_text(observation, "statusMessage") or "error") if is_error else None,
        "total_tokens": usage.get("total"),
        "prompt_tokens": usage.get("input"),
        "completion_tokens": usage.get("output"),
        "total_cost": cost.get("total"),
        "prompt_cost": cost.get("input"),
        "completion_cost": cost.get("output"),
    }
    return Row(span.start, span.id, tuple(cells.get(field.name) for field in RUN_FIELDS))


def span_of(observation: Cells) -> Span:
    """The place of an observation of which perhaps only the core fields are known."""
    own, start = _text(observation, "id"), micros(_text(observation, "startTime"))
    if own is None or start is None:
        raise BadAnswerError("an observation has no id or no readable startTime")
    trace, parent = _text(observation, "traceId"), _text(observation, "parentObservationId")
    prefix = "" if trace is None else f"{trace}:"
    return Span(f"{prefix}{own}", trace or own, f"{prefix}{parent}" if parent else None, start)


def span_of_row(row: Row) -> Span:
    """The place of a row."""
    trace, parent = row.cells[PLACES["trace_id"]], row.cells[PLACES["parent_run_id"]]
    return Span(row.id, trace or row.id, parent, row.start)


def with_cells(row: Row, cells: Mapping[str, str | None]) -> Row:
    """The row with other cells in the named columns."""
    changed = list(row.cells)
    for name, cell in cells.items():
        changed[PLACES[name]] = cell
    return replace(row, cells=tuple(changed))


def cut_metadata(observation: Cells, *, most: int) -> set[str]:
    """The keys of metadata whose values may have been cut off by the API, which cuts them after so many characters."""
    metadata = observation.get("metadata")
    if metadata is None or not isinstance(metadata.value, dict):
        return set()
    return {key for key, value in metadata.value.items() if isinstance(value, str) and len(value) >= most}


def _text(observation: Cells, name: str) -> str | None:
    cell = observation.get(name)
    return cell.value if cell is not None and isinstance(cell.value, str) else None


def _numbers(observation: Cells, name: str) -> dict[str, str]:
    """The numbers of an object, as they are written."""
    cell = observation.get(name)
    if cell is None or not isinstance(cell.value, dict):
        return {}
    return {key: each.text for key, each in cells_of(cell.text, lists=()).items() if each.value is not None}


def _payload(observation: Cells, name: str) -> str | None:
    """An object as it is; any other JSON, or text, under the payload's name."""
    cell = observation.get(name)
    if cell is None or cell.value is None or cell.value == "":
        return None
    if not isinstance(cell.value, str):
        return _wrapped(name, cell)
    try:
        value = json.loads(cell.value, parse_constant=_no_json)
    except (ValueError, RecursionError):
        return json.dumps({name: cell.value}, ensure_ascii=False)
    return _wrapped(name, Cell(value, cell.value))


def _wrapped(name: str, cell: Cell) -> str:
    return cell.text if isinstance(cell.value, dict) else f'{{"{name}":{cell.text}}}'


def _no_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _extra(observation: Cells) -> str:
    metadata = observation.get("metadata")
    members: dict[str, str] = {}
    if metadata is not None and isinstance(metadata.value, dict):
        members.update({key: each.text for key, each in cells_of(metadata.text, lists=()).items()})
    for key, names in _METADATA.items():
        if text := next((text for name in names if (text := _text(observation, name))), None):
            members[key] = _json(text)
    listed = ",".join(f"{_json(key)}:{text}" for key, text in members.items())
    parameters = observation.get("modelParameters")
    rest = "" if parameters is None or not parameters.value else f',"invocation_params":{parameters.text}'
    return f'{{"metadata":{{{listed}}}{rest}}}'


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
