"""How the client is made: whose credentials it uses, and what it sends to AWS and to others."""

import traceback
from collections.abc import Iterator
from typing import Any

import pytest
from moto import mock_aws

from export_pipeline.errors import DestinationError, DestinationRefusedError, SettingsError
from export_pipeline.object_store.config import SETTING_NAMES, Credentials, DestinationConfig
from export_pipeline.object_store.protocol import UploadGoneError
from export_pipeline.object_store.s3 import client as client_module
from export_pipeline.object_store.s3.client import make_client
from export_pipeline.object_store.s3.store import S3Store
from export_pipeline.object_store.upload import PartUpload
from export_pipeline.settings import load_settings
from export_pipeline_tests.object_store.helpers import PART, store_for
from export_pipeline_tests.servers import S3Server

CANARY = "canary-secret-4f1c"
AWS = DestinationConfig(bucket="bucket", region="eu-central-1", names=SETTING_NAMES)


@pytest.fixture
def ambient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ambient-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "ambient-secret")


@pytest.fixture
def aws() -> Iterator[None]:
    """Moto in botocore's place; sessions made before it came do not know it."""
    client_module._isolated_session.cache_clear()
    with mock_aws():
        yield
    client_module._isolated_session.cache_clear()


def test_given_credentials_are_the_only_ones(ambient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "does-not-exist")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "ambient-token")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://elsewhere.example.com")
    client = make_client(AWS, Credentials("mine", CANARY))
    used = client._request_signer._credentials
    assert (used.access_key, used.secret_key, used.token) == ("mine", CANARY, None)
    assert client.meta.endpoint_url == "https://s3.eu-central-1.amazonaws.com"
    client.close()


def test_without_credentials_the_process_is_asked_only_where_that_is_meant(ambient: None) -> None:
    with pytest.raises(DestinationRefusedError, match="EXPORT_PIPELINE_ACCESS_KEY_ID"):
        make_client(AWS, None)
    client = make_client(DestinationConfig(bucket="bucket", region="eu-central-1", process_credentials=True), None)
    assert client._request_signer._credentials.access_key == "ambient-key"
    client.close()


def test_a_process_without_credentials_says_which_settings_to_use() -> None:
    config = DestinationConfig("bucket", region="eu-central-1", process_credentials=True, names=SETTING_NAMES)
    store = S3Store(config, None, patience=0)
    with pytest.raises(DestinationRefusedError, match="EXPORT_PIPELINE_ACCESS_KEY_ID") as caught:
        store.put("k", b"x")
    assert caught.value.error_class == "Access denied"
    store.close()


def test_the_settings_make_the_destination(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="EXPORT_PIPELINE_BUCKET"):
        DestinationConfig.from_settings(load_settings())
    given = {"source_url": "sqlite:///t.db", "control_url": "sqlite:///c.db", "bucket": "b-1", "prefix": "a/b"}
    settings = load_settings(**given, region="eu-central-1")
    config = DestinationConfig.from_settings(settings)
    assert (config.bucket, config.prefix, config.region, config.endpoint_url) == ("b-1", "a/b", "eu-central-1", None)
    assert config.process_credentials
    assert not config.allow_private
    assert Credentials.from_settings(settings) is None
    with_keys = load_settings(**given, access_key_id="k", secret_access_key=CANARY, session_token="t")
    assert not DestinationConfig.from_settings(with_keys).process_credentials
    credentials = Credentials.from_settings(with_keys)
    assert credentials == Credentials("k", CANARY, "t")
    assert CANARY not in repr(credentials)


def test_a_malformed_region_is_named() -> None:
    with pytest.raises(DestinationRefusedError, match="EXPORT_PIPELINE_REGION"):
        make_client(DestinationConfig("bucket", region="a/b", names=SETTING_NAMES), Credentials("k", "s"))


def headers_of(store: S3Store) -> dict[str, dict[str, str]]:
    """The headers of the last request of each operation, filled in as they are sent."""
    sent: dict[str, dict[str, str]] = {}

    def keep(request: Any, event_name: str, **_: Any) -> None:
        headers = {
            name: value.decode() if isinstance(value, bytes) else str(value) for name, value in request.headers.items()
        }
        sent[event_name.rpartition(".")[2]] = {name.lower(): value for name, value in headers.items()}

    store.client.meta.events.register_first("before-send.s3", keep)
    return sent


