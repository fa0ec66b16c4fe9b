"""One day from PostgreSQL to the bucket: the product beside `psql`, DuckDB, SQLAlchemy and Polars, Polars, and dlt.

All programs run in turn, several rounds; what counts are medians, and their ratios within one run.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.program import Measured, environment_python, median, run_program
from benchmarks.query import TEXTS, day_sql, duckdb_sql
from benchmarks.servers import Servers
from benchmarks.stores import Store

HERE = Path(__file__).parent
PRODUCT = "export-pipeline"
PSQL, OWN_SORT, SERVER_SORT, CHUNKS = "psql COPY", "DuckDB, own sort", "DuckDB, server's sort", "SQLAlchemy + Polars"
NAMES = (PRODUCT, PSQL, OWN_SORT, SERVER_SORT, CHUNKS, "Polars read_database_uri", "dlt, connectorx")
ALL_NAMES = (*NAMES, "dlt, pyarrow")


@dataclass(frozen=True)
class Target:
    """What the project must reach: a quotient of medians, or a figure of its own."""

    text: str
    limit: float
    value: Callable[[Mapping[str, Sequence[Measured]]], float]


def _ratio(name: str, *others: str) -> Callable[[Mapping[str, Sequence[Measured]]], float]:
    def value(found: Mapping[str, Sequence[Measured]]) -> float:
        return median(found[PRODUCT], name) / min(median(found[other], name) for other in others)

    return value


TARGETS = (
    Target("wall / psql COPY", 1.65, _ratio("wall", PSQL)),
    Target("wall / the better DuckDB", 0.85, _ratio("wall", OWN_SORT, SERVER_SORT)),
    Target("wall / SQLAlchemy + Polars", 0.5, _ratio("wall", CHUNKS)),
    Target("CPU / DuckDB, own sort", 0.85, _ratio("cpu", OWN_SORT)),
    Target("peak RSS, MB (without Dagster)", 500, lambda found: median(found[PRODUCT], "peak_mb")),
)


def compare(
    store: Store, servers: Servers, *, rounds: int, names: Sequence[str], environments: Path
) -> dict[str, list[Measured]]:
    """Runs every program `rounds` times, in turn."""
    programs = {name: _command(name, environments) for name in names}
    day = store.sample.first_day
    project, session_id = store.projects[0]
    postgres = store.url.replace("+psycopg2", "")
    options: dict[str, Any] = {
        "s3": servers.s3_options(),
        "postgres": postgres,
        "sqlalchemy": store.url,
        "sql": day_sql(session_id, day),
        "duckdb_sql": duckdb_sql(session_id, day),
        "texts": TEXTS,
        "psql": str(servers.postgres.psql),
        "projects": [project],
        "first_day": day.isoformat(),
        "days": 1,
    }
    found: dict[str, list[Measured]] = {name: [] for name in names}
    for number in range(rounds):
        for place, name in enumerate(names):
            command, more = programs[name]
            prefix = f"compare/{number}-{place}"
            settings = servers.settings(source_url=store.url, control=store.control, prefix=prefix)
            try:
                measured = run_program(command, options | more, servers=servers, prefix=prefix, environment=settings)
            except RuntimeError as error:
                print(f"{name}: {error}", file=sys.stderr)
                continue
            found[name].append(measured)
            _say(name, measured)
    return {name: runs for name, runs in found.items() if runs}


def _command(name: str, environments: Path) -> tuple[list[str], dict[str, Any]]:
    if name == PRODUCT:
        return [sys.executable, str(HERE / "product.py")], {}
    script, environment, more = {
        PSQL: ("psql_copy", None, {}),
        OWN_SORT: ("duckdb_copy", "duckdb", {"sort": "own"}),
        SERVER_SORT: ("duckdb_copy", "duckdb", {"sort": "server"}),
        CHUNKS: ("chunks", "polars", {}),
        "Polars read_database_uri": ("polars_uri", "polars", {}),
        "dlt, connectorx": ("dlt_load", "dlt", {"backend": "connectorx"}),
        "dlt, pyarrow": ("dlt_load", "dlt", {"backend": "pyarrow"}),
    }[name]
    python = sys.executable if environment is None else str(environment_python(environment, folder=environments))
    return [python, str(HERE / "peers" / f"{script}.py")], dict(more)


def _say(name: str, run: Measured) -> None:
    print(
        f"  {name:<26} {run.wall:>6.2f} s wall {run.cpu:>6.2f} s CPU (client {run.client:.2f}, PostgreSQL "
        f"{run.postgres:.2f}, S3 {run.s3:.2f}) {run.peak_mb:>5.0f} MB {run.requests:>4} requests",
        flush=True,
    )


def table(found: Mapping[str, Sequence[Measured]]) -> str:
    """The medians in Markdown."""
    floor = median(found[PSQL], "wall") if PSQL in found else None
    lines = [
        "| | wall s | / psql COPY | CPU s | client | PostgreSQL | S3 | peak RSS MB | file MB | S3 requests |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, runs in found.items():
        wall = median(runs, "wall")
        ratio = "" if floor is None else f"{wall / floor:.2f}"
        numbers = [median(runs, each) for each in ("cpu", "client", "postgres", "s3")]
        stored = median(runs, "stored") / 1e6
        lines.append(
            f"| {name} | {wall:.2f} | {ratio} | {' | '.join(f'{number:.2f}' for number in numbers)} "
            f"| {median(runs, 'peak_mb'):.0f} | {f'{stored:.0f}' if stored else '–'} | {median(runs, 'requests'):.0f} |"
        )
    return "\n".join(lines)


def verdicts(found: Mapping[str, Sequence[Measured]]) -> str:
    """Each target, what was reached, and plainly whether that is enough."""
    lines = ["| target | at most | measured | |", "|---|--:|--:|---|"]
    for target in TARGETS:
        try:
            value = target.value(found)
        except KeyError:
            continue
        lines.append(
            f"| {target.text} | {target.limit:g} | {value:.2f} | {'met' if value <= target.limit else '**missed**'} |"
        )
    return "\n".join(lines)


def save(found: Mapping[str, Sequence[Measured]], path: Path) -> None:
    """All rounds as JSON, for the plot."""
    names = ("wall", "cpu", "client", "postgres", "s3", "peak_mb", "requests", "stored")
    data = {name: [{each: getattr(run, each) for each in names} for run in runs] for name, runs in found.items()}
    path.write_text(json.dumps(data, indent=1))
