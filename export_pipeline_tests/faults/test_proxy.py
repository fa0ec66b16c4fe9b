"""The fault proxy does what it says, in front of both S3 servers."""

import hashlib
import time
from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest
from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError

from export_pipeline.local.seaweedfs import probe_client
from export_pipeline_tests.faults.proxy import Fault, FaultProxy
from export_pipeline_tests.faults.tcp import TcpProxy
from export_pipeline_tests.servers import Postgres, S3Server

pytestmark = pytest.mark.slow

PART = b"p" * (5 * 1024 * 1024)


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[FaultProxy]:
    with FaultProxy(s3_server.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def client(s3_server: S3Server, proxy: FaultProxy) -> Iterator[Any]:
    client = probe_client(proxy.endpoint_url, s3_server.access_key_id, s3_server.secret_access_key)
    yield client
    client.close()


@pytest.fixture
def bucket(s3_server: S3Server) -> str:
    return s3_server.new_bucket()


def test_without_rules_every_operation_passes_and_is_named(client: Any, proxy: FaultProxy, bucket: str) -> None:
    upload = client.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    etags = [
        client.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=n, Body=PART)["ETag"] for n in (1, 2)
    ]
    parts = [{"PartNumber": n, "ETag": etag} for n, etag in enumerate(etags, 1)]
    client.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": parts})
    client.put_object(Bucket=bucket, Key="small key/é=1", Body=b"text")
    assert client.head_object(Bucket=bucket, Key="k")["ContentLength"] == 2 * len(PART)
    read = client.get_object(Bucket=bucket, Key="k")["Body"].read()
    assert hashlib.sha256(read).digest() == hashlib.sha256(PART * 2).digest()
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 2
    other = client.create_multipart_upload(Bucket=bucket, Key="gone")["UploadId"]
    client.abort_multipart_upload(Bucket=bucket, Key="gone", UploadId=other)
    client.delete_object(Bucket=bucket, Key="k")
    assert [request.operation for request in proxy.requests] == [
        "CreateMultipartUpload",
        "UploadPart",
        "UploadPart",
        "CompleteMultipartUpload",
        "PutObject",
        "HeadObject",
        "GetObject",
        "ListObjectsV2",
        "CreateMultipartUpload",
        "AbortMultipartUpload",
        "DeleteObject",
    ]
    assert proxy.requests[4].key == "small key/é=1"
    assert all(request.status in {200, 204} for request in proxy.requests)


@pytest.mark.parametrize("error", [(500, "InternalError"), (503, "SlowDown"), (429, "TooManyRequests")])
def test_the_next_requests_are_answered_with_an_error_and_the_server_does_not_see_them(
    client: Any, proxy: FaultProxy, bucket: str, s3_server: S3Server, error: tuple[int, str]
) -> None:
    status, code = error
    rule = proxy.answer(status, code, "PutObject", times=2)
    for _ in range(2):
        with pytest.raises(ClientError) as caught:
            client.put_object(Bucket=bucket, Key="x", Body=b"x")
        assert caught.value.response["Error"]["Code"] == code
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert s3_server.keys(bucket) == []
    client.put_object(Bucket=bucket, Key="x", Body=b"x")
    assert s3_server.keys(bucket) == ["x"]
    assert rule.hits == 2


def test_skipped_requests_pass_and_other_keys_are_left_alone(client: Any, proxy: FaultProxy, bucket: str) -> None:
    proxy.on("PutObject", Fault(status=500), key="^hit", skip=1)
    client.put_object(Bucket=bucket, Key="missed", Body=b"x")
    client.put_object(Bucket=bucket, Key="hit", Body=b"x")
    with pytest.raises(ClientError):
        client.put_object(Bucket=bucket, Key="hit", Body=b"x")
    proxy.answer(500, "InternalError", times=None)
    proxy.clear()
    client.put_object(Bucket=bucket, Key="hit", Body=b"x")
    assert [request.status for request in proxy.requests] == [200, 200, 500, 200]


def test_a_lost_response_means_that_the_server_acted(
    client: Any, proxy: FaultProxy, bucket: str, s3_server: S3Server
) -> None:
    upload = client.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    part = client.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=b"last part")["ETag"]
    rule = proxy.lose_response("CompleteMultipartUpload")
    with pytest.raises(BotoCoreError):
        client.complete_multipart_upload(
            Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part}]}
        )
    rule.wait()
    assert s3_server.client().get_object(Bucket=bucket, Key="k")["Body"].read() == b"last part"


