"""Fixtures that all rooms share: a clean environment, and real servers that start when first asked for.

A server lives for the whole session (one for each xdist worker). A test may kill it; before the next test begins it
is started again.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import pytest
from xdist.scheduler import LoadScopeScheduling

from export_pipeline_tests.servers import ClickhouseServer, MariadbServer, Postgres, Rclone, S3Server, Weed
from export_pipeline_tests.sources.stores import Store

_AMBIENT = ("AWS_", "EXPORT_PIPELINE_", "DAGSTER_", "WEED_", "RCLONE_", "PG")
Server = TypeVar("Server", bound=S3Server)
_running: list[S3Server | Postgres | ClickhouseServer | MariadbServer] = []
_LIVE = ["live/test_browser.py", "live/test_command_line.py", "live/test_daemon.py", "live/test_documented_commands.py"]
_LONGEST = [
    *_LIVE,
    "orchestration/sensors/test_neighbours_live.py",
    "orchestration/sensors/test_bulk_exports_live.py",
    "live/test_backfill.py",
    "local/test_demo.py",
    "sources/presets/test_phoenix.py",
    "sources/presets/test_mlflow.py",
    "files/statements/test_engines.py",
    "api/test_properties.py",
    "cli/test_backfill.py",
]


def pytest_configure() -> None:
    """SIGINT interrupts, also where it was ignored from the start (a shell's `&`, many CI systems).

    Every process that a test starts would inherit that, and those that are to be ended by SIGINT would never end.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the files first that take longest; marks what starts PostgreSQL or MariaDB as slow.

    Tests that ask for them by a parameter mark that themselves.
    """
    for item in items:
        if isinstance(item, pytest.Function) and {"postgres", "mariadb"} & {*item.fixturenames}:
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: _LONGEST.index(name) if (name := _file(item.nodeid)) in _LONGEST else len(_LONGEST))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """A file is run by one worker, for its fixtures are made once then; so are all files on the live instance."""
    return _ByFile(config, log)


class _ByFile(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    def _split_scope(self, nodeid: str) -> str:
        name = _file(nodeid)
        return "live" if name in _LIVE else name


def _file(nodeid: str) -> str:
    return nodeid.partition("::")[0].rpartition("export_pipeline_tests/")[2]


@pytest.fixture(scope="session", autouse=True)
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing of the developer's machine is seen: no keys, no settings, no `.env`, no `.export_pipeline`."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(_AMBIENT):
                patch.delenv(name)
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("NO_PROXY", "127.0.0.1,localhost")
        patch.chdir(tmp_path_factory.mktemp("working-directory"))
        yield


@pytest.fixture(autouse=True)
def servers_up() -> None:
    """Starts again what an earlier test has killed."""
    for server in _running:
        if not server.alive:
            server.start()


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weed]:
    """SeaweedFS: durable, obeys signatures, rights and conditional writes."""
    server = Weed(tmp_path_factory.mktemp("seaweedfs"))
    yield from _serve(server)


@pytest.fixture(scope="session")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rclone]:
    """The rclone S3 server, which ignores conditional writes."""
    yield from _serve(Rclone(tmp_path_factory.mktemp("rclone")))


@pytest.fixture(scope="session", params=["seaweedfs", "rclone"])
def s3_server(request: pytest.FixtureRequest) -> S3Server:
    """Each of the two S3 servers in turn."""
    server = request.getfixturevalue(request.param)
    assert isinstance(server, S3Server)
    return server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """PostgreSQL; take a database of your own with `postgres.new_database()`."""
    server = Postgres()
    try:
        server.initialise()
        server.start()
        _running.append(server)
        yield server
    finally:
        if server in _running:
            _running.remove(server)
        server.stop()


@pytest.fixture(scope="session")
def clickhouse() -> Iterator[ClickhouseServer]:
    """ClickHouse's engine behind HTTP; take a database of your own with `clickhouse.new_database()`."""
    server = ClickhouseServer()
    try:
        server.start()
        _running.append(server)
        yield server
    finally:
        if server in _running:
            _running.remove(server)
        server.stop()


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariadbServer]:
    """MariaDB; take a database of your own with `mariadb.new_database()`."""
    server = MariadbServer()
    try:
        server.initialise()
        server.start()
        _running.append(server)
        yield server
    finally:
        if server in _running:
            _running.remove(server)
        server.stop()


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Store]:
    """An empty SQLite file."""
    store = Store("sqlite", f"sqlite:///{tmp_path / 'store.db'}", tmp_path)
    yield store
    store.close()


@pytest.fixture(scope="session")
def postgres_database(request: pytest.FixtureRequest) -> str:
    """The URL of a database that the tests share."""
    url: str = request.getfixturevalue("postgres").new_database()
    return url


@pytest.fixture
def postgres_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty schema in PostgreSQL: a database of its own costs ten times as much."""
    name = f"test_{uuid4().hex}"
    url = request.getfixturevalue("postgres_database") + f"?application_name={name}&options=-csearch_path%3D{name}"
    store = Store("postgresql", url, tmp_path)
    store.run(f"CREATE SCHEMA {name}")
    yield store
    store.close()


@pytest.fixture(
    params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow), pytest.param("mysql", marks=pytest.mark.slow)]
)
def store(request: pytest.FixtureRequest) -> Store:
    """SQLite, PostgreSQL and MariaDB in turn; with `stores.EVERYWHERE` ClickHouse too."""
    name = "postgres" if request.param == "postgresql" else request.param
    found = request.getfixturevalue(f"{name}_store")
    assert isinstance(found, Store)
    return found


@pytest.fixture
def clickhouse_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty database in ClickHouse."""
    server: ClickhouseServer = request.getfixturevalue("clickhouse")
    database = server.new_database()
    store = Store("clickhouse", server.url(database), tmp_path)
    yield store
    server.execute(f"DROP DATABASE {database}")


@pytest.fixture
def mysql_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty database in MariaDB."""
    server: MariadbServer = request.getfixturevalue("mariadb")
    database = server.new_database()
    store = Store("mysql", server.url(database), tmp_path)
    yield store
    store.close()
    server.execute(f"DROP DATABASE {database}")


def _serve(server: Server) -> Iterator[Server]:
    try:
        server.start()
        _running.append(server)
        yield server
    finally:
        if server in _running:
            _running.remove(server)
        server.stop()
