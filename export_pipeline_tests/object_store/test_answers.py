"""Stores that answer as none does: endlessly, or a byte at a time."""

import contextlib
import threading
from typing import Any

import pytest

from export_pipeline.errors import DestinationError, DestinationUnavailableError, ExportPipelineError
from export_pipeline.object_store import answers
from export_pipeline.object_store.config import Credentials, DestinationConfig
from export_pipeline.object_store.protocol import OutcomeUnknownError
from export_pipeline.object_store.s3.client import make_client
from export_pipeline.object_store.s3.store import S3Store
from export_pipeline_tests.object_store.helpers import answering

CREDENTIALS = Credentials("key", "secret")
HEAD = b'HTTP/1.1 200 OK\r\nETag: "x"\r\n'


def store_at(url: str) -> S3Store:
    return S3Store(DestinationConfig(bucket="b", endpoint_url=url, allow_private=True), CREDENTIALS, patience=0)


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


def timers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer) and thread.is_alive()]


def test_an_endless_refusal_of_a_read_is_not_read() -> None:
    for length in (b"Content-Length: 4294967296\r\n", b""):
        with answering(b"HTTP/1.1 403 Forbidden\r\n" + length + b"\r\n", b"x" * 65536) as (url, sent):
            store = store_at(url)
            with pytest.raises(DestinationUnavailableError, match="the answer is longer than one of S3 ever is"):
                store.read("k", 0, 8)
            store.close()
        assert sent[0] < 32 * 1024 * 1024


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"Content-Length: 1000000000000\r\n\r\n",
        HEAD + b"Content-Length: 8\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    ids=["length", "chunks"],
)
def test_data_a_few_bytes_at_a_time_ends_by_the_size_that_was_asked_for(
    head: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "SECONDS", 0.5)
    piece = b"1\r\nx\r\n" if b"chunked" in head else b"x"
    with answering(head, piece, pause=threading.Event()) as (url, _):
        store = store_at(url)
        with pytest.raises(DestinationUnavailableError):
            store.read("k", 0, 4_000)
        store.close()


def test_data_may_take_longer_the_more_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "SECONDS", 0.5)
    monkeypatch.setattr(answers, "BYTES_A_SECOND", 1)
    with answering(HEAD + b"Content-Length: 100\r\n\r\n", b"x" * 4, pause=threading.Event()) as (url, _):
        store = store_at(url)
        assert store.read("k", 0, 100) == b"x" * 100  # in 1.25 seconds of 100.5
        store.close()


@pytest.mark.parametrize("end", [4, 100], ids=["part", "whole"])
def test_a_deadline_ends_with_the_read(end: int) -> None:
    before = timers()
    with answering(HEAD + b"Content-Length: 100\r\n\r\n", b"x" * 100) as (url, _):
        store = store_at(url)
        assert store.read("k", 0, end) == b"x" * end
        assert [timer for timer in timers() if timer not in before and not timer.finished.is_set()] == []  # type: ignore[attr-defined]
        store.close()


def test_an_answer_that_breaks_off_is_not_taken_for_the_whole() -> None:
    with answering(HEAD + b"Content-Length: 100\r\nConnection: close\r\n\r\nshort", b"") as (url, _):
        store = store_at(url)
        for end in (50, 100, 200):
            with pytest.raises(DestinationUnavailableError):
                store.read("k", 0, end)
        store.close()


def xml(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b'HTTP/1.1 %s\r\nETag: "x"\r\nContent-Length: %d\r\n\r\n%s' % (status, len(body), body)


BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "'
    + b"x" * 30_000
    + b'">]><ListBucketResult><Name>'
    + b"&a;" * 100_000
    + b"</Name></ListBucketResult>"
)


@pytest.mark.parametrize(
    "body", [b"<a>" * 9_000 + b"</a>" * 9_000, BOMB, b"  \n" + b"<a>" * 33], ids=["deep", "bomb", "cut"]
)
def test_an_answer_of_deep_xml_or_of_entities_is_none(body: bytes) -> None:
    with answering(xml(body), b"") as (url, _):
        store = store_at(url)
        with pytest.raises(DestinationUnavailableError, match="nested deeper"):
            list(store.list(""))
        store.close()
    with answering(xml(body[:60_000], b"403 Forbidden"), b"") as (url, _):
        store = store_at(url)
        with pytest.raises(DestinationUnavailableError, match="nested deeper"):
            store.read("k", 0, 1)
        with pytest.raises(OutcomeUnknownError):
            store.complete("k", "an upload", [(1, "etag")])
        store.close()


@pytest.mark.parametrize("body", [b"<a>" * 32 + b"</a>" * 32, b"no XML", b""])
def test_what_is_no_answer_of_s3_for_other_reasons_is_left_to_botocore(body: bytes) -> None:
    with answering(xml(body), b"") as (url, _):
        store = store_at(url)
        with contextlib.suppress(DestinationError):
            assert list(store.list("")) == []
        store.close()


