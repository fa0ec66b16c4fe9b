"""The destination check against real rights, and against servers that only look like S3."""

from typing import Any

import pytest

from export_pipeline.errors import DestinationError
from export_pipeline.object_store.config import SETTING_NAMES, Credentials, DestinationConfig
from export_pipeline.object_store.protocol import OpenUpload
from export_pipeline.object_store.s3.check import DestinationCheck, check_destination
from export_pipeline.object_store.s3.store import S3Store
from export_pipeline_tests.faults.proxy import Fault, FaultProxy
from export_pipeline_tests.object_store.helpers import store_for
from export_pipeline_tests.servers import BUCKET, S3Server, Weed
from export_pipeline_tests.servers.http import Answer, http_server


def checked(server: S3Server, bucket: str = BUCKET, prefix: str = "", **options: Any) -> DestinationCheck:
    store = store_for(server, bucket, **options)
    try:
        return check_destination(store, prefix)
    finally:
        store.close()


def open_uploads(server: S3Server, bucket: str) -> list[OpenUpload]:
    store = store_for(server, bucket)
    try:
        return list(store.uploads_below(""))
    finally:
        store.close()


def failure(result: DestinationCheck) -> DestinationError:
    assert not result.ok
    assert result.error is not None
    assert result.problems == (str(result.error),)
    return result.error


def test_full_rights_are_found_and_nothing_is_left(s3_server: S3Server) -> None:
    bucket = s3_server.new_bucket()
    result = checked(s3_server, bucket, "a/b")
    assert result.ok
    can = result.capabilities
    assert (can.write, can.read, can.list, can.delete, can.abort) == (True,) * 5
    assert can.conditional_writes == s3_server.conditional_writes
    assert (result.warnings == ()) == s3_server.conditional_writes
    assert str(can).startswith("may write, read, list, delete, abort; ")
    assert s3_server.keys(bucket) == []
    assert open_uploads(s3_server, bucket) == []


def test_nothing_is_left_in_a_bucket_with_versions_and_a_locked_one_is_accepted(seaweedfs: Weed) -> None:
    client = seaweedfs.client()
    versions, locked = seaweedfs.new_bucket(), "locked-bucket"
    client.put_bucket_versioning(Bucket=versions, VersioningConfiguration={"Status": "Enabled"})
    client.create_bucket(Bucket=locked, ObjectLockEnabledForBucket=True)
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
    client.put_object_lock_configuration(
        Bucket=locked, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )
    for bucket in (versions, locked):
        assert checked(seaweedfs, bucket, "a").warnings == ()
        assert seaweedfs.keys(bucket) == []
    answer = client.list_object_versions(Bucket=versions)
    assert (answer.get("Versions"), answer.get("DeleteMarkers")) == (None, None)


def test_the_probe_lies_outside_of_the_data_and_manifests(s3_server: S3Server) -> None:
    bucket = s3_server.new_bucket()
    for prefix, folder in (("a/b", "a/b/_export_pipeline/probes/"), ("", "_export_pipeline/probes/")):
        with FaultProxy(s3_server.endpoint_url) as proxy:
            proxy.answer(403, "AccessDenied", "DeleteObject")
            result = checked(s3_server, bucket, prefix, endpoint_url=proxy.endpoint_url)
            keys = {request.key for request in proxy.requests if request.key}
        assert result.ok
        assert not result.capabilities.delete
        assert len(keys) == 1
        assert keys == {result.left_behind}
        assert str(result.left_behind).startswith(folder)
        assert [text for text in result.warnings if "s3:DeleteObject" in text]


def test_writing_is_enough_and_the_losses_are_named(seaweedfs: Weed) -> None:
    result = checked(seaweedfs, identity="wo")
    assert result.ok
    assert (result.capabilities.read, result.capabilities.list) == (False, False)
    assert result.capabilities.conditional_writes
    assert [text.split()[1] for text in result.warnings] == ["s3:GetObject", "s3:ListBucket"]


def test_rights_on_the_bucket_or_on_a_folder_are_enough(seaweedfs: Weed) -> None:
    assert checked(seaweedfs, identity="rw").warnings == ()
    assert checked(seaweedfs, identity="prefix", prefix="allowed/x").warnings == ()


@pytest.mark.parametrize(("identity", "prefix"), [("ro", ""), ("prefix", ""), ("prefix", "allowed-not")])
def test_without_the_right_to_write_nothing_works_and_the_right_is_named(
    seaweedfs: Weed, identity: str, prefix: str
) -> None:
    result = checked(seaweedfs, identity=identity, prefix=prefix)
    error = failure(result)
    assert (error.error_class, error.code) == ("Access denied", "AccessDenied")
    assert "s3:PutObject" in str(error)
    assert not result.capabilities.write
    assert result.warnings == ()


