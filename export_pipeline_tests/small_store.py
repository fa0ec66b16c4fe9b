"""A small trace store, and settings that name it."""

import sqlite3
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from export_pipeline_tests.servers import S3Server

PROJECT = uuid.UUID("11111111-2222-4333-8444-555555555555")
NAME = "support bot"
FIRST_DAY = date(2026, 3, 1)

RUN_COLUMNS = ("id", "session_id", "name", "run_type", "start_time", "end_time", "inputs", "tags", "total_tokens")


def write_store(path: Path, *, days: int = 2, rows_per_day: int = 3, leave_out: Iterable[str] = ()) -> Path:
    """A SQLite trace store with one project; `leave_out` names tables and columns that are not there."""
    columns = [name for name in RUN_COLUMNS if name not in leave_out]
    connection = sqlite3.connect(path)
    with connection:
        if "sessions" not in leave_out:
            connection.execute("CREATE TABLE sessions (id TEXT PRIMARY KEY, name TEXT, tenant_id TEXT)")
            connection.execute("INSERT INTO sessions VALUES (?, ?, ?)", (str(PROJECT), NAME, str(uuid.UUID(int=7))))
        if "runs" not in leave_out:
            connection.execute(f"CREATE TABLE runs ({', '.join(columns)})")
            for row in _rows(days, rows_per_day):
                marks = ", ".join("?" * len(columns))
                connection.execute(f"INSERT INTO runs VALUES ({marks})", [row[name] for name in columns])
    connection.close()
    return path


def _rows(days: int, rows_per_day: int) -> Iterable[Mapping[str, str | int]]:
    for number in range(days * rows_per_day):
        day, place = divmod(number, rows_per_day)
        start = datetime.combine(FIRST_DAY, datetime.min.time(), UTC) + timedelta(days=day, hours=place)
        yield {
            "id": str(uuid.UUID(int=number + 1)),
            "session_id": str(PROJECT),
            "name": f"step {place}",
            "run_type": "chain",
            "start_time": start.isoformat(),
            "end_time": (start + timedelta(seconds=place)).isoformat(),
            "inputs": '{"question": "what is an ü?"}',
            "tags": '["a"]',
            "total_tokens": 10 * place,
        }


def settings_of(folder: Path, server: S3Server, bucket: str, *, identity: str = "admin") -> dict[str, str]:
    """Settings, without their prefix, that name the store and a control database in the folder and a bucket."""
    key, secret = server.identity(identity)
    return {
        "SOURCE_URL": f"sqlite:///{folder / 'traces.db'}",
        "CONTROL_URL": f"sqlite:///{folder / 'control.db'}",
        "BUCKET": bucket,
        "REGION": server.region,
        "ENDPOINT_URL": server.endpoint_url,
        "ALLOW_PRIVATE_ENDPOINTS": "true",
        "ACCESS_KEY_ID": key,
        "SECRET_ACCESS_KEY": secret,
    }
