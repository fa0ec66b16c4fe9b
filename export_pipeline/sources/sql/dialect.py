"""What the SQL dialects share: the words that plans and queries are made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from export_pipeline.runs.schema import Kind, RunField


@dataclass(frozen=True)
class Column:
    """A column or expression of a relation: its SQL, its type in the database's own words, and how people name it.

    `indexed` is the column as its indexes have it, where that is not `sql`: a PostgreSQL column whose collation or
    type takes different texts for equal is read through a cast that compares bytes, and indexes hold it without.
    `reads` is the column of the relation that `sql` reads, where that is more than the column.
    """

    sql: str
    type: str
    detail: str
    indexed: str | None = None
    reads: str | None = None

    @property
    def plain(self) -> str:
        """The column of the relation by itself; the whole expression where it is one."""
        return self.reads or self.indexed or self.sql


@dataclass(frozen=True)
class Index:
    """An index of a table: its key columns in order. Partial and invalid ones are left out."""

    name: str
    columns: tuple[str, ...]
    unique: bool


@dataclass(frozen=True)
class Relation:
    """A table, view or query as the database has it.

    `source` is its SQL in a FROM clause, without an alias; `columns` maps names to types; `identity` has
    the names, quoted where they have to be, of what tells its rows apart physically; views and queries have none.
    """

    source: str
    label: str
    columns: dict[str, str]
    identity: tuple[str, ...] = ()
    indexes: tuple[Index, ...] = ()
    forbidden: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()
    is_table: bool = False
    """Whether `indexes` are all that there are; so they are of what has an identity."""

    def from_(self, alias: str) -> str:
        """The relation in a FROM clause."""
        return f"{self.source} AS {alias}"


class TimeSql(Protocol):
    """A time column or expression in SQL."""

    @property
    def instant(self) -> str:
        """A value that sorts as the instant does: null where there is none or it is unreadable."""

    @property
    def raw(self) -> str:
        """The value of a raw column: the instant as native timestamp or in microseconds."""

    @property
    def day(self) -> str:
        """The UTC day as days since 1970; only for instants in the years 1 to 9999."""

    @property
    def newest(self) -> str:
        """The aggregate that gives the newest, as `raw` does."""

    @property
    def rank(self) -> str:
        """As `instant`, but never null: what has none comes before everything else."""

    def literal(self, micros: int) -> str:
        """A constant to compare `instant` with."""

    def near(self, low: int, high: int, *, also: str) -> str:
        """A condition that an index can serve: `also`, and at least every instant in `low <= micros < high`."""

    def exact(self, low: int, high: int) -> str:
        """What has to be added to `near` where that lets more through; may be empty."""


class Dialect(Protocol):
    """How one database writes what the queries need."""

    name: str
    numbers: frozenset[str]
    """The types of numbers."""
    zoneless: frozenset[str]
    """The types of times that have no zone."""
    keys_are_sparse: bool
    """Whether a key narrows a search down by any of its columns, rather than finds rows by its first ones."""
    counts_feedback: bool = False
    """Whether `feedback_stats` can be made of the feedback, which is gathered for all rows of a day at once."""

    def quote(self, identifier: str) -> str:
        """An identifier in quotes."""

    def column(self, sql: str, type_: str, detail: str) -> Column:
        """A column of a relation, or an expression over it, of a type of the catalog."""

    def time(self, column: Column) -> TimeSql:
        """A time."""

    def raw(self, field: RunField, column: Column) -> str:
        """The expression of a raw column (`runs.raw`), times as text or native."""

    def opened(self, column: Column, kind: Kind) -> Column:
        """The column as everything reads it: JSON text where JSON is the value itself, else what the JSON means."""

    def reference(self, column: Column, to: Column) -> Column:
        """A column of ids that are those of another: a text `1.0` is the number 1 where the other holds numbers."""

    def look_up(self, own: Column, wanted: Column) -> str | None:
        """The condition that two ids of perhaps different types are equal, served by an index on `own`; else None."""

    def stamp(self, column: Column) -> str:
        """A time as a segment of a `dotted_order` begins with it, or null."""

    def text(self, column: Column) -> str:
        """The value as text, or null."""

    def id(self, column: Column) -> str:
        """An id as text, or null; a number without a fraction is a whole one."""

    def truth(self, column: Column) -> str:
        """Whether a marker is set; never null."""

    def hash(self, column: Column) -> str:
        """A number of 32 bits that the value's bytes give; 0 for null."""

    def whole(self, aggregate: str) -> str:
        """A sum as a whole number of 64 bits."""

    def bytewise(self, column: Column) -> str:
        """The value as something that is equal only to the same bytes, whatever the column's collation."""

    def is_empty(self, column: Column) -> str:
        """Whether the value is null or an empty text; never null."""

    def is_project(self, column: Column, project: str) -> str:
        """The condition that a run's project has the id that the session was opened for."""

    def as_project(self, column: Column, key: str) -> str:
        """A project's id as a column of the runs holds it: ids for which that is the same have their rows in common."""

    def canonical_id(self, column: Column) -> str:
        """An id as text, a UUID in any spelling (`runs.ids.parse_uuid`) in the usual one; null for an empty one."""

    def is_tenant(self, column: Column, tenant: str) -> str:
        """The condition that the id is that of the tenant that the session was opened for, in any spelling."""

    def order(self, column: Column) -> str:
        """A sort key by the value's bytes, whatever the database's collation."""

    def same(self, left: Column, right: Column) -> str:
        """The condition that two ids of perhaps different types are equal."""

    def records(self, relation: Relation, *, where: str, order: Sequence[str]) -> str:
        """A subquery that gives the rows (alias f) as a JSON list of objects; `[]` where there are none."""

    def complaint(self, field: RunField, column: Column) -> str | None:
        """Why a column's type cannot be exported as this field."""
