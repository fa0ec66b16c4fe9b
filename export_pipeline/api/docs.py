"""The documentation page: the OpenAPI document as plain HTML, without scripts and without files from elsewhere."""

import base64
import hashlib
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

router = APIRouter(include_in_schema=False)

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "code,h2{font-family:ui-monospace,monospace}h2{font-size:1rem;border-top:1px solid #ccc;padding-top:1rem}"
    "td,th{text-align:left;vertical-align:top;padding:0 1.5rem .2rem 0}"
)
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@router.get("/docs")
def docs(request: Request) -> HTMLResponse:
    """Every call, and the fields of every body."""
    return HTMLResponse(page(request.app.openapi()), headers={"Content-Security-Policy": _POLICY})


def page(document: Mapping[str, Any]) -> str:
    """The page of an OpenAPI document."""
    info = document["info"]
    title = escape(f"{info['title']} {info['version']}")
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>',
        f"<h1>{title}</h1><p>{escape(info['description'])} The same for programs: ",
        '<a href="/openapi.json">/openapi.json</a>. Calls that ask for a key take it in the header ',
        "<code>X-API-Key</code>.</p>",
    ]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parts += _call(method, path, operation)
    for name, schema in document["components"]["schemas"].items():
        parts += _schema(name, schema)
    return "".join([*parts, "</html>"])


def _call(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h2>{method.upper()} {escape(path)}</h2><p>{escape(operation.get('description', ''))}"
    yield " Asks for a key.</p>" if operation.get("security") else "</p>"
    rows: list[tuple[str, ...]] = [
        (item["name"], f"in the {item['in']}", _type(item["schema"]), _needed(item["required"]))
        for item in operation.get("parameters", ())
    ]
    if body := operation.get("requestBody"):
        rows.append(("body", "", _content(body), _needed(body.get("required", False))))
    rows += [(status, answer["description"], _content(answer), "") for status, answer in operation["responses"].items()]
    yield _table(rows)


def _schema(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield f'<h2 id="{escape(name)}">{escape(name)}</h2><p>{escape(schema.get("description", ""))}</p>'
    if values := schema.get("enum"):
        yield f"<p>{', '.join(f'<code>{escape(str(value))}</code>' for value in values)}</p>"
    required = schema.get("required", ())
    fields = schema.get("properties", {}).items()
    yield _table([(field, _type(kind), _needed(field in required)) for field, kind in fields])


def _table(rows: list[tuple[str, ...]]) -> str:
    cells = ("".join(f"<td>{cell if cell.startswith('<') else escape(cell)}</td>" for cell in row) for row in rows)
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"


def _needed(required: bool) -> str:
    return "required" if required else ""


def _content(body: Mapping[str, Any]) -> str:
    return " or ".join(_type(kind["schema"]) for kind in body.get("content", {}).values() if "schema" in kind)


def _type(schema: Mapping[str, Any]) -> str:
    """The type of a value, as HTML."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if choices := schema.get("anyOf"):
        return f"<span>{' or '.join(map(_type, choices))}</span>"
    if schema.get("type") == "array":
        return f"<span>list of {_type(schema.get('items', {}))}</span>"
    return f"<code>{escape(schema.get('format') or schema.get('type', 'any'))}</code>"
