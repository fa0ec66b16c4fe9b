"""Attachments of LangSmith's runs, copied into the bucket and proven there."""

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any

import pytest

from export_pipeline.errors import (
    AccessDeniedError,
    DestinationUnavailableError,
    ShrunkError,
    SourceUnreachableError,
    SourceUnusableError,
)
from export_pipeline.exports.commit import attachments
from export_pipeline.exports.commit.day import DayRequest
from export_pipeline.exports.commit.publish import publish_day
from export_pipeline.exports.commit.publisher import Publisher, PublishLimits
from export_pipeline.exports.proof.verify.report import What
from export_pipeline.object_store.protocol import Digest, ObjectInfo
from export_pipeline.object_store.s3.store import S3Store
from export_pipeline.runs.window import DayWindow, Window
from export_pipeline_tests.exports.world import FIRST, ROWS, World
from export_pipeline_tests.servers import Weed
from export_pipeline_tests.servers.http import Answer, Asked
from export_pipeline_tests.servers.langsmith import TENANT, LangSmith
from export_pipeline_tests.sources.langsmith.copies import Copies

pytestmark = pytest.mark.slow

PHOTO, OTHER = b"\x89PNG" + bytes(range(256)) * 20_000, b"another one"

Made = Callable[..., Copies]


@pytest.fixture
def made(server: LangSmith, seaweedfs: Weed, tmp_path: Path) -> Iterator[Made]:
    """Makes the one of a test, with these settings of the trace store."""
    opened: list[Copies] = []

    def make(**settings: Any) -> Copies:
        opened.append(Copies(server, seaweedfs, tmp_path, **settings))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def key_of(copies: Copies, content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    return f"a/b/attachments/tenant_id={TENANT}/session_id={copies.project}/{digest[:2]}/{digest}"


def entry_of(copies: Copies, name: str, content: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    told = {"name": name, "mime_type": "image/png", "key": key_of(copies, content)}
    return {**told, "sha256": digest, "size": len(content)}


def fetched(server: LangSmith) -> int:
    assert server.server is not None
    return sum(each.path.startswith("/files/") for each in list(server.server.asked))


@pytest.mark.parametrize("has_v2", [True, False])
def test_attachments_lie_in_the_bucket_by_their_content_and_their_runs_name_them(
    made: Made, server: LangSmith, has_v2: bool
) -> None:
    server.has_v2 = has_v2
    copies = made()
    run = copies.add({"zoé.png": PHOTO, "b": OTHER, "empty": b""}, extra={"x": 1, "metadata": {"y": 2}})
    same = copies.add({"again": PHOTO})
    none = copies.add({})

    assert copies.published().outcome == "committed"

    assert copies.copied() == {key_of(copies, content): content for content in (PHOTO, OTHER, b"")}
    extras = copies.extras()
    expected = [("b", OTHER), ("empty", b""), ("zoé.png", PHOTO)]
    assert extras[run].pop("attachments") == [entry_of(copies, name, content) for name, content in expected]
    assert extras == {
        run: {"x": 1, "metadata": {"y": 2}},
        same: {"attachments": [entry_of(copies, "again", PHOTO)]},
        none: {},
    }
    assert copies.verify(deep=True).problems == ()


def test_a_second_export_writes_no_attachment_again_and_leaves_the_day_as_it_is(made: Made, server: LangSmith) -> None:
    copies = made()
    copies.add({"a": PHOTO, "b": OTHER})
    copies.published()
    written = copies.puts()
    assert copies.published().outcome == "unchanged"
    assert (copies.puts(), fetched(server)) == (written, 4)
    assert len(copies.copied()) == 2


def test_without_the_setting_no_attachment_is_asked_for(made: Made, server: LangSmith) -> None:
    copies = made()
    run = copies.add({"a": PHOTO})
    copies.published(attachments=False)
    assert (fetched(server), copies.copied()) == (0, {})
    assert copies.extras() == {run: {"attachments": [{"name": "a"}]}}


@pytest.mark.parametrize("there", [PHOTO[:-1], bytes(len(PHOTO)), b""])
def test_an_object_with_other_bytes_is_written_anew(made: Made, there: bytes) -> None:
    copies = made()
    copies.add({"a": PHOTO})
    copies.world.put(key_of(copies, PHOTO), there)
    copies.published()
    assert copies.copied() == {key_of(copies, PHOTO): PHOTO}


def test_what_the_store_gives_no_md5_of_is_read_before_it_is_written_again(made: Made) -> None:
    copies = made()
    copies.add({"a": PHOTO})
    client, place = copies.world.server.client(), {"Bucket": copies.world.store.config.bucket}
    place["Key"] = key_of(copies, PHOTO)
    upload = client.create_multipart_upload(**place)["UploadId"]
    part = client.upload_part(**place, UploadId=upload, PartNumber=1, Body=PHOTO)["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": part}]}
    client.complete_multipart_upload(**place, UploadId=upload, MultipartUpload=parts)
    assert client.head_object(**place)["ETag"].strip('"') != hashlib.md5(PHOTO, usedforsecurity=False).hexdigest()
    before = copies.puts()
    copies.published()
    assert copies.puts() - before == 1  # the manifest


