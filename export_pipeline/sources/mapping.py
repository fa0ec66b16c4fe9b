"""The mapping file: where a trace store with another schema keeps what the product reads.

`docs/mapping.md` describes it with an example. Without a file the tables `sessions`, `runs` and `feedbacks` are read,
and of their columns those that exist under the contract's names.
"""

import difflib
from collections.abc import Mapping as AbstractMapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from export_pipeline.errors import SettingsError
from export_pipeline.runs.schema import FIELD_BY_NAME
from export_pipeline.runs.times import EpochUnit
from export_pipeline.settings import PREFIX

REQUIRED_FIELDS = ("id", "session_id", "name", "run_type", "start_time")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Expression(_Strict):
    """A SQL expression over the columns of the table or query."""

    sql: Annotated[str, Field(min_length=1)]


ColumnRef = Annotated[str, Field(min_length=1)] | Expression | None
"""A column by its exact name, an expression, or None: there is no such thing in this store."""


class RelationMapping(_Strict):
    """A table or view, or a query in its place."""

    table: Annotated[str, Field(min_length=1)] | None = None
    in_schema: Annotated[str, Field(min_length=1)] | None = Field(None, alias="schema")
    query: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one_of(self) -> "RelationMapping":
        if self.table is not None and self.query is not None:
            raise ValueError("give a table or a query, not both")
        if self.in_schema is not None and self.table is None:
            raise ValueError("schema needs a table")
        return self

    def named(self, default: str) -> "RelationMapping":
        """Just the relation; the table `default` where none is named."""
        table = default if self.table is None and self.query is None else self.table
        return RelationMapping.model_validate({"table": table, "schema": self.in_schema, "query": self.query})

    def __str__(self) -> str:
        if self.query is not None:
            return "the query"
        return f"table {self.in_schema}.{self.table}" if self.in_schema else f"table {self.table}"


class RunsMapping(RelationMapping):
    """Where runs are. What is not named is read from the column of the same name, where there is one."""

    fields: dict[str, ColumnRef] = {}
    tenant_id: ColumnRef = "tenant_id"
    deleted: ColumnRef = "is_deleted"
    inserted_at: ColumnRef = "inserted_at"
    modified_at: ColumnRef = "modified_at"
    digest: ColumnRef = None
    identity: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)] | None = None
    id_is_unique: bool | None = None

    @field_validator("fields")
    @classmethod
    def _known(cls, value: dict[str, ColumnRef]) -> dict[str, ColumnRef]:
        for name in value:
            if name == "tenant_id":
                raise ValueError("the workspace of a run is named by runs.tenant_id, not among the fields")
            if name not in FIELD_BY_NAME:
                close = difflib.get_close_matches(name, FIELD_BY_NAME, n=1)
                raise ValueError(
                    f"{name!r} is not a field of a run" + (f"; did you mean {close[0]!r}?" if close else "")
                )
        if missing := [name for name in REQUIRED_FIELDS if name in value and value[name] is None]:
            raise ValueError(f"{', '.join(missing)} cannot be left out")
        return value


class ProjectsMapping(RelationMapping):
    """Where projects are: a table, a query, or the distinct values of the runs' `session_id`."""

    from_runs: bool = False
    id: ColumnRef = "id"
    name: ColumnRef = "name"
    tenant_id: ColumnRef = "tenant_id"
    start_time: ColumnRef = "start_time"
    reference_dataset_id: ColumnRef = "reference_dataset_id"

    @model_validator(mode="after")
    def _either(self) -> "ProjectsMapping":
        if self.from_runs and (self.table or self.query):
            raise ValueError("from_runs excludes table and query")
        return self


class FeedbacksMapping(RelationMapping):
    """Where feedback is; the whole row is the record."""

    run_id: ColumnRef = "run_id"
    trace_id: ColumnRef = None
    session_id: ColumnRef = None
    id: ColumnRef = "id"
    key: ColumnRef = "key"
    score: ColumnRef = "score"
    value: ColumnRef = "value"
    given_at: ColumnRef = None
    tenant_id: ColumnRef = "tenant_id"
    created_at: ColumnRef = "created_at"
    modified_at: ColumnRef = "modified_at"


class LeftOut(_Strict):
    """What the store holds and this mapping leaves out: in words, and a SELECT that counts it."""

    what: Annotated[str, Field(min_length=1)]
    count: Annotated[str, Field(min_length=1)]


class Mapping(_Strict):
    """The whole file."""

    epoch_unit: EpochUnit = "s"
    tenant: Annotated[str, Field(min_length=1)] | None = None
    left_out: list[LeftOut] = []
    runs: RunsMapping = Field(default_factory=lambda: RunsMapping.model_validate({}))
    projects: ProjectsMapping = Field(default_factory=lambda: ProjectsMapping.model_validate({}))
    feedbacks: FeedbacksMapping | None = Field(default_factory=lambda: FeedbacksMapping.model_validate({}))


DEFAULT_MAPPING = Mapping()


def is_explicit(model: BaseModel, name: str) -> bool:
    """Whether the file names it; what it names must exist."""
    return name in model.model_fields_set


def load_mapping(path: Path | None) -> Mapping:
    """The mapping in the file, or the default one for None.

    Raises `SettingsError` that names the file and every wrong key at once.
    """
    if path is None:
        return DEFAULT_MAPPING
    try:
        loaded: Any = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise SettingsError(f"{PREFIX}MAPPING: the file {path} cannot be read: {reason}") from None
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" at line {where.line + 1}" if where else ""
        raise SettingsError(f"{PREFIX}MAPPING: {path} is not valid YAML{line}") from None
    if not isinstance(loaded, AbstractMapping):
        raise SettingsError(f"{PREFIX}MAPPING: {path} must hold keys such as runs and projects")
    try:
        return Mapping.model_validate(loaded)
    except ValidationError as error:
        lines = "; ".join(dict.fromkeys(_explain(item) for item in error.errors()))
        raise SettingsError(f"{PREFIX}MAPPING: {path}: {lines}") from None


def _explain(item: Any) -> str:
    parts = [str(part) for part in item["loc"] if not str(part).startswith(("constrained-", "function-"))]
    key = ".".join(part for part in parts if part not in {"Expression", "str"})
    if item["type"] == "extra_forbidden":
        return f"{key} is not a key of a mapping"
    return f"{key}: {item['msg'].removeprefix('Value error, ')}" if key else str(item["msg"])