def test_other_stores_get_no_checksums_that_they_may_refuse_but_the_oldest_one(s3_server: S3Server) -> None:
    store = store_for(s3_server, s3_server.new_bucket())
    sent = headers_of(store)
    store.put("k", b"x")
    upload = store.begin_upload("k")[0]
    receipt = store.upload_part("k", upload, 1, b"x")
    store.complete("k", upload, [(1, receipt)])
    store.read("k")
    names = {name for headers in sent.values() for name in headers}
    assert not [name for name in names if "checksum" in name or name == "x-amz-trailer"]
    assert "content-md5" in sent["PutObject"]
    assert "content-md5" in sent["UploadPart"]
    assert "crc32" not in receipt
    store.close()


def test_aws_gets_checksums_and_they_are_repeated_at_the_end(aws: None) -> None:
    store = S3Store(AWS, Credentials("key", "secret"))
    store.client.create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    sent = headers_of(store)
    upload = store.begin_upload("k")[0]
    with PartUpload(store, "k", upload, part_bytes=PART) as file:
        file.write(b"x" * (PART + 1))
        done = file.finish()
    bodies: list[dict[str, Any]] = []
    store.client.meta.events.register(
        "provide-client-params.s3.CompleteMultipartUpload", lambda params, **_: bodies.append(params)
    )
    store.complete("k", upload, done.parts)
    assert sent["CreateMultipartUpload"]["x-amz-checksum-algorithm"] == "CRC32"
    assert sent["UploadPart"]["x-amz-trailer"] == "x-amz-checksum-crc32"
    listed = bodies[0]["MultipartUpload"]["Parts"]
    assert [part["PartNumber"] for part in listed] == [1, 2]
    assert all(
        receipt.partition(" crc32=")[2] == part.get("ChecksumCRC32", "")
        for (_, receipt), part in zip(done.parts, listed, strict=True)
    )
    assert all(" " not in part["ETag"] for part in listed)
    assert store.read("k", PART) == b"x"
    store.close()


def test_a_receipt_with_a_checksum_is_taken_apart_again(s3_server: S3Server) -> None:
    store = store_for(s3_server, "bucket")
    bodies: list[dict[str, Any]] = []
    store.client.meta.events.register(
        "provide-client-params.s3.CompleteMultipartUpload", lambda params, **_: bodies.append(params)
    )
    with pytest.raises((DestinationError, UploadGoneError)):
        store.complete("k", "u", [(1, '"e" crc32=AAAAAA=='), (2, '"f"')])
    assert bodies[0]["MultipartUpload"]["Parts"] == [
        {"PartNumber": 1, "ETag": '"e"', "ChecksumCRC32": "AAAAAA=="},
        {"PartNumber": 2, "ETag": '"f"'},
    ]
    store.close()


def test_versions_of_the_bucket_are_told(aws: None) -> None:
    store = S3Store(AWS, Credentials("key", "secret"))
    store.client.create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    store.client.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})
    upload = store.begin_upload("k")[0]
    done = store.complete("k", upload, [(1, store.upload_part("k", upload, 1, b"x"))])
    found = store.stat("k")
    assert found is not None
    assert done.version_id
    assert found.version_id == done.version_id
    store.close()


def test_secrets_do_not_show_in_errors_reprs_or_tracebacks(
    s3_server: S3Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    shown = []
    places = [("b-1", s3_server.endpoint_url), ("b-1", "http://127.0.0.1:1"), ("no/bucket", s3_server.endpoint_url)]
    for bucket, endpoint_url in places:
        config = DestinationConfig(bucket, endpoint_url=endpoint_url, allow_private=True)
        store = S3Store(config, Credentials(s3_server.access_key_id, CANARY, f"token-{CANARY}"), patience=0)
        shown.append(repr(store))
        for call in (store.stat, store.read, store.begin_upload):
            with pytest.raises(DestinationError) as caught:
                call("k")
            shown.append("".join(traceback.format_exception(caught.value)))
            shown.append(repr(caught.value) + str(vars(caught.value)))
        store.close()
    assert len(shown) == 21
    assert CANARY not in "".join(shown) + caplog.text
