"""What a failed call answers. Nothing of a request's values is repeated, because they may be secret."""

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from export_pipeline.api.wire import Body
from export_pipeline.errors import (
    ConflictError,
    ControlSchemaError,
    DestinationError,
    ExportPipelineError,
    InputError,
    LimitError,
    NotFoundError,
    RetryableError,
    SettingsError,
)

NOT_FOUND = "Not found"
"""Of every id alike, so that an id of another workspace cannot be told from one that was never given."""

_BUSY_SECONDS = 5
_UNAVAILABLE = {
    500: "Internal error; the service's log says more.",
    503: "The service cannot answer now; its log says why.",
}
_log = logging.getLogger("export_pipeline.api")


class Problem(Body):
    """An error in one sentence."""

    detail: str


ERRORS: dict[int | str, dict[str, Any]] = {
    401: {"model": Problem, "description": "No valid API key"},
    403: {"model": Problem, "description": "The key lacks the scope"},
    404: {"model": Problem, "description": "Not found in this workspace"},
    503: {"model": Problem, "description": "The control database cannot be used now"},
}
"""What every call may answer, beside 422."""

REFUSED: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The destination was refused"},
    409: {"model": Problem, "description": "The state of the thing forbids it"},
    429: {"model": Problem, "description": "A limit is reached; Retry-After says for how long"},
}
"""What changing calls may answer, too."""


def add_handlers(app: FastAPI) -> None:
    """Answers for every error that can leave a call."""
    app.add_exception_handler(ExportPipelineError, _ours)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _unexpected)


_STATUS: tuple[tuple[type[ExportPipelineError], int], ...] = (
    (NotFoundError, 404),
    (ConflictError, 409),
    (LimitError, 429),
    (DestinationError, 400),
    (SettingsError, 503),
    (InputError, 422),
    (RetryableError, 503),
    (ControlSchemaError, 503),
)


async def _ours(_request: Request, error: Any) -> JSONResponse:
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    if status == 422:
        return _invalid_answer([{"loc": ["body"], "msg": str(error), "type": "value_error"}])
    if status >= 500:
        _log.error("%s", error)
        return _answer(status, _UNAVAILABLE[status], {"Retry-After": str(_BUSY_SECONDS)} if status == 503 else None)
    if isinstance(error, DestinationError):
        return _answer(status, f"Failed to validate S3 destination: {error.error_class}. {error}")
    if isinstance(error, LimitError):
        return limit_answer(error)
    return _answer(status, NOT_FOUND if status == 404 else str(error))


def limit_answer(error: LimitError) -> JSONResponse:
    """What a reached limit answers."""
    return _answer(429, str(error), {"Retry-After": str(error.retry_after)})


async def _http(_request: Request, error: Any) -> JSONResponse:
    if error.status_code == 413:
        return _invalid_answer([{"loc": ["body"], "msg": "The body is larger than 1 MiB.", "type": "too_long"}])
    return _answer(error.status_code, str(error.detail), error.headers)


async def _invalid(_request: Request, error: Any) -> JSONResponse:
    return _invalid_answer([{name: item[name] for name in ("loc", "msg", "type")} for item in error.errors()])


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    # Without the message: that of a driver may hold the values of a statement.
    _log.error("%s %s: unexpected %s", request.method, request.url.path, type(error).__name__)
    return _answer(500, _UNAVAILABLE[500])


def _invalid_answer(detail: list[dict[str, Any]]) -> JSONResponse:
    return JSONResponse({"detail": _encodable(detail)}, 422)


def _answer(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": _encodable(detail)}, status, headers)


def _encodable(value: Any) -> Any:
    """Without lone surrogates, which JSON can write and UTF-8 cannot."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {key: _encodable(item) for key, item in value.items()}
    return [_encodable(item) for item in value] if isinstance(value, list | tuple) else value