@pytest.mark.parametrize("has_v2", [True, False])
def test_an_address_that_has_ended_is_asked_for_once_more(made: Made, server: LangSmith, has_v2: bool) -> None:
    server.has_v2 = has_v2
    copies = made()
    run = copies.add({"a": PHOTO, "b": OTHER})

    def end_all(_: Asked, answer: Answer) -> Answer:
        server.signatures.clear()
        return Answer(403, b"Request has expired")

    server.play("/a", end_all)
    copies.published()
    assert copies.extras()[run]["attachments"] == [entry_of(copies, "a", PHOTO), entry_of(copies, "b", OTHER)]


@pytest.mark.parametrize(
    ("fault", "settings", "why"),
    [
        (Answer(404, b"gone"), {}, "HTTP 404"),
        (Answer(403, b"expired"), {}, "HTTP 403"),
        (Answer(200, b"x", {"Content-Encoding": "gzip"}), {}, "it is sent with the encoding 'gzip'"),
        (None, {"attachment_mib": 1}, "it has more than 1,048,576 bytes"),
    ],
)
def test_an_attachment_that_is_not_to_be_had_is_named_and_counted(
    made: Made, server: LangSmith, fault: Answer | None, settings: dict[str, Any], why: str
) -> None:
    copies = made(**settings)
    run = copies.add({"a": PHOTO, "b": OTHER})
    if fault is not None:
        server.always["/a"] = lambda _asked, _answer: fault
    outcome = copies.published()
    assert outcome.replaced == 1
    missing, there = copies.extras()[run]["attachments"]
    assert (missing, there) == ({"name": "a", "missing": why}, entry_of(copies, "b", OTHER))
    assert copies.copied() == {key_of(copies, OTHER): OTHER}
    assert copies.verify(deep=True).problems == ()
    assert copies.published().outcome == "unchanged"


@pytest.mark.parametrize(
    "broken",
    [
        Answer(200, PHOTO[:100], {"Content-Length": str(len(PHOTO))}),
        Answer(200, PHOTO[:-1], {"Content-Length": str(len(PHOTO))}),
        Answer(200, b"5\r\nhello\r\n", {"Transfer-Encoding": "chunked", "Content-Length": "10"}),
        Answer(503, b"later"),
        Answer(429, b"slowly"),
    ],
)
def test_an_attachment_that_came_cut_or_not_at_all_is_fetched_again(
    made: Made, server: LangSmith, broken: Answer
) -> None:
    copies = made()
    run = copies.add({"a": PHOTO})
    server.play("/a", lambda _asked, _answer: broken)
    copies.published()
    assert copies.copied() == {key_of(copies, PHOTO): PHOTO}
    assert copies.extras()[run] == {"attachments": [entry_of(copies, "a", PHOTO)]}


