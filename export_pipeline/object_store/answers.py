"""Answers of a store are hostile input: how long one may be, and how long it may take.

Botocore reads whatever comes: two gigabytes in the answer to a PutObject, or a byte every few seconds for hours. Here
an answer that carries no data has a size, a depth and a total time; one that carries data has a total time by the bytes
that were asked for. What is longer or slower counts as an answer that was lost, so that a write whose answer it was may
or may not have been done.
"""

import re
import socket
from typing import Any
from xml.parsers import expat

from botocore import awsrequest
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError

from export_pipeline.deadline import Deadline

SMALL_BYTES = 64 * 1024
LISTING_BYTES = 8 * 1024 * 1024
"""A thousand keys of a thousand bytes, each with its escapes."""
SECONDS = 120.0
JOINING_SECONDS = 900.0
"""A store that joins the parts of a large upload sends blanks meanwhile, for minutes."""
BYTES_A_SECOND = 10_000
"""How slowly data may be taken or given, beside the time for the answer."""
DEPTH = 32
_PIECE = 16 * 1024
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


class AnswerTooLongError(ReadTimeoutError):
    """The answer is longer than one of S3 ever is."""

    fmt = "The answer of {endpoint_url} is too long."


class AnswerTooDeepError(ReadTimeoutError):
    """The XML of the answer declares entities, or is nested deeper than that of S3 ever is."""

    fmt = "The answer of {endpoint_url} is nested too deep."


class TimedAnswers:
    """A connection of urllib3 whose answers have a deadline, which `bound_answers` cancels; to be mixed in."""

    sock: socket.socket
    _seconds = SECONDS
    _connecting: Deadline | None = None

    def _new_conn(self) -> socket.socket:
        connected: socket.socket = super()._new_conn()  # type: ignore[misc]
        # TLS takes the socket's descriptor over; a copy shuts the same connection down.
        self._connecting = Deadline(connected.dup(), SECONDS)
        return connected

    def _tunnel(self) -> None:
        super()._tunnel()  # type: ignore[misc]
        if self._connecting is not None and self._connecting.passed:
            raise TimeoutError  # an answer that breaks off counts as a whole one there

    def connect(self) -> None:
        """Connects, TLS included."""
        try:
            super().connect()  # type: ignore[misc]
        finally:
            if self._connecting is not None:
                self._connecting.close()

    def request(self, method: str, url: str, *arguments: Any, **options: Any) -> Any:
        """Sends a request; how long its answer may take depends on it."""
        self._seconds = JOINING_SECONDS if method == "POST" and "uploadId=" in url else SECONDS
        return super().request(method, url, *arguments, **options)  # type: ignore[misc]

    def _handle_expect_response(self, message_body: Any) -> None:
        """Botocore's reading of "100 Continue", and its sending of the body then."""
        try:
            seconds = SECONDS + len(message_body) / BYTES_A_SECOND
        except TypeError:
            seconds = JOINING_SECONDS
        deadline = Deadline(self.sock, seconds)
        try:
            super()._handle_expect_response(message_body)  # type: ignore[misc]
        except Exception as error:
            if deadline.passed:
                raise TimeoutError from error
            raise
        finally:
            deadline.cancel()

    def getresponse(self) -> Any:
        """The answer, once its headers are there."""
        deadline = Deadline(self.sock, self._seconds)
        try:
            response = super().getresponse()  # type: ignore[misc]
        except BaseException as error:
            deadline.cancel()
            if deadline.passed and isinstance(error, Exception):
                raise TimeoutError from error  # which urllib3 and botocore take for what it is
            raise
        response.export_pipeline_deadline = deadline
        return response


class TimedHTTP(TimedAnswers, awsrequest.AWSHTTPConnection):  # type: ignore[misc]
    """A plain one of botocore."""


class TimedHTTPS(TimedAnswers, awsrequest.AWSHTTPSConnection):  # type: ignore[misc]
    """One of botocore with TLS."""


