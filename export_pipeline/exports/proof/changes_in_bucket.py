"""The commit in force of each day, told by the bucket's manifests alone: for loads without the control database."""

import uuid
from datetime import date

from export_pipeline.exports.proof.changes import Change
from export_pipeline.exports.proof.verify_manifests import ManifestReader, TableId, choose, list_manifests
from export_pipeline.files.manifest import Manifest
from export_pipeline.files.signing import PublicKeys
from export_pipeline.object_store.protocol import ObjectStore


def days_in_bucket(
    store: ObjectStore, prefix: str, *, keys: PublicKeys, wanted: uuid.UUID | None = None
) -> list[Change]:
    """The commit in force of each day, as the bucket's manifests tell; `wanted` is an export or a project, None all.

    A bucket has no order of commits, so there is no cursor: compare the commit ids with those that were loaded.
    Days whose manifests are all damaged are left out; `export-pipeline verify` names them.
    """
    found = []
    for table, index in sorted(list_manifests(store, prefix).tables.items()):
        if wanted not in {None, table.export_id, table.session_id}:
            continue
        reader = ManifestReader(store, index, keys=keys)
        for day in reader.days:
            valid = choose(reader.newest_first(day)).valid
            if valid is not None and valid.manifest is not None:
                found.append(_change_of_manifest(table, day, valid.manifest, f"s3://{store.config.bucket}/{valid.key}"))
    return found


def _change_of_manifest(table: TableId, day: date, manifest: Manifest, manifest_uri: str) -> Change:
    file = manifest.file
    return Change(
        sequence=None,
        project=None,
        export_id=table.export_id,
        tenant_id=table.tenant_id,
        session_id=table.session_id,
        day=day,
        epoch=manifest.epoch,
        commit_id=manifest.commit_id,
        superseded=False,
        rows=manifest.rows,
        bytes=0 if file is None else file.bytes,
        uri=None if file is None else f"s3://{file.bucket}/{file.key}",
        sha256=None if file is None else file.sha256,
        etag=None if file is None else file.etag,
        version_id=None if file is None else file.version_id,
        manifest_uri=manifest_uri,
        committed_at=manifest.committed_at,
    )
