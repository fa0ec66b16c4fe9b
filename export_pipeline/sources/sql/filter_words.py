"""What a database must be able to say so that filters can be compiled for it."""

from typing import Literal, Protocol

from export_pipeline.sources.sql.dialect import Column

BoundKind = Literal["text", "integer", "number"]
PathPlace = Literal["root", "parent", "own"]
ListPlace = Literal["first", "last"]


class FilterWords(Protocol):
    """How one database writes what filters need. Everything may be null."""

    def bound(self, number: int, kind: BoundKind) -> str:
        """The value bound under this number."""

    def text(self, column: Column) -> str:
        """The value as text that compares by its bytes."""

    def haystack(self, column: Column) -> str:
        """The value as text, ASCII letters in lower case."""

    def id(self, column: Column) -> str:
        """An id: a UUID in its usual form, any other text as it is."""

    def on_path(self, column: Column, place: PathPlace) -> str:
        """The id at a place of a `dotted_order`, as `id` has it; null where there is none."""

    def listed(self, column: Column, place: ListPlace) -> str:
        """The first or the last id of a list of ids, as `id` has it."""

    def word(self, column: Column) -> str:
        """The value as text without blanks around it, ASCII letters in lower case; null where nothing is left."""

    def micros(self, column: Column) -> str:
        """A time in microseconds since 1970, null outside the years 1 to 9999."""

    def whole(self, column: Column) -> str:
        """A whole number within 64 bits."""

    def flag(self, column: Column) -> str:
        """A flag as a condition."""

    def number(self, column: Column) -> str:
        """A decimal number, for `compare`."""

    def json_number(self, text: str) -> str:
        """The decimal number that JSON text writes, for `compare`."""

    def compare(self, number: str, sign: str, bound: str) -> str:
        """Decimal numbers compared exactly."""

    def like(self, text: str, pattern: str) -> str:
        """Whether a text matches a pattern; case matters."""

    def contains(self, haystack: str, text: str) -> str:
        """Whether a text occurs in another."""

    def has(self, column: Column, text: str) -> str:
        """Whether a text is one of the strings of a list."""

    def entries(self, column: Column, *, inside: str | None, wanted: str | None) -> str:
        """Rows (key, type, text) for a FROM clause: what a JSON object holds, or its member `inside`, at any depth.

        A key is the names on the way joined by dots; elements of a list stand under the list's key. `wanted` is a
        bound key, where only that one is asked for.
        """