@pytest.mark.parametrize(
    "page",
    [
        b"<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>",
        b"<IsTruncated>true</IsTruncated>",
        b"<Contents><Size>1</Size></Contents>",
        b"<Contents><Key>k</Key><Size>much</Size></Contents>",
    ],
)
def test_a_listing_without_an_end_or_without_keys_is_none(page: bytes) -> None:
    with answering(xml(b"<ListBucketResult>" + page + b"</ListBucketResult>"), b"") as (url, _):
        store = store_at(url)
        with pytest.raises(DestinationError, match="Check the destination's endpoint_url"):
            list(store.list(""))
        store.close()


class Endless:
    """A client whose listings have ever new pages."""

    def __init__(self) -> None:
        self.pages = 0

    def list_objects_v2(self, **_: object) -> dict[str, Any]:
        self.pages += 1
        return {
            "IsTruncated": True,
            "NextContinuationToken": str(self.pages),
            "Contents": [{"Key": f"{self.pages:09}", "Size": 1, "ETag": '"x"', "LastModified": None}],
        }

    def list_multipart_uploads(self, **_: object) -> dict[str, Any]:
        self.pages += 1
        key = f"{self.pages:09}"
        return {"IsTruncated": True, "Uploads": [{"Key": key, "UploadId": "an upload", "Initiated": None}]}


@pytest.mark.parametrize(("limit", "most"), [("MOST_PAGES", 5), ("MOST_SECONDS", 0.0)])
@pytest.mark.parametrize("what", ["list", "uploads_below"])
def test_a_listing_of_ever_new_keys_is_given_up(
    monkeypatch: pytest.MonkeyPatch, what: str, limit: str, most: float
) -> None:
    monkeypatch.setattr(f"export_pipeline.object_store.s3.listing.{limit}", most)
    client = Endless()
    store = S3Store(DestinationConfig(bucket="b"), CREDENTIALS, patience=0, client=client)
    found = []
    with pytest.raises(DestinationError, match="the answer has no end"):
        found.extend(getattr(store, what)(""))
    assert client.pages == (5 if limit == "MOST_PAGES" else 1)


@pytest.mark.parametrize(
    "code", ["a" * 65, "Access Denied", "Denied\n2026 INFO all is well", "&lt;b&gt;", "\u202eDenied", "Denied\u00e9"]
)
def test_a_code_that_is_none_is_neither_shown_nor_kept(code: str) -> None:
    body = f"<Error><Code>{code}</Code></Error>".encode()
    with answering(xml(body, b"403 Forbidden"), b"") as (url, _):
        store = store_at(url)
        with pytest.raises(DestinationError, match=r"\(an unreadable code\)") as caught:
            store.put("k", b"body")
        store.close()
    assert caught.value.code == "an unreadable code"
    assert caught.value.error_class == "Access denied"


@pytest.mark.parametrize(
    ("region", "shown"),
    [("eu-west-3", True), ("evil.example/", False), ("a b", False), ("x" * 64, False), ("\u00e9u", False)],
)
def test_a_region_that_is_none_is_not_shown_and_nobody_follows_it(region: str, shown: bool) -> None:
    body = f"<Error><Code>AuthorizationHeaderMalformed</Code><Region>{region}</Region></Error>".encode()
    with answering(xml(body, b"400 Bad Request"), b"") as (url, _):
        store = store_at(url)
        with pytest.raises(DestinationError) as caught:
            store.put("k", b"body")
        store.close()
    assert (region in str(caught.value)) == shown
    assert store.requests["PutObject"] == 1


@pytest.mark.parametrize("etag", [b"a\x01b", b"\xe9", b"x" * 3_000])
def test_an_etag_that_is_none_is_not_kept(etag: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nETag: " + etag + b"\r\nx-amz-version-id: " + etag + b"\r\n"
    when = b"Last-Modified: Wed, 01 Apr 2026 00:00:00 GMT\r\nContent-Length: 0\r\n\r\n"
    with answering(head + when, b"") as (url, _):
        store = store_at(url)
        with pytest.raises(DestinationError, match="the answer has no ETag"):
            store.put("k", b"body")
        found = store.stat("k")
        assert found is not None
        assert (found.etag, found.version_id) == ("", None)
        store.close()


def test_a_handshake_a_byte_at_a_time_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "SECONDS", 0.5)
    with answering(b"\x16\x03\x03\x3f\xff", b"\x02", pause=threading.Event()) as (url, _):
        store = store_at(url.replace("http:", "https:"))
        with pytest.raises(DestinationUnavailableError):
            store.put("k", b"body")
        store.close()


@pytest.mark.parametrize("proxied", [False, True])
def test_answers_of_aws_itself_are_timed_too(proxied: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "SECONDS", 0.5)
    with answering(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n", pause=threading.Event()) as (url, _):
        config = DestinationConfig(bucket="b-bucket", region="eu-central-1", use_proxy=True)
        if proxied:
            monkeypatch.setenv("HTTPS_PROXY", url)
        store = S3Store(config, CREDENTIALS, patience=0)
        if not proxied:  # what is asked for at AWS's address comes here

            def here(request: Any, **_: Any) -> None:
                request.url = url + "/b-bucket/k"

            store.client.meta.events.register_last("before-send.s3", here)
        with pytest.raises(DestinationUnavailableError):
            store.put("k", b"body")
        store.close()