def test_a_day_fails_while_an_attachment_never_comes_whole_and_keeps_what_was_copied(
    made: Made, server: LangSmith
) -> None:
    copies = made(source_minutes=0.01)
    copies.add({"a": PHOTO, "b": OTHER})
    cut = Answer(200, PHOTO[:100], {"Content-Length": str(len(PHOTO))})
    server.always["/a"] = lambda _asked, _answer: cut
    failed = copies.publish()
    assert isinstance(failed, SourceUnreachableError)
    assert "100 of 5,120,004 bytes came" in str(failed)
    assert "signature" not in str(failed)
    assert not [key for key in copies.world.objects() if key.endswith((".parquet", ".json")) and "day=" in key]
    del server.always["/a"]
    copies.published()
    assert copies.copied().keys() == {key_of(copies, PHOTO), key_of(copies, OTHER)}


def test_a_redirect_is_not_followed_and_says_so(made: Made, server: LangSmith) -> None:
    copies = made()
    copies.add({"a": PHOTO})
    server.always["/a"] = lambda _asked, _answer: Answer(302, b"", {"Location": f"{server.storage}/elsewhere"})
    failed = copies.publish()
    assert isinstance(failed, SourceUnusableError)
    assert "leads elsewhere (HTTP 302), which is not followed" in str(failed)
    assert server.asked("/elsewhere") == []


def test_an_address_in_this_network_needs_the_setting(made: Made, server: LangSmith) -> None:
    copies = made()
    copies.add({"a": PHOTO})
    server.storage = "http://169.254.169.254"
    failed = copies.publish()
    assert isinstance(failed, SourceUnusableError)
    assert "169.254.169.254, a link-local or metadata address, which is never allowed" in str(failed)


def test_an_address_without_a_host_is_one_of_the_api_itself(made: Made, server: LangSmith) -> None:
    copies = made()
    run = copies.add({"a": PHOTO})
    server.storage = ""
    copies.published()
    assert copies.extras()[run] == {"attachments": [entry_of(copies, "a", PHOTO)]}


def test_a_run_s_own_attachments_stay_beside_those_that_were_copied(made: Made) -> None:
    copies = made()
    run = copies.add({"a": PHOTO}, extra={"attachments": ["mine"]})
    copies.published()
    entry = entry_of(copies, "a", PHOTO)
    assert copies.extras() == {run: {"attachments": ["mine"], "export_attachments": [entry]}}
    assert copies.verify(deep=True).problems == ()


def test_what_a_run_says_itself_of_attachments_is_not_taken_for_a_copy(made: Made) -> None:
    copies = made()
    copies.add({"a": PHOTO})
    forged = [
        {"sha256": "0" * 64, "size": 1},
        {"sha256": "0" * 64, "size": True, "key": f"x/00/{'0' * 64}"},
        {"sha256": "é" * 64, "size": 1, "key": f"x/éé/{'é' * 64}"},
        {"sha256": ["0"], "size": 1, "key": "x"},
        "sha256",
    ]
    copies.add({}, extra={"attachments": forged, "number": int("9" * 4000)})
    copies.published()
    assert copies.verify(deep=True).problems == ()


def test_a_day_keeps_the_attachments_that_are_not_to_be_had_any_more(made: Made, server: LangSmith) -> None:
    copies = made()
    run = copies.add({"a": PHOTO, "b": OTHER})
    copies.published()
    before = copies.extras()
    del server.files[run, "a"]
    kept = copies.publish()
    assert isinstance(kept, ShrunkError)
    assert "1 attachments are not to be had any more, and 1 are; 2 are committed" in str(kept)
    assert copies.extras() == before
    assert copies.published(allow_shrink=True).outcome == "committed"
    assert copies.extras()[run]["attachments"][0] == {"name": "a", "missing": "HTTP 404"}