@pytest.mark.parametrize(
    ("key", "secret", "bucket", "expected"),
    [
        ("nobody", "x", BUCKET, ("Key ID you provided does not exist", "InvalidAccessKeyId", "ACCESS_KEY_ID")),
        (None, "wrong", BUCKET, ("Access denied", "SignatureDoesNotMatch", "SECRET_ACCESS_KEY")),
        (None, None, "not-there", ("Bucket is not valid", "NoSuchBucket", "BUCKET")),
    ],
)
def test_wrong_settings_are_named(
    s3_server: S3Server, key: str | None, secret: str | None, bucket: str, expected: tuple[str, str, str]
) -> None:
    config = DestinationConfig(bucket, endpoint_url=s3_server.endpoint_url, allow_private=True, names=SETTING_NAMES)
    credentials = Credentials(key or s3_server.access_key_id, secret or s3_server.secret_access_key)
    store = S3Store(config, credentials)
    error = failure(check_destination(store, ""))
    assert (error.error_class, error.code) == expected[:2]
    assert f"EXPORT_PIPELINE_{expected[2]}" in str(error)
    store.close()


@pytest.mark.parametrize(
    ("status", "code", "error_class", "cure"),
    [
        (403, "RequestTimeTooSkewed", "Access denied", "clock"),
        (400, "ExpiredToken", "Access denied", "temporary"),
        (400, "InvalidToken", "Access denied", "session_token"),
        (403, "AllAccessDisabled", "Access denied", "s3:PutObject"),
        (403, "SomethingElse", "Access denied", "s3:PutObject"),
        (301, "PermanentRedirect", "Bucket is not valid", "region"),
        (400, "AuthorizationHeaderMalformed", "Bucket is not valid", "region"),
        (400, "InvalidBucketName", "Bucket is not valid", "bucket"),
        (302, "Found", "Invalid endpoint", "redirects"),
        (307, "Moved", "Invalid endpoint", "redirects"),
        (404, "NotFoundAtAll", "Invalid endpoint", "S3-compatible"),
        (405, "MethodNotAllowed", "Invalid endpoint", "S3-compatible"),
        (501, "NotImplemented", "Invalid endpoint", "S3-compatible"),
    ],
)
def test_the_stores_code_decides_the_class(
    rclone: S3Server, status: int, code: str, error_class: str, cure: str
) -> None:
    with FaultProxy(rclone.endpoint_url) as proxy:
        proxy.answer(status, code, times=None)
        error = failure(checked(rclone, endpoint_url=proxy.endpoint_url))
        assert len(proxy.requests) == 1  # not repeated, not followed
    assert (error.error_class, error.code) == (error_class, code)
    assert cure in str(error)


def test_an_upload_that_is_refused_is_no_success(s3_server: S3Server) -> None:
    for operation in ("CreateMultipartUpload", "UploadPart"):
        with FaultProxy(s3_server.endpoint_url) as proxy:
            bucket = s3_server.new_bucket()
            proxy.answer(403, "AccessDenied", operation)
            result = checked(s3_server, bucket, endpoint_url=proxy.endpoint_url)
            assert operation in str(failure(result))
            assert s3_server.keys(bucket) == []
            assert open_uploads(s3_server, bucket) == []


def test_uploads_that_cannot_be_aborted_are_warned_of(rclone: S3Server) -> None:
    with FaultProxy(rclone.endpoint_url) as proxy:
        proxy.answer(403, "AccessDenied", "AbortMultipartUpload")
        result = checked(rclone, rclone.new_bucket(), endpoint_url=proxy.endpoint_url)
    assert result.ok
    assert not result.capabilities.abort
    assert "lifecycle rule" in result.warnings[0]


def test_a_store_that_gives_other_bytes_than_it_took_is_none(rclone: S3Server) -> None:
    with FaultProxy(rclone.endpoint_url) as proxy:
        proxy.on("GetObject", Fault(corrupt_response=True))
        error = failure(checked(rclone, endpoint_url=proxy.endpoint_url))
    assert error.error_class == "Invalid endpoint"


def test_a_web_server_that_answers_everything_with_200_is_no_s3() -> None:
    with http_server(lambda _: Answer(body=b"<html>welcome</html>")) as server:
        config = DestinationConfig(BUCKET, endpoint_url=server.url, allow_private=True)
        store = S3Store(config, Credentials("k", "s"), patience=0)
        error = failure(check_destination(store, ""))
        assert error.error_class == "Invalid endpoint"
        assert "ETag" in str(error)
        with pytest.raises(DestinationError) as caught:
            store.begin_upload("k")[0]
        assert caught.value.error_class == "Invalid endpoint"
        store.close()


def test_a_port_where_nobody_listens_is_an_invalid_endpoint(rclone: S3Server) -> None:
    error = failure(checked(rclone, endpoint_url="http://127.0.0.1:1"))
    assert error.error_class == "Invalid endpoint"
    assert "no connection" in str(error)


def test_a_plain_http_server_behind_an_https_address_is_named(rclone: S3Server) -> None:
    error = failure(checked(rclone, endpoint_url=rclone.endpoint_url.replace("http://", "https://")))
    assert error.error_class == "Invalid endpoint"
    assert "secure connection" in str(error)
