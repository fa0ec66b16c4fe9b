"""Forgery by whoever can write to the bucket: what is found with the control database, with a key, and with neither."""

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import audit_log, days
from export_pipeline.exports.proof.manifest_repair import restore
from export_pipeline.exports.proof.recover.bucket import recover
from export_pipeline.exports.proof.verify.export import What
from export_pipeline.files.manifest import read_manifest
from export_pipeline.files.signing import PublicKeys, Signer, new_key_pair
from export_pipeline.settings import load_settings
from export_pipeline_tests.exports.memory_source import rows_of_day
from export_pipeline_tests.exports.proof.forgery import forged
from export_pipeline_tests.exports.world import DAYS, EMPTY, FIRST, LAST, PROJECT, ROWS, World, resealed
from export_pipeline_tests.servers import S3Server

pytestmark = pytest.mark.slow

PLACE = {"source_url": "sqlite:///s", "control_url": "sqlite:///c", "bucket": "any"}


def keys_of(*public: str, private: str | None = None) -> PublicKeys:
    return PublicKeys.from_settings(load_settings(**PLACE, signing_public_keys=public, signing_key=private))


def signer_of(private: str) -> Signer:
    signer = Signer.from_settings(load_settings(**PLACE, signing_key=private))
    assert signer is not None
    return signer


OLD, NEW, THEIRS = new_key_pair(), new_key_pair(), new_key_pair()


