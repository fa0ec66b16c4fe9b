"""What a database tells of itself, and the stores that are recognised by it: pure values."""

from collections.abc import Mapping
from dataclasses import dataclass

from export_pipeline.settings import SourceKind

VERSIONS = "alembic_version"
"""The table in which a store's migrations record how far they are."""


@dataclass(frozen=True)
class Tables:
    """The tables and views that are found without naming a schema, each with its columns, and what their version is.

    `version` is what the store's migrations have recorded (Alembic's revision), None where there is none.
    """

    database: str
    columns: Mapping[str, frozenset[str]]
    version: str | None = None

    def missing(self, wanted: Mapping[str, frozenset[str]]) -> list[str]:
        """What is not there, as `table` or `table.column`, in order."""
        lacking = []
        for table, columns in wanted.items():
            if table not in self.columns:
                lacking.append(table)
            else:
                lacking += [f"{table}.{column}" for column in sorted(columns - self.columns[table])]
        return lacking


@dataclass(frozen=True)
class Preset:
    """A mapping that comes with the package, `<file>.yaml`, for the tables of one store in one database.

    `marks` are the tables and columns that only this store has, `needs` those that the mapping reads beside them.
    `versions` are the known ones; without any, none is looked at. `label` is how people name the store and its version.
    `newer` are tables that only a newer version has, which is read by another mapping.
    """

    kind: SourceKind
    database: str
    file: str
    label: str
    marks: Mapping[str, frozenset[str]]
    needs: Mapping[str, frozenset[str]]
    versions: frozenset[str] = frozenset()
    newer: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """By what its mapping is printed: the kind, with the version where a kind has several."""
        return self.file.partition(".")[0]


def columns(**tables: str) -> dict[str, frozenset[str]]:
    """Tables with their columns, which are written in one text each."""
    return {name: frozenset(text.split()) for name, text in tables.items()}
