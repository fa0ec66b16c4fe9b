"""How many requests an address and a key may make: token buckets in this process's memory."""

import hashlib
import ipaddress
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.types import Scope

from export_pipeline.errors import LimitError

MOST_BUCKETS = 10_000
_BURST_SECONDS = 10
_ADDRESS_SHARE = 4
_TRIES, _TRIES_A_SECOND = 30, 0.5


class Buckets:
    """One token bucket a name; of more than `most` names, the one that has been silent longest is forgotten.

    A forgotten bucket comes back full, which whoever has so many names gains nothing by.
    """

    def __init__(
        self, *, rate: float, burst: float, most: int = MOST_BUCKETS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate, self._burst, self._most, self._clock = rate, burst, most, clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, name: str) -> float:
        """Takes a token and gives back 0, or in how many seconds there is one."""
        with self._lock:
            level = self._level(name)
            taken = level >= 1
            self._put(name, level - taken)
        return 0 if taken else (1 - level) / self._rate

    def give_back(self, name: str) -> None:
        """Returns a token that was taken."""
        with self._lock:
            self._put(name, min(self._burst, self._level(name) + 1))

    def __contains__(self, name: str) -> bool:
        with self._lock:
            return name in self._levels

    def forget(self, name: str) -> None:
        """Removes a bucket."""
        with self._lock:
            self._levels.pop(name, None)

    def __len__(self) -> int:
        return len(self._levels)

    def _level(self, name: str) -> float:
        level, at = self._levels.get(name, (self._burst, self._clock()))
        return min(self._burst, level + (self._clock() - at) * self._rate)

    def _put(self, name: str, level: float) -> None:
        self._levels[name] = level, self._clock()
        self._levels.move_to_end(name)
        if len(self._levels) > self._most:
            self._levels.popitem(last=False)


class Rates:
    """The limits of one process. A key that was valid lately does not depend on what others try from its address."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        of_addresses = rate * _ADDRESS_SHARE
        self._addresses = Buckets(rate=of_addresses, burst=of_addresses * _BURST_SECONDS, clock=clock)
        self._keys = Buckets(rate=rate, burst=rate * _BURST_SECONDS, clock=clock)
        self._tries = Buckets(rate=_TRIES_A_SECOND, burst=_TRIES, clock=clock)

    def request(self, host: str) -> None:
        """Counts a request of an address; raises `LimitError`."""
        _refuse(self._addresses.take(network_of(host)), "Too many requests from this address")

    def attempt(self, host: str, key: str) -> None:
        """Counts a request with a key whose validity is not known yet; raises `LimitError`."""
        name = _name(key)
        if name in self._keys:
            _refuse(self._keys.take(name), "Too many requests with this API key")
        else:
            _refuse(self._tries.take(network_of(host)), "Too many requests with wrong API keys from this address")

    def undecided(self, host: str, key: str) -> None:
        """Tells that it cannot be said whether the key of an attempt is valid."""
        if _name(key) not in self._keys:
            self._tries.give_back(network_of(host))

    def valid(self, host: str, key: str) -> None:
        """Tells that the key of an attempt is valid."""
        self.undecided(host, key)
        if (name := _name(key)) not in self._keys:
            self._keys.take(name)

    def invalid(self, key: str) -> None:
        """Tells that the key of an attempt is not valid, or no longer."""
        self._keys.forget(_name(key))


def client_of(scope: Scope) -> str:
    """The address of the client, as the server sees it: behind a proxy that it trusts, the one that the proxy names."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def network_of(host: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 that one holder of IPv6 addresses has at least."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped or ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return str(address)


def _name(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _refuse(seconds: float, what: str) -> None:
    if seconds > 0:
        wait = math.ceil(seconds)
        raise LimitError(f"{what}; try again in {wait} second{'s' * (wait > 1)}.", retry_after=wait)
