"""A run of the API as a raw row, in both shapes that the API has: `v2`, and `v1` while it lives."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from msgspec.structs import replace

from export_pipeline.runs.schema import DEFAULT_FIELDS, RUN_FIELDS, Kind
from export_pipeline.runs.times import micros
from export_pipeline.sources.http.client import BadAnswerError
from export_pipeline.sources.http.exact import Cells, string_of
from export_pipeline.sources.http.rows import PLACES, Row
from export_pipeline.sources.protocol import COPIED_ATTACHMENTS

Shape = Literal["v1", "v2"]

_COLUMNS = [(field.name, field.kind in {Kind.JSON, Kind.STRINGS}) for field in RUN_FIELDS]
_START_TIME, _EXTRA, _SESSION_ID, _PARENT_RUN_ID = (
    PLACES[name] for name in ("start_time", "extra", "session_id", "parent_run_id")
)
WORDS = [PLACES[name] for name in ("run_type", "status", "trace_tier")]
"""Columns whose case is another one in v2."""
_ATTACHMENT = "attachment."
ATTACHMENTS = ("attachments", "s3_urls")
"""What tells of them, in each version."""
_NONE = frozenset({None, "null", "{}"})
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


@dataclass(frozen=True)
class Attachment:
    """A file at a run; `address` is where the API gives it, for some hours."""

    name: str
    mime_type: str | None
    address: str | None


class AttachedRow(Row, frozen=True, gc=False):
    """A row whose attachments are to be copied, and what its `extra` is made of."""

    attachments: tuple[Attachment, ...]
    extra: str | None
    metadata: str | None


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


def row_of(run: Cells, project: str, *, with_addresses: bool = False) -> Row:
    """The row of a run; raises `BadAnswerError` for one without id or time, or of another project.

    `with_addresses`: one with attachments is an `AttachedRow`.
    """
    own, start = _text(run, "id"), micros(_text(run, "start_time"))
    if own is None or start is None:
        raise BadAnswerError("a run has no id or no readable start_time")
    of = _text(run, "project_id") or _text(run, "session_id")
    if of is not None and of.lower() != project.lower():
        raise BadAnswerError(f"the run {own} is one of another project, {of}")
    cells = _cells(run.texts)
    cells[_SESSION_ID], cells[_START_TIME] = of, None
    if "parent_run_id" not in run.texts:
        cells[_PARENT_RUN_ID] = last_of(run.texts.get("parent_run_ids", "[]"))
    for place in WORDS:
        if (word := cells[place]) is not None:
            cells[place] = word.lower()
    extra, metadata = cells[_EXTRA], run.texts.get("metadata")
    metadata = None if metadata == "null" else metadata
    attachments = attachments_of(run)
    cells[_EXTRA] = merged_extra(extra, metadata, attachments)
    if attachments and with_addresses:
        return AttachedRow(start, own, tuple(cells), tuple(attachments), extra, metadata)
    return Row(start, own, tuple(cells))


def with_attachments(row: AttachedRow, entries: Sequence[Mapping[str, Any]]) -> Row:
    """The row with these words on its attachments."""
    extra = _merged(row.extra, row.metadata, entries, taken=COPIED_ATTACHMENTS[1])
    return Row(row.start, row.id, (*row.cells[:_EXTRA], extra, *row.cells[_EXTRA + 1 :]))


def with_feedbacks(row: Row, records: str) -> Row:
    """The row with the records of its feedback, a JSON list."""
    place = PLACES["feedbacks"]
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


def last_of(ancestors: str) -> str | None:
    """The last of a JSON list of texts; None where it has none, or is no such list."""
    if ancestors in {"[]", "null"}:
        return None
    if ancestors[0] == "[" and ancestors[-2:] == '"]' and "\\" not in ancestors:
        return ancestors[:-2].rpartition('"')[2]
    found = json.loads(ancestors)
    last = found[-1] if isinstance(found, list) and found else None
    return last if isinstance(last, str) else None


def merged_extra(extra: str | None, metadata: str | None, attachments: Sequence[Attachment]) -> str | None:
    """What the API gives beside each other and LangSmith's own files have in one, and which attachments there are."""
    return _merged(extra, metadata, [named(each) for each in attachments] if attachments else ())


def _merged(
    extra: str | None, metadata: str | None, attachments: Sequence[Mapping[str, Any]], *, taken: str | None = None
) -> str | None:
    """A member that the run has itself stays; attachments are called `taken` then, where that is given."""
    added = {} if metadata is None or _is_empty(metadata) else {"metadata": metadata}
    if attachments:
        added["attachments"] = json.dumps(attachments, ensure_ascii=False)
    if not added:
        return extra
    own = extra or "{}"
    if any(f'"{name}"' in own for name in added):
        members = json.loads(own)
        if taken is not None and attachments and "attachments" in members:
            added[taken] = added["attachments"]
        added = {name: text for name, text in added.items() if name not in members}
    if not added or own[0] != "{":
        return extra
    first = ",".join([f'"{name}":{text}' for name, text in added.items()])
    return f"{{{first}}}" if _is_empty(own) else f"{{{first},{own[1:]}"


def _is_empty(text: str) -> bool:
    """Whether it is an object without members."""
    return not text.startswith('{"') and text[0] == "{" and not text[1:-1].strip()


def attachments_of(run: Cells) -> list[Attachment]:
    """A run's attachments by name, with types where they are told."""
    listed, stored = (run.get(name) if run.texts.get(name) not in _NONE else None for name in ATTACHMENTS)
    if listed is not None and isinstance(listed.value, dict):
        return [_attachment(name, listed.value[name]) for name in sorted(listed.value)]
    if stored is None or not isinstance(stored.value, dict):
        return []
    found = {
        name.removeprefix(_ATTACHMENT): each for name, each in stored.value.items() if name.startswith(_ATTACHMENT)
    }
    return [_attachment(name, found[name]) for name in sorted(found)]


def _attachment(name: str, told: Any) -> Attachment:
    address, kind = (told.get("presigned_url"), told.get("mime_type")) if isinstance(told, dict) else (told, None)
    return Attachment(name, *(each if isinstance(each, str) and each else None for each in (kind, address)))


def named(attachment: Attachment) -> dict[str, Any]:
    """Name, and type where it is told; not the address, which is another one each time and lets anybody read."""
    return {"name": attachment.name, **({} if attachment.mime_type is None else {"mime_type": attachment.mime_type})}
