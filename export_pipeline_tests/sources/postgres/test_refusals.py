"""What a server answers instead of rows: told apart by SQLSTATE, in whatever language; row-level security."""

import pytest

from export_pipeline.errors import ExportPipelineError, SourceUnreachableError, SourceUnusableError
from export_pipeline.settings import load_settings
from export_pipeline.sources.factory import open_source
from export_pipeline.sources.postgres import session
from export_pipeline.sources.postgres.adbc import Adbc
from export_pipeline.sources.postgres.codes import refusals
from export_pipeline.sources.postgres.errors import PostgresErrors
from export_pipeline.sources.protocol import ProjectKey, RunSource
from export_pipeline_tests.servers import Postgres
from export_pipeline_tests.sources.stores import DAY, PROJECT, Store, ids_of, rows_of, settings_for

START = "2026-03-14 10:00:00+00:00"
ERRORS = PostgresErrors(place="postgresql://me:***@db/traces", secrets={"geheim"})


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("28P01", SourceUnusableError),
        ("28000", SourceUnusableError),
        ("3D000", SourceUnusableError),
        ("42501", SourceUnusableError),
        ("53300", SourceUnreachableError),
        ("57P03", SourceUnreachableError),
    ],
)
def test_a_refused_connection_is_told_by_its_code_in_any_language(state: str, kind: type[ExportPipelineError]) -> None:
    text = 'Failed to connect: connection to server at "db", port 5432 failed: ВАЖНО:  Meldung mit geheim\n'
    assert ERRORS.is_by_the_server(text)
    error = ERRORS.of_connecting(text, [state])
    assert isinstance(error, kind)
    assert "geheim" not in str(error)


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("22P02", SourceUnusableError),
        ("42703", SourceUnusableError),
        ("XX002", SourceUnusableError),
        ("40001", SourceUnreachableError),
        ("53200", SourceUnreachableError),
        ("55P03", SourceUnreachableError),
        ("57014", SourceUnreachableError),
        ("57P01", SourceUnreachableError),
        (None, SourceUnreachableError),
    ],
)
def test_a_failed_query_is_told_by_its_code_in_any_language(state: str | None, kind: type[ExportPipelineError]) -> None:
    error = ERRORS.of_query("FEHLER:  Anweisung wird abgebrochen", state, on_replica=False)
    assert isinstance(error, kind)


@pytest.mark.parametrize("state", ["40001", "40P01"])
def test_a_replica_that_cancels_for_recovery_is_named_with_both_settings(state: str) -> None:
    error = ERRORS.of_query("FEHLER:  storniere Anfrage wegen Konflikt", state, on_replica=True)
    assert isinstance(error, SourceUnreachableError)
    assert "hot_standby_feedback" in str(error)
    assert "max_standby_streaming_delay" in str(error)
    assert "replica" not in str(ERRORS.of_query("FEHLER:  Verklemmung", state, on_replica=False))


def test_pgbouncer_in_statement_mode_is_named_and_not_tried_again() -> None:
    text = "[libpq] Failed to execute query 'BEGIN': FATAL:  transaction blocks not allowed in statement pooling mode"
    error = ERRORS.of_query(text, None, on_replica=False)
    assert isinstance(error, SourceUnusableError)
    assert "PgBouncer in statement pooling mode" in str(error)


def test_the_codes_of_refusals_are_learnt_from_libpq(postgres: Postgres) -> None:
    good = postgres.url().replace("+psycopg2", "")
    assert refusals(good) == []
    assert refusals(good.replace(postgres.password, "wrong")) == ["28P01"]
    assert refusals(good.removesuffix("postgres") + "nowhere") == ["3D000"]
    assert refusals(good.replace(f":{postgres.port}/", ":1/")) == []


def test_too_many_connections_are_no_refusal_for_good(postgres: Postgres) -> None:
    url = postgres.new_database()
    name = url.rpartition("/")[2]
    postgres.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'few' CONNECTION LIMIT 0")
    with pytest.raises(SourceUnreachableError, match="too many connections"):
        open_source(settings_for(url.replace(f"postgres:{postgres.password}", f"{name}:few")))


