"""The S3 calls, on two real servers that differ in much."""

import json
from collections.abc import Iterator

import pytest

from export_pipeline.errors import DestinationRefusedError, DestinationUnavailableError
from export_pipeline.object_store.protocol import ObjectMissingError, UploadGoneError
from export_pipeline.object_store.s3.store import S3Store
from export_pipeline_tests.object_store.helpers import PART, store_for
from export_pipeline_tests.servers import S3Server


@pytest.fixture
def bucket(s3_server: S3Server) -> str:
    return s3_server.new_bucket()


@pytest.fixture
def store(s3_server: S3Server, bucket: str) -> Iterator[S3Store]:
    store = store_for(s3_server, bucket)
    yield store
    store.close()


def test_parts_are_invisible_until_completed_and_whole_afterwards(
    store: S3Store, s3_server: S3Server, bucket: str
) -> None:
    key = "a folder/é=1/part.parquet"
    upload = store.begin_upload(key)[0]
    bodies: list[bytes | bytearray] = [bytearray(b"a" * PART), b"end"]
    parts = [(number, store.upload_part(key, upload, number, body)) for number, body in enumerate(bodies, 1)]
    assert store.stat(key) is None
    assert list(store.list("")) == []
    done = store.complete(key, upload, parts)
    found = store.stat(key)
    assert found is not None
    assert (found.key, found.size) == (key, PART + 3)
    assert '"' not in found.etag + done.etag
    assert store.read(key, PART - 1) == b"aend"
    assert s3_server.open_uploads(bucket) == []
    assert dict(store.requests) == {
        "CreateMultipartUpload": 1,
        "UploadPart": 2,
        "HeadObject": 2,
        "GetObject": 2,
        "ListObjectsV2": 1,
        "CompleteMultipartUpload": 1,
    }


def test_an_aborted_upload_leaves_nothing_and_may_be_aborted_again(
    store: S3Store, s3_server: S3Server, bucket: str
) -> None:
    upload = store.begin_upload("k")[0]
    receipt = store.upload_part("k", upload, 1, b"x")
    store.abort("k", upload)
    store.abort("k", upload)
    store.abort("k", "never-there")
    assert s3_server.open_uploads(bucket) == []
    with pytest.raises(UploadGoneError) as completing:
        store.complete("k", upload, [(1, receipt)])
    assert completing.value.code == "NoSuchUpload"
    with pytest.raises(UploadGoneError):
        store.upload_part("k", upload, 2, b"x")
    assert store.stat("k") is None


def test_open_uploads_are_listed_by_their_exact_key(store: S3Store) -> None:
    mine = {store.begin_upload("day/part")[0], store.begin_upload("day/part")[0]}
    store.begin_upload("day/part-2")[0]
    assert set(store.list_uploads("day/part")) == mine
    assert store.list_uploads("day") == []


def test_media_types_are_set(store: S3Store, s3_server: S3Server, bucket: str) -> None:
    store.put("m.json", b"{}")
    upload = store.begin_upload("d.parquet")[0]
    store.complete("d.parquet", upload, [(1, store.upload_part("d.parquet", upload, 1, b"x"))])
    for key, expected in (("m.json", "application/json"), ("d.parquet", "application/vnd.apache.parquet")):
        assert s3_server.client().head_object(Bucket=bucket, Key=key)["ContentType"] == expected


def test_ranges_of_an_object_are_read(store: S3Store) -> None:
    store.put("k", b"0123456789")
    assert store.read("k") == b"0123456789"
    assert store.read("k", 2, 5) == b"234"
    assert store.read("k", 7) == b"789"
    assert store.read("k", end=3) == b"012"
    assert store.read("k", 5, 100) == b"56789"
    with pytest.raises(DestinationUnavailableError, match="shorter"):
        store.read("k", 50, 60)


def test_what_is_not_there_is_told_from_a_missing_bucket(store: S3Store, s3_server: S3Server) -> None:
    assert store.stat("nothing") is None
    with pytest.raises(ObjectMissingError):
        store.read("nothing")
    elsewhere = store_for(s3_server, "no-such-bucket-anywhere")
    for call in (elsewhere.stat, elsewhere.read, elsewhere.begin_upload):
        with pytest.raises(DestinationRefusedError) as caught:
            call("k")
        assert (caught.value.error_class, caught.value.code) == ("Bucket is not valid", "NoSuchBucket")
    elsewhere.close()


def test_a_manifest_is_written_once_where_the_store_can_and_overwritten_where_it_cannot(
    store: S3Store, s3_server: S3Server
) -> None:
    assert store.put_once("m.json", b"mine") is True
    assert store.put_once("m.json", b"mine") is True
    assert store.put_once("m.json", b"other") is not s3_server.conditional_writes
    assert store.read("m.json") == (b"mine" if s3_server.conditional_writes else b"other")


def test_only_the_object_that_was_read_is_written_over_where_the_store_can(store: S3Store, s3_server: S3Server) -> None:
    assert store.put_over("p.json", b"one", None) is True
    first = store.stat("p.json")
    assert first is not None
    assert store.put_over("p.json", b"two", first.etag) is True
    assert store.read("p.json") == b"two"
    for stale in (None, first.etag):
        assert store.put_over("p.json", b"three", stale) is not s3_server.conditional_writes
    assert store.read("p.json") == (b"two" if s3_server.conditional_writes else b"three")
    second = store.stat("p.json")
    assert second is not None
    store.delete("p.json")
    assert store.put_over("p.json", b"four", second.etag) is not s3_server.conditional_writes


def test_only_the_object_that_was_meant_is_deleted(store: S3Store) -> None:
    store.put("k", b"one")
    first = store.stat("k")
    store.put("k", b"another")
    second = store.stat("k")
    assert first is not None
    assert second is not None
    assert store.delete_if("k", first.etag) is False
    assert store.read("k") == b"another"
    assert store.delete_if("k", f'"{second.etag}"') is True
    assert store.stat("k") is None
    assert store.delete_if("k", second.etag) is True
    store.delete("k")


def test_listings_of_more_than_a_page_are_whole(store: S3Store) -> None:
    for operation, name in (("ListObjectsV2", "MaxKeys"), ("ListMultipartUploads", "MaxUploads")):
        store.client.meta.events.register(
            f"provide-client-params.s3.{operation}", lambda params, name=name, **_: params | {name: 2}
        )
    keys = [f"many/{number}.json" for number in range(5)]
    for key in keys:
        store.put(key, b"x")
    store.put("manyother.json", b"x")
    assert [item.key for item in store.list("many/")] == keys
    assert store.requests["ListObjectsV2"] == 3
    uploads = {store.begin_upload("k")[0] for _ in range(5)}
    assert set(store.list_uploads("k")) == uploads
    assert store.requests["ListMultipartUploads"] >= 3


def test_nothing_that_a_store_shows_of_itself_is_secret(store: S3Store, s3_server: S3Server) -> None:
    assert s3_server.secret_access_key not in repr(store) + str(vars(store)) + json.dumps(store.requests)
