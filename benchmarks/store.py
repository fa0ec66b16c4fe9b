"""Trace stores for the benchmarks: one project with one day, its rows made from a seed, quickly."""

import io
import json
import random
import sqlite3
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

DAY = datetime(2026, 3, 2, tzinfo=UTC)
PAYLOADS = 4_000
"""Different payloads at most: more text than a compressor looks back on, so that repetition does not help it."""

COLUMNS = ("id", "session_id", "tenant_id", "trace_id", "name", "run_type", "start_time", "end_time", "status",
           "dotted_order", "inputs", "outputs", "extra", "total_tokens", "total_cost")  # fmt: skip


@dataclass(frozen=True)
class Day:
    """A day to be measured: its project's name, its rows, and how long their inputs and outputs are together.

    `spread` is the sigma of the log-normal distribution of the lengths; 0 makes all rows equally long.
    """

    project: str
    rows: int
    characters: int
    spread: float = 0.9

    @property
    def session_id(self) -> uuid.UUID:
        """The project's id, always the same for a name."""
        return uuid.uuid5(uuid.NAMESPACE_OID, self.project)


def rows_of(day: Day) -> Iterator[tuple[str, ...]]:
    """The rows of the day in the order of COLUMNS, all as text; every run is a trace of its own."""
    rng = random.Random(day.project)
    payloads = _payloads(day, rng)
    tenant, step = str(uuid.UUID(int=1)), timedelta(days=1) / day.rows
    for number in range(day.rows):
        run, start = str(uuid.UUID(int=rng.getrandbits(128), version=4)), DAY + number * step
        stamp = start.strftime("%Y%m%dT%H%M%S%fZ")
        yield (
            run, str(day.session_id), tenant, run, f"step {number % 37}", "llm" if number % 3 else "chain",
            start.isoformat(), (start + timedelta(seconds=2)).isoformat(), "success", stamp + run,
            rng.choice(payloads), rng.choice(payloads), '{"metadata": {"thread_id": "t-1"}}', str(number % 9_000),
            f"0.{number % 1_000_000:06}",
        )  # fmt: skip


def _payloads(day: Day, rng: random.Random) -> list[str]:
    words = [rng.randbytes(rng.randint(2, 6)).hex() for _ in range(20_000)]
    texts = []
    different = min(PAYLOADS, day.rows, max(20, 20_000_000 // day.characters))
    for _ in range(different):
        length = int(day.characters / 2 * (rng.lognormvariate(0, day.spread) if day.spread else 1))
        texts.append(json.dumps({"messages": [{"role": "user", "content": _text(rng, words, length)}]}))
    return texts


def _text(rng: random.Random, words: list[str], length: int) -> str:
    return " ".join(rng.choices(words, k=max(length // 9, 1)))[:length]


def write_sqlite(path: Path, days: list[Day]) -> str:
    """Writes the days into a new SQLite file and returns its URL."""
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("CREATE TABLE sessions (id TEXT PRIMARY KEY, tenant_id TEXT, name TEXT)")
        connection.execute(f"CREATE TABLE runs ({', '.join(f'{name} TEXT' for name in COLUMNS)}, PRIMARY KEY (id))")
        for day in days:
            connection.execute(
                "INSERT INTO sessions VALUES (?, ?, ?)", (str(day.session_id), str(uuid.UUID(int=1)), day.project)
            )
            marks = ", ".join("?" * len(COLUMNS))
            connection.executemany(f"INSERT INTO runs VALUES ({marks})", rows_of(day))
        connection.execute("CREATE INDEX runs_by_time ON runs (session_id, start_time)")
    connection.close()
    return f"sqlite:///{path}"


_POSTGRES_TYPES = {
    "id": "uuid PRIMARY KEY", "session_id": "uuid", "tenant_id": "uuid", "trace_id": "uuid",
    "start_time": "timestamptz", "end_time": "timestamptz", "inputs": "jsonb", "outputs": "jsonb", "extra": "jsonb",
    "total_tokens": "bigint", "total_cost": "numeric",
}  # fmt: skip


def write_postgres(url: str, days: list[Day]) -> str:
    """Writes the days into an empty database and returns its URL."""
    import psycopg2

    columns = ", ".join(f"{name} {_POSTGRES_TYPES.get(name, 'text')}" for name in COLUMNS)
    connection = psycopg2.connect(url.replace("postgresql+psycopg2://", "postgresql://"))
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE sessions (id uuid PRIMARY KEY, tenant_id uuid, name text)")
        cursor.execute(f"CREATE TABLE runs ({columns})")
        for day in days:
            cursor.execute(
                "INSERT INTO sessions VALUES (%s, %s, %s)",
                (str(day.session_id), str(uuid.UUID(int=1)), day.project),
            )
            cursor.copy_expert("COPY runs FROM STDIN", _CopyText(rows_of(day)))
        cursor.execute("CREATE INDEX ON runs (session_id, start_time)")
    with connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("VACUUM ANALYZE")
    connection.close()
    return url


class _CopyText(io.RawIOBase):
    """Rows in PostgreSQL's COPY text format, made while they are read."""

    def __init__(self, rows: Iterator[tuple[str, ...]]) -> None:
        self._rows = rows
        self._left = b""

    def read(self, size: int = -1) -> bytes:
        """At least one whole row, as long as there are rows."""
        parts, length = [self._left], len(self._left)
        while length < max(size, 1):
            row = next(self._rows, None)
            if row is None:
                break
            parts.append(("\t".join(value.replace("\\", "\\\\") for value in row) + "\n").encode())
            length += len(parts[-1])
        whole = b"".join(parts)
        self._left = whole[max(size, 1) :]
        return whole[: max(size, 1)]
