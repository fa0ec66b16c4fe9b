"""A ClickHouse that speaks HTTP, as a process of its own: chdb's engine behind as much of the protocol as clients use.

`python -m export_pipeline_tests.servers.clickhouse_process PORT [CONFIG]`. It knows users with settings of their own,
KILL QUERY, and faults that are played on answers; the requests under `/_test/` are how a test sets them.
"""

import json
import os
import re
import signal
import socket
import sys
import threading
from base64 import b64decode
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import chdb
import pyarrow as pa

_PLACE = ":memory:"
_TRANSPORT = {"query", "database", "default_format", "query_id", "user", "password", "wait_end_of_query",
              "client_protocol_version", "session_id", "enable_http_compression"}  # fmt: skip
_KILL = re.compile(r"KILL QUERY WHERE query_id = '([\w-]+)'")
_MEMORY = (
    "Code: 241. DB::Exception: Memory limit (for query) exceeded: would use 9.31 GiB. (MEMORY_LIMIT_EXCEEDED) "
    "(version 26.9.2.1)"
)
_QUOTA = "Code: 201. DB::Exception: Quota for user default for 3600s has been exceeded: read_rows. (QUOTA_EXCEEDED)"
_CANCELLED = "Code: 394. DB::Exception: Query was cancelled. (QUERY_WAS_CANCELLED)"
_PIECE = 65_536


@dataclass
class State:
    """What tests have set, and what was asked."""

    users: dict[str, tuple[str, dict[str, str]]] = field(default_factory=lambda: {"default": ("", {})})
    refused: set[str] = field(default_factory=set)
    fault: dict[str, Any] | None = None
    queries: list[dict[str, Any]] = field(default_factory=list)
    killed: dict[str, threading.Event] = field(default_factory=dict)
    kills: list[str] = field(default_factory=list)


STATE = State()
CONNECT: Any = chdb.connect  # has no types
PLACE = _PLACE


