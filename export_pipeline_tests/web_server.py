"""An HTTP server that answers as Dagster's web server does."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from export_pipeline_tests.servers.http import Answer, Asked, http_server

Told = dict[str, Any] | Callable[[dict[str, Any]], dict[str, Any]]


@dataclass
class WebServer:
    """Its address, and what was asked."""

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def web_server(told: Told) -> Iterator[WebServer]:
    """Serves one answer to everything, or what a function answers to each request."""
    web = WebServer()

    def answer(asked: Asked) -> Answer:
        web.asked.append(json.loads(asked.body))
        return Answer(body=json.dumps(told(web.asked[-1]) if callable(told) else told).encode())

    with http_server(answer) as server:
        web.url = server.url
        yield web
