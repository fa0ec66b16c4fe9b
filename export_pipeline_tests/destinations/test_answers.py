"""Stores that answer as none does: endlessly, or a byte at a time."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from export_pipeline.destinations import answers
from export_pipeline.destinations.client import make_client
from export_pipeline.destinations.config import Credentials, DestinationConfig
from export_pipeline.destinations.outcomes import OutcomeUnknownError
from export_pipeline.destinations.store import ObjectStore
from export_pipeline.errors import ExportPipelineError

CREDENTIALS = Credentials("key", "secret")
HEAD = b'HTTP/1.1 200 OK\r\nETag: "x"\r\n'


@contextmanager
def answering(head: bytes, piece: bytes, *, pause: threading.Event | None = None) -> Iterator[tuple[str, list[int]]]:
    """A server that sends `head`, then `piece` again and again, each after a pause; its address, and what went out."""
    sent = [0]
    closing = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while not closing.is_set():
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    try:
                        connection.recv(65536)
                        connection.sendall(head)
                        while piece and not closing.is_set():
                            if pause is not None and pause.wait(0.05):
                                break
                            connection.sendall(piece)
                            sent[0] += len(piece)
                    except OSError:
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", sent
        finally:
            closing.set()
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def store_at(url: str) -> ObjectStore:
    return ObjectStore(DestinationConfig(bucket="b", endpoint_url=url, allow_private=True), CREDENTIALS, patience=0)


@pytest.mark.parametrize("length", [b"Content-Length: 4294967296\r\n", b""])
def test_an_endless_answer_to_a_write_is_not_read(length: bytes) -> None:
    with answering(HEAD + length + b"\r\n", b"x" * 65536) as (url, sent):
        store = store_at(url)
        with pytest.raises(ExportPipelineError, match="the answer is longer than one of S3 ever is"):
            store.put("k", b"body")
        store.close()
    assert sent[0] < 32 * 1024 * 1024


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"", b"H"),
        (b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"),
        (HEAD + b"Content-Length: 1000000\r\n\r\n", b"x"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
    ids=["status", "headers", "body", "chunks"],
)
def test_an_answer_a_few_bytes_at_a_time_ends_in_time(
    head: bytes, piece: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "SECONDS", 0.5)
    monkeypatch.setattr(answers, "JOINING_SECONDS", 0.5)
    with answering(head, piece, pause=threading.Event()) as (url, _):
        store = store_at(url)
        with pytest.raises(ExportPipelineError):
            store.put("k", b"body")
        store.close()


def test_an_answer_to_a_listing_may_be_longer_and_has_a_limit_too() -> None:
    with answering(HEAD + b"\r\n", b"<!-- " + b"x" * 65536 + b" -->") as (url, sent):
        config = DestinationConfig(bucket="b", endpoint_url=url, allow_private=True)
        client = make_client(config, CREDENTIALS)
        with pytest.raises(answers.AnswerTooLongError):
            client.list_objects_v2(Bucket="b")
        client.close()
    assert sent[0] > answers.LISTING_BYTES


def test_a_commit_whose_answer_is_too_long_is_one_whose_outcome_is_unknown() -> None:
    with answering(HEAD + b"\r\n", b"x" * 65536) as (url, _):
        store = store_at(url)
        with pytest.raises(OutcomeUnknownError):
            store.complete("k", "an upload", [(1, "etag")])
        store.close()