def test_a_server_that_reckons_times_in_floating_point_is_refused(
    postgres_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_OLDEST", 990_000)
    with pytest.raises(SourceUnusableError, match=r"is PostgreSQL \d\d, .* PostgreSQL 14 or newer is needed"):
        postgres_store.source()


def test_several_hosts_are_tried_in_turn(postgres: Postgres) -> None:
    url = postgres.url().replace("127.0.0.1:", "127.0.0.1:1,127.0.0.1:")
    source = open_source(settings_for(url))
    assert source.check().problems == ("runs: table runs does not exist", "projects: table sessions does not exist")
    source.close()


def test_blanks_in_passwords_and_options_reach_the_server(postgres: Postgres) -> None:
    url = postgres.new_database()
    name = url.rpartition("/")[2]
    postgres.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'a b+c#d'")
    place = f"127.0.0.1:{postgres.port}/{name}?options=-c%20search_path%3Dfar%20-c%20work_mem%3D5MB"
    adbc = Adbc(_url(f"postgresql://{name}:a%20b%2Bc#d@{place}"))
    connection = adbc.connect()
    found = adbc.rows(connection, "SELECT current_setting('search_path'), current_setting('work_mem')")
    connection.close()
    adbc.close()
    assert found == [("far", "5MB")]


def _url(text: str) -> object:
    from export_pipeline.database_url import parse_database_url

    return parse_database_url(text, setting="URL", accepted="")


@pytest.fixture
def secured(postgres: Postgres, postgres_store: Store) -> str:
    """The URL of a role that sees two of four rows."""
    schema = postgres_store.url.rpartition("%3D")[2]
    postgres_store.runs({"inputs": "TEXT"})
    for number in range(4):
        postgres_store.add(number, START, inputs="mine" if number < 2 else "theirs")
    role = f"tenant_{schema}"
    postgres_store.run(f"CREATE ROLE {role} LOGIN PASSWORD 'tenant'")
    postgres_store.run(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    postgres_store.run(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}")
    postgres_store.run("ALTER TABLE runs ENABLE ROW LEVEL SECURITY")
    postgres_store.run("CREATE POLICY mine ON runs USING (inputs = 'mine')")
    return postgres_store.url.replace(f"postgres:{postgres.password}@", f"{role}:tenant@")


def opened(url: str, store: Store, *, mapping: str = "{}", part: bool = False) -> RunSource:
    path = store.folder / "mapping.yaml"
    path.write_text(mapping)
    return open_source(
        load_settings(
            source_url=url, control_url="sqlite:///c.db", bucket="bucket", mapping=path, allow_row_security=part
        )
    )


QUERY = "runs: {query: SELECT * FROM runs}"
INVOKER = "runs: {table: seen}"


@pytest.mark.parametrize("mapping", ["{}", QUERY, INVOKER], ids=["table", "query", "view of the invoker"])
def test_a_store_that_hides_rows_is_refused_unless_a_part_is_meant(
    secured: str, postgres_store: Store, mapping: str
) -> None:
    postgres_store.run("CREATE VIEW seen WITH (security_invoker) AS SELECT * FROM runs")
    postgres_store.run("GRANT SELECT ON seen TO PUBLIC")
    source = opened(secured, postgres_store, mapping=mapping)
    (problem,) = source.check().problems
    assert "row-level security hides rows" in problem
    assert "EXPORT_PIPELINE_ALLOW_ROW_SECURITY" in problem
    with pytest.raises(SourceUnusableError, match="row-level security hides rows"):
        rows_of(source)
    source.close()
    source = opened(secured, postgres_store, mapping=mapping, part=True)
    assert [warning for warning in source.check().warnings if "row-level security applies" in warning]
    assert ids_of(source) == [0, 1]
    assert source.days(ProjectKey(PROJECT))[DAY].rows == 2
    source.close()


def test_hidden_projects_and_an_owner_under_forced_security_are_refused_too(
    secured: str, postgres_store: Store
) -> None:
    postgres_store.run("ALTER TABLE runs DISABLE ROW LEVEL SECURITY")
    postgres_store.run("ALTER TABLE sessions ENABLE ROW LEVEL SECURITY")
    source = opened(secured, postgres_store)
    assert [problem.partition(":")[0] for problem in source.check().problems] == ["projects"]
    source.close()
    role = f"tenant_{postgres_store.url.rpartition('%3D')[2]}"
    postgres_store.run("ALTER TABLE sessions FORCE ROW LEVEL SECURITY")
    postgres_store.run(f"ALTER TABLE sessions OWNER TO {role}")
    source = opened(secured, postgres_store)
    assert [problem.partition(":")[0] for problem in source.check().problems] == ["projects"]
    source.close()


def test_bytes_of_a_database_without_an_encoding_are_exported(
    postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for number, encoding in enumerate(("SQL_ASCII", "LATIN1")):
        name = f"plain_{number}_{tmp_path_factory.getbasetemp().name.replace('-', '_')}"
        postgres.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0")
        store = Store("postgresql", postgres.url(name), tmp_path_factory.mktemp("store"))
        store.connection.set_client_encoding(encoding)
        store.runs({"inputs": "TEXT"})
        store.add(1, START)
        store.run("UPDATE runs SET inputs = E'caf\\xe9', name = E'caf\\xe9'")
        store.run("UPDATE sessions SET name = E'caf\\xe9'")
        source = store.source()
        expected = b"caf\xe9" if encoding == "SQL_ASCII" else "café".encode()
        assert [(row["inputs"], row["name"]) for row in rows_of(source)] == [(expected, expected)]
        assert [project.name for project in source.projects()] == [expected.decode(errors="replace")]
        report = source.check()
        assert report.sample is not None
        assert report.sample["inputs"] == expected.decode(errors="replace")
        assert source.days(ProjectKey(PROJECT))[DAY].rows == 1
        source.close()
        store.close()
