"""Carrying out a commit that was decided on: Complete, read-back, manifest, delete, record.

Any process may do this for any other, again and again: every step finds out whether it was already done. Why none does
harm that comes too late, and what confirming the lease before it is for, stands at `leases.Lease`.
"""

from export_pipeline.errors import DestinationRefusedError, DestinationUnavailableError, ForeignCommitError
from export_pipeline.exports.commit.complete import complete_upload
from export_pipeline.exports.commit.intent import Intent, PlannedDelete
from export_pipeline.exports.commit.job import Job
from export_pipeline.exports.commit.look import ACCESS_DENIED, Found, look, pauses
from export_pipeline.exports.commit.record import FinishedCommit, record_commit
from export_pipeline.exports.commit.stored import RETIRE
from export_pipeline.files.manifest import MAX_MANIFEST_BYTES, Manifest, ManifestError


def carry_out(job: Job, intent: Intent, *, keep_lease: bool) -> FinishedCommit:
    """Brings the bucket and the control database to what the intent says; gives the day back unless `keep_lease`."""
    manifest = Manifest.model_validate(intent.manifest)
    if intent.upload is not None:
        done = complete_upload(job, intent, intent.upload)
        job.on_step("verified")
        manifest = manifest.completed(etag=done.etag, version_id=done.version_id, verified=done.verified)
    manifest = write_manifest(job, key=intent.manifest_key, manifest=manifest)
    job.on_step("manifest")
    if intent.delete is not None:
        _delete(job, intent.delete)
        job.on_step("deleted")
    finished = FinishedCommit(
        commit_id=intent.commit_id,
        epoch=intent.epoch,
        rows=intent.rows,
        bytes=manifest.file.bytes if manifest.file else 0,
        key=manifest.file.key if manifest.file else None,
        manifest_key=intent.manifest_key,
        manifest=manifest.model_dump(mode="json"),
        snapshot_at=intent.snapshot_at,
        fingerprint=intent.fingerprint,
    )
    job.control.run(
        lambda connection: record_commit(
            connection, job.lease.claim, finished, control=job.control, keep_lease=keep_lease
        ),
        patience=job.limits.patience,
    )
    job.on_step("done")
    return finished


def write_manifest(job: Job, *, key: str, manifest: Manifest) -> Manifest:
    """Puts the manifest under its key, once; returns what lies there.

    The content follows from the intent alone, so a process that comes late writes the same again, which does no harm
    on a store that ignores `If-None-Match`.
    """
    job.lease.confirm(lately=True)
    job.on_step("writing manifest")
    manifest = manifest.signed(job.signer)
    if job.store.put_once(key, manifest.seal()):
        return manifest
    try:
        there = Manifest.load(job.store.read(key, 0, MAX_MANIFEST_BYTES + 1))
    except DestinationRefusedError as error:
        if error.error_class != ACCESS_DENIED:
            raise
        return manifest
    except ManifestError as error:
        raise ForeignCommitError(f"{key}: {error}; {RETIRE.format(key=key)}") from error
    if there.commit_id != manifest.commit_id:
        raise ForeignCommitError(
            f"{key} holds another commit of this epoch, written with another control database; "
            f"run `export-pipeline recover`, or where it is none of yours: {RETIRE.format(key=key)}"
        )
    if _decided(there) != _decided(manifest):
        raise ForeignCommitError(
            f"{key} names this commit and says something else than was decided: it was forged; {RETIRE.format(key=key)}"
        )
    return there


def _decided(manifest: Manifest) -> Manifest:
    """What follows from the intent alone: two processes may hear differently of Complete, and sign with two keys."""
    return manifest.completed(etag=None, version_id=None, verified="read back").signed(None)


def _delete(job: Job, planned: PlannedDelete) -> None:
    """Deletes the committed object of a day that is empty now, and no other object."""
    for pause in pauses():
        seen = look(job.store, key=planned.key, size=planned.bytes, commit_id=planned.commit_id)
        if seen.found is Found.ABSENT:
            return
        if seen.found is Found.UNREADABLE or seen.info is None:
            raise DestinationRefusedError(
                f"{planned.key} is to be deleted, because its day is empty now, but may not be read to make sure that "
                "it is the right object; grant the credentials s3:GetObject and s3:ListBucket",
                error_class=ACCESS_DENIED,
            )
        job.lease.confirm()
        if seen.found is Found.OTHER:
            raise ForeignCommitError(
                f"{planned.key} is to be deleted, because its day is empty now, but it is not the file that was "
                "committed; it is left alone. Run `export-pipeline recover`"
            )
        job.on_step("deleting")
        if job.store.delete_if(planned.key, seen.info.etag):
            return
        if pause > 2:
            raise DestinationUnavailableError(
                f"{planned.key} changes while it is being deleted; try again", error_class="Unavailable"
            )
