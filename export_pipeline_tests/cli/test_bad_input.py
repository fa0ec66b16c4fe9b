"""Bad input gets one sentence that names the setting or the value and what to do, and leaves nothing half-done."""

import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from export_pipeline.cli import stores
from export_pipeline.object_store.s3 import check
from export_pipeline_tests.cli.command import Ended, run
from export_pipeline_tests.servers import BUCKET, Postgres, Weed
from export_pipeline_tests.small_store import settings_of, write_store

WELL = {
    "SOURCE_URL": "sqlite:///traces.db",
    "CONTROL_URL": "sqlite:///control.db",
    "BUCKET": "exports",
    "ENDPOINT_URL": "http://127.0.0.1:9",
    "ALLOW_PRIVATE_ENDPOINTS": "true",
    "ACCESS_KEY_ID": "key",
    "SECRET_ACCESS_KEY": "canary-secret",
}


@dataclass(frozen=True)
class Bad:
    """What is given instead of something good (None: nothing), to which command, and what its sentence must hold."""

    said: tuple[str, ...]
    settings: dict[str, str | None] = field(default_factory=dict)
    command: str = "projects sync"


CASES = {
    "a misspelt setting": Bad(("EXPORT_PIPELINE_BUCKT", "did you mean EXPORT_PIPELINE_BUCKET?"), {"BUCKT": "x"}),
    "only the source": Bad(
        ("EXPORT_PIPELINE_CONTROL_URL", "EXPORT_PIPELINE_BUCKET", "must be set too"),
        dict.fromkeys(WELL) | {"SOURCE_URL": "sqlite:///traces.db"},
    ),
    "only the bucket": Bad(
        ("EXPORT_PIPELINE_SOURCE_URL", "EXPORT_PIPELINE_CONTROL_URL", "must be set too"),
        dict.fromkeys(WELL) | {"BUCKET": "exports"},
    ),
    "half of the keys": Bad(
        ("EXPORT_PIPELINE_ACCESS_KEY_ID", "EXPORT_PIPELINE_SECRET_ACCESS_KEY", "together"), {"ACCESS_KEY_ID": None}
    ),
    "a token without keys": Bad(
        ("EXPORT_PIPELINE_SESSION_TOKEN",),
        {"ACCESS_KEY_ID": None, "SECRET_ACCESS_KEY": None, "SESSION_TOKEN": "t"},
    ),
    "a prefix that climbs": Bad(("EXPORT_PIPELINE_PREFIX", "'..'"), {"PREFIX": "a/../b"}),
    "a prefix with an equals sign": Bad(("EXPORT_PIPELINE_PREFIX", "'='"), {"PREFIX": "a=b"}),
    "a bucket that is an address": Bad(("EXPORT_PIPELINE_BUCKET", "the name alone"), {"BUCKET": "s3://exports/x"}),
    "an unknown format": Bad(("EXPORT_PIPELINE_FORMAT_VERSION", "v2_beta"), {"FORMAT_VERSION": "v3"}),
    "two wrong settings": Bad(
        ("EXPORT_PIPELINE_DAILY_AT", "EXPORT_PIPELINE_PART_SIZE_MIB"), {"DAILY_AT": "noon", "PART_SIZE_MIB": "1"}
    ),
    "a time with an offset": Bad(("EXPORT_PIPELINE_DAILY_AT", "in UTC"), {"DAILY_AT": "00:30+02:00"}),
    "an owner that is none": Bad(("EXPORT_PIPELINE_OWNERS", "'ann'", "team:"), {"OWNERS": "team:traces, ann"}),
    "a start in the future": Bad(("EXPORT_PIPELINE_START_DATE", "2999-01-01"), {"START_DATE": "2999-01-01"}),
    "another kind of store": Bad(
        ("EXPORT_PIPELINE_SOURCE_URL", "oracle", "sqlite", "postgresql"), {"SOURCE_URL": "oracle://u:canary-secret@h/d"}
    ),
    "a store that is no URL": Bad(("EXPORT_PIPELINE_SOURCE_URL",), {"SOURCE_URL": "traces"}),
    "a store that is not there": Bad(
        ("EXPORT_PIPELINE_SOURCE_URL", "nowhere.db"), {"SOURCE_URL": "sqlite:///nowhere.db"}
    ),
    "a store that is no database": Bad(
        ("EXPORT_PIPELINE_SOURCE_URL", "text.txt"), {"SOURCE_URL": "sqlite:///text.txt"}
    ),
    "a store that does not answer": Bad(
        ("EXPORT_PIPELINE_SOURCE_URL", "127.0.0.1:9"), {"SOURCE_URL": "postgresql://u:canary-secret@127.0.0.1:9/d"}
    ),
    "a mapping that is not there": Bad(("EXPORT_PIPELINE_MAPPING", "map.yaml"), {"MAPPING": "map.yaml"}),
    "a mapping that is no mapping": Bad(("EXPORT_PIPELINE_MAPPING", "text.txt"), {"MAPPING": "text.txt"}),
    "another kind of control database": Bad(
        ("EXPORT_PIPELINE_CONTROL_URL", "mysql"), {"CONTROL_URL": "mysql://u:canary-secret@h/d"}
    ),
    "a control database that does not answer": Bad(
        ("EXPORT_PIPELINE_CONTROL_URL",),
        {"CONTROL_URL": "postgresql://u:canary-secret@127.0.0.1:9/d"},
    ),
    "a control database in no folder": Bad(
        ("EXPORT_PIPELINE_CONTROL_URL", "nowhere"), {"CONTROL_URL": "sqlite:///nowhere/deeper/control.db"}
    ),
    "a control database that is not there": Bad(
        ("EXPORT_PIPELINE_CONTROL_URL", "export-pipeline migrate"), command="projects list"
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_wrong_setting_is_named_in_one_sentence_and_leaves_nothing(case: Bad, tmp_path: Path) -> None:
    write_store(tmp_path / "traces.db")
    (tmp_path / "text.txt").write_text("not a database\n" * 100)
    before = files_in(tmp_path)
    given = {name: value for name, value in (WELL | case.settings).items() if value is not None}
    assert_refused(run(*case.command.split(), folder=tmp_path, settings=given), *case.said)
    assert files_in(tmp_path) == before


def test_a_misspelt_setting_in_the_env_file_is_refused_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("EXPORT_PIPELINE_REGIO=eu-central-1\n")
    assert_refused(run("status", folder=tmp_path), "EXPORT_PIPELINE_REGIO ", "did you mean EXPORT_PIPELINE_REGION?")


def test_all_missing_tables_are_listed_at_once(tmp_path: Path) -> None:
    write_store(tmp_path / "traces.db", leave_out=["sessions", "runs"])
    done = run("source", "check", folder=tmp_path, settings=WELL)
    assert done.status == 1
    assert "sessions" in done.err
    assert "runs" in done.err
    assert_refused(run("projects", "sync", folder=tmp_path, settings=WELL), "EXPORT_PIPELINE_SOURCE_URL", "sessions")
    assert not (tmp_path / "control.db").exists()


def test_all_missing_columns_are_listed_at_once(tmp_path: Path) -> None:
    write_store(tmp_path / "traces.db", leave_out=["run_type", "name", "start_time"])
    done = run("source", "check", folder=tmp_path, settings=WELL)
    assert done.status == 1
    for column in ("run_type", "name", "start_time"):
        assert column in done.err


@pytest.mark.parametrize("command", ["changes supprt-bot", "verify supprt-bot"])
def test_an_unknown_project_is_named_with_the_one_that_was_meant(command: str, tmp_path: Path) -> None:
    write_store(tmp_path / "traces.db")
    assert run("projects", "sync", folder=tmp_path, settings=WELL).status == 0
    assert_refused(
        run(*command.split(), folder=tmp_path, settings=WELL), "unknown project 'supprt-bot'", "did you mean"
    )


@pytest.mark.parametrize(("version", "said"), [("0000", "export-pipeline migrate"), ("9999", "upgrade")])
def test_another_schema_of_the_control_database_is_refused(version: str, said: str, tmp_path: Path) -> None:
    write_store(tmp_path / "traces.db")
    assert run("migrate", folder=tmp_path, settings=WELL).status == 0
    connection = sqlite3.connect(tmp_path / "control.db")
    with connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))
    connection.close()
    assert_refused(run("projects", "list", folder=tmp_path, settings=WELL), version, said)


