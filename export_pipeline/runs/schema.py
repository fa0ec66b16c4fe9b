"""The Run schema: the one place that says which columns a run has.

Everything else that needs the columns is derived from `RUN_FIELDS`: the Arrow schema of the files, the Polars
dtypes of the transform, the pydantic `Run`, Dagster's column schema and the table in the documentation.

PyArrow and Polars are imported when their types are asked for, and no sooner: settings and the Dagster location need
the columns alone, and are loaded by every process.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, create_model

from export_pipeline.errors import InputError
from export_pipeline.runs.ids import CANONICAL_UUID

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

FormatVersion = Literal["v1", "v2_beta"]
FORMAT_VERSIONS: tuple[FormatVersion, ...] = ("v1", "v2_beta")

RUN_TYPES = ("tool", "chain", "llm", "retriever", "embedding", "prompt", "parser")
STATUSES = ("success", "error", "pending")
TRACE_TIERS = ("shortlived", "longlived")

COST_PRECISION = 18
COST_SCALE = 12


class Kind(StrEnum):
    """What a column holds; it decides the type in every type system."""

    ID = "id"
    """A UUID as 36 lower-case characters."""
    TEXT = "text"
    TIME = "time"
    """An instant in UTC, in microseconds."""
    JSON = "json"
    """JSON text, byte for byte as the trace store gave it."""
    STRINGS = "strings"
    """A list of strings that is never null."""
    COUNT = "count"
    COST = "cost"
    """US dollars, exact to 12 decimal places."""
    FLAG = "flag"


@dataclass(frozen=True)
class RunField:
    """One column: its name, what it holds, and what it means.

    `required` columns are never null. `payload` columns hold whole prompts and answers: they get neither
    statistics nor a dictionary in the files. `by_default` says whether an export that names no fields has it.
    """

    name: str
    kind: Kind
    description: str
    required: bool = False
    payload: bool = False
    by_default: bool = True


RUN_FIELDS: tuple[RunField, ...] = (
    RunField("id", Kind.ID, "The run.", required=True),
    RunField("tenant_id", Kind.ID, "The workspace.", required=True),
    RunField("session_id", Kind.ID, "The project.", required=True),
    RunField("trace_id", Kind.ID, "The root run of the trace.", required=True),
    RunField("parent_run_id", Kind.ID, "The run that started this one; null for a root run."),
    RunField("parent_run_ids", Kind.STRINGS, "All ancestors, the root first.", required=True),
    RunField("reference_example_id", Kind.ID, "The dataset example that an experiment's run was made for."),
    RunField("name", Kind.TEXT, "The name of the run.", required=True),
    RunField("run_type", Kind.TEXT, f"One of {', '.join(RUN_TYPES)}.", required=True),
    RunField("start_time", Kind.TIME, "When the run began; it decides the run's day.", required=True),
    RunField("end_time", Kind.TIME, "When the run ended; null while it is pending."),
    RunField("first_token_time", Kind.TIME, "When the first token of a streamed answer came."),
    RunField("status", Kind.TEXT, f"One of {', '.join(STATUSES)}.", required=True),
    RunField("is_root", Kind.FLAG, "Whether the run is the root of its trace.", required=True),
    RunField("dotted_order", Kind.TEXT, "Sorts the runs of a trace in tree order."),
    RunField("trace_tier", Kind.TEXT, f"How long the trace is kept: {' or '.join(TRACE_TIERS)}."),
    RunField("inputs", Kind.JSON, "What the run was given.", payload=True),
    RunField("outputs", Kind.JSON, "What the run returned.", payload=True),
    RunField("extra", Kind.JSON, "Metadata, invocation parameters, runtime.", payload=True),
    RunField("events", Kind.JSON, "Events of the run, streamed tokens among them.", payload=True),
    RunField("feedback_stats", Kind.JSON, "Feedback of the run, aggregated by key.", payload=True),
    RunField("tags", Kind.STRINGS, "Tags.", required=True),
    RunField("error", Kind.TEXT, "The error's text, with its traceback.", payload=True),
    RunField("total_tokens", Kind.COUNT, "Tokens, prompt and completion together."),
    RunField("prompt_tokens", Kind.COUNT, "Tokens of the prompt."),
    RunField("completion_tokens", Kind.COUNT, "Tokens of the answer."),
    RunField("total_cost", Kind.COST, "Cost in US dollars, prompt and completion together."),
    RunField("prompt_cost", Kind.COST, "Cost of the prompt in US dollars."),
    RunField("completion_cost", Kind.COST, "Cost of the answer in US dollars."),
    RunField("feedbacks", Kind.JSON, "Single feedback records of the run.", payload=True, by_default=False),
)

FIELD_BY_NAME: dict[str, RunField] = {field.name: field for field in RUN_FIELDS}
DEFAULT_FIELDS: tuple[str, ...] = tuple(field.name for field in RUN_FIELDS if field.by_default)


@cache
def _arrow_types() -> dict[Kind, pa.DataType]:
    import pyarrow as pa

    return {
        Kind.ID: pa.string(),
        Kind.TEXT: pa.string(),
        Kind.TIME: pa.timestamp("us", tz="UTC"),
        Kind.JSON: pa.string(),
        Kind.STRINGS: pa.list_(pa.field("element", pa.string(), nullable=False)),
        Kind.COUNT: pa.int64(),
        Kind.COST: pa.decimal128(COST_PRECISION, COST_SCALE),
        Kind.FLAG: pa.bool_(),
    }


@cache
def _polars_types() -> dict[Kind, pl.DataType]:
    import polars as pl

    return {
        Kind.ID: pl.String(),
        Kind.TEXT: pl.String(),
        Kind.TIME: pl.Datetime("us", "UTC"),
        Kind.JSON: pl.String(),
        Kind.STRINGS: pl.List(pl.String()),
        Kind.COUNT: pl.Int64(),
        Kind.COST: pl.Decimal(COST_PRECISION, COST_SCALE),
        Kind.FLAG: pl.Boolean(),
    }


_PYTHON: dict[Kind, Any] = {
    Kind.ID: Annotated[str, Field(pattern=f"^{CANONICAL_UUID}$")],
    Kind.TEXT: str,
    Kind.TIME: AwareDatetime,
    Kind.JSON: str,
    Kind.STRINGS: list[str],
    Kind.COUNT: Annotated[int, Field(ge=-(2**63), lt=2**63)],
    Kind.COST: Annotated[Decimal, Field(max_digits=COST_PRECISION, decimal_places=COST_SCALE)],
    Kind.FLAG: bool,
}


def select_fields(names: Iterable[str] | None = None) -> tuple[RunField, ...]:
    """The fields of an export, in the schema's order: those named, or the 29 that are there by default.

    Raises `InputError` that lists every name that is no column.
    """
    if names is None:
        return tuple(field for field in RUN_FIELDS if field.by_default)
    wanted = set(names)
    if unknown := sorted(wanted - FIELD_BY_NAME.keys()):
        raise InputError(f"unknown export fields {', '.join(unknown)}; known are {', '.join(FIELD_BY_NAME)}")
    if not wanted:
        raise InputError("an export needs at least one field")
    return tuple(field for field in RUN_FIELDS if field.name in wanted)


def kind_in_files(field: RunField, format_version: FormatVersion) -> Kind:
    """What a column holds in the files; in `v1` lists are JSON text, as in the original."""
    return Kind.JSON if field.kind is Kind.STRINGS and format_version == "v1" else field.kind


def arrow_type(field: RunField, format_version: FormatVersion) -> pa.DataType:
    """The Arrow type of a column in the files."""
    return _arrow_types()[kind_in_files(field, format_version)]


def arrow_schema(fields: Iterable[RunField], format_version: FormatVersion) -> pa.Schema:
    """The Arrow schema of the files of an export."""
    import pyarrow as pa

    return pa.schema(
        pa.field(field.name, arrow_type(field, format_version), nullable=not field.required) for field in fields
    )


def polars_schema(fields: Iterable[RunField], format_version: FormatVersion) -> pl.Schema:
    """The Polars schema of the files of an export, as `scan_parquet` reports it."""
    import polars as pl

    types = _polars_types()
    return pl.Schema({field.name: types[kind_in_files(field, format_version)] for field in fields})


class RunModel(BaseModel):
    """Base of `Run`: unknown keys are refused and values are not changed once set."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _model_field(field: RunField) -> tuple[Any, Any]:
    python = _PYTHON[field.kind]
    if field.required:
        return python, Field(description=field.description)
    return python | None, Field(default=None, description=field.description)


Run = create_model(  # type: ignore[call-overload]
    "Run",
    __base__=RunModel,
    __doc__="One run as a Python object; JSON columns stay text.",
    **{field.name: _model_field(field) for field in RUN_FIELDS},
)


def documentation_table() -> str:
    """The columns as a Markdown table, as it stands in the documentation."""
    rows = ["| column | Parquet type | null | meaning |", "|---|---|---|---|"]
    for field in RUN_FIELDS:
        kind = _PARQUET_NAMES[field.kind] + ("" if field.by_default else ", only when asked for")
        rows.append(f"| `{field.name}` | {kind} | {'no' if field.required else 'yes'} | {field.description} |")
    return "\n".join(rows) + "\n"


_PARQUET_NAMES: dict[Kind, str] = {
    Kind.ID: "STRING (UUID)",
    Kind.TEXT: "STRING",
    Kind.TIME: "TIMESTAMP(MICROS, UTC)",
    Kind.JSON: "STRING (JSON)",
    Kind.STRINGS: "LIST of STRING; JSON text in `v1`",
    Kind.COUNT: "INT64",
    Kind.COST: f"DECIMAL({COST_PRECISION}, {COST_SCALE})",
    Kind.FLAG: "BOOLEAN",
}
