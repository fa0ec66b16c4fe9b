"""Rows on which an expression of the mapping fails: they are set aside under a reason, and the others are read.

A database ends the whole query at the first value that an expression cannot take. Which one it was is found by halving
what is left of the day, in the same snapshot.
"""

from collections.abc import Callable, Collection, Generator, Sequence
from typing import Protocol

import pyarrow as pa

from export_pipeline.errors import SourceUnusableError
from export_pipeline.runs.raw import with_failed
from export_pipeline.runs.rejected import rejected_row

MOST_FAILING = 100
"""Rows of a day; with more the expression is wrong, rather than a row."""

_MOST_ROWS = 2**40


class ExpressionError(SourceUnusableError):
    """A statement failed, perhaps because of a value."""


class OrderedRows(Protocol):
    """The rows of a day by their places in its order, counted from 0."""

    def stream(
        self, first: int, count: int | None = None, *, without: Collection[str] = ()
    ) -> Generator[pa.RecordBatch]:
        """Raw batches of the rows from a place on, in which the fields `without` are null."""

    def failure(self, first: int, count: int, fields: Collection[str]) -> ExpressionError | None:
        """How reading the rows at these places, and of them these fields, fails."""


def read_around_failing(rows: OrderedRows, fields: Sequence[str]) -> Generator[pa.RecordBatch]:
    """All rows; those on which one of the fields fails in batches that are marked (`runs.raw.with_failed`).

    Raises `ExpressionError` where something else fails, `SourceUnusableError` for more than `MOST_FAILING` rows.
    """
    done = 0
    for _ in range(MOST_FAILING + 1):
        try:
            for batch in rows.stream(done):
                yield batch
                done += batch.num_rows
                del batch
        except ExpressionError as error:
            failure = error
        else:
            return
        place = _place(rows, done, fields, failure)
        if place > done:
            yield from rows.stream(done, place - done)
        failing = [name for name in fields if rows.failure(place, 1, [name]) is not None]
        (row,) = rows.stream(place, 1, without=failing)
        yield with_failed(row, failing)
        done = place + 1
    named = rejected_row(row, 0, "")
    rows_are = f"more than {MOST_FAILING} rows of a day, such as"
    raise unusable(failure, failing[0], rows_are=rows_are, id_=named.id, start=named.start_time)


def unusable(
    failure: ExpressionError, field: str, *, rows_are: str, id_: str | None, start: str | None
) -> SourceUnusableError:
    """The error of a day that cannot be read without the rows on which a field fails, of which one is named."""
    return SourceUnusableError(
        f"{failure}; runs.fields.{field} of the mapping fails on {rows_are} the run {id_} at {start}: write an "
        "expression that takes every value"
    )


def _place(rows: OrderedRows, done: int, fields: Sequence[str], failure: ExpressionError) -> int:
    """The place of the first row from `done` on on which a field fails; raises what was found where there is none."""
    if rows.failure(done, _MOST_ROWS, ()) is not None or rows.failure(done, _MOST_ROWS, fields) is None:
        raise failure
    return first_failing(lambda first, count: rows.failure(first, count, fields) is not None, done)


def first_failing(fails: Callable[[int, int], bool], place: int) -> int:
    """The first place from `place` on that fails; `fails` says it of so many from one on, and one has to fail."""
    count = 1
    while not fails(place, count):
        place, count = place + count, count * 2
    while count > 1:
        half = count // 2
        if fails(place, half):
            count = half
        else:
            place, count = place + half, count - half
    return place
