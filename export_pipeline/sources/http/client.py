"""Requests to the API: one answer for each, whatever has to be repeated until it comes."""

import random
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar
from urllib.parse import urlsplit

import urllib3

from export_pipeline.backoff import Backoff
from export_pipeline.errors import SourceSlowError, SourceUnreachableError, SourceUnusableError, shortened
from export_pipeline.settings import MIB, PREFIX
from export_pipeline.sources.http.budget import Budget

T = TypeVar("T")

IN_FLIGHT = 8
"""Requests of one process to the API at once."""
MOST_BYTES = 16 * MIB
"""Of an answer with several runs; a page that is larger is asked for in smaller ones."""
FIRST_PAUSE = 0.5
"""Before a request is repeated, in seconds; each further one is twice as long."""
_BAD_ANSWERS = 4
"""Answers to one request that may be unreadable before it counts as failed."""
AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
"""Statuses after which asking again may help."""
_SHOWN_CHARACTERS = 300
_LOOK_SECONDS = 0.1
"""How often somebody who waits for others looks whether it is to stop."""


class RefusedError(SourceUnusableError):
    """A request is not one that the API takes."""


class MissingError(SourceUnusableError):
    """There is nothing at the path, or no such thing as was asked about."""


class TooLargeError(Exception):
    """An answer is larger than it may be."""


class BadAnswerError(Exception):
    """An answer with status 200 is not what was asked for; its text says what is wrong."""


class Stopped(Exception):  # noqa: N818 - no error: somebody asked for it
    """The answer is not wanted any more."""


