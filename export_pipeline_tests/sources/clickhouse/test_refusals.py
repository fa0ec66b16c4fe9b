"""What keeps a ClickHouse from being read is told in one sentence, which never holds the password."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from export_pipeline.errors import ExportPipelineError, SettingsError, SourceUnreachableError, SourceUnusableError
from export_pipeline.home import free_ports
from export_pipeline.sources.clickhouse.errors import ClickhouseErrors
from export_pipeline.sources.clickhouse.server_settings import chosen
from export_pipeline.sources.factory import open_source
from export_pipeline_tests.servers import ClickhouseServer
from export_pipeline_tests.sources.stores import PROJECT, START, Store, execute, rows_of, settings_for, uuid

pytestmark = pytest.mark.slow

SECRET = "wo:rd"


def refused(url: str) -> ExportPipelineError:
    with pytest.raises(ExportPipelineError) as caught:
        open_source(settings_for(url))
    text = str(caught.value)
    assert "EXPORT_PIPELINE_SOURCE_URL" in text
    assert "\n" not in text
    assert SECRET not in text
    return caught.value


def test_a_wrong_password_is_refused(clickhouse: ClickhouseServer) -> None:
    error = refused(clickhouse.url(user="nobody", password="wo%3Ard"))
    assert isinstance(error, SourceUnusableError)
    assert "ClickHouse refuses the connection: nobody: Authentication failed" in str(error)


def test_a_database_that_does_not_exist_is_named(clickhouse: ClickhouseServer) -> None:
    error = refused(clickhouse.url("nosuch"))
    assert isinstance(error, SourceUnusableError)
    assert "nosuch" in str(error)


def test_a_server_that_is_not_there_is_unreachable() -> None:
    error = refused(f"clickhouse://me:wo%3Ard@127.0.0.1:{free_ports(1)}/traces")
    assert isinstance(error, SourceUnreachableError)
    assert str(error).endswith("ClickHouse does not answer: Connection refused")
    error = refused("clickhouse://me:wo%3Ard@nosuch.invalid:8123/traces")
    assert isinstance(error, SourceUnreachableError)
    assert "Failed to resolve 'nosuch.invalid'" in str(error)


@pytest.mark.parametrize("parameter", ["compression=lz4", "secure=true", "limit=5"])
def test_unknown_parameters_of_the_url_are_named(parameter: str) -> None:
    error = refused(f"clickhouse://me:wo%3Ard@127.0.0.1:1/traces?{parameter}")
    assert isinstance(error, SettingsError)
    assert f"{parameter.partition('=')[0]} is not a parameter of a ClickHouse URL; known are ca_cert and verify" in str(
        error
    )


class Page(BaseHTTPRequestHandler):
    """Answers every request with `body`."""

    body = b""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


@pytest.fixture
def page() -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_server_that_is_no_clickhouse_is_refused(page: HTTPServer) -> None:
    url = f"clickhouse://me:wo%3Ard@127.0.0.1:{page.server_port}/traces"
    Page.body = b"<html>It works!</html>"
    assert "ClickHouse does not answer" in str(refused(url))
    Page.body = b"Port 9000 is for clickhouse-client program\r\nYou must use port 8123 for HTTP.\r\n"
    assert "leads to ClickHouse's native port; name the one for HTTP, which is 8123" in str(refused(url))
    assert "broke off" in str(ClickhouseErrors(place="x", secrets=()).of_answer("nonsense"))


def test_a_server_without_tls_is_not_reached_by_a_url_with_it(page: HTTPServer) -> None:
    error = refused(f"clickhouses://me:wo%3Ard@127.0.0.1:{page.server_port}/traces")
    assert isinstance(error, SourceUnreachableError)
    told = "ClickHouse does not answer: SSL: WRONG_VERSION_NUMBER; clickhouse:// is for servers without TLS"
    assert str(error).endswith(told)


def test_tables_that_are_missing_are_named(clickhouse_store: Store) -> None:
    source = clickhouse_store.source()
    assert source.check().problems == (
        "runs: table runs does not exist",
        "projects: table sessions does not exist",
    )
    source.close()


CONFIG = """<clickhouse>
  <users><default>
    <password></password><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>
    {rights}
  </default></users>
  <profiles><default/></profiles><quotas><default/></quotas>
  <user_directories><users_xml><path>{path}</path></users_xml></user_directories>
