"""Objects of any size, written out of a file."""

import base64
import hashlib
import io
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from tempfile import TemporaryFile
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from urllib3 import HTTPResponse

from export_pipeline.object_store.config import Credentials, DestinationConfig
from export_pipeline.object_store.protocol import Digest
from export_pipeline.object_store.s3.store import S3Store
from export_pipeline_tests.object_store.helpers import store_for
from export_pipeline_tests.servers import Weed
from export_pipeline_tests.servers.http import Answer, Asked, http_server

CREDENTIALS = Credentials("key", "secret")


def digest_of(content: bytes) -> Digest:
    """What the bytes come to."""
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return Digest(len(content), hashlib.sha256(content).hexdigest(), md5)


def test_a_file_is_sent_from_its_begin_in_each_attempt() -> None:
    content = b"0123456789" * 10_000
    answers: Iterator[Answer] = iter([Answer(503, b""), Answer(200, b"", {"ETag": '"x"'})])

    def answer(_: Asked) -> Answer:
        return next(answers)

    with http_server(answer) as server:
        config = DestinationConfig(bucket="b", endpoint_url=server.url, allow_private=True)
        with closing(S3Store(config, CREDENTIALS, patience=20.0)) as store:
            file = io.BytesIO(content)
            file.seek(17)
            store.put_file("a/b", file, digest_of(content))
    assert [each.body for each in server.asked] == [content, content]
    md5 = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
    assert [each.headers["Content-MD5"] for each in server.asked] == [md5, md5]


def test_aws_is_told_the_sha256_of_a_file() -> None:
    content = b"some bytes"
    sent: list[dict[str, Any]] = []

    def answer(request: Any, **_: Any) -> AWSResponse:
        sent.append({name.lower(): value for name, value in request.headers.items()})
        headers: Any = {"ETag": '"x"'}
        return AWSResponse(request.url, 200, headers, HTTPResponse(io.BytesIO(), preload_content=False))

    with closing(S3Store(DestinationConfig(bucket="b", region="eu-west-1"), CREDENTIALS)) as store:
        store.client.meta.events.register("before-send.s3", answer)
        store.put_file("a/b", io.BytesIO(content), digest_of(content))
    (headers,) = sent
    told = headers["x-amz-checksum-sha256"]
    assert base64.b64decode(told) == hashlib.sha256(content).digest()
    assert [name for name in headers if name.startswith("x-amz-checksum")] == ["x-amz-checksum-sha256"]


@pytest.mark.slow
def test_a_large_file_is_never_whole_in_memory(seaweedfs: Weed) -> None:
    piece, pieces = bytes(range(256)) * 4096, 48
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with TemporaryFile() as file, closing(store_for(seaweedfs, seaweedfs.new_bucket())) as store:
        for _ in range(pieces):
            file.write(piece)
            sha256.update(piece)
            md5.update(piece)
        tracemalloc.start()
        try:
            store.put_file("large", file, Digest(pieces * len(piece), sha256.hexdigest(), md5.hexdigest()))
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        info = store.stat("large")
    assert info is not None
    assert (info.size, info.etag) == (pieces * len(piece), md5.hexdigest())
    assert most < 8 * len(piece)
