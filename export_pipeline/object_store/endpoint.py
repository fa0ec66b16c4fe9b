"""Which addresses a destination's endpoint may have.

Somebody who may name an endpoint must not reach through it what only this machine reaches: metadata services,
loopback, private networks. The URL is checked when it is given, every address that its host resolves to before the
first request, and the peer of every connection before a byte is sent, because a name may resolve differently later.

The last check sits in the connection class: botocore's HTTP session keeps a urllib3 `PoolManager`, whose
`pool_classes_by_scheme` is replaced by pools of guarded connections (`guard_client`). Connections through a proxy
are not guarded, since there the proxy resolves and connects: a stored destination's endpoint is reached without the one
that the environment names, unless a setting says so.
"""

import ipaddress
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from export_pipeline.addresses import Address, why_blocked
from export_pipeline.errors import DestinationRefusedError, DestinationUnavailableError
from export_pipeline.object_store.config import DestinationConfig, Names


class PeerBlockedError(Exception):
    """A connection was made to an address that the endpoint's rules forbid; nothing was sent."""

    def __init__(self, host: str, reason: str) -> None:
        super().__init__(reason)
        self.host = host


@dataclass(frozen=True)
class Endpoint:
    """The parts of an accepted endpoint URL."""

    scheme: str
    host: str
    port: int


def parse_endpoint(config: DestinationConfig) -> Endpoint | None:
    """The endpoint of a destination, or None for AWS itself; raises `DestinationRefusedError` for a forbidden URL."""
    url = config.endpoint_url
    if url is None:
        return None
    if any(ord(letter) <= 0x20 or ord(letter) == 0x7F for letter in url) or "\\" in url:
        raise _refused(config, "contains spaces, control characters or backslashes")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _refused(config, "cannot be read as a URL") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise _refused(config, "must look like https://host or https://host:port")
    if "@" in parts.netloc:
        raise _refused(config, "must not contain a user name or password")
    if parts.path not in {"", "/"} or parts.query or parts.fragment or url.endswith(("?", "#")):
        raise _refused(config, "must end after host and port: no path, query or fragment")
    if parts.scheme == "http" and not config.allow_private:
        raise _refused(
            config, f"must begin with https://; http is for private networks, with {config.names.allow_private}=true"
        )
    return Endpoint(parts.scheme, host, port or (443 if parts.scheme == "https" else 80))


def check_addresses(config: DestinationConfig, endpoint: Endpoint) -> list[Address]:
    """The addresses of the endpoint's host; raises `DestinationRefusedError` where any of them is forbidden.

    Raises `DestinationUnavailableError` where it does not resolve; for a stored destination in either case, with the
    same text, so that nobody learns by it which names and addresses there are inside.
    """
    try:
        resolved = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        if is_discreet(config):
            raise no_public_address(config, endpoint.host) from None
        raise DestinationUnavailableError(
            f"The host {endpoint.host!r} of {config.names.endpoint_url} has no known address. "
            "Check its spelling and this machine's name resolution.",
            error_class="Invalid endpoint",
        ) from None
    addresses = [ipaddress.ip_address(str(item[4][0]).partition("%")[0]) for item in resolved]
    for address in addresses:
        if reason := why_blocked(address, endpoint.scheme, allow_private=config.allow_private):
            if is_discreet(config):
                raise no_public_address(config, endpoint.host)
            raise _refused(config, f"leads to {address}, {reason}")
    return addresses


def is_discreet(config: DestinationConfig) -> bool:
    """Whether refusals say nothing of this machine's network: for those who are not its operator."""
    return config.names == Names() and not config.allow_private


def no_public_address(config: DestinationConfig, host: str) -> DestinationUnavailableError:
    """The one answer for a host that does not resolve, and for one that leads where it may not."""
    return DestinationUnavailableError(
        f"The host {host!r} of {config.names.endpoint_url} has no public address.", error_class="Invalid endpoint"
    )


def guard_client(client: Any, config: DestinationConfig, endpoint: Endpoint) -> None:
    """Makes every direct connection of a botocore client check its peer before anything is sent."""
    from export_pipeline.object_store.answers import TimedHTTP, TimedHTTPS, pools_of

    def checked(connection: Any, sock: socket.socket) -> socket.socket:
        address = ipaddress.ip_address(str(sock.getpeername()[0]).partition("%")[0])
        if reason := why_blocked(address, endpoint.scheme, allow_private=config.allow_private):
            sock.close()
            raise PeerBlockedError(connection.host, f"{connection.host} leads to {address}, {reason}")
        return sock

    class GuardedHTTP(TimedHTTP):
        def _new_conn(self) -> socket.socket:
            return checked(self, super()._new_conn())

    class GuardedHTTPS(TimedHTTPS):
        def _new_conn(self) -> socket.socket:
            return checked(self, super()._new_conn())

    manager = client._endpoint.http_session._manager  # noqa: SLF001 -- botocore offers no public way in
    manager.pool_classes_by_scheme = pools_of(GuardedHTTP, GuardedHTTPS)


def _refused(config: DestinationConfig, reason: str) -> DestinationRefusedError:
    shown = _without_user(config.endpoint_url or "")
    return DestinationRefusedError(
        f"{config.names.endpoint_url} {shown!r} {reason}.", error_class="Invalid endpoint", code=None
    )


def _without_user(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "", url
    authority, slash, path = rest.partition("/")
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}".partition("?")[0]
