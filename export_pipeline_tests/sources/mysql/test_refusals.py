"""What MySQL and MariaDB refuse, lose or end: one sentence each, and never a short day."""

import builtins
import sys
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from export_pipeline.errors import ExportPipelineError, SettingsError, SourceUnreachableError, SourceUnusableError
from export_pipeline.home import free_ports
from export_pipeline.runs.window import Window
from export_pipeline.sources.factory import open_source
from export_pipeline.sources.mysql import client
from export_pipeline.sources.protocol import ProjectKey, RunSource
from export_pipeline_tests.servers import MariadbServer, wait_for
from export_pipeline_tests.sources.stores import DAY, PROJECT, START, Store, ids_of, rows_of, settings_for

pytestmark = pytest.mark.slow

ROWS, MEGABYTES = 30, 2
WINDOW = Window.of_day(DAY)


def database_of(store: Store) -> str:
    return store.url.rpartition("/")[2]


def refused(url: str) -> ExportPipelineError:
    with pytest.raises(ExportPipelineError) as caught:
        open_source(settings_for(url))
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    return caught.value


def test_who_is_refused_is_told_why_in_one_sentence(mariadb: MariadbServer, mysql_store: Store) -> None:
    wrong = refused(mariadb.url(database_of(mysql_store), password="secret"))
    assert isinstance(wrong, SourceUnusableError)
    assert "the server refuses the connection: Access denied for user 'root'" in str(wrong)
    unknown = refused(mariadb.url("nowhere"))
    assert isinstance(unknown, SourceUnusableError)
    assert str(unknown).endswith("the server refuses the connection: Unknown database 'nowhere' (1049)")
    gone = refused(f"mysql://me:secret@127.0.0.1:{free_ports(1)}/db")
    assert isinstance(gone, SourceUnreachableError)
    assert "no MySQL or MariaDB answers: Can't connect to MySQL server on '127.0.0.1'" in str(gone)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://me:secret@db", "names no database; it looks like mysql://user:password@host:3306/database"),
        ("mysql://me:secret@db/traces?charset=utf8", "charset is not a parameter of a MySQL URL; known are ssl_mode"),
        ("mariadb://me:secret@db/traces?ssl_mode=maybe", "ssl_mode is one of DISABLED, PREFERRED, REQUIRED"),
        ("mariadb+pymysql://me:secret@db/traces", "begins with mariadb+pymysql://; write mariadb:// instead"),
        ("mysql+aiomysql://me:secret@db/traces", "begins with mysql+aiomysql://; write mysql:// instead"),
    ],
)
def test_urls_that_cannot_be_meant_are_told_what_to_write(url: str, words: str) -> None:
    error = refused(url)
    assert isinstance(error, SettingsError)
    assert words in str(error)


def test_without_the_driver_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "pymysql"]:
        monkeypatch.delitem(sys.modules, name)
    real = builtins.__import__

    def without(name: str, *arguments: Any, **named: Any) -> Any:
        if name.partition(".")[0] == "pymysql":
            raise ImportError(name)
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    assert str(refused("mysql://me:secret@db/traces")).endswith("run: pip install 'export-pipeline[mysql]'")


