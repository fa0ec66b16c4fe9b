"""What the demo shows of the bucket: a table, a check, and a query with its answer."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from export_pipeline.errors import EmbeddedError
from export_pipeline.local.screen import Screen
from export_pipeline.settings import Settings

if TYPE_CHECKING:
    from export_pipeline.exports.control.database import ControlDatabase
    from export_pipeline.exports.control.records import TableRecord
    from export_pipeline.object_store.protocol import ObjectStore

QUERY = """\
SELECT json_extract_string(extra, '$.metadata.ls_model_name') AS model,
       count(*) AS calls,
       sum(total_tokens)::BIGINT AS tokens,
       round(sum(total_cost), 2) AS usd,
       round(quantile_cont(epoch(end_time - start_time), 0.5), 2) AS median_s,
       count(*) FILTER (status = 'error') AS errors
FROM runs
WHERE run_type = 'llm'
GROUP BY ALL
ORDER BY calls DESC, model"""


def show_bucket(resolved: Settings, screen: Screen) -> None:
    """Prints what lies in the bucket, by project."""
    rows = []
    first = ""
    with _parts(resolved) as (control, store):
        for name, export in _exports(control):
            keys = list(store.list(_root(export)))
            days = _days(control, export)
            first = first or min((item.key for item in keys), default="")
            rows.append(
                (
                    name,
                    f"{min(days)} – {max(days)}" if days else None,
                    sum(rows == 0 for rows in days.values()),
                    len(keys),
                    sum(days.values()),
                    f"{sum(item.size for item in keys) / 1e6:.1f}",
                )
            )
    screen.table(["project", "days", ">without rows", ">files", ">rows", ">MB"], rows)
    screen.say(f"For example s3://{resolved.bucket}/{first}")


def show_check(resolved: Settings, screen: Screen) -> None:
    """Reads everything back and compares it with the manifests and the trace store.

    Raises `EmbeddedError` that lists what is wrong.
    """
    from export_pipeline.exports.proof.verify.export import verify_export
    from export_pipeline.sources.factory import open_source

    problems: list[str] = []
    files = rows = 0
    with _parts(resolved) as (control, store), closing(open_source(resolved)) as source:
        for name, export in _exports(control):
            with screen.progress(f"checking {name}") as on_day:
                report = verify_export(export, control=control, store=store, source=source, deep=True, on_day=on_day)
            files += report.counts.files
            rows += report.counts.rows
            problems += [f"{name}: {problem}" for problem in report.problems]
    if problems:
        raise EmbeddedError("the bucket is not as it was committed:\n" + "\n".join(problems))
    screen.say(
        f"Checked: {files} files with {rows:,} rows read back; bytes, checksums, counts and ids are as committed, "
        "and as in the trace store."
    )


def show_query(resolved: Settings, screen: Screen) -> None:
    """Runs a query over all files with DuckDB, and prints it with its answer."""
    import duckdb

    with _parts(resolved) as (control, store):
        keys = [item.key for _, export in _exports(control) for item in store.list(_root(export))]
    files = _dataset(resolved, keys)
    with duckdb.connect() as connection:
        connection.register("runs", files)
        answer = connection.execute(QUERY)
        names = [column[0] for column in answer.description or ()]
        rows = answer.fetchall()
    pattern = "/".join("*" * len(PurePosixPath(keys[0]).parts)) if keys else "*"
    screen.say(
        f"DuckDB over these files (runs: s3://{resolved.bucket}/{pattern.removesuffix('*')}*.parquet):\n\n{QUERY}\n"
    )
    screen.table([names[0], *(f">{name}" for name in names[1:])], rows)


def _dataset(resolved: Settings, keys: list[str]) -> Any:
    """The files as one table, read from the bucket as far as a query needs them."""
    from pyarrow import dataset, fs

    endpoint = (resolved.endpoint_url or "").removeprefix("http://")
    secret = resolved.secret_access_key
    bucket = fs.S3FileSystem(
        access_key=resolved.access_key_id,
        secret_key=secret.get_secret_value() if secret else None,
        endpoint_override=endpoint,
        scheme="http",
        region=resolved.region,
    )
    return dataset.dataset([f"{resolved.bucket}/{key}" for key in keys], filesystem=bucket, format="parquet")


@contextmanager
def _parts(resolved: Settings) -> "Iterator[tuple[ControlDatabase, ObjectStore]]":
    from export_pipeline.exports.control.database import open_control
    from export_pipeline.object_store.config import Credentials, DestinationConfig
    from export_pipeline.object_store.s3.store import S3Store

    store = S3Store(DestinationConfig.from_settings(resolved), Credentials.from_settings(resolved))
    with closing(store), closing(open_control(resolved)) as control:
        yield control, store


def _exports(control: "ControlDatabase") -> "list[tuple[str, TableRecord]]":
    """The standing tables in use, with their projects' names."""
    from export_pipeline.exports.projects.registry import find_project
    from export_pipeline.exports.projects.standing import list_tables

    in_use = [export for export in list_tables(control) if export.superseded_at is None]
    return sorted((find_project(control, export.project).name, export) for export in in_use)


def _root(table: "TableRecord") -> str:
    from export_pipeline.files.paths import project_root

    return project_root(table.prefix, table.export_id, table.tenant_id, table.session_id, table.format_version)


def _days(control: "ControlDatabase", table: "TableRecord") -> dict[Any, int]:
    """The committed days and their rows."""
    from export_pipeline.exports.control.records import read_days

    with control.read() as connection:
        return {day.day: day.rows or 0 for day in read_days(connection, table.export_id) if day.committed}
