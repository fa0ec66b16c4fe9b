"""A connection to an address that somebody else has named: it looks at its peer, and it ends in time."""

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Sequence
from typing import Any

from export_pipeline.addresses import why_blocked
from export_pipeline.deadline import Deadline


class BlockedAddressError(Exception):
    """The host leads to an address that may not be connected to; nothing was sent. `str` is the address and why."""


class GuardedConnection(http.client.HTTPConnection):
    """One request over http or https. All addresses of the host are checked, no proxy is used, nothing redirects.

    `seconds` are for the whole, from the connection's first byte on; `extend` gives more.
    """

    def __init__(self, scheme: str, host: str, port: int, *, allow_private: bool, seconds: float) -> None:
        super().__init__(host, port, timeout=seconds)
        self._scheme, self._allow_private, self._seconds = scheme, allow_private, seconds
        self._deadline: Deadline | None = None

    @property
    def is_late(self) -> bool:
        """Whether it was ended because the whole took too long."""
        return self._deadline is not None and self._deadline.passed

    def extend(self, seconds: float) -> None:
        """From now on so many seconds are left."""
        if self._deadline is not None and not self._deadline.passed:
            self._deadline.extend(seconds)

    def connect(self) -> None:
        """Connects to the first of the host's addresses, all of which must be allowed; from then on time is counted."""
        addresses = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        for _, _, _, _, place in addresses:
            self._check(str(place[0]))
        plain = _connected([(family, place) for family, _, _, _, place in addresses], self._seconds)
        # TLS takes the socket's descriptor over; a copy shuts the same connection down.
        self._deadline = Deadline(plain.dup(), self._seconds)
        try:
            secure = self._scheme == "https"
            self.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=self.host) if secure else plain
        except BaseException:
            plain.close()
            raise

    def close(self) -> None:
        """Closes the connection."""
        if self._deadline is not None:
            self._deadline.close()
        super().close()

    def _check(self, text: str) -> None:
        address = ipaddress.ip_address(text.partition("%")[0])
        if reason := why_blocked(address, self._scheme, allow_private=self._allow_private):
            raise BlockedAddressError(f"{address}, {reason}")


def _connected(places: Sequence[tuple[int, Any]], seconds: float) -> socket.socket:
    """A connection to the first of the addresses that takes one; the name is not asked again."""
    failure: OSError | None = None
    deadline = time.monotonic() + seconds
    for family, place in places:
        plain = socket.socket(family, socket.SOCK_STREAM)
        plain.settimeout(max(0.1, deadline - time.monotonic()))
        try:
            plain.connect(place)
        except OSError as error:
            plain.close()
            failure = error
        else:
            plain.settimeout(seconds)
            return plain
    raise failure or OSError("the name has no address")