@pytest.mark.parametrize(
    ("user", "database", "said"),
    [("postgres", "nosuchdb", "nosuchdb"), ("nobody-known", "postgres", "password")],
)
def test_a_postgresql_that_refuses_is_named_without_its_password(
    user: str, database: str, said: str, postgres: Postgres, tmp_path: Path
) -> None:
    password = postgres.password if user == "postgres" else "canary-secret"
    url = f"postgresql://{user}:{password}@127.0.0.1:{postgres.port}/{database}"
    write_store(tmp_path / "traces.db")
    for setting in ("SOURCE_URL", "CONTROL_URL"):
        done = run("projects", "sync", folder=tmp_path, settings=WELL | {setting: url})
        assert_refused(done, f"EXPORT_PIPELINE_{setting}", said)
        assert postgres.password not in done.err


BUCKETS = {
    "a bucket that is not there": ({"BUCKET": "nosuchbucket"}, ("Bucket is not valid", "EXPORT_PIPELINE_BUCKET")),
    "a key that is not known": ({"ACCESS_KEY_ID": "nobody"}, ("Key ID", "EXPORT_PIPELINE_ACCESS_KEY_ID")),
    "a wrong secret": ({"SECRET_ACCESS_KEY": "wrong"}, ("Access denied", "EXPORT_PIPELINE_SECRET_ACCESS_KEY")),
    "no right to write": ({"identity": "ro"}, ("Access denied", "s3:PutObject")),
    "an endpoint where nothing is": (
        {"ENDPOINT_URL": "http://127.0.0.1:9"},
        ("Invalid endpoint", "EXPORT_PIPELINE_ENDPOINT_URL"),
    ),
    "a private endpoint": (
        {"ALLOW_PRIVATE_ENDPOINTS": "false"},
        ("EXPORT_PIPELINE_ENDPOINT_URL", "EXPORT_PIPELINE_ALLOW_PRIVATE_ENDPOINTS"),
    ),
}