@pytest.fixture(scope="module")
def world(seaweedfs: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Three exported days; tests leave bucket and records as they found them."""
    made = World.make(seaweedfs, tmp_path_factory.mktemp("forgery"))
    made.publish()
    yield made
    made.close()


@pytest.fixture
def signed(rclone: S3Server, tmp_path: Path) -> Iterator[World]:
    """Three exported days whose manifests are signed with the old key."""
    made = replace(World.make(rclone, tmp_path), signer=signer_of(OLD.private))
    made.publish()
    yield made
    made.close()


def findings(world: World, **options: Any) -> list[What]:
    return [problem.what for problem in world.verify(**options).problems]


@pytest.mark.parametrize("deep", [False, True])
def test_replaced_payloads_under_a_manifest_that_was_sealed_anew_are_found(world: World, deep: bool) -> None:
    body, manifest = forged(world, FIRST)
    with world.replaced(world.data(FIRST), body), world.replaced(world.manifest(FIRST), manifest):
        report = world.verify(deep=deep)
        alone = world.verify(control=None)
    found = {problem.what: problem for problem in report.problems}
    assert found.keys() >= {What.MANIFEST_REPLACED}
    assert found.keys() & {What.FILE_CHECKSUM, What.FILE_SIZE}
    assert {problem.day for problem in report.problems} == {FIRST}
    genuine = json.loads(world.get(world.manifest(FIRST)))["file"]
    assert f"file.content_hash {genuine['content_hash']}" in str(found[What.MANIFEST_REPLACED].expected)
    assert alone.ok  # which is why SECURITY.md asks for a signature where the bucket alone is to be a proof


def test_without_the_control_database_the_trace_store_tells_replaced_payloads(world: World) -> None:
    body, manifest = forged(world, FIRST)
    with world.replaced(world.data(FIRST), body), world.replaced(world.manifest(FIRST), manifest):
        assert findings(world, control=None, deep=True) == [What.SOURCE_CONTENT]
    assert findings(world, control=None, deep=True) == []


@pytest.mark.parametrize(
    "changes",
    [{"etag": "0" * 32}, {"version_id": "another"}, {"bucket": "theirs"}, {"first_id": "x"}, {"note": "an added key"}],
    ids=lambda changes: next(iter(changes)),
)
def test_whatever_a_sealed_manifest_says_otherwise_of_its_file_is_named(world: World, changes: dict[str, str]) -> None:
    sealed = world.get(world.manifest(FIRST))
    ((name, value),) = changes.items()
    with world.replaced(world.manifest(FIRST), resealed(sealed, file={**json.loads(sealed)["file"], **changes})):
        (problem,) = world.verify().problems
    assert (problem.what, problem.key) == (What.MANIFEST_REPLACED, world.manifest(FIRST))
    assert f"file.{name} {value}" in str(problem.found)


def test_other_counts_and_times_in_a_sealed_manifest_are_named(world: World) -> None:
    sealed = world.get(world.manifest(FIRST))
    others: dict[str, Any] = {"superseded": 3, "rows_source": ROWS + 3, "tool_version": "9", "replaced": {"name": 4}}
    with world.replaced(world.manifest(FIRST), resealed(sealed, **others)):
        (problem,) = world.verify().problems
    assert problem.what is What.MANIFEST_REPLACED
    assert str(problem.found) == f"replaced.name 4, rows_source {ROWS + 3}, superseded 3, tool_version 9"


def test_a_day_among_empty_ones_is_compared_whole_too(world: World) -> None:
    (key,) = [key for key in world.objects() if "/empty_days/" in key]
    with world.replaced(key, resealed(world.get(key), tool_version="9")):
        (problem,) = world.verify().problems
    assert (problem.what, problem.day) == (What.MANIFEST_REPLACED, EMPTY)


def test_a_commit_that_an_older_version_has_recorded_is_compared_with_its_defaults(world: World) -> None:
    here = sa.and_(days.c.export_id == str(world.export.export_id), days.c.day == FIRST)
    with world.control.read() as connection:
        whole = connection.execute(sa.select(days.c.manifest).where(here)).scalar_one()
    older = {name: value for name, value in whole.items() if name not in {"superseded", "signature"}}
    try:
        with world.control.begin() as connection:
            connection.execute(sa.update(days).where(here).values(manifest=older))
        assert world.verify().ok
    finally:
        with world.control.begin() as connection:
            connection.execute(sa.update(days).where(here).values(manifest=whole))


def test_an_old_genuine_day_that_was_put_back_is_found(rclone: S3Server, tmp_path: Path) -> None:
    world = replace(World.make(rclone, tmp_path), signer=signer_of(OLD.private))
    try:
        world.publish()
        old_file, old_manifest = world.get(world.data(FIRST)), world.get(world.manifest(FIRST))
        world.source.rows += rows_of_day(PROJECT, FIRST, 5)
        assert world.publish(FIRST)[FIRST].epoch == 2
        world.put(world.data(FIRST), old_file)
        assert What.FILE_OF_OTHER_COMMIT in findings(world, control=None, keys=keys_of(OLD.public))
        world.put(world.manifest(FIRST, 3), old_manifest)
        assert What.MANIFEST_MISPLACED in findings(world, control=None, keys=keys_of(OLD.public))
        world.delete(world.manifest(FIRST, 3))
        world.delete(world.manifest(FIRST, 2))
        (problem,) = world.verify(keys=keys_of(OLD.public)).problems
        assert problem.what is What.RECORD_DIFFERS
        assert str(problem.expected).startswith("epoch 1, ")
        assert str(problem.found).startswith("epoch 2, ")
        # The bucket alone cannot know that there was a newer day: SECURITY.md says so.
        assert world.verify(control=None, keys=keys_of(OLD.public)).ok
    finally:
        world.close()


def test_the_public_key_and_the_bucket_prove_what_was_signed(signed: World) -> None:
    report = signed.verify(control=None, keys=keys_of(OLD.public))
    assert [str(problem) for problem in report.problems] == []
    assert (report.counts.days, report.counts.rows) == (3, 2 * ROWS)
    stored = json.loads(signed.get(signed.manifest(FIRST)))
    assert stored["signature"].keys() == {"algorithm", "key_id", "value"}
    assert (stored["signature"]["algorithm"], stored["signature"]["key_id"]) == ("ed25519", OLD.key_id)
    secret = OLD.private.removeprefix("ed25519-private:").encode()
    assert all(secret not in signed.get(key) for key in signed.objects())
    assert secret not in (Path(str(signed.control.url.database))).read_bytes()


def test_a_signature_is_of_the_rest_of_the_json_and_any_ed25519_library_checks_it(signed: World) -> None:
    content = json.loads(signed.get(signed.manifest(FIRST)))
    signature = base64.b64decode(content.pop("signature")["value"])
    del content["sha256"]
    told = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    raw = base64.urlsafe_b64decode(OLD.public.removeprefix("ed25519:") + "=")
    Ed25519PublicKey.from_public_bytes(raw).verify(signature, b"export-pipeline manifest\n" + told)


def test_forgery_is_found_with_the_bucket_and_the_public_key_alone(signed: World) -> None:
    body, manifest = forged(signed, FIRST)
    genuine = json.loads(signed.get(signed.manifest(FIRST)))
    theirs = read_manifest(manifest).manifest.signed(signer_of(THEIRS.private)).seal()
    signed.put(signed.data(FIRST), body)
    cases = {
        What.MANIFEST_SIGNATURE: [manifest, theirs],
        What.MANIFEST_UNSIGNED: [resealed(manifest, signature=None)],
    }
    assert json.loads(manifest)["signature"] == genuine["signature"]
    for what, forgeries in cases.items():
        for forgery in forgeries:
            signed.put(signed.manifest(FIRST), forgery)
            (problem,) = signed.verify(control=None, keys=keys_of(OLD.public)).problems
            assert (problem.what, problem.day, problem.key) == (what, FIRST, signed.manifest(FIRST))


def test_a_json_that_readers_may_read_in_two_ways_is_no_manifest(signed: World) -> None:
    sealed = signed.get(signed.manifest(FIRST))
    signed.put(signed.manifest(FIRST), b'{"rows":7,' + sealed[1:])
    assert findings(signed, control=None, keys=keys_of(OLD.public)) == [What.MANIFEST_DAMAGED]
    signed.put(signed.manifest(FIRST), sealed.replace(b'"rows":', b'"rows": '))
    assert findings(signed, control=None, keys=keys_of(OLD.public)) == [What.MANIFEST_DAMAGED]


def test_old_public_keys_go_on_counting_after_a_change_of_keys(signed: World) -> None:
    later = replace(signed, signer=signer_of(NEW.private))
    later.source.rows += rows_of_day(PROJECT, LAST, 2)
    assert later.publish(LAST)[LAST].epoch == 2
    assert findings(later, control=None, keys=keys_of(OLD.public, private=NEW.private)) == []
    assert findings(later, keys=keys_of(OLD.public, NEW.public)) == []
    assert What.MANIFEST_SIGNATURE in findings(later, control=None, keys=keys_of(NEW.public))
    done = restore(later.control, later.store, later.export, signer=signer_of(NEW.private), actor="cli")
    (empty,) = [key for key in later.objects() if "/empty_days/" in key]
    assert (done.seen, sorted(done.written)) == (3, sorted([later.manifest(FIRST), empty]))
    assert findings(later, control=None, keys=keys_of(NEW.public)) == []


def test_manifests_from_before_signing_are_named_until_they_are_signed(signed: World) -> None:
    unsigned = replace(signed, signer=None)
    unsigned.source.rows += rows_of_day(PROJECT, LAST, 2)
    unsigned.publish(LAST)
    (problem,) = signed.verify(keys=keys_of(OLD.public)).problems
    assert (problem.what, problem.key) == (What.MANIFEST_UNSIGNED, signed.manifest(LAST, 2))
    assert What.MANIFEST_UNSIGNED in findings(signed, control=None, keys=keys_of(OLD.public))
    assert findings(signed) == []
    restore(signed.control, signed.store, signed.export, signer=signer_of(OLD.private), actor="cli")
    assert findings(signed, keys=keys_of(OLD.public)) == findings(signed, control=None, keys=keys_of(OLD.public)) == []


def test_a_manifest_that_was_forged_or_deleted_is_written_anew_from_the_control_database(signed: World) -> None:
    genuine = {day: signed.get(signed.manifest(day)) for day in (FIRST, LAST)}
    signed.put(signed.manifest(FIRST), forged(signed, FIRST)[1])
    signed.delete(signed.manifest(LAST))
    assert {What.MANIFEST_REPLACED, What.MANIFEST_SIGNATURE} & set(findings(signed, keys=keys_of(OLD.public)))
    done = restore(signed.control, signed.store, signed.export, signer=signer_of(OLD.private), actor="cli")
    assert sorted(done.written) == [signed.manifest(FIRST), signed.manifest(LAST)]
    assert {day: signed.get(signed.manifest(day)) for day in (FIRST, LAST)} == genuine
    assert findings(signed, keys=keys_of(OLD.public)) == []
    with signed.control.read() as connection:
        restored = connection.scalars(
            sa.select(audit_log.c.subject).where(audit_log.c.action == "manifest.restore").order_by(audit_log.c.subject)
        ).all()
    assert restored == [signed.manifest(day) for day in (FIRST, LAST)]


def test_recovering_takes_no_manifest_without_a_signature_where_the_settings_have_keys(
    signed: World, tmp_path: Path
) -> None:
    body, manifest = forged(signed, FIRST)
    signed.put(signed.data(FIRST), body)
    signed.put(signed.manifest(FIRST), resealed(manifest, signature=None))
    path = tmp_path / "new.db"
    settings = signed.settings.model_copy(
        update={"control_url": f"sqlite:///{path}", "signing_public_keys": (OLD.public,)}
    )
    control = ControlDatabase(f"sqlite:///{path}")
    try:
        report = recover(control, store=signed.store, settings=settings, actor="cli")
        assert [line.partition(": ")[2] for line in report.problems] == ["it has no signature"]
        assert report.days == 2
        with control.read() as connection:
            left = connection.execute(sa.select(days.c.day).where(days.c.completed_at.is_not(None))).scalars().all()
        assert sorted(left) == sorted(set(DAYS) - {FIRST})
    finally:
        control.close()