def test_a_user_without_rights_is_told_which(mariadb: MariadbServer, mysql_store: Store) -> None:
    mysql_store.runs({"inputs": "TEXT", "outputs": "TEXT"}, unique=True)
    mysql_store.add(1, START, inputs="in", outputs="out")
    database = database_of(mysql_store)
    user = f"u{database[3:]}"
    mysql_store.run(f"CREATE USER {user}@'127.0.0.1' IDENTIFIED BY 'reader'")
    mysql_store.table("feedbacks", {"id": "{uuid}", "run_id": "{uuid}"})
    mysql_store.run(f"GRANT SELECT ON {database}.sessions TO {user}@'127.0.0.1'")
    url = mariadb.url(database, user=user, password="reader")
    source = open_source(settings_for(url))
    problem, of_feedback = source.check().problems
    assert of_feedback.startswith("feedbacks: no right to read table feedbacks, or there is none")
    mysql_store.run(f"GRANT SELECT ON {database}.feedbacks TO {user}@'127.0.0.1'")
    assert problem.startswith("runs: no right to read table runs, or there is none; grant SELECT on it to the user of")
    mysql_store.run(
        f"GRANT SELECT (id, session_id, name, run_type, start_time, inputs), INSERT (outputs) ON {database}.runs "
        f"TO {user}@'127.0.0.1'"
    )
    report = source.check()
    assert report.problems == ()
    assert "runs.outputs: no right to read the column outputs of table runs; grant SELECT on it" in report.warnings
    assert [(row["inputs"], row["outputs"]) for row in rows_of(source)] == [(b"in", None)]
    source.close()


def test_a_server_that_takes_tls_only_says_so(mariadb: MariadbServer, mysql_store: Store) -> None:
    mysql_store.runs()
    mariadb.execute("SET GLOBAL require_secure_transport = ON")
    try:
        error = refused(mysql_store.url + "?ssl_mode=DISABLED")
        assert "or add ?ssl_mode=REQUIRED where the account may log in with TLS only" in str(error)
    finally:
        mysql_store.run("SET GLOBAL require_secure_transport = OFF")
    error = refused(mysql_store.url + "?ssl_mode=REQUIRED")
    assert "has no TLS, which ssl_mode asks for" in str(error)


@pytest.mark.parametrize("engine", ["MyISAM", "Aria", "MEMORY"])
@pytest.mark.parametrize(
    ("mapping", "label"),
    [
        ("{}", "table runs"),
        ("runs: {table: shown}", "table shown"),
        ("runs: {query: SELECT * FROM runs}", "the query"),
        ("runs: {query: SELECT * FROM shown}", "the query"),
    ],
)
def test_a_table_without_snapshots_is_a_problem_wherever_it_is_read(
    mysql_store: Store, engine: str, mapping: str, label: str
) -> None:
    columns = "id VARCHAR(64) PRIMARY KEY, session_id VARCHAR(64), name VARCHAR(9), run_type VARCHAR(9)"
    mysql_store.run(f"CREATE TABLE runs ({columns}, start_time DATETIME) ENGINE = {engine}")
    mysql_store.projects(PROJECT)
    mysql_store.add(1, "2026-03-14 10:00:00")
    mysql_store.run("CREATE VIEW shown AS SELECT * FROM runs")
    source = mysql_store.source(mapping)
    told = (
        f"runs: {label}: the table runs is of the engine {engine}, which has no snapshots, so that a day might be read "
        "while it changes; run: ALTER TABLE runs ENGINE = InnoDB"
    )
    assert source.check().problems == (told,)
    with pytest.raises(SourceUnusableError, match="which has no snapshots"):
        ids_of(source)
    mysql_store.run("ALTER TABLE runs ENGINE = InnoDB")
    assert ids_of(source) == [1]
    source.close()


def fill(store: Store) -> None:
    """A day that does not fit into what is read ahead."""
    store.runs({"inputs": "TEXT"}, unique=True)
    for number in range(ROWS):
        store.add(number, START, inputs="x")
    store.run(f"UPDATE runs SET inputs = repeat('x', {MEGABYTES}000000)")


def threads(store: Store) -> list[int]:
    """The product's connections to the database."""
    with store.connection.cursor() as cursor:
        cursor.execute("SELECT ID FROM information_schema.PROCESSLIST WHERE DB = DATABASE() AND ID <> CONNECTION_ID()")
        return [number for (number,) in cursor.fetchall()]


def read(source: RunSource, after_first: Callable[[], None]) -> int:
    """Reads a day, with something that happens after its first batch."""
    rows = 0
    with source.open(ProjectKey(PROJECT), WINDOW) as snapshot:
        for batch in snapshot.batches():
            if not rows:
                after_first()
            rows += batch.num_rows
    return rows


