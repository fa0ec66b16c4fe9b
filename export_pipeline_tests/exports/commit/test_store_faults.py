"""The store or the way to it fails in the middle of a day: exactly one commit afterwards, and nothing left open."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from export_pipeline.errors import DestinationError, DestinationRefusedError, DestinationUnavailableError, RowCountError
from export_pipeline.exports.commit.complete import UploadRefusedError
from export_pipeline.files.paths import data_key
from export_pipeline.object_store.protocol import ObjectStore
from export_pipeline.object_store.s3 import client as client_module
from export_pipeline_tests.exports.commit.bench import DAY, QUICK, Bench, ids_and_names, make_store
from export_pipeline_tests.exports.commit.promises import check_finished, check_nothing_left, check_whole
from export_pipeline_tests.exports.memory_source import MemorySource, Row, rows_of
from export_pipeline_tests.faults.proxy import Fault, FaultProxy
from export_pipeline_tests.servers import Weed

pytestmark = pytest.mark.slow

CALLS = [
    "ListObjectsV2",
    "CreateMultipartUpload",
    "UploadPart",
    "CompleteMultipartUpload",
    "GetObject",
    "PutObject",
]
"""The S3 calls of a day, in their order."""


@pytest.fixture
def proxy(any_bench: Bench) -> Iterator[FaultProxy]:
    """Stands between the bench's store and the server."""
    with FaultProxy(any_bench.server.endpoint_url) as proxy:
        any_bench.store.close()
        any_bench.store = through(any_bench, proxy)
        yield proxy


def through(bench: Bench, proxy: FaultProxy, *, patience: float = 10.0) -> ObjectStore:
    return make_store(bench.server, bench.export.bucket, endpoint_url=proxy.endpoint_url, patience=patience)


def check_one_commit_a_day(bench: Bench) -> None:
    days = [day for _, day, _ in bench.sequence()]
    assert len(set(days)) == len(days)
    check_nothing_left(bench)


def publish_under(bench: Bench, proxy: FaultProxy, faults: list[tuple[str, Fault]]) -> None:
    """A day for each fault, which strikes once; each must be committed by the one attempt."""
    for number, (call, fault) in enumerate(faults):
        day = DAY + timedelta(days=number)
        rows = rows_of(day, 12)
        rule = proxy.on(call, fault)
        assert bench.publish(MemorySource(rows), day=day).outcome == "committed", (call, fault)
        assert rule.hits == 1, (call, fault)
        check_finished(bench, rows, day=day)
        assert bench.manifest_epochs(day) == [1], (call, fault)
    check_one_commit_a_day(bench)


def test_an_unavailable_store_is_asked_again(any_bench: Bench, proxy: FaultProxy) -> None:
    answers = [(500, "InternalError"), (503, "SlowDown"), (429, "TooManyRequests")]
    faults = [(call, Fault(status=status, code=code)) for call in CALLS for status, code in answers]
    publish_under(any_bench, proxy, faults)


def test_a_lost_answer_leads_to_one_commit(any_bench: Bench, proxy: FaultProxy) -> None:
    publish_under(any_bench, proxy, [(call, Fault(lose_response=True)) for call in CALLS])


def test_cut_and_corrupted_transfers_lead_to_one_commit(any_bench: Bench, proxy: FaultProxy) -> None:
    faults = [(call, Fault(cut_request=7)) for call in ("UploadPart", "CompleteMultipartUpload", "PutObject")]
    faults += [(call, Fault(cut_response=30)) for call in ("ListObjectsV2", "CompleteMultipartUpload", "GetObject")]
    faults += [(call, Fault(corrupt_request=True)) for call in ("PutObject",)]
    publish_under(any_bench, proxy, faults)


def test_a_stalled_call_ends_and_is_made_again(
    any_bench: Bench, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "READ_SECONDS", 1)
    any_bench.store = through(any_bench, proxy)
    publish_under(any_bench, proxy, [(call, Fault(stall=True)) for call in CALLS])
    any_bench.store.close()


def test_a_lost_answer_to_an_abort_leaves_no_upload(any_bench: Bench, proxy: FaultProxy) -> None:
    source = MemorySource(rows_of(DAY, 25, inputs="x"), miscount=1)
    with pytest.raises(RowCountError):
        any_bench.publish(source, limits=replace(QUICK, part_bytes=1000, row_group_bytes=1000))
    assert proxy.count("AbortMultipartUpload") == 1
    proxy.lose_response("AbortMultipartUpload")
    with pytest.raises(RowCountError):
        any_bench.publish(source, limits=replace(QUICK, part_bytes=1000, row_group_bytes=1000))
    assert proxy.count("AbortMultipartUpload") >= 3
    check_nothing_left(any_bench)
    assert any_bench.published() is None


