"""ClickHouse as a process: chdb's engine behind HTTP (`clickhouse_process`). What it holds is gone with the process."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

from export_pipeline.home import free_ports
from export_pipeline_tests.servers.waiting import PATIENCE, listens, wait_for


class ClickhouseServer:
    """A server; `config` is a file of the engine's configuration."""

    def __init__(self, *, config: Path | None = None) -> None:
        self.port = free_ports(1)
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "default", *, user: str = "default", password: str = "") -> str:
        """The URL of a database on this server."""
        return f"clickhouse://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Makes an empty database and gives back its name."""
        name = f"db_{uuid4().hex[:16]}"
        self.execute(f"CREATE DATABASE {name}")
        return name

    def execute(self, sql: str, *, database: str = "default", **settings: str) -> str:
        """Runs a statement as the user default, and gives back its rows as tab-separated text."""
        query = urlencode({"database": database, **settings})
        return self._post(f"/?{query}", sql.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")

    def user(self, name: str, *, password: str = "", **settings: str) -> None:
        """Makes a user whose profile has these settings."""
        self._tell("user", {"name": name, "password": password, "settings": settings})

    def play(self, kind: str, *, match: str, always: bool = False) -> None:
        """Plays a fault on the next answer to a query that contains `match`."""
        self._tell("fault", {"kind": kind, "match": match, "always": always})

    def refuse(self, *names: str) -> None:
        """Refuses these settings, as the constraints of a profile do."""
        self._tell("refused", names)

    def queries(self) -> list[dict[str, Any]]:
        """The queries since this was asked last: `sql`, `rows_read` from tables, `settings`, `user`."""
        return list(self._tell("queries", None))

    def kills(self) -> list[str]:
        """The ids of the queries that were to be killed."""
        return list(self._tell("kills", None))

    def _tell(self, name: str, told: Any) -> Any:
        return json.loads(self._post(f"/_test/{name}", json.dumps(told).encode()))

    def _post(self, path: str, body: bytes) -> bytes:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", body, timeout=PATIENCE) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from None

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        program = [sys.executable, "-m", "export_pipeline_tests.servers.clickhouse_process", str(self.port)]
        folder = Path(__file__).parents[2]
        config = [] if self._config is None else [str(self._config)]
        self._process = subprocess.Popen([*program, *config], cwd=folder, stdin=subprocess.DEVNULL)
        wait_for(self._answers, what="an answer of ClickHouse")

    def _answers(self) -> bool:
        assert self.alive, "ClickHouse ended as soon as it was started"
        return listens(self.port) and self.execute("SELECT 1") == "1\n"

    def wait_killed(self) -> None:
        """Waits until the process has ended by itself."""
        wait_for(lambda: not self.alive, what="the end of ClickHouse")

    def stop(self) -> None:
        """Ends the server."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
