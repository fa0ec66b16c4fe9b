"""The parts of SQL that systems have in common."""

import textwrap
from collections.abc import Callable, Iterable, Mapping

from export_pipeline.files.statements.table import DAY, Cloud, Statement, Step, Table
from export_pipeline.runs.schema import Kind

WIDTH = 110


def quoted(text: str) -> str:
    """A text in single quotes, one within it doubled."""
    return "'" + text.replace("'", "''") + "'"


def escaped(text: str) -> str:
    """A text in quotes, for systems that do not double one within; no place holds a double quote or a backslash."""
    return f'"{text}"' if "'" in text else f"'{text}'"


def listed(names: Iterable[str], *, indent: int = 4) -> str:
    """Names in a row, folded, all lines but the first indented."""
    return textwrap.fill(", ".join(names), WIDTH, subsequent_indent=" " * indent, break_long_words=False)


def definitions(table: Table, types: Mapping[Kind, str], *, not_null: bool = True, day: str | None = None) -> str:
    """The columns with their types, one on a line; with `day` the column `utc_day` of that type at the end."""
    lines = [
        f"    {field.name} {kind}{' NOT NULL' if not_null and field.required else ''}"
        for field, kind in table.types(types)
    ]
    if day is not None:
        lines.append(f"    {DAY} {day}{' NOT NULL' if not_null else ''}")
    return ",\n".join(lines)


def of_wanted_day(table: Table) -> str:
    """The condition that a row of the external table is of the wanted day."""
    day = table.wanted.day
    return f"year = {day.year} AND month = {day.month} AND day = {day.day}"


ABOUT_FILES = "Reads the files where they lie; a condition on year, month and day leaves other days' files unopened."


def about_access(table: Table, cloud: Cloud, about: str, *, reads: str) -> str:
    """What is said of access in a system that reads one cloud's buckets."""
    if table.cloud == cloud:
        return about
    return (
        f"{about} {reads}: copy the folder\n{table.root}\nthere, with the same names, again when days have changed, "
        "and put the bucket's name for YOUR_BUCKET."
    )


def expected(rows: int) -> str:
    """What a load that has another number of rows says."""
    return f"expected {rows} rows: print the statements anew, a day may have been exported again"


def about_all(table: Table) -> str:
    """What is said of loading everything."""
    return f"Load all days: {table.rows} rows. Replaces what is there."


def about_day(table: Table) -> str:
    """What is said of loading one day."""
    if not table.wanted.rows:
        return f"Load {table.wanted.day} anew: it has become empty, 0 rows and no file. Its rows are removed."
    return f"Load {table.wanted.day} anew: {table.wanted.rows} rows. Replaces the day's rows."


def readings(table: Table, name: str, model: str, *, approximate: Callable[[str], str] = str) -> list[Statement]:
    """The statements that read a loaded table: what must come out, then examples.

    `model` is the expression that takes the model's name out of the column `extra`; `approximate` makes of an exact
    decimal what a system can add up and show.
    """
    sums = [
        f"{how} AS {name}"
        for column, how, name in (
            ("id", "count(DISTINCT id)", "ids"),
            ("total_tokens", "sum(total_tokens)", "tokens"),
            ("total_cost", approximate("sum(total_cost)"), "usd"),
        )
        if table.has(column)
    ]
    totals = ", ".join(["count(*) AS runs", *sums])
    pieces = [
        Statement(Step.CHECK, f"What is there: {table.rows} runs.", f"SELECT {totals}\nFROM {name};"),
        Statement(
            Step.QUERY,
            "Runs by day.",
            f"SELECT {DAY}, {totals}\nFROM {name}\nGROUP BY {DAY}\nORDER BY {DAY};",
        ),
    ]
    if table.has("run_type", "extra"):
        select = ",\n       ".join([f"{model} AS model", totals])
        by_model = f"SELECT {select}\nFROM {name}\nWHERE run_type = 'llm'\nGROUP BY 1\nORDER BY 2 DESC;"
        pieces.append(Statement(Step.QUERY, "Calls of language models, by model.", by_model))
    return pieces
