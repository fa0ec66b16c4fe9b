"""Files that are fetched by their addresses, from servers that mean no good."""

import threading

import pytest

from export_pipeline.errors import SourceUnusableError
from export_pipeline.sources.http import files
from export_pipeline.sources.http.client import Stopped
from export_pipeline.sources.http.files import BrokenFileError, FileLimits, RefusedFileError, fetched
from export_pipeline_tests.object_store.helpers import answering
from export_pipeline_tests.servers.http import Answer, http_server

LIMITS = FileLimits(most_bytes=1024 * 1024, allow_private=True)


def content(address: str, limits: FileLimits = LIMITS, stop: threading.Event | None = None) -> bytes:
    with fetched(address, limits, stop=stop or threading.Event()) as file:
        return b"".join(file.pieces)


def test_a_file_comes_with_its_type() -> None:
    with (
        http_server(lambda _: Answer(200, b"x" * 600_000, {"Content-Type": "text/plain"})) as server,
        fetched(f"{server.url}/a%20b?signature=1", LIMITS, stop=threading.Event()) as file,
    ):
        assert (b"".join(file.pieces), file.mime_type) == (b"x" * 600_000, "text/plain")
    assert [each.path for each in server.asked] == ["/a%20b?signature=1"]


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"", b"H"),
        (b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
    ids=["status", "headers", "data", "chunks"],
)
def test_a_file_a_few_bytes_at_a_time_is_not_waited_for(
    head: bytes, piece: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(files, "BYTES_A_SECOND", 100_000_000)
    with (
        answering(head, piece, pause=threading.Event()) as (url, _),
        pytest.raises(BrokenFileError, match=r"^127\.0\.0\.1: "),
    ):
        content(url)


@pytest.mark.parametrize(
    ("head", "piece", "error"),
    [
        (b"Content-Length: 9000000000\r\n\r\n", b"x" * 65536, RefusedFileError),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 65536 + b"\r\n", RefusedFileError),
        (b"\r\n", b"x" * 65536, BrokenFileError),
    ],
    ids=["told", "chunks", "without a length"],
)
def test_an_endless_file_is_not_read_to_its_end(head: bytes, piece: bytes, error: type[Exception]) -> None:
    with answering(b"HTTP/1.1 200 OK\r\n" + head, piece) as (url, sent), pytest.raises(error):
        content(url)
    assert sent[0] < 32 * 1024 * 1024


@pytest.mark.parametrize(
    "address", ["", "file:///etc/passwd", "ftp://a/b", "http://", "http://a:b@c/", "http://a b/", "http://a:x/"]
)
def test_what_is_no_address_of_http_is_refused(address: str) -> None:
    with pytest.raises(RefusedFileError, match="none of http or https"):
        content(address)


@pytest.mark.parametrize(
    ("address", "private", "sentence"),
    [
        ("https://127.0.0.1:9/x", False, "127.0.0.1, which leads to 127.0.0.1, a loopback or private address"),
        ("https://localhost:9/x", False, "a loopback or private address"),
        ("http://169.254.169.254/latest", True, "a link-local or metadata address, which is never allowed"),
        ("http://8.8.8.8/x", True, "a public address, which needs https"),
    ],
)
def test_a_forbidden_address_is_never_connected_to(address: str, private: bool, sentence: str) -> None:
    with pytest.raises(SourceUnusableError, match=sentence):
        content(address, FileLimits(1, private))


def test_who_does_not_want_a_file_any_more_is_not_given_the_rest() -> None:
    stop = threading.Event()
    stop.set()
    with http_server(lambda _: Answer(200, b"x")) as server, pytest.raises(Stopped):
        content(server.url, stop=stop)