@pytest.mark.parametrize(("change", "said"), BUCKETS.values(), ids=BUCKETS)
def test_a_wrong_or_forbidden_bucket_is_named_and_nothing_is_written(
    change: dict[str, str], said: tuple[str, ...], seaweedfs: Weed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "PATIENCE", 0.1)
    monkeypatch.setattr(check, "PATIENCE", 0.1)
    write_store(tmp_path / "traces.db")
    given = settings_of(tmp_path, seaweedfs, BUCKET, identity=change.get("identity", "admin"))
    given |= {name: value for name, value in change.items() if name != "identity"}
    before = seaweedfs.keys(BUCKET)
    assert run("projects", "sync", folder=tmp_path, settings=given).status == 0
    done = run("status", folder=tmp_path, settings=given)
    assert done.status == 1
    told = next(line for line in done.out.splitlines() if line.lstrip().startswith("bucket"))
    for part in ("WRONG", *said):
        assert part in told
    if "identity" not in change:  # the one that may read
        assert_refused(run("verify", "--bucket-only", folder=tmp_path, settings=given), *said[:1])
    assert seaweedfs.keys(BUCKET) == before


def assert_refused(done: Ended, *said: str) -> None:
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("Error: ")
    assert done.err.count("\n") == 1
    for part in said:
        assert part in done.err
    for never in ("canary-secret", "Traceback", "Unexpected"):
        assert never not in done.err


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