def pools_of(plain: type[TimedHTTP], secure: type[TimedHTTPS]) -> dict[str, type]:
    """Pools of such connections, as a pool manager of urllib3 takes them."""
    return {
        "http": type("HTTPPool", (awsrequest.AWSHTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("HTTPSPool", (awsrequest.AWSHTTPSConnectionPool,), {"ConnectionCls": secure}),
    }


def bound_answers(client: Any) -> None:
    """Makes a botocore client read no more of an answer than it may have, and no longer, through a proxy too."""
    session = client._endpoint.http_session  # noqa: SLF001 -- botocore offers no public way in
    pools = pools_of(TimedHTTP, TimedHTTPS)
    session._pool_classes_by_scheme = session._manager.pool_classes_by_scheme = pools  # noqa: SLF001 -- the same
    send = session.send

    def bounded(request: Any) -> Any:
        carries_data, request.stream_output = request.stream_output, True
        response = send(request)
        deadline = getattr(response.raw, "export_pipeline_deadline", None)
        if carries_data and response.status_code < 300:
            if deadline is not None:
                _time_data(response.raw, deadline, SECONDS + _asked_for(request) / BYTES_A_SECOND)
            return response
        try:
            limit = LISTING_BYTES if request.method == "GET" and not carries_data else SMALL_BYTES
            response._content = _read(response.raw, limit, url=request.url, deadline=deadline)  # noqa: SLF001
        finally:
            if deadline is not None:
                deadline.cancel()
        _check_depth(response.content, request.url)
        return response

    session.send = bounded


def _asked_for(request: Any) -> int:
    """How many bytes the request asks for; what the answer says of its length counts for nothing."""
    value = request.headers.get("Range", "")
    match = _RANGE.fullmatch(value.decode() if isinstance(value, bytes) else value)
    return LISTING_BYTES if match is None else int(match[2]) - int(match[1]) + 1


def _time_data(raw: Any, deadline: Deadline, seconds: float) -> None:
    """Gives data until then to be read; the deadline ends before its connection serves another request."""
    deadline.extend(seconds)
    for name in ("release_conn", "close"):
        setattr(raw, name, _after_cancelling(deadline, getattr(raw, name)))


def _after_cancelling(deadline: Deadline, end: Any) -> Any:
    def ended() -> None:
        deadline.cancel()
        end()

    return ended


def _check_depth(content: bytes, url: str) -> None:
    """Raises `AnswerTooDeepError` for XML that takes a parser's stack or memory; what is no XML is left to botocore."""
    depth = 0

    def start(*_: Any) -> None:
        nonlocal depth
        depth += 1
        if depth > DEPTH:
            raise AnswerTooDeepError(endpoint_url=url, error="too deep")

    def end(_: str) -> None:
        nonlocal depth
        depth -= 1

    def declare(*_: Any) -> None:
        raise AnswerTooDeepError(endpoint_url=url, error="entities")

    parser = expat.ParserCreate(encoding="utf-8")
    parser.StartElementHandler, parser.EndElementHandler, parser.StartDoctypeDeclHandler = start, end, declare
    try:
        parser.Parse(content.lstrip(), True)
    except expat.ExpatError:
        return


def _read(raw: Any, limit: int, *, url: str, deadline: Deadline | None) -> bytes:
    pieces, size = [], 0
    try:
        for piece in raw.stream(_PIECE):
            size += len(piece)
            if size > limit:
                raise AnswerTooLongError(endpoint_url=url, error="too long")
            pieces.append(piece)
    except AnswerTooLongError:
        raw.close()
        raise
    except Exception as error:
        raw.close()
        # By name, as `classify` does: what is under botocore is none of our libraries.
        timed_out = any(kind.__name__ == "ReadTimeoutError" for kind in type(error).__mro__)
        if timed_out or (deadline is not None and deadline.passed):
            raise ReadTimeoutError(endpoint_url=url, error=error) from error
        raise ConnectionClosedError(endpoint_url=url, error=error) from error
    if deadline is not None and deadline.passed:
        raise ReadTimeoutError(endpoint_url=url, error="cut off")
    return b"".join(pieces)