@dataclass(frozen=True)
class Access:
    """Who asks whom.

    `service` is what errors call the API, `headers` prove who asks, `secrets` are never shown, and `advice` is what to
    check where the key is refused.
    """

    service: str
    headers: Mapping[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    advice: str


class Client:
    """One API, with one key; its methods may be called from several threads at once.

    `rate` is how many requests a second are allowed to all who share the budget; who finds out more may change it.
    """

    def __init__(self, base: str, *, access: Access, patience: float, budget: Budget, rate: float) -> None:
        """`patience` is how long any answer is waited for, in seconds, repetitions included."""
        self.base, self.rate = base, rate
        self._access, self._patience, self._budget = access, patience, budget
        self._places = threading.BoundedSemaphore(IN_FLIGHT)
        self._turns = threading.Lock()
        self._pool = _pool(base)

    @property
    def patience(self) -> float:
        """How long any answer is waited for, in seconds."""
        return self._patience

    @property
    def service(self) -> str:
        """What errors call the API."""
        return self._access.service

    def ask(
        self,
        method: str,
        path: str,
        read: Callable[[str], T],
        *,
        body: str | None = None,
        most_bytes: int = MOST_BYTES,
        seconds: float | None = None,
        stop: threading.Event | None = None,
    ) -> T:
        """What `read` makes of the answer; `read` raises `BadAnswerError` for one that is not to be believed.

        Repeats what may succeed later, as late as a `Retry-After` says, for as long as the patience. Raises
        `SourceUnreachableError` where nothing does, `SourceSlowError` where the server is only too slow for `seconds`,
        `SourceUnusableError` where asking again would change nothing, `TooLargeError`, and `Stopped` after `stop` was
        set.
        """
        patience = self._patience if seconds is None else seconds
        stop = stop or threading.Event()
        backoff = Backoff(patience, first=FIRST_PAUSE, longest=30.0, stop=stop)
        bad = 0
        while True:
            pause, is_slow = 0.0, False
            try:
                status, headers, text = self._once(method, path, body, stop, seconds=patience, most_bytes=most_bytes)
                if status == 200:
                    return read(text)
                if status == 413:
                    raise TooLargeError
                if status not in AGAIN:
                    raise self._refusal(status, text)
                failure, pause = f"HTTP {status}: {self._shown(text)}", self._wait_for(status, headers)
                is_slow = status == 429
            except BadAnswerError as error:
                failure, bad = self._shown(str(error)), bad + 1
            except (urllib3.exceptions.HTTPError, OSError) as error:
                failure, is_slow = self._shown(str(error)), isinstance(error, urllib3.exceptions.TimeoutError)
            goes_on = bad < _BAD_ANSWERS and backoff.wait(at_least=pause)
            if stop.is_set():
                raise Stopped
            if not goes_on and is_slow and seconds is not None:
                raise SourceSlowError(f"{self.service} took more than {seconds:.3g} s to answer {path}: {failure}")
            if not goes_on:
                raise SourceUnreachableError(
                    f"{self.service} at {self.base} gives no usable answer to {path}: {failure}"
                )

    def usage(self) -> str:
        """A sentence on how near the limit is."""
        used = self._budget.usage()
        refused = "none was refused for being too many"
        if used.refused_at is not None:
            at = datetime.fromtimestamp(used.refused_at // 1_000_000, UTC)
            refused = f"the last one that was refused for being too many: {at:%Y-%m-%d %H:%M:%S} UTC"
        most = 60 * self.rate
        return (
            f"{used.requests:,} requests in the last minute, {used.requests / most:.0%} of the {most:,.0f} that all "
            f"workers with this key may make; {refused}"
        )

    def close(self) -> None:
        """Gives back the connections."""
        self._pool.clear()

    def _once(
        self, method: str, path: str, body: str | None, stop: threading.Event, *, seconds: float, most_bytes: int
    ) -> tuple[int, Mapping[str, str], str]:
        with self._places:
            self._await_turn(stop, seconds=seconds)
            answer = self._pool.request(
                method,
                f"{self.base}{path}",
                body=None if body is None else body.encode(),
                headers=self._headers(has_body=body is not None),
                redirect=False,
                retries=False,
                preload_content=False,
                timeout=urllib3.Timeout(connect=min(10.0, seconds), read=min(120.0, seconds)),
            )
            try:
                return answer.status, answer.headers, _text(answer, most_bytes)
            except BaseException:
                answer.close()  # what is left of the answer must not become the next one's begin
                raise

    def _await_turn(self, stop: threading.Event, *, seconds: float) -> None:
        """Waits until the budget has a request left; one thread at a time asks it, so that they come in their order."""
        end = time.monotonic() + seconds
        while not self._turns.acquire(timeout=_LOOK_SECONDS):
            self._go_on(stop, end)
        try:
            given = False
            while not given:
                turn = self._budget.take(self.rate)
                given = turn.given
                # Those that are to ask again must not all do so at the same instant.
                pause = turn.seconds if given else max(0.05, turn.seconds) * random.uniform(1.0, 1.5)  # noqa: S311
                self._go_on(stop, end - pause)
                stop.wait(pause)
            self._go_on(stop, end)
        finally:
            self._turns.release()

    def _go_on(self, stop: threading.Event, end: float) -> None:
        """Raises where the answer is not wanted any more, or would come too late."""
        if stop.is_set():
            raise Stopped
        if time.monotonic() > end:
            raise SourceSlowError(
                f"{self.service} is asked as often as its limit allows, {self.rate:g} requests a second of all workers "
                f"with this key, or has asked to be left alone ({self.usage()})"
            )

    def _headers(self, *, has_body: bool) -> dict[str, str]:
        headers = {"Accept": "application/json", "Accept-Encoding": "gzip", **self._access.headers}
        if has_body:
            headers["Content-Type"] = "application/json"
        return headers

    def _wait_for(self, status: int, headers: Mapping[str, str]) -> float:
        """The seconds that the server wants to be left alone for; after a 429 by everybody who shares the budget."""
        pause = _seconds_of(headers.get("Retry-After", ""))
        if status == 429:
            self._budget.pause(max(pause, FIRST_PAUSE))
        return pause

    def _refusal(self, status: int, text: str) -> SourceUnusableError:
        said = f"HTTP {status}: {self._shown(text)}"
        if status in {401, 403}:
            return SourceUnusableError(
                f"{self.service} at {self.base} refuses the key ({said}); check {self._access.advice}"
            )
        if status in {404, 405}:
            return MissingError(f"{self.service} at {self.base} does not know what was asked for ({said})")
        if 300 <= status < 400:
            return SourceUnusableError(
                f"{self.base} leads elsewhere (HTTP {status}); name the address of the API itself in {PREFIX}SOURCE_URL"
            )
        return RefusedError(f"{self.service} at {self.base} refuses a request ({said})")

    def _shown(self, text: str) -> str:
        for secret in self._access.secrets:
            text = text.replace(secret, "…")
        return shortened(text)[:_SHOWN_CHARACTERS] or "without a text"


def _pool(base: str) -> urllib3.PoolManager:
    scheme, host = base.partition("://")[0], urlsplit(base).hostname or ""
    proxy = urllib.request.getproxies().get(scheme)
    if proxy is None or urllib.request.proxy_bypass(host):
        return urllib3.PoolManager(maxsize=IN_FLIGHT)
    return urllib3.ProxyManager(proxy, maxsize=IN_FLIGHT)


def _text(answer: urllib3.BaseHTTPResponse, most_bytes: int) -> str:
    pieces, size = [], 0
    for piece in answer.stream(MOST_BYTES, decode_content=True):  # mostly one, which is not copied once more
        pieces.append(piece)
        size += len(piece)
        if size > most_bytes:
            raise TooLargeError
    try:
        return b"".join(pieces).decode()
    except UnicodeDecodeError:
        raise BadAnswerError("the answer is not UTF-8") from None


def _seconds_of(retry_after: str) -> float:
    """What the header says, as seconds or as a date; 0 where it says neither."""
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        at = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    return max(0.0, at.timestamp() - time.time())
