"""What is around every answer, whoever gives it: its headers, its line in the access log, the address's limit."""

import json
import logging
import sys
import time
import uuid
from datetime import UTC, datetime
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from export_pipeline.api.failures import limit_answer
from export_pipeline.api.rates import Rates, client_of
from export_pipeline.errors import LimitError

ACCESS_LOG = "export_pipeline.api.access"
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
"""Of every answer that does not set them itself."""

_UNLIMITED = "/health"
_LONGEST_PATH = 500
_log = logging.getLogger(ACCESS_LOG)


class EveryAnswer:
    """Stands outside of all else, so that errors have the headers and the line too."""

    def __init__(self, app: ASGIApp, rates: Rates) -> None:
        self._app, self._rates = app, rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or answers 429 where its address has made too many."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(scope, send)
        try:
            try:
                if scope["path"] != _UNLIMITED:
                    self._rates.request(client_of(scope))
            except LimitError as error:
                await limit_answer(error)(scope, receive, answer.send)
            else:
                await self._app(scope, receive, answer.send)
        finally:
            answer.log()


class _Answer:
    """One answer on its way out."""

    def __init__(self, scope: Scope, send: Send) -> None:
        scope.setdefault("state", {})
        self._scope, self._send = scope, send
        self._id, self._began = uuid.uuid4(), time.perf_counter()
        self._status, self._bytes, self._seconds = 0, 0, 0.0

    async def send(self, message: Message) -> None:
        """Adds the headers, and counts."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = str(self._id)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        self._bytes += len(message.get("body", b""))
        await self._send(message)
        self._seconds = time.perf_counter() - self._began

    def log(self) -> None:
        """Writes the line: JSON, in which no control character stands as itself; 0 is the status of no answer."""
        if _log.isEnabledFor(logging.INFO):
            _log.info("%s", json.dumps(self._line()))

    def _line(self) -> dict[str, Any]:
        caller = self._scope["state"].get("caller")
        return {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "client": client_of(self._scope),
            "method": self._scope["method"],
            "path": self._scope["path"][:_LONGEST_PATH],
            "status": self._status,
            "bytes": self._bytes,
            "ms": round(self._seconds * 1000, 1),
            "actor": caller.actor if caller else None,
            "workspace": str(caller.tenant_id) if caller else None,
            "request_id": str(self._id),
        }


def write_access_log() -> None:
    """Lets the access log be written: to standard error, unless whoever runs the process has given it a handler."""
    _log.setLevel(logging.INFO)
    if not _log.hasHandlers():
        _log.addHandler(logging.StreamHandler(sys.stderr))
