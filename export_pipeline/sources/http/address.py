"""Where an API is: `scheme://host[:port][/path]`, or `scheme+http://` on a private network."""

import ipaddress
import socket
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

from export_pipeline.errors import SettingsError, SourceUnreachableError
from export_pipeline.settings import PREFIX

_NAME = f"{PREFIX}SOURCE_URL"


@dataclass(frozen=True)
class Address:
    """How the addresses of a kind of API are written.

    `suffixes` are what a URL copied from elsewhere may end with, though every call brings its own.
    """

    scheme: str
    example: str
    suffixes: Collection[str] = ()

    def fits(self, url: str) -> bool:
        """Whether the URL of a trace store names one."""
        return url.partition("://")[0].lower() in {self.scheme, f"{self.scheme}+http"}

    def base(self, url: str, *, private: bool) -> str:
        """The address that the API's paths are appended to; `private`: http is allowed on private networks.

        Raises `SettingsError`, which holds nothing of the URL but its host.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise SettingsError(f"{_NAME} cannot be read as a URL") from None
        if "@" in parts.netloc:
            raise SettingsError(
                f"{_NAME} must not contain a user or a key: the key belongs into {PREFIX}SOURCE_API_KEY"
            )
        if not host or parts.query or parts.fragment:
            raise SettingsError(f"{_NAME} must look like {self.example}, perhaps with port and path")
        is_http = parts.scheme.lower() != self.scheme
        if is_http:
            self._refuse_public(host, port or 80, allowed=private)
        path = parts.path.rstrip("/")
        for suffix in self.suffixes:
            path = path.removesuffix(suffix)
        shown = f"[{host}]" if ":" in host else host
        return f"{'http' if is_http else 'https'}://{shown}{'' if port is None else f':{port}'}{path}"

    def _refuse_public(self, host: str, port: int, *, allowed: bool) -> None:
        """Over http the key can be read on the way."""
        if not allowed:
            raise SettingsError(
                f"{_NAME} must begin with {self.scheme}://, which is https; {self.scheme}+http:// is for private "
                f"networks, with {PREFIX}ALLOW_PRIVATE_ENDPOINTS=true"
            )
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise SourceUnreachableError(
                f"the host {host!r} of {_NAME} has no known address; check its spelling and this machine's name "
                "resolution"
            ) from None
        for item in found:
            address = ipaddress.ip_address(str(item[4][0]).partition("%")[0])
            if address.is_global:
                raise SettingsError(
                    f"{_NAME} leads to {address}, a public address, which needs {self.scheme}:// (https)"
                )