</clickhouse>"""


POLICY = "<databases><default><runs><filter>name = 'shown'</filter></runs></default></databases>"
GRANTS = """<grants>
  <query>GRANT CREATE, DROP, INSERT, ALTER, KILL QUERY ON *.*</query>
  <query>GRANT SELECT ON d.sessions</query>
  <query>GRANT SELECT(id, session_id, name, run_type, start_time, modified_at) ON d.runs</query>
</grants>"""


@contextmanager
def server_with(rights: str, folder: Path) -> Iterator[ClickhouseServer]:
    """A server whose one user has these rights."""
    config = folder / "config.xml"
    config.write_text(CONFIG.format(path=config, rights=rights))
    server = ClickhouseServer(config=config)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def test_what_may_not_be_read_is_named_by_table_and_column(tmp_path: Path) -> None:
    with server_with(GRANTS, tmp_path) as server:
        server.execute("CREATE DATABASE d")
        store = Store("clickhouse", server.url("d"), tmp_path)
        store.projects(PROJECT)
        columns = "id UUID, session_id UUID, name String, run_type String, start_time DateTime64(6), inputs String"
        engine = "ReplacingMergeTree(modified_at) ORDER BY (session_id, id)"
        execute(
            store.url, f"CREATE TABLE runs ({columns}, modified_at DateTime64(6)) ENGINE = {engine}", nullable=False
        )
        for modified in (START, "2026-03-15 00:00:00"):
            store.add(1, START, name=modified[:10], inputs="{}", modified_at=modified)
        source = store.source("runs: {fields: {name: {sql: upper(name)}}}")
        report = source.check()
        assert report.problems == ()
        (warning,) = [each for each in report.warnings if "right" in each]
        assert warning == "runs.inputs: no right to read the column inputs of table runs; grant SELECT on it"
        assert [(row["name"], row["inputs"]) for row in rows_of(source)] == [(b"2026-03-15", None)]
        source.close()
        source = store.source("runs: {fields: {outputs: inputs}}")
        assert source.check().problems == (
            "runs.fields.outputs: no right to read the column inputs of table runs; grant SELECT on it",
        )
        source.close()
        store.table("feedbacks", {"run_id": "{uuid}", "key": "TEXT"})
        source = store.source()
        (problem,) = source.check().problems
        assert problem.startswith(
            "feedbacks: no right to read table feedbacks; grant SELECT on it to the user of the URL"
        )
        with pytest.raises(SourceUnusableError, match="no right to read table feedbacks; grant SELECT on it"):
            rows_of(source)
        source.close()


def test_a_row_policy_that_hides_rows_is_a_problem_unless_it_is_meant(tmp_path: Path) -> None:
    with server_with(POLICY, tmp_path) as server:
        store = Store("clickhouse", server.url(), tmp_path)
        store.runs()
        store.add(1, "2026-03-14 10:00:00", name="shown")
        store.add(2, "2026-03-14 10:00:00", name="hidden")
        source = store.source()
        assert "runs: table runs: a row policy hides rows from the user of the URL" in " ".join(source.check().problems)
        with pytest.raises(SourceUnusableError, match="a row policy hides rows"):
            rows_of(source)
        source.close()
        asked = settings_for(store.url).model_copy(update={"allow_row_security": True})
        source = open_source(asked)
        assert [row["id"].decode() for row in rows_of(source)] == [uuid(1)]
        assert "a row policy applies; only the rows that the user" in " ".join(source.check().warnings)
        source.close()


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("phoenix", "SOURCE_KIND is phoenix, which is not read from clickhouse; there are phoenix"),
        ("otel", "the trace store cannot be read as otel: it lacks otel_traces, which the OpenTelemetry collector's"),
        ("opik", "the trace store cannot be read as opik: it lacks spans, traces, feedback_scores, which Opik has"),
    ],
)
def test_a_kind_that_the_store_is_not_is_told(clickhouse_store: Store, kind: str, told: str) -> None:
    clickhouse_store.runs()
    with pytest.raises(ExportPipelineError, match=told):
        open_source(settings_for(clickhouse_store.url).model_copy(update={"source_kind": kind}))


def test_a_version_of_the_server_that_is_too_old_is_told() -> None:
    with pytest.raises(SourceUnusableError, match=r"the server is ClickHouse 25\.3\.2\.39; 25\.6 or newer is needed"):
        chosen({"limit": None}, version="25.3.2.39", place="x", seconds=60)
    with pytest.raises(SourceUnusableError, match="answers are cut short by the profile of this user"):
        chosen({"limit": None}, version="25.12.1.1", place="x", seconds=60)
