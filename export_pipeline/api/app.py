"""Puts the API together."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.types import ASGIApp

from export_pipeline.api import destinations, docs, exports, filters, health, metrics, records
from export_pipeline.api.answers import EveryAnswer, write_access_log
from export_pipeline.api.context import Context
from export_pipeline.api.failures import ERRORS, add_handlers
from export_pipeline.api.rates import Rates
from export_pipeline.exports.control.database import ControlDatabase, open_control
from export_pipeline.settings import Settings, load_settings

_SECURITY: Mapping[str, Mapping[str, str]] = {
    "API Key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "Tenant ID": {"type": "apiKey", "in": "header", "name": "X-Tenant-Id"},
    "Bearer Auth": {"type": "http", "scheme": "bearer", "description": "An API key, as an alternative to X-API-Key."},
}


class _Api(FastAPI):
    """FastAPI, with what is around every answer outside of its own handling of errors."""

    def build_middleware_stack(self) -> ASGIApp:
        """Called by Starlette at the first request."""
        return EveryAnswer(super().build_middleware_stack(), self.state.context.rates)


def create_app(settings: Settings | None = None, control: ControlDatabase | None = None) -> FastAPI:
    """The application, of the settings of this process unless others are given; connects at the first call.

    A control database that is given stays the caller's to close.
    """
    settings = (load_settings() if settings is None else settings).resolved()
    opened = open_control(settings) if control is None else control

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        if control is None:
            opened.close()

    app = _Api(
        title="export_pipeline",
        version=version("export-pipeline"),
        description="Bulk exports of LLM traces to S3, as LangSmith's API has them.",
        lifespan=lifespan,
        separate_input_output_schemas=False,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    app.state.context = Context(settings, opened, Rates(settings.api_rate))
    if settings.api_access_log:
        write_access_log()
    add_handlers(app)
    calls = APIRouter(prefix="/api/v1", responses=ERRORS)
    for router in (destinations.router, exports.router, filters.router, records.router):
        calls.include_router(router)
    app.include_router(calls)
    for router in (health.router, metrics.router, docs.router):
        app.include_router(router)
    app.openapi = lambda: _described(app)  # type: ignore[method-assign]  # FastAPI's way to extend the document
    return app


def _described(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the ways to authenticate."""
    if app.openapi_schema is None:
        document = FastAPI.openapi(app)
        document["components"]["securitySchemes"] = {name: dict(scheme) for name, scheme in _SECURITY.items()}
        # What was given is never repeated in an answer.
        for name in ("input", "ctx"):
            document["components"]["schemas"]["ValidationError"]["properties"].pop(name, None)
        for path, operations in document["paths"].items():
            for operation in operations.values():
                if operation.pop("x-scope", None) or path.startswith("/api/"):
                    operation["security"] = [{name: []} for name in _SECURITY]
        app.openapi_schema = document
    return app.openapi_schema
