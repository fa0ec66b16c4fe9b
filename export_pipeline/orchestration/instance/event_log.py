"""Dagster's event log in SQLite, with its database files kept open."""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from sqlalchemy import Connection, Engine, create_engine

KEPT = 8
"""Files that are open at most: the one that all runs share, and those of the runs used last."""

_FOLDER = "history/runs"


class KeptEventLogStorage(SqliteEventLogStorage):
    """Dagster's own event log storage for one machine, with the same files, which opens each of them once.

    Dagster opens and closes two files for each event, and SQLite empties its write-ahead log at each close: 13 ms of
    CPU for a day that a run announces, and as much for one that it has exported. With open files it is 3 ms.
    """

    def __init__(self, base_dir: str, inst_data: Any = None) -> None:
        """`base_dir`: the folder with the files; Dagster passes the rest."""
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._turns = threading.Lock()
        super().__init__(base_dir, inst_data)

    @classmethod
    def config_type(cls) -> Any:
        """`home`: the folder of `dagster.yaml`, where the files lie as without this class."""
        return {"home": dg.StringSource}

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> "KeptEventLogStorage":
        """Made by Dagster from what `dagster.yaml` says."""
        return cls(str(Path(config_value["home"]) / _FOLDER), inst_data)

    def run_connection(self, run_id: str | None = None) -> Any:
        """A transaction in the file of one run."""
        return self._transaction(str(run_id), super().run_connection(run_id))

    def index_connection(self) -> AbstractContextManager[Connection]:
        """A transaction in the file that all runs share."""
        return self._transaction(INDEX_SHARD_NAME, super().index_connection())

    def wipe(self) -> None:
        """Deletes the files of all runs, and empties the one that they share."""
        self.dispose()
        super().wipe()

    def dispose(self) -> None:
        """Closes the files; the next use opens them again."""
        with self._turns:
            while self._engines:
                self._engines.popitem()[1].dispose()
        super().dispose()

    @contextmanager
    def _transaction(self, shard: str, first: AbstractContextManager[Connection]) -> Iterator[Connection]:
        """`first` is Dagster's own connection, which makes the tables where a file is new."""
        with self._turns:
            if shard not in self._engines:
                with first:
                    self._open(shard)
            self._engines.move_to_end(shard)
            with self._engines[shard].connect() as connection:
                driver: Any = connection.connection.driver_connection
                before = driver.total_changes
                with connection.begin():
                    yield connection
                if driver.total_changes != before and shard != INDEX_SHARD_NAME:
                    self._tell_watchers(shard)

    def _open(self, shard: str) -> None:
        if len(self._engines) >= KEPT:
            oldest = next(name for name in self._engines if name != INDEX_SHARD_NAME)
            self._engines.pop(oldest).dispose()
        self._engines[shard] = create_engine(
            self.conn_string_for_shard(shard),
            pool_size=1,
            max_overflow=0,
            connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
        )

    def _tell_watchers(self, shard: str) -> None:
        """The UI follows a run by the time of its file, while an open file's changes go to the log beside it."""
        with suppress(FileNotFoundError):
            os.utime(self.path_for_shard(shard))