def test_a_stalled_request_times_out_and_leaves_nothing(s3_server: S3Server, proxy: FaultProxy, bucket: str) -> None:
    keys = s3_server.identity("admin")
    client = probe_client(proxy.endpoint_url, *keys, read_timeout=0.3)
    proxy.on("PutObject", Fault(stall=True))
    with pytest.raises(ReadTimeoutError):
        client.put_object(Bucket=bucket, Key="x", Body=b"x")
    client.close()
    assert s3_server.keys(bucket) == []


def test_a_cut_request_is_not_stored(client: Any, proxy: FaultProxy, bucket: str, s3_server: S3Server) -> None:
    proxy.on("PutObject", Fault(cut_request=1_000_000))
    with pytest.raises(BotoCoreError):
        client.put_object(Bucket=bucket, Key="x", Body=PART)
    assert s3_server.keys(bucket) == []


def test_a_cut_response_ends_in_an_error_on_reading(client: Any, proxy: FaultProxy, bucket: str) -> None:
    client.put_object(Bucket=bucket, Key="x", Body=PART)
    proxy.on("GetObject", Fault(cut_response=1_000_000))
    answer = client.get_object(Bucket=bucket, Key="x")["Body"]
    with pytest.raises(BotoCoreError):
        answer.read()
    answer.close()


def test_a_corrupted_response_differs_in_one_bit(client: Any, proxy: FaultProxy, bucket: str) -> None:
    client.put_object(Bucket=bucket, Key="x", Body=b"abc")
    proxy.on("GetObject", Fault(corrupt_response=True))
    assert client.get_object(Bucket=bucket, Key="x")["Body"].read() == b"`bc"


def test_a_corrupted_request_is_noticed_by_the_checksum(
    client: Any, proxy: FaultProxy, bucket: str, s3_server: S3Server
) -> None:
    proxy.on("PutObject", Fault(corrupt_request=True))
    with pytest.raises(ClientError):
        client.put_object(Bucket=bucket, Key="x", Body=b"abc", ContentMD5="kAFQmDzST7DWlj99KOF/cg==")
    assert s3_server.keys(bucket) == []


def test_delay_and_throttle_pass_everything_on_later(client: Any, proxy: FaultProxy, bucket: str) -> None:
    proxy.on("PutObject", Fault(delay=0.2))
    proxy.on("GetObject", Fault(rate=1_000_000))
    started = time.monotonic()
    client.put_object(Bucket=bucket, Key="x", Body=b"x" * 300_000)
    assert time.monotonic() - started >= 0.2
    started = time.monotonic()
    assert client.get_object(Bucket=bucket, Key="x")["Body"].read() == b"x" * 300_000
    assert time.monotonic() - started >= 0.2


def test_a_server_that_is_down_looks_like_a_broken_connection(
    client: Any, proxy: FaultProxy, bucket: str, s3_server: S3Server
) -> None:
    s3_server.kill()
    with pytest.raises(BotoCoreError):
        client.put_object(Bucket=bucket, Key="x", Body=b"x")


def _connect(postgres: Postgres, proxy: TcpProxy) -> Any:
    return psycopg2.connect(
        host="127.0.0.1", port=proxy.port, user="postgres", password=postgres.password, dbname="postgres"
    )


def test_a_commit_whose_answer_is_lost_is_there(postgres: Postgres) -> None:
    database = postgres.new_database().rpartition("/")[2]
    postgres.execute("CREATE TABLE t (x int)", database=database)
    with TcpProxy(postgres.port) as proxy:
        connection = psycopg2.connect(
            host="127.0.0.1", port=proxy.port, user="postgres", password=postgres.password, dbname=database
        )
        connection.cursor().execute("INSERT INTO t VALUES (1)")
        lost = proxy.lose_answer_to(b"COMMIT")
        with pytest.raises(psycopg2.OperationalError):
            connection.commit()
        assert lost.wait(10)
        connection.close()
    assert postgres.execute("SELECT x FROM t", database=database) == [(1,)]


def test_broken_and_refused_database_connections_raise(postgres: Postgres) -> None:
    with TcpProxy(postgres.port) as proxy:
        connection = _connect(postgres, proxy)
        proxy.break_all()
        with pytest.raises(psycopg2.OperationalError):
            connection.cursor().execute("SELECT pg_sleep(10)")
        connection.close()
        proxy.refusing = True
        with pytest.raises(psycopg2.OperationalError):
            _connect(postgres, proxy)
        proxy.refusing = False
        connection = _connect(postgres, proxy)
        connection.close()