def test_a_store_that_stays_away_fails_the_day_and_the_next_attempt_finishes_it(
    any_bench: Bench, proxy: FaultProxy
) -> None:
    any_bench.store = through(any_bench, proxy, patience=0.3)
    for number, call in enumerate(CALLS):
        day = DAY + timedelta(days=number)
        first, second = rows_of(day, 3, name="first"), rows_of(day, 4, name="second")
        proxy.answer(503, "SlowDown", call, times=None)
        with pytest.raises(DestinationUnavailableError) as caught:
            any_bench.publish(MemorySource(first), day=day, limits=replace(QUICK, patience=0.3))
        assert caught.value.error_class == "Unavailable", call
        proxy.clear()
        check_whole(any_bench, [None, first], day=day)
        any_bench.publish(MemorySource(second), day=day)
        check_finished(any_bench, second, day=day)
    check_nothing_left(any_bench)
    any_bench.store.close()


REFUSALS = {
    (403, "AccessDenied"): "Access denied",
    (403, "InvalidAccessKeyId"): "Key ID you provided does not exist",
    (400, "ExpiredToken"): "Access denied",
    (403, "RequestTimeTooSkewed"): "Access denied",
    (404, "NoSuchBucket"): "Bucket is not valid",
}


def test_credentials_that_end_in_the_middle_of_a_day_fail_it_at_once_and_it_resumes(
    any_bench: Bench, proxy: FaultProxy
) -> None:
    calls = ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "PutObject"]
    cases = [(call, refusal) for call in calls for refusal in REFUSALS]
    for number, (call, (status, code)) in enumerate(cases):
        day, before = DAY + timedelta(days=number), proxy.count(call)
        first, second = rows_of(day, 3, name="first"), rows_of(day, 4, name="second")
        proxy.answer(status, code, f"{call}|AbortMultipartUpload", times=None)
        with pytest.raises(DestinationRefusedError) as caught:
            any_bench.publish(MemorySource(first), day=day)
        error: DestinationError = caught.value
        assert (error.error_class, error.code) == (REFUSALS[status, code], code), call
        assert proxy.count(call) - before <= 2, (call, code)
        assert str(error).startswith(f"{error.error_class}: {call} on ")
        assert f"({code})" in str(error)
        assert ("clock" in str(error)) == (code == "RequestTimeTooSkewed")
        assert any_bench.record(day).error == str(error)
        proxy.clear()
        any_bench.publish(MemorySource(second), day=day)
        check_finished(any_bench, second, day=day)
    check_nothing_left(any_bench)


def test_an_upload_that_the_store_removes_before_its_completion_is_made_anew(any_bench: Bench) -> None:
    removed: list[str] = []

    def remove(name: str) -> None:
        if name == "completing" and not removed:
            (upload,) = any_bench.server.client().list_multipart_uploads(Bucket=any_bench.export.bucket)["Uploads"]
            removed.append(upload["UploadId"])
            any_bench.server.client().abort_multipart_upload(
                Bucket=any_bench.export.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
            )

    steps: list[str] = []

    def step(name: str) -> None:
        steps.append(name)
        remove(name)

    outcome = any_bench.publish(MemorySource(rows_of(DAY, 5)), on_step=step)
    assert (outcome.outcome, outcome.epoch, steps.count("begun again")) == ("committed", 2, 1)
    check_finished(any_bench, rows_of(DAY, 5))
    check_one_commit_a_day(any_bench)


def test_a_bucket_that_is_deleted_in_the_middle_of_a_day_is_named_and_its_return_is_enough(weed_bench: Bench) -> None:
    bucket, client = weed_bench.export.bucket, weed_bench.server.client()
    source = MemorySource(rows_of(DAY, 5))
    with pytest.raises(DestinationRefusedError, match=bucket) as caught:
        weed_bench.publish(
            source, on_step=lambda name: client.delete_bucket(Bucket=bucket) if name == "streamed" else None
        )
    assert caught.value.error_class == "Bucket is not valid"
    client.create_bucket(Bucket=bucket)
    weed_bench.publish(source)
    check_finished(weed_bench, source.rows)
    check_nothing_left(weed_bench)


def test_a_server_that_is_killed_in_the_middle_of_a_day_is_ridden_out(weed_bench: Bench, seaweedfs: Weed) -> None:
    killed: list[str] = []

    def kill(name: str) -> None:
        if name in {"upload recorded", "writing manifest"}:
            killed.append(name)
            seaweedfs.kill()
            seaweedfs.start()

    source = MemorySource(rows_of(DAY, 5))
    assert weed_bench.publish(source, on_step=kill).outcome == "committed"
    assert killed == ["upload recorded", "writing manifest"]
    check_finished(weed_bench, source.rows)
    check_one_commit_a_day(weed_bench)


