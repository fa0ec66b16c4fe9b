"""MySQL and MariaDB through PyMySQL: connections whose meaning no server sets, rows as they come, errors by what to do.

A result is never gathered before it is read: the server waits where the reader is slow.
"""

import socket
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

from export_pipeline.database_url import shown
from export_pipeline.errors import ExportPipelineError, SettingsError
from export_pipeline.settings import PREFIX
from export_pipeline.sources.mysql.errors import CUT, LOCK_SECONDS, NOT_PRIVILEGED, UNKNOWN_VARIABLE, MysqlErrors

SCHEMES = ("mysql", "mariadb")
_CONNECT_SECONDS = 10
_PARAMETERS = ("ssl_mode", "ssl_ca", "ssl_cert", "ssl_key", "unix_socket")
_SSL_MODES = ("DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY")
_NOT_INSTALLED = (
    "trace stores in MySQL and MariaDB are read with PyMySQL, which is not installed; "
    "run: pip install 'export-pipeline[mysql]'"
)
_LONG = 2_147_483
"""Seconds; as long as the server can wait, so that a slow upload does not end the reading."""

# What a server or an account may set otherwise, and what it would change: the meaning of quotes, `||` and backslashes,
# of times and numbers, how many rows and how long texts are given, and how long a statement may take.
_COMMON = {
    "sql_mode": "'ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES,NO_UNSIGNED_SUBTRACTION'",
    "time_zone": "'+00:00'",
    "autocommit": "1",
    "sql_select_limit": "18446744073709551615",
    "sql_big_selects": "1",
    "sql_auto_is_null": "0",
    "group_concat_max_len": "4294967295",
    "div_precision_increment": "4",
    "max_sort_length": "4096",
    "lock_wait_timeout": str(LOCK_SECONDS),
    "net_write_timeout": str(_LONG),
    "net_read_timeout": str(_LONG),
    "wait_timeout": str(_LONG),
}
# MariaDB 10.11 loses a row where the table of a recursive query outgrows memory: tables begin on the disk. Without join
# buffers it looks rows up by keys, and keeps the order of the first table.
_MARIADB = {
    "big_tables": "1",
    "join_cache_level": "0",
    "max_recursive_iterations": "1000",
    "max_statement_time": "0",
    "idle_transaction_timeout": "0",
    "idle_readonly_transaction_timeout": "0",
}
_MYSQL = {"cte_max_recursion_depth": "1000", "max_execution_time": "0"}
_MOST_WARNINGS = 65_535
"""That a server lists, and counts, after a statement."""
_INTEGERS = dict.fromkeys((1, 2, 3, 8, 9, 13), int)
_DECIMALS = (0, 246)
_NOTE = 1003


