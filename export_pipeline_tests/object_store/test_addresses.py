"""How bucket and key become an address: the host that stands for a bucket, options and arguments of requests."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from export_pipeline.object_store.config import Credentials, DestinationConfig, S3Options
from export_pipeline.object_store.s3.check import check_destination
from export_pipeline.object_store.s3.client import make_client
from export_pipeline.object_store.s3.store import S3Store
from export_pipeline_tests.object_store.helpers import config_for
from export_pipeline_tests.servers import BUCKET, Rclone

HOST_BUCKET = "127"


class ByHost(Rclone):
    """Takes the bucket from the first label of the host, which is `127` for 127.0.0.1."""

    options = ("--force-path-style=false",)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (folder / "data" / HOST_BUCKET).mkdir()


@pytest.fixture
def by_host(tmp_path: Path) -> Iterator[ByHost]:
    server = ByHost(tmp_path)
    server.start()
    yield server
    server.stop()


def test_where_the_host_stands_for_the_bucket_its_name_is_no_part_of_the_path(by_host: ByHost) -> None:
    config = config_for(by_host, HOST_BUCKET, include_bucket_in_prefix=False)
    store = S3Store(config, Credentials(*by_host.identity("admin")))
    assert check_destination(store, "a").ok
    store.put("a/x y+z", b"123")
    upload = store.begin_upload("a/y")[0]
    store.complete("a/y", upload, [(1, store.upload_part("a/y", upload, 1, b"22"))])
    assert store.read("a/x y+z") == b"123"
    assert [item.key for item in store.list("a/")] == ["a/x y+z", "a/y"]
    store.delete("a/y")
    store.close()
    assert (by_host.folder / "data" / HOST_BUCKET / "a" / "x y+z").read_bytes() == b"123"
    assert [path.name for path in (by_host.folder / "data").iterdir() if path.name != "exports"] == [HOST_BUCKET]


def sent(config: DestinationConfig, operation: str = "put_object", **params: Any) -> Any:
    """The request that would be made; nothing is sent."""
    client = make_client(config, Credentials("key", "secret"))
    seen: list[Any] = []

    client.meta.events.register("before-send.s3", lambda request, **_: seen.append(request))
    client.meta.events.register("before-send.s3", _answered)
    getattr(client, operation)(Bucket=config.bucket, Key="a/b", **params)
    client.close()
    return seen[0]


def _answered(request: Any, **_: Any) -> Any:
    """Stands for a store: says yes to everything, and what an S3 answer holds."""
    from botocore.awsrequest import AWSResponse

    headers: Any = {"ETag": '"x"'}
    return AWSResponse(request.url, 200, headers, _Empty())


class _Empty:
    BODY = b"<InitiateMultipartUploadResult><UploadId>id</UploadId></InitiateMultipartUploadResult>"

    def stream(self, *_: object, **__: object) -> Iterator[bytes]:
        return iter((self.BODY,))

    def read(self, *_: object) -> bytes:
        return b""


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({}, "https://lake.s3.eu-west-1.amazonaws.com/a/b"),
        ({"addressing_style": "path"}, "https://s3.eu-west-1.amazonaws.com/lake/a/b"),
        ({"use_accelerate_endpoint": True}, "https://lake.s3-accelerate.amazonaws.com/a/b"),
    ],
)
def test_the_options_decide_the_address_on_aws(options: dict[str, Any], url: str) -> None:
    config = DestinationConfig("lake", region="eu-west-1", config_kwargs_s3=S3Options(**options))
    assert sent(config).url == url


def test_the_legacy_endpoint_of_the_first_region_is_an_option() -> None:
    def host(style: Any) -> str:
        options = S3Options(us_east_1_regional_endpoint=style)
        return str(sent(DestinationConfig("lake", region="us-east-1", config_kwargs_s3=options)).url)

    assert host("regional") == "https://lake.s3.us-east-1.amazonaws.com/a/b"
    assert host("legacy") == "https://lake.s3.amazonaws.com/a/b"


def test_other_stores_are_addressed_by_path_unless_told_otherwise() -> None:
    store = {"endpoint_url": "https://localhost:1", "allow_private": True}
    assert sent(DestinationConfig("lake", **store)).url == "https://localhost:1/lake/a/b"  # type: ignore[arg-type]
    virtual = DestinationConfig("lake", config_kwargs_s3=S3Options(addressing_style="virtual"), **store)  # type: ignore[arg-type]
    assert sent(virtual).url == "https://lake.localhost:1/a/b"


@pytest.mark.parametrize(("signed", "digest"), [(True, 64), (False, len("UNSIGNED-PAYLOAD"))])
def test_signing_of_bodies_is_an_option(signed: bool, digest: int) -> None:
    config = DestinationConfig(
        "lake",
        endpoint_url="https://localhost:1",
        allow_private=True,
        config_kwargs_s3=S3Options(payload_signing_enabled=signed),
    )
    assert len(sent(config, Body=b"x").headers["X-Amz-Content-SHA256"]) == digest


def test_bodies_for_other_stores_carry_their_md5_as_buckets_with_object_lock_demand(rclone: Rclone) -> None:
    seen: list[Any] = []
    for config in (config_for(rclone, BUCKET), DestinationConfig("lake", region="eu-west-1")):
        store = S3Store(config, Credentials(*rclone.identity("admin")), patience=0)
        store.client.meta.events.register("before-send.s3", lambda request, **_: seen.append(request))
        store.client.meta.events.register("before-send.s3", _answered)
        check_destination(store, "")
        store.put("x", b"1")
        store.upload_part("x", "id", 1, b"1")
        store.close()
    put = [request.headers for request in seen if request.method == "PUT"]
    other = [headers for headers in put if "Content-MD5" in headers]
    amazon = [headers for headers in put if headers.get("X-Amz-Trailer") == b"x-amz-checksum-crc32"]
    assert (len(put), len(other), len(amazon)) == (10, 5, 5)


def test_arguments_go_with_the_operations_that_know_them() -> None:
    config = DestinationConfig(
        "lake",
        region="eu-west-1",
        s3_additional_kwargs={"StorageClass": "STANDARD_IA", "ExpectedBucketOwner": "123456789012", "Tagging": "a=b"},
    )
    put = sent(config).headers
    assert (put["x-amz-storage-class"], put["x-amz-tagging"]) == (b"STANDARD_IA", b"a=b")
    assert put["x-amz-expected-bucket-owner"] == b"123456789012"
    delete = sent(config, "delete_object").headers
    assert delete["x-amz-expected-bucket-owner"] == b"123456789012"
    assert "x-amz-storage-class" not in delete