def test_a_clock_that_is_wrong_by_minutes_is_told_and_the_day_resumes(
    weed_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = timedelta(minutes=16)
    with monkeypatch.context() as patch:
        patch.setattr("botocore.auth.get_current_datetime", lambda: datetime.now(UTC).replace(tzinfo=None) - late)
        with pytest.raises(DestinationRefusedError, match="clock") as caught:
            weed_bench.publish(MemorySource(rows_of(DAY, 3)))
    assert (caught.value.error_class, caught.value.code) == ("Access denied", "RequestTimeTooSkewed")
    lease = weed_bench.record()
    assert (lease.status, lease.owner) == ("Failed", None)
    weed_bench.publish(MemorySource(rows_of(DAY, 3)))
    check_finished(weed_bench, rows_of(DAY, 3))


@pytest.mark.parametrize("before", [0, 5])
def test_a_commit_whose_parts_are_refused_is_given_up(any_bench: Bench, proxy: FaultProxy, before: int) -> None:
    old, new = rows_of(DAY, before, name="before"), rows_of(DAY, 6, name="new")
    if old:
        any_bench.publish(MemorySource(old))
    proxy.answer(400, "EntityTooSmall", "CompleteMultipartUpload", times=None)
    source = MemorySource(new)
    with pytest.raises(UploadRefusedError, match="EXPORT_PIPELINE_PART_SIZE_MIB"):
        any_bench.publish(source)
    record = any_bench.record()
    assert (source.opened, record.pending, record.status) == (1, False, "Completed" if old else "Failed")
    assert "EXPORT_PIPELINE_PART_SIZE_MIB" in (record.error or "")
    assert any_bench.published() == (ids_and_names(old) or None)
    check_nothing_left(any_bench)
    proxy.clear()
    assert any_bench.publish(source).epoch == record.epoch + 1
    check_finished(any_bench, new)
    check_nothing_left(any_bench)


@pytest.mark.parametrize("code", ["EntityTooSmall", "EntityTooLarge", "InvalidPart", "NoSuchUpload"])
def test_an_intent_that_an_earlier_attempt_left_is_given_up_and_the_day_read_anew(
    any_bench: Bench, proxy: FaultProxy, code: str
) -> None:
    left_at_the_intent(any_bench)
    proxy.answer(400, code, "CompleteMultipartUpload")
    second = rows_of(DAY, 4, name="second")
    assert any_bench.publish(MemorySource(second)).outcome == "committed"
    check_finished(any_bench, second)
    check_nothing_left(any_bench)


def test_a_commit_stays_decided_where_its_refused_upload_cannot_be_aborted(any_bench: Bench, proxy: FaultProxy) -> None:
    left_at_the_intent(any_bench)
    proxy.answer(400, "EntityTooSmall", "CompleteMultipartUpload", times=None)
    proxy.answer(403, "AccessDenied", "AbortMultipartUpload", times=None)
    key = data_key(any_bench.export.prefix, any_bench.export.key(DAY), any_bench.export.format_version)
    client = any_bench.server.client()
    (upload,) = (
        found["UploadId"] for found in client.list_multipart_uploads(Bucket=any_bench.export.bucket)["Uploads"]
    )
    with pytest.raises(DestinationRefusedError, match=f"s3:AbortMultipartUpload, or abort the upload {upload} by hand"):
        any_bench.publish(MemorySource(rows_of(DAY, 4, name="second")))
    assert (any_bench.record().pending, any_bench.published()) == (True, None)
    client.abort_multipart_upload(Bucket=any_bench.export.bucket, Key=key, UploadId=upload)
    proxy.clear()
    any_bench.publish(MemorySource(rows_of(DAY, 4, name="second")))
    check_finished(any_bench, rows_of(DAY, 4, name="second"))
    check_nothing_left(any_bench)


def test_other_refusals_of_a_decided_commit_leave_it_to_the_next_attempt(any_bench: Bench, proxy: FaultProxy) -> None:
    for number, (status, code) in enumerate([(403, "AccessDenied"), (403, "QuotaExceeded"), (400, "InvalidRequest")]):
        day = DAY + timedelta(days=number)
        first = left_at_the_intent(any_bench, day)
        rule = proxy.answer(status, code, "CompleteMultipartUpload")
        with pytest.raises(DestinationError):
            any_bench.publish(MemorySource(first), day=day)
        assert (rule.hits, any_bench.record(day).pending) == (1, True), code
        assert any_bench.publish(MemorySource(first), day=day).outcome == "unchanged"
        check_finished(any_bench, first, day=day)
        assert any_bench.manifest_epochs(day) == [1], code
    check_nothing_left(any_bench)


def left_at_the_intent(bench: Bench, day: date = DAY) -> list[Row]:
    """The rows of a commit that was decided on and that nothing came of; its lease is given back."""

    def fail(step: str) -> None:
        if step == "intent":
            raise KeyboardInterrupt

    rows = rows_of(day, 3, name="first")
    with pytest.raises(KeyboardInterrupt):
        bench.publish(MemorySource(rows), day=day, on_step=fail)
    assert bench.record(day).pending
    return rows
