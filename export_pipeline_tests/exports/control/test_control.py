"""The control database: reaching it, its schema, its clock, and several processes at once."""

import re
import sqlite3
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from export_pipeline.errors import ControlSchemaError, ControlUnreachableError, SettingsError
from export_pipeline.exports.control.database import SCHEMA_VERSION, ControlDatabase, open_control
from export_pipeline.exports.control.tables import metadata
from export_pipeline.settings import load_settings
from export_pipeline_tests.exports.commit import children
from export_pipeline_tests.servers import Postgres


def versions(control: ControlDatabase) -> list[str]:
    with control.read() as connection:
        return list(connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalars())


def test_migrating_makes_exactly_the_tables_that_the_code_uses(empty_url: str) -> None:
    control = ControlDatabase(empty_url)
    control.migrate()
    control.check_schema()
    with control.read() as connection:
        differences = compare_metadata(MigrationContext.configure(connection.connection), metadata)
    control.close()
    # Comments stand in the code only.
    flat = [item for found in differences for item in (found if isinstance(found, list) else [found])]
    assert [item for item in flat if "comment" not in item[0]] == []


def test_the_newest_migration_is_the_version_that_the_code_needs() -> None:
    config = Config()
    config.set_main_option("script_location", "export_pipeline.exports.control:migrations")
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [SCHEMA_VERSION]


def test_migrating_again_changes_nothing(empty_url: str) -> None:
    control = ControlDatabase(empty_url)
    control.migrate()
    with control.begin() as connection:
        connection.execute(sa.text("UPDATE facts SET value = '7' WHERE name = 'commit_sequence'"))
    control.migrate()
    with control.read() as connection:
        assert connection.execute(sa.text("SELECT value FROM facts")).scalar_one() == "7"
    control.close()


def migrate_in_a_process(url: str, ready: "threading.Barrier") -> None:
    ready.wait(60)
    control = ControlDatabase(url)
    control.migrate()
    control.check_schema()
    control.close()


@pytest.mark.slow
def test_several_processes_may_migrate_at_once(empty_url: str) -> None:
    context = children.context()
    ready = context.Barrier(4)
    processes = [context.Process(target=migrate_in_a_process, args=(empty_url, ready)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    control = ControlDatabase(empty_url)
    assert versions(control) == [SCHEMA_VERSION]
    control.close()


def test_a_check_of_an_empty_database_names_the_command_that_helps(empty_url: str) -> None:
    control = ControlDatabase(empty_url)
    with pytest.raises((ControlSchemaError, ControlUnreachableError), match="export-pipeline migrate"):
        control.check_schema()
    control.close()


def test_a_check_makes_no_file(tmp_path: Path) -> None:
    control = ControlDatabase(f"sqlite:///{tmp_path}/control.db")
    with pytest.raises(ControlUnreachableError, match="EXPORT_PIPELINE_CONTROL_URL"):
        control.check_schema()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("found", "words"), [("9999", "upgrade export-pipeline"), ("0000", "export-pipeline migrate")])
def test_a_schema_of_another_version_is_refused(empty_url: str, found: str, words: str) -> None:
    control = ControlDatabase(empty_url)
    control.migrate()
    with control.begin() as connection:
        connection.execute(sa.text(f"UPDATE alembic_version SET version_num = '{found}'"))
    with pytest.raises(ControlSchemaError, match=words):
        control.check_schema()
    control.close()


def test_a_newer_schema_is_not_migrated(empty_url: str) -> None:
    control = ControlDatabase(empty_url)
    control.migrate()
    with control.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ControlSchemaError, match="upgrade export-pipeline"):
        control.migrate()
    assert versions(control) == ["9999"]
    control.close()


