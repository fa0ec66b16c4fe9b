"""The catalog: the list of a bucket's standing tables, by which readers find a project by its name.

It is one JSON object, `<prefix>/_export_pipeline/projects.json`, and a public interface, whose JSON Schema is published
as `docs/projects.schema.json`. Who can write to the bucket can replace it, so everything in it has a bound.
"""

import uuid
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from export_pipeline.errors import PermanentError
from export_pipeline.files.manifest import Day, Label, Text, canonical_json
from export_pipeline.runs.schema import FormatVersion
from export_pipeline.settings import Compression

CATALOG_VERSION: Literal[1] = 1
MAX_CATALOG_BYTES = 16 * 1024 * 1024
"""About fifteen thousand tables; what is larger is neither written nor read."""


class CatalogError(PermanentError):
    """A catalog cannot be read."""


class NewerCatalogError(CatalogError):
    """A catalog is of a version that is not known yet."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, json_schema_serialization_defaults_required=True)


class CatalogTable(_Part):
    """The days of one project under one export id."""

    name: Text = Field(description="The project's name, at most 1,000 characters of it.")
    project_id: Text = Field(description="The project's id as the trace store writes it.")
    session_id: uuid.UUID = Field(description="The project's id as it stands in paths.")
    tenant_id: uuid.UUID
    export_id: uuid.UUID
    current: bool = Field(
        strict=True, description="Whether the project's next days come into this table; false: it was superseded."
    )
    location: Annotated[str, Field(max_length=2048, pattern="^s3://")] = Field(
        description="The folder of the days, ending in a slash."
    )
    format_version: FormatVersion
    compression: Compression
    fields: tuple[Label, ...] = Field(max_length=1000, description="The columns of the files, in order.")
    newest_day: Day | None = Field(
        description="The newest UTC day that is committed, with rows or without; null before the first one."
    )


class Catalog(_Part):
    """All standing tables of a bucket and prefix, those that were superseded too."""

    version: Literal[1]
    tables: tuple[CatalogTable, ...]

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len({table.export_id for table in self.tables}) < len(self.tables):
            raise ValueError("an export id stands for two tables")
        return self

    @classmethod
    def of(cls, tables: Iterable[CatalogTable]) -> "Catalog":
        """The catalog of these tables, in the one order that it is written in."""
        return cls(version=CATALOG_VERSION, tables=tuple(sorted(tables, key=_place)))

    def dump(self) -> bytes:
        """The catalog as it is stored."""
        return canonical_json(self.model_dump(mode="json"))


def read_catalog(data: bytes) -> Catalog:
    """The catalog of stored bytes.

    Raises `NewerCatalogError` for a version that is not known, `CatalogError` for what is no catalog.
    """
    if len(data) > MAX_CATALOG_BYTES:
        raise CatalogError(f"it has more than {MAX_CATALOG_BYTES:,} bytes")
    try:
        return Catalog.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    if first["loc"] == ("version",) and isinstance(first["input"], int) and first["input"] > CATALOG_VERSION:
        raise NewerCatalogError(f"it is of a newer version than {CATALOG_VERSION}, which this export-pipeline knows")
    where = ".".join(map(str, first["loc"])) or "catalog"
    raise CatalogError(f"it is not valid: {ascii(where)[1:-1]:.100}: {ascii(first['msg'])[1:-1]:.300}")


def catalog_json_schema() -> dict[str, Any]:
    """The JSON Schema of a stored catalog, as it is published."""
    schema = Catalog.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _place(table: CatalogTable) -> tuple[str, str, str, bool, str]:
    return table.name, str(table.tenant_id), str(table.session_id), not table.current, str(table.export_id)