def test_a_store_without_attachments_is_exported_as_ever(seaweedfs: Weed, tmp_path: Path) -> None:
    with closing(World.make(seaweedfs, tmp_path)) as world:
        parts: dict[str, Any] = {"control": world.control, "store": world.store, "source": world.source}
        publisher = Publisher(limits=PublishLimits(attachments=True), **parts)
        request = DayRequest(world.export, DayWindow(FIRST, Window.of_day(FIRST)), owner="process:test:1")
        outcome = publish_day(publisher, request)
        assert (outcome.outcome, outcome.rows) == ("committed", ROWS)
        assert json.loads(world.get(world.manifest(FIRST)))["attachments"] is None


def test_the_manifest_counts_attachments_once_for_each_run_that_has_them(made: Made) -> None:
    copies = made()
    for _ in range(3):
        copies.add({"a": PHOTO, "b": b""})
    copies.published()
    (manifest,) = [key for key in copies.world.objects() if "/day=" in key and key.endswith(".json")]
    assert json.loads(copies.world.get(manifest))["attachments"] == {"count": 6, "bytes": 3 * len(PHOTO)}


def test_a_server_that_tells_no_attachments_fails_the_day(made: Made, server: LangSmith) -> None:
    server.unknown = frozenset({"ATTACHMENTS"})
    copies = made()
    copies.add({"a": PHOTO})
    failed = copies.publish()
    assert isinstance(failed, SourceUnusableError)
    assert "unknown selects ['ATTACHMENTS']" in str(failed)


def test_verify_names_attachments_that_are_missing_or_damaged(made: Made) -> None:
    copies = made()
    copies.add({"a": PHOTO, "b": OTHER, "c": b"c"})
    copies.published()
    lost, cut, changed = (key_of(copies, content) for content in (PHOTO, OTHER, b"c"))
    copies.world.delete(lost)
    copies.world.put(cut, OTHER[:-1])
    copies.world.put(changed, b"d")
    quick = {(each.key, each.what) for each in copies.verify().problems}
    assert quick == {(lost, What.ATTACHMENT_MISSING), (cut, What.ATTACHMENT_DAMAGED)}
    deep = {(each.key, each.what) for each in copies.verify(deep=True).problems}
    assert deep == {*quick, (changed, What.ATTACHMENT_DAMAGED)}
    copies.published()
    assert copies.verify(deep=True).problems == ()
    assert set(copies.copied().values()) == {PHOTO, OTHER, b"c"}


def test_no_key_is_sent_to_where_attachments_lie(made: Made, server: LangSmith) -> None:
    copies = made()
    copies.add({"a": PHOTO})
    copies.published()
    assert server.server is not None
    (asked,) = [each for each in server.server.asked if each.path.startswith("/files/")]
    assert {name.lower() for name in asked.headers} == {"host", "accept-encoding", "user-agent"}


def test_a_store_that_does_not_keep_what_it_took_fails_the_day(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    copies = made()
    copies.add({"a": PHOTO})
    write = S3Store.put_file

    def cut(self: S3Store, key: str, file: IO[bytes], digest: Digest) -> None:
        write(self, key, file, digest)
        self.put(key, PHOTO[:-1])

    monkeypatch.setattr(S3Store, "put_file", cut)
    failed = copies.publish()
    assert isinstance(failed, DestinationUnavailableError)
    assert f"taken {key_of(copies, PHOTO)} and does not give back what was written" in str(failed)


def test_without_the_right_to_read_an_answer_is_believed(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    copies = made()
    copies.add({"a": PHOTO})
    look = S3Store.stat

    def stat(self: S3Store, key: str) -> ObjectInfo | None:
        if "/attachments/" in key:
            raise AccessDeniedError("no right", code="403")
        return look(self, key)

    monkeypatch.setattr(S3Store, "stat", stat)
    copies.published()
    assert copies.copied() == {key_of(copies, PHOTO): PHOTO}


def test_a_machine_without_room_says_so(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    copies = made()
    copies.add({"a": PHOTO})

    class Full(SpooledTemporaryFile[bytes]):
        def write(self, _: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(attachments, "SpooledTemporaryFile", Full)
    failed = copies.publish()
    assert isinstance(failed, attachments.AttachmentSpoolError)
    assert "on its way: No space left on device; make room there" in str(failed)
