"""Dagster's web server for this machine, with Dagster's own options.

`python -m export_pipeline.orchestration.web` starts it.

Dagster's API has no login and takes any request, so that a page of another site, opened in a browser on the same
machine, could launch runs and end schedules by a plain form. Here it answers its own pages and programs only.
"""

from typing import Any
from urllib.parse import parse_qs, urlsplit

from dagster_webserver import cli
from dagster_webserver.app import create_app_from_workspace_process_context
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from export_pipeline.home import came_through_proxy, is_loopback

_FOREIGN = "Dagster answers its own pages and programs on this machine only."
_NO_QUERY = "Queries are sent by POST, in the body."


class OwnPagesOnly:
    """Refuses what pages of other sites send, names that are not this machine's, and queries in an address.

    `Host` is a name of loopback (a name that was rebound to it is not); `Origin`, where there is one, is the page's
    own; `Sec-Fetch-Site`, which browsers always send, is this site. A link on another site may lead to a page. Programs
    send neither `Origin` nor `Sec-Fetch-Site`. What came through a proxy may come from anywhere, and is refused.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or answers 403 or 405."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
        elif not is_own(scope):
            await _refuse(scope, receive, send, 403, _FOREIGN)
        elif scope["type"] == "http" and _queries_by_address(scope):
            await _refuse(scope, receive, send, 405, _NO_QUERY)
        else:
            await self._app(scope, receive, send)


def is_own(scope: Scope) -> bool:
    """Whether a request comes from a page that this server has given out, from a program, or follows a link."""
    headers = Headers(scope=scope)
    host, origin, site = headers.get("host", ""), headers.get("origin"), headers.get("sec-fetch-site", "none")
    if came_through_proxy(headers.keys()) or not is_loopback(_parts("//" + host)[0]):
        return False
    if origin is not None and _parts(origin) != _parts("//" + host):
        return False
    follows_link = scope.get("method") == "GET" and headers.get("sec-fetch-mode") == "navigate"
    return site in {"same-origin", "none"} or (follows_link and headers.get("sec-fetch-dest") == "document")


def _queries_by_address(scope: Scope) -> bool:
    """Whether GraphQL is asked for in the address: by GET it would change things, by POST a form could send it.

    Dagster's pages name the operation there (`?op=…`), and nothing else.
    """
    asked = parse_qs(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
    return scope["path"].rstrip("/").endswith("/graphql") and "query" in asked


def _parts(address: str) -> tuple[str, int | None]:
    try:
        parts = urlsplit(address)
        return parts.hostname or "", parts.port
    except ValueError:
        return "", None


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, text: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": text})
        return
    await PlainTextResponse(text, status)(scope, receive, send)


def create_app(*arguments: Any, **options: Any) -> Starlette:
    """Dagster's app behind `OwnPagesOnly`; takes what Dagster's own function takes."""
    app = create_app_from_workspace_process_context(*arguments, **options)
    app.add_middleware(OwnPagesOnly)
    return app


def main() -> None:
    """Dagster's command line, with this app in the place of its own."""
    cli.create_app_from_workspace_process_context = create_app  # type: ignore[attr-defined]
    cli.main()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