@pytest.mark.parametrize("kill", ["KILL CONNECTION", "KILL QUERY"])
def test_a_day_whose_connection_or_query_is_killed_fails(mysql_store: Store, kill: str) -> None:
    fill(mysql_store)
    source = mysql_store.source()

    def killed() -> None:
        for number in threads(mysql_store):
            mysql_store.run(f"{kill} {number}")

    with pytest.raises(SourceUnreachableError, match="broke off"):
        read(source, killed)
    assert len(ids_of(source)) == ROWS
    source.close()


def test_a_day_whose_server_is_killed_fails_and_is_read_when_it_is_back(
    mariadb: MariadbServer, mysql_store: Store
) -> None:
    fill(mysql_store)
    source = mysql_store.source()
    with pytest.raises(SourceUnreachableError, match="broke off"):
        read(source, mariadb.kill)
    mariadb.start()
    mysql_store.connection = mysql_store.connect()
    assert len(ids_of(source)) == ROWS
    source.close()


def test_a_reader_that_leaves_early_leaves_no_connection(mysql_store: Store) -> None:
    fill(mysql_store)
    source = mysql_store.source()
    for _ in range(3):
        with source.open(ProjectKey(PROJECT), WINDOW) as snapshot:
            assert next(iter(snapshot.batches())).num_rows < ROWS
    wait_for(lambda: not threads(mysql_store), what="the end of the connections")
    source.close()


def test_limits_of_the_server_on_time_and_rows_do_not_cut_a_day(mariadb: MariadbServer, mysql_store: Store) -> None:
    mysql_store.runs(unique=True)
    for number in range(50):
        mysql_store.add(number, START)
    limits = {"sql_select_limit": 7, "max_statement_time": 0.000001, "group_concat_max_len": 4, "net_write_timeout": 1}
    before = {name: mariadb.execute(f"SELECT @@GLOBAL.{name}")[0][0] for name in limits}
    try:
        mysql_store.run(f"SET {', '.join(f'GLOBAL {name} = {value}' for name, value in limits.items())}")
        source = mysql_store.source()
        assert ids_of(source) == list(range(50))
        assert source.days(ProjectKey(PROJECT))[DAY].rows == 50
        source.close()
    finally:
        mysql_store.run("SET STATEMENT max_statement_time = 0 FOR SET GLOBAL max_statement_time = 0")
        mysql_store.run(f"SET {', '.join(f'GLOBAL {name} = {value}' for name, value in before.items())}")


