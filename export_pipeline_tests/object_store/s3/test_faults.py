"""What the S3 calls do when the store or the way to it fails."""

import time
from collections.abc import Callable, Iterator

import pytest

from export_pipeline.errors import DestinationUnavailableError
from export_pipeline.object_store.protocol import OutcomeUnknownError, UploadGoneError
from export_pipeline.object_store.s3 import client as client_module
from export_pipeline.object_store.s3.store import S3Store
from export_pipeline_tests.faults.proxy import Fault, FaultProxy
from export_pipeline_tests.object_store.helpers import store_for
from export_pipeline_tests.servers import S3Server

pytestmark = pytest.mark.slow


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[FaultProxy]:
    with FaultProxy(s3_server.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def bucket(s3_server: S3Server) -> str:
    return s3_server.new_bucket()


@pytest.fixture
def store(s3_server: S3Server, bucket: str, proxy: FaultProxy) -> Iterator[S3Store]:
    store = store_for(s3_server, bucket, endpoint_url=proxy.endpoint_url, patience=5)
    yield store
    store.close()


@pytest.mark.parametrize(
    ("status", "code"), [(500, "InternalError"), (503, "SlowDown"), (429, "TooManyRequests"), (502, "Odd"), (408, "X")]
)
def test_ordinary_calls_are_repeated_while_the_store_is_unavailable(
    store: S3Store, proxy: FaultProxy, status: int, code: str
) -> None:
    rule = proxy.answer(status, code, "PutObject", times=2)
    store.put("k", b"x")
    assert rule.hits == 2
    assert store.requests["PutObject"] == 3
    assert store.read("k") == b"x"


def test_patience_has_an_end_and_the_error_says_that_trying_again_may_help(
    s3_server: S3Server, bucket: str, proxy: FaultProxy
) -> None:
    store = store_for(s3_server, bucket, endpoint_url=proxy.endpoint_url, patience=0.5)
    proxy.answer(503, "SlowDown", times=None)
    with pytest.raises(DestinationUnavailableError) as caught:
        store.put("k", b"x")
    assert (caught.value.error_class, caught.value.code) == ("Unavailable", "SlowDown")
    assert store.requests["PutObject"] >= 2
    store.close()


def test_what_cannot_succeed_is_not_tried_again(store: S3Store, proxy: FaultProxy) -> None:
    proxy.answer(403, "AccessDenied", "PutObject", times=None)
    with pytest.raises(Exception, match="s3:PutObject"):
        store.put("k", b"x")
    assert store.requests["PutObject"] == 1


FAULTS: dict[str, Callable[[FaultProxy], object]] = {
    "lost answer": lambda proxy: proxy.lose_response("CompleteMultipartUpload"),
    "500": lambda proxy: proxy.answer(500, "InternalError", "CompleteMultipartUpload"),
    "503": lambda proxy: proxy.answer(503, "SlowDown", "CompleteMultipartUpload"),
    "412": lambda proxy: proxy.answer(412, "PreconditionFailed", "CompleteMultipartUpload"),
    "409": lambda proxy: proxy.answer(409, "ConditionalRequestConflict", "CompleteMultipartUpload"),
    "cut request": lambda proxy: proxy.on("CompleteMultipartUpload", Fault(cut_request=5)),
    "cut answer": lambda proxy: proxy.on("CompleteMultipartUpload", Fault(cut_response=20)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_doubtful_complete_is_made_once_and_its_outcome_called_unknown(
    store: S3Store, proxy: FaultProxy, fault: str
) -> None:
    upload = store.begin_upload("k")[0]
    parts = [(1, store.upload_part("k", upload, 1, b"x"))]
    FAULTS[fault](proxy)
    with pytest.raises(OutcomeUnknownError):
        store.complete("k", upload, parts)
    assert proxy.count("CompleteMultipartUpload") == 1
    done = fault in {"lost answer", "cut answer"}
    assert (store.stat("k") is not None) == done


def test_a_complete_without_its_upload_is_told_apart(store: S3Store, proxy: FaultProxy) -> None:
    upload = store.begin_upload("k")[0]
    parts = [(1, store.upload_part("k", upload, 1, b"x"))]
    proxy.answer(404, "NoSuchUpload", "CompleteMultipartUpload")
    with pytest.raises(UploadGoneError):
        store.complete("k", upload, parts)


def test_a_stalled_complete_ends(
    s3_server: S3Server, bucket: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "READ_SECONDS", 0.5)
    store = store_for(s3_server, bucket, endpoint_url=proxy.endpoint_url)
    upload = store.begin_upload("k")[0]
    parts = [(1, store.upload_part("k", upload, 1, b"x"))]
    proxy.on("CompleteMultipartUpload", Fault(stall=True))
    with pytest.raises(OutcomeUnknownError, match="in time"):
        store.complete("k", upload, parts)
    store.close()


def test_bytes_that_change_on_their_way_are_noticed(
    store: S3Store, proxy: FaultProxy, s3_server: S3Server, bucket: str
) -> None:
    upload = store.begin_upload("k")[0]
    hasty = store_for(s3_server, bucket, endpoint_url=proxy.endpoint_url, patience=0)
    proxy.on("UploadPart|PutObject", Fault(corrupt_request=True), times=2)
    with pytest.raises(DestinationUnavailableError, match="BadDigest"):
        hasty.upload_part("k", upload, 1, b"the bytes")
    store.put("other", b"the bytes")
    assert store.requests["PutObject"] == 2
    assert store.read("other") == b"the bytes"
    if s3_server.name == "seaweedfs":  # rclone drops the whole upload after a bad part
        store.complete("k", upload, [(1, store.upload_part("k", upload, 1, b"the bytes"))])
        assert store.read("k") == b"the bytes"
    hasty.close()


@pytest.mark.parametrize("fault", [Fault(lose_response=True), Fault(cut_request=2)])
def test_a_part_arrives_whole_whatever_happened_on_the_way(store: S3Store, proxy: FaultProxy, fault: Fault) -> None:
    upload = store.begin_upload("k")[0]
    proxy.on("UploadPart", fault)
    parts = [(1, store.upload_part("k", upload, 1, b"the bytes"))]
    store.complete("k", upload, parts)
    assert store.read("k") == b"the bytes"
    assert store.requests["UploadPart"] == 2


def test_a_broken_read_is_repeated(store: S3Store, proxy: FaultProxy) -> None:
    body = b"0123456789" * 100_000
    store.put("k", body)
    proxy.on("GetObject", Fault(cut_response=300_000))
    assert store.read("k") == body
    assert store.requests["GetObject"] == 2


def test_a_lost_abort_is_repeated(store: S3Store, proxy: FaultProxy, s3_server: S3Server, bucket: str) -> None:
    upload = store.begin_upload("k")[0]
    proxy.lose_response("AbortMultipartUpload")
    store.abort("k", upload)
    assert s3_server.open_uploads(bucket) == []


@pytest.mark.parametrize("lost", [1, 2])
def test_a_manifest_whose_answer_was_lost_is_found_again(store: S3Store, proxy: FaultProxy, lost: int) -> None:
    proxy.lose_response("PutObject", times=lost)
    assert store.put_once("m.json", b"mine") is True
    assert store.requests["PutObject"] == 1
    assert store.read("m.json") == b"mine"


def test_a_manifest_that_did_not_arrive_is_sent_again(store: S3Store, proxy: FaultProxy) -> None:
    proxy.answer(503, "SlowDown", "PutObject", times=2)
    assert store.put_once("m.json", b"mine") is True
    assert store.requests["PutObject"] == 3


def test_somebody_elses_manifest_is_noticed_after_a_lost_answer(
    store: S3Store, proxy: FaultProxy, s3_server: S3Server, bucket: str
) -> None:
    s3_server.client().put_object(Bucket=bucket, Key="m.json", Body=b"other")
    proxy.answer(500, "InternalError", "PutObject")
    assert store.put_once("m.json", b"mine") is False
    assert store.read("m.json") == b"other"


def test_a_store_that_refuses_conditions_is_written_without(store: S3Store, proxy: FaultProxy) -> None:
    proxy.answer(501, "NotImplemented", "PutObject")
    assert store.put_once("m.json", b"mine") is True
    assert store.read("m.json") == b"mine"
    found = store.stat("m.json")
    assert found is not None
    proxy.answer(501, "NotImplemented", "DeleteObject")
    assert store.delete_if("m.json", found.etag) is True
    assert store.stat("m.json") is None


def test_without_read_rights_a_manifest_that_is_there_counts_as_ours(store: S3Store, proxy: FaultProxy) -> None:
    proxy.answer(412, "PreconditionFailed", "PutObject")
    proxy.answer(403, "AccessDenied", "GetObject")
    assert store.put_once("m.json", b"mine") is True


def test_a_manifest_that_vanished_after_a_412_is_written(store: S3Store, proxy: FaultProxy) -> None:
    proxy.answer(412, "PreconditionFailed", "PutObject")
    assert store.put_once("m.json", b"mine") is True
    assert store.read("m.json") == b"mine"


def test_an_object_that_is_denied_and_there_at_once_is_no_answer(store: S3Store, proxy: FaultProxy) -> None:
    store.put("k", b"x")
    proxy.answer(404, "NoSuchKey", "HeadObject")
    found = store.stat("k")
    assert found is not None
    assert found.size == 1
    proxy.answer(404, "NoSuchKey", "HeadObject", times=2)
    with pytest.raises(DestinationUnavailableError, match="at the same time"):
        store.stat("k")


@pytest.mark.slow
def test_a_restart_of_the_server_is_ridden_out(s3_server: S3Server, bucket: str) -> None:
    store = store_for(s3_server, bucket, patience=60)
    upload = store.begin_upload("k")[0]
    first = store.upload_part("k", upload, 1, b"a" * 5 * 2**20)
    s3_server.kill()
    began = time.monotonic()
    with pytest.raises(DestinationUnavailableError):
        store_for(s3_server, bucket, patience=0.3).stat("k")
    assert time.monotonic() - began < 30  # a bound on hanging, not on speed
    s3_server.start()
    if s3_server.name == "seaweedfs":  # rclone keeps open uploads in memory only
        store.complete("k", upload, [(1, first), (2, store.upload_part("k", upload, 2, b"b"))])
        assert store.read("k", 5 * 2**20 - 1) == b"ab"
    else:
        with pytest.raises(UploadGoneError):
            store.upload_part("k", upload, 2, b"b")
    store.close()
