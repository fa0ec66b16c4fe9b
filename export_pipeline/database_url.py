"""Database URLs as settings hold them: read with SQLAlchemy, written for libpq, shown without what is secret.

Several servers (`host1:5432,host2:5432`) become SQLAlchemy's form of them, `host` parameters.
"""

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from export_pipeline.errors import SettingsError

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

_SHAPE = re.compile(r"(?P<scheme>[\w+]+)://(?:(?P<user>[^:/]*(?::[^@]*)?)@)?(?P<rest>.*)", re.DOTALL)
_HOSTS = re.compile(r"(?P<hosts>[^/?]*,[^/?]*)(?P<path>(?:/[^?]*)?)(?:\?(?P<query>.*))?", re.DOTALL)
_ESCAPE_HINT = (
    "its user or password seems to hold a character that has a meaning in URLs; write @ as %40, / as %2F, : as %3A, "
    "# as %23, ? as %3F, % as %25"
)
_REMOVE = "remove it"
_SCHEMA = "write options=-csearch_path%3D and the schema's name instead"
_SSL = "write sslmode=require instead, or sslmode=verify-full to check the server's certificate"
_FOREIGN_PARAMETERS = {
    "schema": _SCHEMA,
    "currentSchema": _SCHEMA,
    "search_path": _SCHEMA,
    "ssl": _SSL,
    "sslaccept": _SSL,
    "charset": "write client_encoding instead, or remove it",
    **dict.fromkeys(
        (
            "pgbouncer",
            "connection_limit",
            "pool_timeout",
            "pool_size",
            "max_overflow",
            "socket_timeout",
            "statement_cache_size",
            "prepared_statement_cache_size",
            "prepared_statement_name_func",
            "prepare_threshold",
            "prepareThreshold",
            "command_timeout",
            "server_settings",
            "async_fallback",
            "uselibpqcompat",
            "supa",
            "serverVersion",
        ),
        _REMOVE,
    ),
}
"""What other drivers take in a URL and libpq does not, and what to do about it."""


def parse_database_url(text: str, *, setting: str, accepted: str) -> "URL":
    """The URL of a setting; raises `SettingsError`, which holds nothing of the URL's user, password or host."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    parts = _SHAPE.fullmatch(text.strip())
    if parts is not None and parts["user"] is not None and "@" in parts["rest"].partition("=")[0]:
        raise SettingsError(f"{setting} cannot be read: {_ESCAPE_HINT}")
    try:
        url = make_url(_with_host_parameters(parts) if parts is not None else text)
    except (ArgumentError, ValueError):
        hint = f"; {_ESCAPE_HINT}" if parts is not None and parts["user"] else ""
        raise SettingsError(f"{setting} is not a database URL: {accepted}{hint}") from None
    if url.get_backend_name() in {"postgresql", "postgres"}:
        _refuse_foreign(url, setting=setting)
    return url


def _with_host_parameters(parts: re.Match[str]) -> str:
    several = _HOSTS.fullmatch(parts["rest"])
    user = "" if parts["user"] is None else f"{parts['user']}@"
    if several is None or not parts["scheme"].startswith("postgres"):
        return f"{parts['scheme']}://{user}{parts['rest']}"
    query = "&".join([f"host={host}" for host in several["hosts"].split(",")] + [several["query"] or ""])
    return f"{parts['scheme']}://{user}{several['path'] or '/'}?{query.rstrip('&')}"


def _refuse_foreign(url: "URL", *, setting: str) -> None:
    for name, value in url.query.items():
        if name in _FOREIGN_PARAMETERS:
            raise SettingsError(
                f"{setting} has the parameter {name}, which libpq, the PostgreSQL client, does not know; "
                f"{_FOREIGN_PARAMETERS[name]}"
            )
        if name == "sslmode" and value == "no-verify":
            raise SettingsError(
                f"{setting} has sslmode=no-verify, which libpq, the PostgreSQL client, does not know; "
                "write sslmode=require, which encrypts without checking the server's certificate"
            )


def libpq_uri(url: "URL", *, defaults: dict[str, str]) -> str:
    """The libpq form of a URL, with `defaults` for parameters that it does not set."""
    query = {**defaults, **url.query}
    hosts = query.pop("host", None)
    if isinstance(hosts, tuple):
        place = ",".join(map(_address, hosts))
    elif hosts is not None:
        query["host"], place = hosts, ""
    else:
        place = _address(url.host or "") + ("" if url.port is None else f":{url.port}")
    user = "" if url.username is None else _escaped(url.username)
    if url.password is not None:
        user += f":{_escaped(str(url.password))}"
    # A blank must be %20: libpq does not take + for one.
    parameters = "&".join(
        f"{name}={_escaped(value if isinstance(value, str) else value[-1])}" for name, value in query.items()
    )
    return f"postgresql://{user}{'@' if user else ''}{place}/{_escaped(url.database or '')}?{parameters}"


def _address(host: str) -> str:
    return f"[{host}]" if host.count(":") > 1 and not host.startswith("[") else host


def _escaped(text: str) -> str:
    return quote(text, safe="")


def shown(url: "URL") -> str:
    """The URL as messages name it, without its password and its parameters."""
    plain = url.set(query={}).render_as_string(hide_password=True)
    if not isinstance(hosts := url.query.get("host"), tuple):
        return plain
    scheme, _, rest = plain.partition("://")
    user, at, path = rest.rpartition("@")
    return f"{scheme}://{user}{at}{','.join(hosts)}{path}"