def test_a_statement_that_reaches_a_limit_of_time_fails_the_day(
    mysql_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    mysql_store.runs(unique=True)
    mysql_store.add(1, START)
    source = mysql_store.source("runs: {fields: {name: {sql: \"concat('slow', sleep(60))\"}}}")
    source.days(ProjectKey(PROJECT))
    monkeypatch.setitem(client._MARIADB, "max_statement_time", "0.2")
    with pytest.raises(SourceUnreachableError, match="the server's limit on the time of a statement was reached"):
        ids_of(source)
    source.close()


@pytest.mark.parametrize("mode", ["", "ANSI_QUOTES", "NO_BACKSLASH_ESCAPES", "PIPES_AS_CONCAT", "ORACLE", "MSSQL"])
def test_the_server_s_sql_mode_changes_no_meaning(mariadb: MariadbServer, mysql_store: Store, mode: str) -> None:
    mysql_store.runs({"error": "TEXT"}, unique=True)
    mysql_store.add(1, START, error="a\\b")
    before = mariadb.execute("SELECT @@GLOBAL.sql_mode")[0][0]
    mysql_store.run(f"SET GLOBAL sql_mode = '{mode}'")
    try:
        source = mysql_store.source("runs: {fields: {error: {sql: '''x\\y'' || \"error\" || (5 - 7)'}}}")
        (row,) = rows_of(source)
        assert row["error"] == b"x\\ya\\b-2"
        source.close()
    finally:
        mysql_store.run(f"SET GLOBAL sql_mode = '{before}'")


def test_a_value_that_is_longer_than_the_server_makes_one_fails_the_day(
    mariadb: MariadbServer, mysql_store: Store
) -> None:
    mysql_store.runs({"inputs": "TEXT"}, unique=True)
    mysql_store.add(1, START, inputs="x" * 3_000_000)
    before = mariadb.execute("SELECT @@GLOBAL.max_allowed_packet")[0][0]
    mysql_store.run("SET GLOBAL max_allowed_packet = 4194304")
    try:
        source = mysql_store.source()
        assert [len(row["inputs"]) for row in rows_of(source)] == [3_000_000]
        source.close()
        source = mysql_store.source("runs: {fields: {inputs: {sql: 'concat(inputs, inputs)'}}}")
        with pytest.raises(SourceUnusableError, match=r"longer than the server's max_allowed_packet .*; raise that"):
            rows_of(source)
        source.close()
    finally:
        mysql_store.run(f"SET GLOBAL max_allowed_packet = {before}")


def test_records_of_feedback_that_the_server_would_cut_fail_the_day(mariadb: MariadbServer, mysql_store: Store) -> None:
    mysql_store.runs(unique=True)
    mysql_store.table("feedbacks", {"id": "{uuid}", "run_id": "{uuid}", "key": "TEXT", "value": "TEXT"})
    mysql_store.add(1, START)
    for number in range(5):
        mysql_store.insert("feedbacks", id=str(number), run_id=f"{1:032x}", key="k", value="x" * 1_000_000)
    mysql_store.run("UPDATE feedbacks SET run_id = (SELECT id FROM runs)")
    before = mariadb.execute("SELECT @@GLOBAL.max_allowed_packet")[0][0]
    mysql_store.run("SET GLOBAL max_allowed_packet = 4194304")
    try:
        source = mysql_store.source()
        with pytest.raises(SourceUnusableError, match="longer than the server's max_allowed_packet"):
            rows_of(source, fields=["id", "feedbacks"])
        source.close()
    finally:
        mysql_store.run(f"SET GLOBAL max_allowed_packet = {before}")


WARNING = "runs: {fields: {name: {sql: 'concat(CAST(name AS SIGNED), name)'}}}"


def test_warnings_that_are_listed_do_no_harm(mysql_store: Store) -> None:
    mysql_store.runs(unique=True)
    for number in range(1, 101):
        mysql_store.add(number, START, name="x")
    with closing(mysql_store.source(WARNING)) as source:
        assert [row["name"] for row in rows_of(source)] == [b"0x"] * 100


def test_warnings_of_which_some_are_not_listed_fail_the_day(
    mysql_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    mysql_store.runs(unique=True)
    for number in range(1, 101):
        mysql_store.add(number, START, name="x")
    monkeypatch.setattr(client, "_MOST_WARNINGS", 10)
    with (
        closing(mysql_store.source(WARNING)) as source,
        pytest.raises(SourceUnusableError, match=r"of 100 warnings or more the server lists 10, .*Truncated incorrect"),
    ):
        rows_of(source)


def test_an_account_that_may_not_say_how_many_warnings_are_listed_reads_all_the_same(
    mysql_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_all = client.Mysql._set

    def as_in_mysql(self: client.Mysql, connection: Any, settings: dict[str, str]) -> None:
        if "max_error_count" in settings:
            raise self.errors.of_server(1227, "Access denied; you need SESSION_VARIABLES_ADMIN", state="42000")
        set_all(self, connection, settings)

    monkeypatch.setattr(client.Mysql, "_set", as_in_mysql)
    mysql_store.runs(unique=True)
    mysql_store.add(1, START)
    with closing(mysql_store.source()) as source:
        assert len(rows_of(source)) == 1
