"""Answers of a store are hostile input: how long one may be, and how long it may take.

Botocore reads whatever comes: two gigabytes in the answer to a PutObject, or a byte every few seconds for hours. Here
an answer that carries no data has a size and a total time; of an answer that carries data the headers have. What is
longer or slower counts as an answer that was lost, so that a write whose answer it was may or may not have been done.
"""

import socket
import threading
from typing import Any

from botocore.exceptions import ConnectionClosedError, ReadTimeoutError

SMALL_BYTES = 64 * 1024
LISTING_BYTES = 8 * 1024 * 1024
"""A thousand keys of a thousand bytes, each with its escapes."""
SECONDS = 120.0
JOINING_SECONDS = 900.0
"""A store that joins the parts of a large upload sends blanks meanwhile, for minutes."""
_BYTES_A_SECOND = 10_000
"""How slowly a body may be taken, beside the time for the answer."""
_PIECE = 16 * 1024


class AnswerTooLongError(ReadTimeoutError):
    """The answer is longer than one of S3 ever is."""

    fmt = "The answer of {endpoint_url} is too long."


class Deadline:
    """Shuts a connection down when its answer takes too long, whatever it is waiting for."""

    def __init__(self, sock: socket.socket, seconds: float) -> None:
        self.passed = False
        self._socket = sock
        self._timer = threading.Timer(seconds, self._shut_down)
        self._timer.daemon = True
        self._timer.start()

    def cancel(self) -> None:
        """The answer is there."""
        self._timer.cancel()

    def _shut_down(self) -> None:
        self.passed = True
        try:
            # Of the plain socket below TLS: the other thread is reading through it.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        except OSError:
            return


class TimedAnswers:
    """A connection of urllib3 whose answers have a deadline, which `bound_answers` cancels; to be mixed in."""

    sock: socket.socket
    _seconds = SECONDS

    def request(self, method: str, url: str, *arguments: Any, **options: Any) -> Any:
        """Sends a request; how long its answer may take depends on it."""
        self._seconds = JOINING_SECONDS if method == "POST" and "uploadId=" in url else SECONDS
        return super().request(method, url, *arguments, **options)  # type: ignore[misc]

    def _handle_expect_response(self, message_body: Any) -> None:
        """Botocore's reading of "100 Continue", and its sending of the body then."""
        try:
            seconds = SECONDS + len(message_body) / _BYTES_A_SECOND
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


def bound_answers(client: Any) -> None:
    """Makes a botocore client read no more of an answer than it may have."""
    session = client._endpoint.http_session  # noqa: SLF001 -- botocore offers no public way in
    send = session.send

    def bounded(request: Any) -> Any:
        carries_data, request.stream_output = request.stream_output, True
        response = send(request)
        deadline = getattr(response.raw, "export_pipeline_deadline", None)
        try:
            if not carries_data:
                limit = LISTING_BYTES if request.method == "GET" else SMALL_BYTES
                response._content = _read(response.raw, limit, url=request.url, deadline=deadline)  # noqa: SLF001
        finally:
            if deadline is not None:
                deadline.cancel()
        return response

    session.send = bounded


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
