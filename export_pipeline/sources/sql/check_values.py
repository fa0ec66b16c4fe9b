"""What `export-pipeline source check` finds in the values of a trace store.

The first `SAMPLE_ROWS` rows are looked at, as the database gives them, so that a large table costs no more than a small
one. Only where none of them has a time is the table searched, until the first row that has one.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from export_pipeline.runs.schema import FIELD_BY_NAME, Kind
from export_pipeline.runs.times import micros
from export_pipeline.sources.sql.dialect import Column
from export_pipeline.sources.sql.plan import Plan, RunsPlan
from export_pipeline.sources.sql.unpack import OTHER_BYTES, unpacked

SAMPLE_ROWS = 1_000
_EXAMPLES = 3
_SHOWN_CHARACTERS = 40
_UNPACKED_CELLS, _UNPACKED_BYTES = 20, 1_000_000
_BYTES = {"bytea", "binary"}
_WITHOUT_ZONE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[Tt ][0-9:.,]+)?")

Rows = Callable[[str], list[tuple[Any, ...]]]


@dataclass
class Findings:
    """What is wrong, what will be exported in another way than it is stored, and what is worth knowing."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)


def look(plan: Plan, runs: RunsPlan, rows: Rows) -> Findings:
    """Looks at the times and the bytes among the first rows."""
    findings = Findings()
    _look_at_times(plan, runs, rows, findings)
    for name, column in runs.fields.items():
        if FIELD_BY_NAME[name].kind is Kind.JSON:
            _look_at_bytes(plan, runs, rows, findings, name=name, column=column)
    return findings


def _times(runs: RunsPlan) -> dict[str, Column]:
    times = {name: column for name, column in runs.fields.items() if FIELD_BY_NAME[name].kind is Kind.TIME}
    more = {"inserted_at": runs.inserted_at, "modified_at": runs.modified_at}
    return times | {name: column for name, column in more.items() if column is not None}


def _look_at_times(plan: Plan, runs: RunsPlan, rows: Rows, findings: Findings) -> None:
    times = _times(runs)
    asked = (f"{plan.dialect.text(column)}, {plan.dialect.time(column).instant} IS NULL" for column in times.values())
    sample = rows(f"SELECT {', '.join(asked)} FROM {runs.relation.from_('r')} LIMIT {SAMPLE_ROWS}")
    zoneless = [name for name, column in times.items() if column.type in plan.dialect.zoneless]
    for place, name in enumerate(times):
        texts = [(_text(row[2 * place]), row[2 * place + 1]) for row in sample]
        if name in {"end_time", "first_token_time"}:  # read by the wider rule of the file
            texts = [(text, bool(bad) and micros(text) is None) for text, bad in texts]
        bad = [text for text, is_bad in texts if is_bad and (text is not None or name == "start_time")]
        if name not in zoneless and any(text is not None and _WITHOUT_ZONE.fullmatch(text) for text, _ in texts):
            zoneless.append(name)
        if bad:
            _tell_of_times(plan, runs, rows, findings, name=name, bad=bad, of=len(sample))
    if zoneless:
        findings.facts["times without a zone"] = f"{', '.join(zoneless)}: taken as UTC"


def _tell_of_times(
    plan: Plan, runs: RunsPlan, rows: Rows, findings: Findings, *, name: str, bad: Sequence[str | None], of: int
) -> None:
    examples = " and ".join(list(dict.fromkeys(map(_shown, bad)))[:_EXAMPLES])
    if name != "start_time":
        findings.warnings.append(f"{name}: {len(bad):,} of the first {of:,} rows hold no time, such as {examples}")
        return
    if len(bad) == of and not _has_a_time(plan, runs, rows):
        findings.problems.append(
            f"no row would be exported: start_time is not a time in any row, such as {examples}; map an expression "
            "that gives ISO 8601 or an epoch number"
        )
        return
    findings.warnings.append(
        f"start_time: {len(bad):,} of the first {of:,} rows hold no time, such as {examples}; such rows are in no day"
    )


def _has_a_time(plan: Plan, runs: RunsPlan, rows: Rows) -> bool:
    instant = plan.dialect.time(runs.fields["start_time"]).instant
    return bool(rows(f"SELECT 1 FROM {runs.relation.from_('r')} WHERE {instant} IS NOT NULL LIMIT 1"))


def _look_at_bytes(plan: Plan, runs: RunsPlan, rows: Rows, findings: Findings, *, name: str, column: Column) -> None:
    if plan.dialect.name != "sqlite" and column.type not in _BYTES:
        return
    x = "s.cell"
    is_bytes = f"typeof({x}) = 'blob'" if plan.dialect.name == "sqlite" else f"{x} IS NOT NULL"
    sample = f"(SELECT {column.plain} AS cell FROM {runs.relation.from_('r')} LIMIT {SAMPLE_ROWS}) AS s"
    ((count, of),) = rows(f"SELECT sum(CASE WHEN {is_bytes} THEN 1 ELSE 0 END), count(*) FROM {sample}")
    if not count:
        return
    size = f"length({x}) < {_UNPACKED_BYTES}"
    cells = rows(f"SELECT {x} FROM {sample} WHERE {is_bytes} AND {size} LIMIT {_UNPACKED_CELLS}")
    kinds = Counter(unpacked(cell)[1] for (cell,) in cells)
    told = f"{name}: {count:,} of the first {of:,} rows hold bytes: {', '.join(sorted(kinds)) or 'large'}"
    if OTHER_BYTES in kinds:
        findings.warnings.append(f"{told}, of which those that are not packed text are exported in base64")
    else:
        findings.facts[f"bytes in {name}"] = told.partition(": ")[2]


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _shown(text: str | None) -> str:
    if text is None:
        return "null"
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…")
