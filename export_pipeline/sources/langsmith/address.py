"""Where the API is: `langsmith://host[:port][/path]`, or `langsmith+http://` on a private network."""

import ipaddress
import socket
from urllib.parse import urlsplit

from export_pipeline.errors import SettingsError, SourceUnreachableError
from export_pipeline.settings import PREFIX

_SCHEMES = {"langsmith": "https", "langsmith+http": "http"}
_API_SUFFIXES = ("/api/v1", "/api/v2", "/api")
"""What a URL copied from the settings of the SDK may end with; every call brings its own."""


def is_langsmith(url: str) -> bool:
    """Whether a URL of a trace store names a LangSmith."""
    return url.partition("://")[0].lower() in _SCHEMES


def base_url(url: str, *, private: bool) -> str:
    """The address that the API's paths are appended to; `private`: http is allowed on private networks.

    Raises `SettingsError`, which holds nothing of the URL but its host.
    """
    name = f"{PREFIX}SOURCE_URL"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise SettingsError(f"{name} cannot be read as a URL") from None
    if "@" in parts.netloc:
        raise SettingsError(f"{name} must not contain a user or a key: the key belongs into {PREFIX}SOURCE_API_KEY")
    if not host or parts.query or parts.fragment:
        raise SettingsError(f"{name} must look like langsmith://api.smith.langchain.com, perhaps with port and path")
    scheme = _SCHEMES[parts.scheme.lower()]
    if scheme == "http":
        _refuse_public(host, port or 80, allowed=private)
    path = parts.path.rstrip("/")
    for suffix in _API_SUFFIXES:
        path = path.removesuffix(suffix)
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}{'' if port is None else f':{port}'}{path}"


def _refuse_public(host: str, port: int, *, allowed: bool) -> None:
    """Over http the key can be read on the way."""
    name = f"{PREFIX}SOURCE_URL"
    if not allowed:
        raise SettingsError(
            f"{name} must begin with langsmith://, which is https; langsmith+http:// is for private networks, with "
            f"{PREFIX}ALLOW_PRIVATE_ENDPOINTS=true"
        )
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise SourceUnreachableError(
            f"the host {host!r} of {name} has no known address; check its spelling and this machine's name resolution"
        ) from None
    for item in found:
        address = ipaddress.ip_address(str(item[4][0]).partition("%")[0])
        if address.is_global:
            raise SettingsError(f"{name} leads to {address}, a public address, which needs langsmith:// (https)")
