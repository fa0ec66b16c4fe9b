"""How many requests an API is asked with one key, by all who share it: a token bucket.

Requests are given the times at which they may be made, one after the other, at most a second's worth at once. So in any
ten seconds there are at most eleven times the rate.
"""

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from typing_extensions import override

_SECOND = 1_000_000
_MINUTE = 60 * _SECOND
_AT_ONCE = _SECOND
"""So much of what was not used is kept, in time."""
_AHEAD = _SECOND
"""So long ahead a request is given its time; what comes later has to ask again, for the server may say no meanwhile."""
LONGEST_PAUSE = 3600.0
"""Of what a server asks for, in seconds: after that it is asked again whatever it has said."""


@dataclass(frozen=True)
class Turn:
    """When a request may be made, in seconds from now; where it is not `given`, when to ask again."""

    seconds: float
    given: bool


@dataclass(frozen=True)
class Usage:
    """Requests of about the last minute, and when the server last refused one for being too many (microseconds)."""

    requests: int
    refused_at: int | None


class Budget(Protocol):
    """What is left of a key. Its methods may be called from several threads at once."""

    def take(self, rate: float) -> Turn:
        """The next turn, where so many requests a second are allowed."""

    def pause(self, seconds: float) -> None:
        """The server has refused a request and wants to be left alone for so long, by everybody."""

    def usage(self) -> Usage:
        """How much of it is used."""


Budgets = Callable[[str], Budget]
"""Gives the budget of a key, by `budget_id`."""


@dataclass(frozen=True)
class Bucket:
    """The state of a budget, times in microseconds.

    `requests` are those made in the minute that begins at `minute`, `before` those of the minute before it.
    """

    next_at: int = 0
    minute: int = 0
    requests: int = 0
    before: int = 0
    refused_at: int | None = None

    def take(self, now: int, rate: float) -> tuple[Turn, "Bucket"]:
        """The next turn, and the bucket after it."""
        at = max(self.next_at, now - _AT_ONCE)
        if at > now + _AHEAD:
            return Turn((at - now - _AHEAD) / _SECOND, given=False), self
        counted = self._at(now)
        taken = replace(counted, next_at=at + round(_SECOND / rate), requests=counted.requests + 1)
        return Turn(max(0, at - now) / _SECOND, given=True), taken

    def pause(self, now: int, seconds: float) -> "Bucket":
        """The bucket after a refusal."""
        until = now + round(min(seconds, LONGEST_PAUSE) * _SECOND)
        return replace(self._at(now), next_at=max(self.next_at, until), refused_at=now)

    def usage(self, now: int) -> Usage:
        """The requests of the minute before now, as if those of a calendar minute were spread evenly over it."""
        counted = self._at(now)
        part = 1 - (now - counted.minute) / _MINUTE
        return Usage(round(counted.requests + part * counted.before), self.refused_at)

    def _at(self, now: int) -> "Bucket":
        minute = now - now % _MINUTE
        if minute <= self.minute:
            return self
        before = self.requests if minute == self.minute + _MINUTE else 0
        return replace(self, minute=minute, requests=0, before=before)


class OwnBudget(Budget):
    """That of this process alone."""

    def __init__(self) -> None:
        self._bucket = Bucket()
        self._began = time.time_ns() - time.monotonic_ns()
        self._lock = threading.Lock()

    @override
    def take(self, rate: float) -> Turn:
        with self._lock:
            turn, self._bucket = self._bucket.take(self._now(), rate)
            return turn

    @override
    def pause(self, seconds: float) -> None:
        with self._lock:
            self._bucket = self._bucket.pause(self._now(), seconds)

    @override
    def usage(self) -> Usage:
        with self._lock:
            return self._bucket.usage(self._now())

    def _now(self) -> int:
        """A clock that nobody sets."""
        return (self._began + time.monotonic_ns()) // 1000


def budget_id(base: str, secret: str) -> str:
    """What the budget of a key is found by; it does not tell the key, nor let one be tried quickly."""
    return hashlib.pbkdf2_hmac("sha256", secret.encode(), base.encode(), 100_000).hex()
