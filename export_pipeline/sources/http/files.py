"""Files that an API names by address: fetched within bounds, without the API's key."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from export_pipeline.errors import SourceUnusableError
from export_pipeline.guarded import BlockedAddressError, GuardedConnection
from export_pipeline.settings import PREFIX
from export_pipeline.sources.http.client import AGAIN, Stopped

ANSWER_SECONDS = 60.0
BYTES_A_SECOND = 100_000
"""How slowly a file may come, beside the time for the answer."""
_PIECE = 256 * 1024
_MOST_TYPE = 200


class RefusedFileError(Exception):
    """The address does not give the file, and asking it again changes nothing; `str` says why."""


class BrokenFileError(Exception):
    """The file did not come, or not whole; it may the next time. `str` says why."""


@dataclass(frozen=True)
class FileLimits:
    """What may be fetched: a file of so many bytes, from the public network or from any."""

    most_bytes: int
    allow_private: bool


@dataclass(frozen=True)
class FetchedFile:
    """A file on its way; `pieces` raises where it does not come whole."""

    mime_type: str | None
    pieces: Iterator[bytes]


@contextmanager
def fetched(address: str, limits: FileLimits, *, stop: threading.Event) -> Iterator[FetchedFile]:
    """Asks for a file. Redirects are not followed, and no proxy is used.

    Raises `RefusedFileError`, `BrokenFileError`; `SourceUnusableError` for an address that leads where none may, and
    `Stopped` after `stop` was set. None of them tells more of the address than its host.
    """
    parts, host = _parts_of(address)
    connection = GuardedConnection(
        parts.scheme,
        host,
        parts.port or (443 if parts.scheme == "https" else 80),
        allow_private=limits.allow_private,
        seconds=ANSWER_SECONDS,
    )
    try:
        with _told(connection):
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("GET", target, headers={"Accept-Encoding": "identity", "User-Agent": "export-pipeline"})
            answer = connection.getresponse()
            if connection.is_late:
                raise TimeoutError  # headers that break off count as whole ones there
        _check(answer, host, limits)
        yield FetchedFile(_type_of(answer), _pieces(connection, answer, limits, stop))
    finally:
        connection.close()


def _parts_of(address: str) -> tuple[SplitResult, str]:
    """The parts of an address, and its host."""
    plain = address.isascii() and address.isprintable() and not set(address) & set(' \\"<>')
    try:
        parts = urlsplit(address)
        parts.port  # noqa: B018 - raises where it is no number
    except ValueError:
        parts = urlsplit("")
    if not plain or parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
        raise RefusedFileError("its address is none of http or https")
    return parts, parts.hostname


@contextmanager
def _told(connection: GuardedConnection) -> Iterator[None]:
    """Tells failures of the connection apart."""
    try:
        yield
    except BlockedAddressError as error:
        raise SourceUnusableError(
            f"attachments lie at {connection.host}, which leads to {error} "
            f"({PREFIX}ALLOW_PRIVATE_ENDPOINTS=true allows private addresses)"
        ) from None
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        cause = "it took too long" if connection.is_late else getattr(error, "strerror", None) or type(error).__name__
        raise BrokenFileError(f"{connection.host}: {cause}") from None


def _check(answer: http.client.HTTPResponse, host: str, limits: FileLimits) -> None:
    if 300 <= answer.status < 400:
        raise SourceUnusableError(
            f"the address of an attachment at {host} leads elsewhere (HTTP {answer.status}), which is not followed; "
            f"without {PREFIX}EXPORT_ATTACHMENTS the runs are exported without their attachments"
        )
    if answer.status in AGAIN:
        raise BrokenFileError(f"{host}: HTTP {answer.status}")
    if answer.status != 200:
        raise RefusedFileError(f"HTTP {answer.status}")
    if (encoding := answer.getheader("Content-Encoding", "identity")) != "identity":
        raise RefusedFileError(f"it is sent with the encoding {encoding[:20]!a}")
    if answer.length is None and not answer.chunked:
        raise BrokenFileError(f"{host}: the length of the file is not told")
    if (answer.length or 0) > limits.most_bytes:
        raise _oversized(limits)


def _pieces(
    connection: GuardedConnection, answer: http.client.HTTPResponse, limits: FileLimits, stop: threading.Event
) -> Iterator[bytes]:
    size, told = 0, answer.length
    connection.extend(ANSWER_SECONDS + (limits.most_bytes if told is None else told) / BYTES_A_SECOND)
    while True:
        if stop.is_set():
            raise Stopped
        with _told(connection):
            piece = answer.read(_PIECE)
        if not piece:
            break
        size += len(piece)
        if size > limits.most_bytes:
            raise _oversized(limits)
        yield piece
    if connection.is_late or (told is not None and size != told):
        raise BrokenFileError(f"{connection.host}: {size:,} of {told or 0:,} bytes came")


def _oversized(limits: FileLimits) -> RefusedFileError:
    return RefusedFileError(f"it has more than {limits.most_bytes:,} bytes")


def _type_of(answer: http.client.HTTPResponse) -> str | None:
    """The media type, where the answer tells one that can be shown."""
    told = answer.getheader("Content-Type")
    return told if told and len(told) <= _MOST_TYPE and told.isascii() and told.isprintable() else None