class QueryError(Exception):
    """An error that the server answers; its text begins with its code."""


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Nothing is logged."""

    def do_GET(self) -> None:
        """Pings."""
        self._answer(200, b"Ok.\n")

    def do_POST(self) -> None:
        """A query, or something for the tests."""
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode("utf-8", "surrogateescape")
        if parts.path.startswith("/_test/"):
            self._answer(200, json.dumps(_test(parts.path.removeprefix("/_test/"), body)).encode())
            return
        parameters = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        sql = f"{parameters.get('query', '')} {body}".strip()
        try:
            user = self._user()
            found = _ran(sql, parameters, user)
        except QueryError as error:
            self._failed(str(error))
            return
        self._play(sql, found, parameters.get("query_id", ""))

    def _user(self) -> str:
        kind, _, given = self.headers.get("Authorization", "").partition(" ")
        name, _, password = b64decode(given).decode().partition(":") if kind == "Basic" else ("default", "", "")
        if name not in STATE.users or STATE.users[name][0] != password:
            raise QueryError(
                f"Code: 516. DB::Exception: {name}: Authentication failed: password is incorrect, or there is no user "
                "with such name. (AUTHENTICATION_FAILED)"
            )
        return name

    def _play(self, sql: str, found: bytes, query_id: str) -> None:
        fault = STATE.fault
        if fault is None or fault["match"] not in sql:
            self._begin()
            self._send(found)
            self._end()
            return
        if not fault.get("always"):
            STATE.fault = None
        getattr(self, f"_fault_{fault['kind']}")(found, query_id)

    def _fault_killed(self, found: bytes, query_id: str) -> None:
        self._begin()
        self._send(found[: len(found) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    def _fault_reset(self, found: bytes, query_id: str) -> None:
        self._begin()
        self._send(found[: len(found) // 2])
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _fault_exception(self, found: bytes, query_id: str) -> None:
        """As ClickHouse wrote it before 25.11: the text follows the rows."""
        self._ended_with(found[: len(found) // 2], _MEMORY.encode())

    def _fault_exception_between_batches(self, found: bytes, query_id: str) -> None:
        self._ended_with(_half_of_the_batches(found), _QUOTA.encode())

    def _fault_tagged_exception(self, found: bytes, query_id: str) -> None:
        told = (
            f"\r\n__exception__\r\nabcdefghijklmnop\r\n{_MEMORY}\n{len(_MEMORY)} abcdefghijklmnop\r\n__exception__\r\n"
        )
        self._ended_with(_half_of_the_batches(found), told.encode())

    def _fault_truncated(self, found: bytes, query_id: str) -> None:
        """A body that ends as if it were whole."""
        self._ended_with(found[: len(found) // 2], b"")

    def _fault_truncated_between_batches(self, found: bytes, query_id: str) -> None:
        self._ended_with(_half_of_the_batches(found), b"")

    def _fault_without_end(self, found: bytes, query_id: str) -> None:
        self._ended_with(found[:-8], b"")

    def _fault_exception_after_the_end(self, found: bytes, query_id: str) -> None:
        self._ended_with(found, _MEMORY.encode())

    def _fault_nothing(self, found: bytes, query_id: str) -> None:
        self._ended_with(b"", b"")

    def _fault_stalled(self, found: bytes, query_id: str) -> None:
        """Half of the rows, and then nothing until the query is killed."""
        self._begin()
        self._send(found[: len(found) // 2])
        self._killed(query_id)
        self._send(_CANCELLED.encode())
        self._end()

    def _fault_stalled_before(self, found: bytes, query_id: str) -> None:
        """No answer until the query is killed."""
        self._killed(query_id)
        self._failed(_CANCELLED)

    def _fault_refused(self, found: bytes, query_id: str) -> None:
        self._failed(_QUOTA)

    def _killed(self, query_id: str) -> None:
        STATE.killed.setdefault(query_id, threading.Event()).wait(120)

    def _ended_with(self, sent: bytes, told: bytes) -> None:
        self._begin()
        self._send(sent)
        self._send(told)
        self._end()

    def _begin(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("X-ClickHouse-Format", "ArrowStream")
        self.end_headers()

    def _send(self, found: bytes) -> None:
        for place in range(0, len(found), _PIECE):
            piece = found[place : place + _PIECE]
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")

    def _end(self) -> None:
        self.wfile.write(b"0\r\n\r\n")

    def _failed(self, told: str) -> None:
        found = re.match(r"Code: (\d+)", told)
        code = found[1] if found else "0"
        self._answer(403 if code == "516" else 500, told.encode(), headers={"X-ClickHouse-Exception-Code": code})

    def _answer(self, status: int, body: bytes, *, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _half_of_the_batches(found: bytes) -> bytes:
    """A stream with some of the batches, and without its end."""
    reader = pa.ipc.open_stream(found)
    batches = list(reader)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, reader.schema) as writer:
        for batch in batches[: len(batches) // 2]:
            writer.write_batch(batch)
    return bytes(sink.getvalue().to_pybytes()[:-8])


def _ran(sql: str, parameters: dict[str, str], user: str) -> bytes:
    if (kill := _KILL.match(sql)) is not None:
        STATE.kills.append(kill[1])
        STATE.killed.setdefault(kill[1], threading.Event()).set()
    settings = {name: value for name, value in parameters.items() if name not in _TRANSPORT}
    for name in STATE.refused & settings.keys():
        raise QueryError(
            f"Code: 452. DB::Exception: Setting {name} shouldn't be greater than 10. (SETTING_CONSTRAINT_VIOLATION)"
        )
    connection = CONNECT(PLACE)
    try:
        if database := parameters.get("database"):
            _query(connection, f"USE `{database}`")
        profile = STATE.users[user][1]
        for name, value in sorted(profile.items(), key=lambda item: item[0] == "readonly"):
            _query(connection, f"SET {name} = {_quoted(value)}")
        if settings:
            _query(connection, "SET " + ", ".join(f"{name} = {_quoted(value)}" for name, value in settings.items()))
        answer = _query(connection, sql, parameters.get("default_format", "TabSeparated"))
        STATE.queries.append({"sql": sql, "rows_read": answer.storage_rows_read(), "settings": settings, "user": user})
        return bytes(answer.bytes())
    finally:
        connection.close()


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _query(connection: Any, sql: str, format_: str = "TabSeparated") -> Any:
    try:
        return connection.query(sql, format_)
    except RuntimeError as error:
        raise QueryError(str(error)) from None


def _test(name: str, body: str) -> Any:
    told = json.loads(body)
    if name == "user":
        STATE.users[told["name"]] = (told["password"], told["settings"])
    elif name == "fault":
        STATE.fault = told
    elif name == "refused":
        STATE.refused = set(told)
    elif name == "queries":
        found, STATE.queries = STATE.queries, []
        return found
    elif name == "kills":
        return STATE.kills
    return None


def main() -> None:
    """Serves until it is ended."""
    global PLACE  # noqa: PLW0603 - the one place of the process
    if len(sys.argv) > 2:
        PLACE = f":memory:?config-file={sys.argv[2]}"
    kept = CONNECT(PLACE)
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
    kept.close()


if __name__ == "__main__":
    main()