def test_tables_that_are_missing_name_the_command_that_helps(empty_url: str) -> None:
    control = ControlDatabase(empty_url)
    if control.is_sqlite:
        sqlite3.connect(str(control.url.database)).close()
        Path(str(control.url.database)).touch()
    with pytest.raises(ControlSchemaError, match="export-pipeline migrate"), control.read() as connection:
        connection.execute(sa.text("SELECT * FROM days"))
    control.close()


def test_a_migration_that_fails_leaves_nothing_behind(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    control = ControlDatabase(empty_url)
    if control.is_sqlite:
        Path(str(control.url.database)).touch()
    with control.begin() as connection:
        connection.execute(sa.text("CREATE TABLE uploads (x int)"))
    with pytest.raises((sa.exc.ProgrammingError, ControlUnreachableError), match="uploads"):
        control.migrate()
    with control.read() as connection:
        assert sa.inspect(connection.connection).get_table_names() == ["uploads"]
    control.close()


def test_the_clock_is_the_databases_and_moves(empty_url: str) -> None:
    control = ControlDatabase(empty_url)
    if control.is_sqlite:
        control.migrate()
    first = control.now()
    second = control.now()
    assert 1_700_000_000_000_000 < first < second < first + 60_000_000
    control.close()


def test_the_clock_in_a_transaction_is_the_moment_of_the_call(empty_url: str) -> None:
    control = ControlDatabase(empty_url)
    control.migrate()
    with control.begin() as connection:
        first = connection.now()
        second = connection.now()
    assert second > first
    control.close()


@pytest.mark.parametrize("spelling", ["postgresql://", "postgresql+psycopg2://", "postgres://"])
def test_every_spelling_of_a_postgresql_url_is_understood(postgres: Postgres, spelling: str) -> None:
    url = postgres.new_database().replace("postgresql+psycopg2://", spelling)
    control = ControlDatabase(url)
    control.migrate()
    control.check_schema()
    control.close()


@pytest.mark.parametrize(
    "url", ["mysql://host/db", "control.db", "sqlite://", "sqlite:///:memory:", "postgresql+psycopg://host/db"]
)
def test_other_urls_are_refused_with_what_is_accepted(url: str) -> None:
    with pytest.raises(SettingsError, match=r"EXPORT_PIPELINE_CONTROL_URL.*it takes sqlite:///.* or postgresql://"):
        ControlDatabase(url)


def test_a_wrong_password_is_explained_and_no_password_is_shown(postgres: Postgres) -> None:
    control = ControlDatabase(postgres.url().replace(postgres.password, "wr0ng-s3cret"))
    with pytest.raises(ControlUnreachableError) as caught:
        control.check_schema()
    assert "password authentication failed" in str(caught.value)
    assert "EXPORT_PIPELINE_CONTROL_URL" in str(caught.value)
    assert "wr0ng-s3cret" not in str(caught.value) + repr(control)
    control.close()


def test_a_database_that_is_not_there_is_explained() -> None:
    control = ControlDatabase("postgresql://someone:hidden@127.0.0.1:1/nothing")
    with pytest.raises(
        ControlUnreachableError, match=r"EXPORT_PIPELINE_CONTROL_URL and that the server runs"
    ) as caught:
        control.check_schema()
    assert "hidden" not in str(caught.value)
    control.close()


def test_a_file_that_is_no_database_is_explained(tmp_path: Path) -> None:
    (tmp_path / "control.db").write_text("This is a letter, not a database. " * 100)
    control = ControlDatabase(f"sqlite:///{tmp_path}/control.db")
    for call in (control.check_schema, control.migrate):
        with pytest.raises(ControlUnreachableError, match="not a database"):
            call()
    control.close()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    control = ControlDatabase(f"sqlite:///{tmp_path}/a/b/control.db")
    with pytest.raises(ControlUnreachableError, match=re.escape(f"{tmp_path}/a/b/control.db")):
        control.migrate()
    assert not (tmp_path / "a").exists()


def test_the_embedded_folder_is_made_for_its_owner_only(tmp_path: Path) -> None:
    control = ControlDatabase(f"sqlite:///{tmp_path}/folder/control.db")
    control.migrate()
    control.close()
    modes = [path.stat().st_mode & 0o777 for path in (tmp_path / "folder", tmp_path / "folder" / "control.db")]
    assert modes == [0o700, 0o600]


def test_a_path_with_odd_characters_is_a_path(tmp_path: Path) -> None:
    folder = tmp_path / "a %41 # ü"
    folder.mkdir()
    control = ControlDatabase(sa.engine.URL.create("sqlite", database=str(folder / "c?.db")).render_as_string())
    control.migrate()
    control.close()
    assert (folder / "c?.db").exists()


def test_a_locked_database_is_waited_for_and_then_reported(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/control.db"
    holder, waiter = ControlDatabase(url), ControlDatabase(url, timeout=0.2)
    holder.migrate()
    with holder.begin():
        with pytest.raises(ControlUnreachableError, match="locked"), waiter.begin():
            pytest.fail("the lock was not respected")
        with waiter.read() as connection:
            assert connection.execute(sa.text("SELECT count(*) FROM days")).scalar_one() == 0
    holder.close()
    waiter.close()


def test_work_is_tried_again_until_the_lock_is_free(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/control.db"
    holder, waiter = ControlDatabase(url), ControlDatabase(url, timeout=0.05)
    holder.migrate()
    locked, tried = threading.Event(), threading.Event()

    def hold() -> None:
        with holder.begin():
            locked.set()
            tried.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    locked.wait(30)
    attempts: list[str] = []

    def explained(error: Exception) -> None:
        attempts.append(str(error))
        tried.set()

    sa.event.listen(waiter._engine, "handle_error", lambda context: explained(context.original_exception))
    found = waiter.run(lambda connection: connection.execute(sa.text("SELECT 42")).scalar_one(), patience=30)
    thread.join()
    assert found == 42
    assert attempts[0] == "database is locked"
    holder.close()
    waiter.close()


def test_without_a_url_the_setting_is_named() -> None:
    with pytest.raises(SettingsError, match="EXPORT_PIPELINE_CONTROL_URL"):
        open_control(load_settings())


def test_a_connection_that_the_server_ended_is_replaced(postgres: Postgres) -> None:
    control = ControlDatabase(postgres.new_database())
    with control.read() as connection:
        pid = connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
    assert postgres.execute(f"SELECT pg_terminate_backend({pid}, 5000)") == [(True,)]
    with control.read() as connection:
        assert connection.execute(sa.text("SELECT 1")).scalar_one() == 1
    control.close()


def write_fact(control: ControlDatabase, name: str) -> None:
    with control.begin() as connection:
        connection.execute(sa.text("INSERT INTO facts VALUES (:name, '')"), {"name": name})


def test_threads_write_one_after_the_other(tmp_path: Path) -> None:
    control = ControlDatabase(f"sqlite:///{tmp_path}/control.db")
    control.migrate()
    with control.begin() as connection:
        waiting = threading.Thread(target=write_fact, args=(control, "second"))
        waiting.start()
        connection.execute(sa.text("INSERT INTO facts VALUES ('first', '')"))
    waiting.join()
    with control.read() as connection:
        names = connection.execute(sa.text("SELECT name FROM facts ORDER BY rowid")).scalars().all()
    assert names[-2:] == ["first", "second"]
    control.close()


def test_a_thread_that_waits_too_long_for_another_is_told_so(tmp_path: Path) -> None:
    control = ControlDatabase(f"sqlite:///{tmp_path}/control.db", timeout=0.2)
    control.migrate()
    failed: list[str] = []

    def fail() -> None:
        try:
            write_fact(control, "never")
        except ControlUnreachableError as error:
            failed.append(str(error))

    with control.begin():
        impatient = threading.Thread(target=fail)
        impatient.start()
        impatient.join()
    assert "another thread has kept it for 0.2 s" in failed[0]
    control.close()
