"""Manifests that are taken away or written anew, by an operator's command.

Nothing here is needed while nobody else writes to the bucket.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import sqlalchemy as sa

from export_pipeline.errors import ConflictError, InputError
from export_pipeline.exports.access.audit import record
from export_pipeline.exports.commit.claim import freed
from export_pipeline.exports.commit.manifest import load_manifest
from export_pipeline.exports.commit.rules import FAILED
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import TableRecord
from export_pipeline.exports.control.tables import days
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline.files.manifest import MAX_MANIFEST_BYTES, Manifest, ManifestError, signed_part
from export_pipeline.files.paths import ManifestPath, manifests_root, parse_manifest_key, retired_key
from export_pipeline.files.signing import Signer
from export_pipeline.object_store.protocol import ObjectMissingError, ObjectStore

_NO_TENANT = uuid.UUID(int=0)


@dataclass(frozen=True)
class Found:
    """An object among the manifests, and how many days have it as their last commit."""

    key: str
    size: int
    days: int


def find_manifests(control: ControlDatabase, store: ObjectStore, *, prefix: str, name: str) -> list[Found]:
    """The object of this key, or all below this folder (with "/" at its end).

    Raises `InputError` where that is not among the manifests, or nothing is there.
    """
    root = manifests_root(prefix)
    if not name.startswith(root):
        raise InputError(f"{name!r} is neither a key nor a folder of manifests: these lie below {root}")
    listed = [item for item in store.list(name) if name.endswith("/") or item.key == name]
    if not listed:
        raise InputError(f"nothing lies at {name!r}; a folder's name ends with a slash")
    query = sa.select(days.c.manifest_key, sa.func.count()).group_by(days.c.manifest_key)
    with control.read() as transaction:
        last = {row[0]: row[1] for row in transaction.execute(query.where(days.c.manifest_key.startswith(name)))}
    return [Found(item.key, item.size, last.get(item.key, 0)) for item in listed]


def retire(
    control: ControlDatabase, store: ObjectStore, manifests: Sequence[Found], *, prefix: str, actor: str
) -> None:
    """Takes manifests away that none of ours has written, with a line in the audit log for each.

    They are moved out of the manifests' folder, those that are too large to be any are deleted. Days that have one as
    their last commit, because `recover` took it for true, have none afterwards. Raises `ConflictError` where such a day
    is being exported.
    """
    for item in manifests:
        control.run(partial(_forget, item=item, actor=actor))
        if item.size <= MAX_MANIFEST_BYTES:
            try:
                store.put(retired_key(prefix, item.key), store.read(item.key, 0, MAX_MANIFEST_BYTES))
            except ObjectMissingError:
                continue
        store.delete(item.key)


def _forget(transaction: Transaction, *, item: Found, actor: str) -> None:
    here = days.c.manifest_key == item.key
    now = transaction.now()
    rows = transaction.execute(sa.select(days).where(here).with_for_update()).mappings().all()
    for row in rows:
        if (row["lease_until"] or 0) > now or row["intent"] is not None:
            raise ConflictError(f"{row['day']} of export {row['export_id']} is being exported; try again afterwards")
    nothing = ("manifest", "manifest_key", "commit_epoch", "rows", "rows_rejected", "rejected", "bytes", "fingerprint")
    values = {**dict.fromkeys((*nothing, "snapshot_at", "completed_at"), None), **freed(now), "status": FAILED}
    transaction.execute(sa.update(days).where(here).values(**values, error="its manifest was retired"))
    path = parse_manifest_key(item.key)
    named = path.key if isinstance(path, ManifestPath) else path
    record(
        transaction,
        at=now,
        tenant_id=_NO_TENANT if named is None else named.tenant_id,
        actor=actor,
        action="manifest.retire",
        subject=item.key,
        detail={"bytes": item.size, "days": [row["day"].isoformat() for row in rows]},
    )


@dataclass
class Restored:
    """How many manifests of last commits were looked at, and which were written anew."""

    seen: int
    written: list[str]


def restore(
    control: ControlDatabase, store: ObjectStore, table: TableRecord, *, signer: Signer | None, actor: str
) -> Restored:
    """Writes those manifests of an export's last commits anew that are not in the bucket as they were committed.

    With a signer also those that it has not signed. What is written is what the control database has committed; of a
    commit that `recover` found damaged nothing is.
    """
    mine = sa.and_(days.c.export_id == table.export_id, days.c.completed_at.is_not(None))
    with control.read() as transaction:
        keys = transaction.execute(sa.select(days.c.manifest_key).where(mine).distinct().order_by(days.c.manifest_key))
        wanted = [key for key in keys.scalars() if key is not None]
    restored = Restored(0, [])
    for key in wanted:
        with control.read() as transaction:
            content = transaction.execute(sa.select(days.c.manifest).where(mine, days.c.manifest_key == key)).scalar()
        if content is None:
            continue
        restored.seen += 1
        manifest = Manifest.model_validate(content)
        manifest = manifest if signer is None else manifest.signed(signer)
        if _lies_there(store, key, manifest):
            continue
        control.run(partial(_note, table=table, key=key, manifest=manifest, actor=actor))
        store.put(key, manifest.seal())
        restored.written.append(key)
    return restored


def _lies_there(store: ObjectStore, key: str, manifest: Manifest) -> bool:
    try:
        stored = load_manifest(store, key)
    except ManifestError:
        return False
    same = signed_part(stored.manifest.model_dump(mode="json")) == signed_part(manifest.model_dump(mode="json"))
    return same and stored.manifest.signature == manifest.signature


def _note(
    transaction: Transaction,
    *,
    table: TableRecord,
    key: str,
    manifest: Manifest,
    actor: str,
) -> None:
    here = sa.and_(days.c.export_id == table.export_id, days.c.manifest_key == key)
    transaction.execute(sa.update(days).where(here).values(manifest=manifest.model_dump(mode="json")))
    record(
        transaction,
        at=transaction.now(),
        tenant_id=table.tenant_id,
        actor=actor,
        action="manifest.restore",
        subject=key,
        detail={"signed_with": None if manifest.signature is None else manifest.signature.key_id},
    )
