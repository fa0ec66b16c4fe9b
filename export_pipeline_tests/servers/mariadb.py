"""MariaDB as a process: a mariadbd of the system, which `make test` begins with installing where there is none."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from uuid import uuid4

from export_pipeline.home import free_ports
from export_pipeline_tests.servers.waiting import PATIENCE, listens, wait_for

FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/usr/libexec", "/opt/homebrew/bin")
"""Where a mariadbd lies that is not on the PATH."""
NONE_FOUND = (
    "The tests of MySQL and MariaDB need a mariadbd, and none could be installed: put one on the PATH (on Debian: "
    "apt-get install mariadb-server), or run the other tests with: make test-quick"
)


def find(name: str = "mariadbd") -> str | None:
    """A program of MariaDB's server."""
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(FOLDERS))


def install() -> None:
    """Installs the system's package where there are the rights to."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        sys.stderr.write("Installing MariaDB for the tests (apt-get install mariadb-server) …\n")
        for command in (["update"], ["install", "-y", "--no-install-recommends", "mariadb-server"]):
            subprocess.run(
                ["apt-get", "-qq", *command],
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
            )


def main() -> None:
    """Makes sure of a mariadbd; ends with one sentence where there is none."""
    if find() is None:
        install()
        if find() is None:
            sys.exit(NONE_FOUND)


class MariadbServer:
    """A server with the user root, whose password is random; as root it runs as `nobody`."""

    def __init__(self) -> None:
        self.port = free_ports(1)
        self.password = uuid4().hex
        self.user = "nobody" if os.geteuid() == 0 else None
        # Not below pytest's folder: that one has mode 700, and `nobody` could not pass through.
        self.folder = Path(tempfile.mkdtemp(prefix="export-pipeline-mariadb-"))
        self.options: dict[str, object] = {}
        """Options of the server beside those of every one, from its next start on."""
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str, *, user: str = "root", password: str | None = None) -> str:
        """The URL of a database on this server."""
        secret = self.password if password is None else password
        return f"mysql://{user}:{secret}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str | None = None) -> Any:
        """A connection as root, in autocommit."""
        import pymysql

        return pymysql.connect(
            host="127.0.0.1",
            port=self.port,
            user="root",
            password=self.password,
            database=database,
            charset="utf8mb4",
            autocommit=True,
        )

    def execute(self, statement: str, *, database: str | None = None) -> list[tuple[Any, ...]]:
        """Runs a statement as root, and gives back its rows."""
        connection = self.connect(database)
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return list(cursor.fetchall())
        finally:
            connection.close()

    def new_database(self, options: str = "CHARACTER SET utf8mb4") -> str:
        """Makes an empty database and gives back its name."""
        name = f"db_{uuid4().hex[:16]}"
        self.execute(f"CREATE DATABASE {name} {options}")
        return name

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def initialise(self) -> None:
        """Makes the data folder."""
        program = find("mariadb-install-db") or find("mysql_install_db")
        assert program is not None, NONE_FOUND
        if self.user:
            shutil.chown(self.folder, self.user)
        command = [program, "--no-defaults", f"--datadir={self.folder / 'data'}", "--skip-test-db"]
        command += ["--auth-root-authentication-method=normal", *([f"--user={self.user}"] if self.user else [])]
        # Servers that start remove the temporary tables of others in the same folder.
        environment = {**os.environ, "TMPDIR": str(self.folder)}
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        (self.folder / "first.sql").write_text(f"ALTER USER root@localhost IDENTIFIED BY '{self.password}';\n")

    def start(self) -> None:
        """Starts the server and waits until a query works."""
        program = find()
        assert program is not None, NONE_FOUND
        options = {
            "datadir": self.folder / "data",
            "tmpdir": self.folder,
            "socket": self.folder / "socket",
            "pid-file": self.folder / "pid",
            "init-file": self.folder / "first.sql",
            "port": self.port,
            "bind-address": "127.0.0.1",
            "innodb-flush-log-at-trx-commit": 2,  # what is committed outlives a kill
            "innodb-buffer-pool-size": "64M",
            **self.options,
        }
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, "--no-defaults", *(f"--{name}={value}" for name, value in options.items())],
                user=self.user,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for(self._answers, what="an answer of MariaDB")

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None and self.alive:
            self._process.kill()
            self._process.wait()
            wait_for(lambda: not listens(self.port), what="the end of MariaDB")

    def restart(self) -> None:
        """An orderly restart on the same port; after `kill` it recovers from its log."""
        self._end()
        self.start()

    def stop(self) -> None:
        """Ends the server and removes its data."""
        self._end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self) -> None:
        if self._process is not None and self.alive:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(PATIENCE)

    def _answers(self) -> bool:
        import pymysql

        assert self.alive, (self.folder / "log").read_text()[-3000:]
        try:
            return self.execute("SELECT 1") == [(1,)]
        except pymysql.err.OperationalError:
            return False


if __name__ == "__main__":
    main()
