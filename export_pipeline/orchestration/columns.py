"""The Run schema as Dagster shows it."""

from collections.abc import Iterable

import dagster as dg

from export_pipeline.runs.schema import COST_PRECISION, COST_SCALE, FormatVersion, Kind, RunField

_TYPES: dict[Kind, str] = {
    Kind.ID: "string (UUID)",
    Kind.TEXT: "string",
    Kind.TIME: "timestamp[us, UTC]",
    Kind.JSON: "string (JSON)",
    Kind.STRINGS: "list<string>",
    Kind.COUNT: "int64",
    Kind.COST: f"decimal({COST_PRECISION}, {COST_SCALE})",
    Kind.FLAG: "bool",
}


def table_schema(fields: Iterable[RunField], format_version: FormatVersion) -> dg.TableSchema:
    """The columns of the files with their types, descriptions and constraints."""
    return dg.TableSchema(columns=[_column(field, format_version) for field in fields])


def _column(field: RunField, format_version: FormatVersion) -> dg.TableColumn:
    kind = Kind.JSON if field.kind is Kind.STRINGS and format_version == "v1" else field.kind
    return dg.TableColumn(
        name=field.name,
        type=_TYPES[kind],
        description=field.description,
        constraints=dg.TableColumnConstraints(nullable=not field.required, unique=field.name == "id"),
    )