class Mysql:
    """One trace store; `url` is a SQLAlchemy URL."""

    def __init__(self, url: Any) -> None:
        if unknown := sorted(url.query.keys() - set(_PARAMETERS)):
            raise SettingsError(
                f"{PREFIX}SOURCE_URL: {unknown[0]} is not a parameter of a MySQL URL; known are "
                f"{', '.join(_PARAMETERS[:-1])} and {_PARAMETERS[-1]}"
            )
        if url.query.get("ssl_mode", "PREFERRED").upper() not in _SSL_MODES:
            raise SettingsError(f"{PREFIX}SOURCE_URL: ssl_mode is one of {', '.join(_SSL_MODES)}")
        if not url.database:
            raise SettingsError(
                f"{PREFIX}SOURCE_URL names no database; it looks like mysql://user:password@host:3306/database"
            )
        self._url = url
        self.place = shown(url)
        secrets = {text for text in (url.password, unquote(str(url.password or ""))) if text}
        self.errors = MysqlErrors(place=self.place, secrets=secrets)

    def connect(self) -> Any:
        """A new connection in which the session's settings are those of the product."""
        connection = self._connected()
        try:
            self._set(connection, {**_COMMON, **(_MARIADB if is_mariadb(connection) else _MYSQL)})
            self._list_all_warnings(connection)
            self.run(connection, "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        except BaseException:
            hang_up(connection)
            raise
        return connection

    def _connected(self) -> Any:
        try:
            import pymysql
        except ImportError:
            raise SettingsError(f"{PREFIX}SOURCE_URL ({self.place}): {_NOT_INSTALLED}") from None

        url = self._url
        try:
            return pymysql.connect(
                host=url.host or "localhost",
                port=url.port or 3306,
                user=url.username or "root",
                password=str(url.password or "").encode(),
                database=url.database,
                unix_socket=url.query.get("unix_socket"),
                charset="utf8mb4",
                use_unicode=False,
                conv={**_INTEGERS, **dict.fromkeys(_DECIMALS, _number)},
                autocommit=None,
                connect_timeout=_CONNECT_SECONDS,
                program_name="export-pipeline",
                **self._tls(),
            )
        except Exception as error:  # noqa: BLE001 - the driver raises its own errors, OSError and RuntimeError
            raise self.errors.of_connecting(error) from None

    def _tls(self) -> dict[str, Any]:
        import ssl

        query = self._url.query
        mode = query.get("ssl_mode", "VERIFY_CA" if "ssl_ca" in query else "PREFERRED").upper()
        files = {name: query[name] for name in ("ssl_cert", "ssl_key") if name in query}
        if mode == "DISABLED":
            return {"ssl_disabled": True}
        if mode.startswith("VERIFY"):
            named = mode == "VERIFY_IDENTITY"
            return {**files, "ssl_ca": query.get("ssl_ca"), "ssl_verify_cert": True, "ssl_verify_identity": named}
        if mode == "PREFERRED" and not files:
            return {}
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if "ssl_cert" in files:
            context.load_cert_chain(files["ssl_cert"], files.get("ssl_key"))
        return {"ssl": context}

    def _set(self, connection: Any, settings: dict[str, str]) -> None:
        """All of them at once; those that this version does not have are left out."""
        try:
            self.run(connection, f"SET SESSION {', '.join(f'{name} = {value}' for name, value in settings.items())}")
        except ExportPipelineError as error:
            if getattr(error, "number", None) != UNKNOWN_VARIABLE or len(settings) == 1:
                raise
            for name, value in settings.items():
                self._set_if_known(connection, name, value)

    def _list_all_warnings(self, connection: Any) -> None:
        """Of those that MySQL does not list to others than its administrators `_refuse_cut_values` knows by number."""
        try:
            self._set(connection, {"max_error_count": str(_MOST_WARNINGS)})
        except ExportPipelineError as error:
            if getattr(error, "number", None) != NOT_PRIVILEGED:
                raise

    def _set_if_known(self, connection: Any, name: str, value: str) -> None:
        try:
            self._set(connection, {name: value})
        except ExportPipelineError as error:
            if getattr(error, "number", None) != UNKNOWN_VARIABLE:
                raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except ExportPipelineError:
            raise
        except Exception as error:  # noqa: BLE001 - the driver raises its own errors, OSError and AttributeError
            raise self.errors.of_query(error) from None

    def run(self, connection: Any, sql: str) -> None:
        """A statement that gives no rows."""
        with self._translated():
            connection.query(sql)

    def rows(self, connection: Any, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a small query; text as bytes."""
        return list(self.each(connection, sql))

    def described(self, connection: Any, sql: str) -> list[tuple[str, int]]:
        """The names of a query's columns, with the protocol's codes of their types."""
        with self._translated(), connection.cursor() as cursor:
            cursor.execute(sql)
            names = ((name if isinstance(name, str) else name.decode(), code) for name, code, *_ in cursor.description)
            return list(names)

    def each(self, connection: Any, sql: str) -> Generator[tuple[Any, ...]]:
        """The rows of a query as they come. Where that is ended early the connection is, too: all would be sent."""
        from pymysql.cursors import SSCursor

        ended = False
        cursor = SSCursor(connection)
        try:
            with self._translated():
                cursor.execute(sql)
                while (row := cursor.fetchone()) is not None:
                    yield row
                    del row
                ended = True
                if cursor.warning_count:
                    self._refuse_cut_values(connection, cursor.warning_count)
        except ExportPipelineError:
            ended = True  # the answer ended with it
            raise
        finally:
            if ended and connection.open:
                cursor.close()
            else:
                hang_up(connection, cursor)

    def explained(self, connection: Any, sql: str) -> list[str]:
        """The query as the server has understood it, with the full names of its tables."""
        word = "EXPLAIN EXTENDED" if is_mariadb(connection) else "EXPLAIN FORMAT=TRADITIONAL"
        with self._translated():
            connection.query(f"{word} {sql}")
            told = connection.show_warnings()
        return [words.decode("utf-8", "replace") for _, number, words in told if number == _NOTE]

    def _refuse_cut_values(self, connection: Any, warnings: int) -> None:
        """A value that is too long to be made is cut or null, with a warning only."""
        told = [(number, words.decode("utf-8", "replace")) for _, number, words in connection.show_warnings()]
        for number, words in told:
            if number in CUT:
                raise self.errors.of_server(number, words)
        if len(told) < warnings or warnings >= _MOST_WARNINGS:
            raise self.errors.of_unlisted_warnings(len(told), warnings, first=told[0][1] if told else "none is listed")

    def kill(self, thread_id: int, server: Sequence[Any]) -> None:
        """Makes the server end a connection, if the one that answers now is the `server` (`server_of`) that has it."""
        try:
            connection = self._connected()
        except ExportPipelineError:
            return
        try:
            if self.server_of(connection) == server:
                self.run(connection, f"KILL CONNECTION {thread_id}")
        except ExportPipelineError:
            return  # it has ended
        finally:
            close(connection)

    def server_of(self, connection: Any) -> tuple[Any, ...]:
        """What tells a server from others behind the same address."""
        return self.rows(connection, "SELECT @@hostname, @@port, @@server_id")[0]


def is_mariadb(connection: Any) -> bool:
    """Whether the server is MariaDB, rather than MySQL."""
    return "mariadb" in connection.get_server_info().lower()


def hang_up(connection: Any, cursor: Any = None) -> None:
    """Ends a connection at once, whatever it is doing; safe from another thread. `cursor` is the one that reads."""
    for result in (connection._result, getattr(cursor, "_result", None)):  # noqa: SLF001
        if result is not None:
            result.unbuffered_active = False  # else the driver reads all that is to come
    connection._result = None  # noqa: SLF001
    if (line := connection._sock) is not None:  # noqa: SLF001 - closing it alone does not wake who reads from it
        with suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)
    connection._force_close()  # noqa: SLF001 - `close` sends a farewell first


def close(connection: Any) -> None:
    """Ends a connection that is idle, with the farewell that a server expects."""
    if connection.open:
        with suppress(Exception):
            connection.close()


def _number(text: bytes) -> int | Decimal:
    number = Decimal(text.decode())
    return int(number) if number == number.to_integral_value() else number
