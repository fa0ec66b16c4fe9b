"""Who may call what, and which bodies are read: decided before anything of the request is looked at."""

import json
import re
from collections.abc import AsyncGenerator, Callable, Coroutine
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

from export_pipeline.api.context import Caller, Context
from export_pipeline.api.failures import NOT_FOUND
from export_pipeline.api.rates import client_of
from export_pipeline.errors import DestinationError, ExportPipelineError, LimitError
from export_pipeline.exports.access.keys import SCOPES, ApiKey, authenticate
from export_pipeline.exports.projects.workspace import workspace_of
from export_pipeline.home import came_through_proxy, is_loopback
from export_pipeline.runs.ids import parse_uuid

MAX_BODY = 1024 * 1024
MAX_DEPTH = 32

_REASONS = {401: "key", 403: "scope", 404: "workspace"}
"""Why a call with a known key was not admitted, by the status of the answer."""

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")


class GuardedRoute(APIRoute):
    """A route that asks for a key with the scope of the call before it reads the body."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler with the guard in front."""
        handle = super().get_route_handler()
        scope = (self.openapi_extra or {}).get("x-scope") or _scope(self.methods)

        async def guarded(request: Request) -> Response:
            try:
                await run_in_threadpool(admit, request, scope=scope)
                return await handle(BoundedRequest(request.scope, request.receive))
            except (HTTPException, LimitError, DestinationError) as error:
                await run_in_threadpool(_note_refusal, request, error)
                raise

        return guarded


def _scope(methods: set[str] | None) -> str:
    return "bulk-exports:read" if methods == {"GET"} else "bulk-exports:manage"


def _note_refusal(request: Request, error: HTTPException | LimitError | DestinationError) -> None:
    """Adds it to the audit log of a known caller; who is not known stands in the access log alone."""
    caller: Caller | None = getattr(request.state, "caller", None)
    if isinstance(error, HTTPException):
        reason, text = _REASONS.get(error.status_code), error.detail
    else:
        reason, text = "limit" if isinstance(error, LimitError) else "destination", str(error)
    if caller is not None and reason is not None:
        context: Context = request.app.state.context
        context.refusals.note(
            context.control,
            tenant_id=caller.tenant_id,
            actor=caller.actor,
            reason=reason,
            subject=f"{request.method} {request.scope['path']}".encode("unicode_escape").decode(),
            text=text,
        )


class BoundedRequest(Request):
    """A request whose body is refused where it is too large, nested too deep, or no JSON in the strict sense."""

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The body's pieces; raises `HTTPException` 413 beyond `MAX_BODY`."""
        size = 0
        async for piece in super().stream():
            size += len(piece)
            if size > MAX_BODY:
                raise HTTPException(413, "The body is too large.")
            yield piece

    async def json(self) -> Any:
        """The parsed body; raises `JSONDecodeError`."""
        body = await self.body()
        if depth(body) > MAX_DEPTH:
            raise json.JSONDecodeError(f"nested deeper than {MAX_DEPTH}", "", 0)
        try:
            return json.loads(body, parse_constant=_no_number)
        except json.JSONDecodeError as error:
            raise json.JSONDecodeError(error.msg, "", 0) from None
        except (ValueError, RecursionError):  # no UTF-8, integers of thousands of digits
            raise json.JSONDecodeError("not readable as JSON", "", 0) from None


def depth(body: bytes) -> int:
    """How deep brackets are nested, outside of strings; of anything, also of what is no JSON."""
    deepest = now = 0
    for bracket in _BRACKET.finditer(_STRING.sub(b"", body)):
        now += 1 if bracket[0] in b"[{" else -1
        deepest = max(deepest, now)
    return deepest


def _no_number(name: str) -> None:
    raise json.JSONDecodeError(f"{name} is no JSON", "", 0)


def admit(request: Request, *, scope: str) -> None:
    """Sets `request.state.caller`; 401 without a valid key, 404 for another workspace, 403 without scope."""
    context: Context = request.app.state.context
    caller = _only_user(request, context) if context.settings.api_single_user else _key_holder(request, context)
    request.state.caller = caller
    named = request.headers.get("x-tenant-id")
    if named is not None and parse_uuid(named) != caller.tenant_id:
        raise HTTPException(404, NOT_FOUND)
    if scope not in caller.scopes:
        raise HTTPException(403, f"The API key lacks the scope {scope}.")


def _key_holder(request: Request, context: Context) -> Caller:
    text = request.headers.get("x-api-key") or _bearer(request.headers.get("authorization", ""))
    key = _checked(request, context, text) if text else None
    if key is None:
        raise HTTPException(
            401, "Give a valid API key in the header X-API-Key.", headers={"WWW-Authenticate": "Bearer"}
        )
    return Caller(tenant_id=key.tenant_id, scopes=frozenset(key.scopes), actor=key.actor)


def _name_caller(request: Request, key: ApiKey) -> None:
    """Lets the logs name a key that is not valid any more; it may do nothing."""
    request.state.caller = Caller(tenant_id=key.tenant_id, scopes=frozenset(), actor=key.actor)


def _checked(request: Request, context: Context, text: str) -> ApiKey | None:
    """The key with this text where it is valid; the control database is not asked beyond the limits of tries."""
    host = client_of(request.scope)
    context.rates.attempt(host, text)
    try:
        key = authenticate(context.control, text, ended=partial(_name_caller, request))
    except ExportPipelineError:
        context.rates.undecided(host, text)
        raise
    if key is None:
        context.rates.invalid(text)
    else:
        context.rates.valid(host, text)
    return key


def _bearer(header: str) -> str:
    kind, _, token = header.partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def _only_user(request: Request, context: Context) -> Caller:
    """Single-user mode: whoever is on this machine. Pages of other sites, opened in its browser, are not."""
    client, server = request.client, request.scope.get("server")
    local = (client is None or is_loopback(client.host)) and (server is None or is_loopback(str(server[0])))
    if not local or not is_loopback(_host_of("//" + request.headers.get("host", ""))):
        raise HTTPException(403, "In single-user mode the API answers this machine only, at 127.0.0.1.")
    if came_through_proxy(request.headers.keys()):
        raise HTTPException(
            403,
            "In single-user mode the API answers no requests through a proxy: whoever reaches the proxy would need no "
            "key. Leave single-user mode off, and make keys with `export-pipeline keys create`.",
        )
    origin = request.headers.get("origin")
    if origin is not None and not is_loopback(_host_of(origin)):
        raise HTTPException(403, "In single-user mode the API answers no pages of other sites.")
    tenant_id = workspace_of(context.control, context.settings)
    return Caller(tenant_id=tenant_id, scopes=frozenset(SCOPES), actor="single-user")


def _host_of(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""
