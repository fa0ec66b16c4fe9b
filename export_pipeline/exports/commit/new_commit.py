"""Reading a day anew and publishing it, from the source's snapshot to the finished commit."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from export_pipeline.errors import DayCancelledError, RowCountError, ShrunkError
from export_pipeline.exports.commit import transitions
from export_pipeline.exports.commit.attachments import MISSING, CopiedAttachments
from export_pipeline.exports.commit.claim import StaleUpload
from export_pipeline.exports.commit.complete import carry_out
from export_pipeline.exports.commit.day import DayRequest
from export_pipeline.exports.commit.fence import abandon, abort_others
from export_pipeline.exports.commit.intent import Intent, PlannedDelete, PlannedUpload
from export_pipeline.exports.commit.manifest import day_manifest, with_upload
from export_pipeline.exports.commit.publisher import Attempt
from export_pipeline.exports.commit.rules import (
    Committed,
    refuse_losing_attachments,
    refuse_shrinking,
    refuse_vanishing,
    unchanged,
)
from export_pipeline.exports.commit.stream import DuplicateFilter, StreamedDay, footer_of, stream_day
from export_pipeline.exports.commit.transitions import FinishedCommit
from export_pipeline.files.manifest import Manifest
from export_pipeline.files.parquet import DayFile
from export_pipeline.files.paths import data_key, manifest_key
from export_pipeline.object_store.upload import BufferedUpload, PartUpload, UploadedFile
from export_pipeline.runs.schema import arrow_schema, select_fields
from export_pipeline.runs.times import microseconds
from export_pipeline.runs.transform import RunTransform
from export_pipeline.sources.protocol import RunSnapshot, RunSource

_READINGS = 4
"""How often a day is read at most: once more than needed where ids come twice, and again where new ones turn up."""


@dataclass(frozen=True)
class Unchanged:
    """The source agrees with what is committed; nothing was published."""

    committed: Committed


class NewCommit:
    """One reading of one day within an attempt; used once."""

    def __init__(
        self,
        attempt: Attempt,
        request: DayRequest,
        *,
        committed: Committed | None,
        on_bytes: Callable[[int], None],
    ) -> None:
        self._attempt = attempt
        self._day = day = request.day
        self._committed = committed
        self._allow_shrink = request.allow_shrink
        self._on_bytes = on_bytes
        self.commit_id = uuid.uuid4()
        self._epoch = attempt.lease.claim.epoch
        self._key = data_key(attempt.table.prefix, attempt.table.key(day.day), attempt.table.format_version)
        self._fields = select_fields(attempt.table.fields)
        self._schema = arrow_schema(self._fields, attempt.table.format_version)
        self._upload_buffer = self._new_buffer()
        self._upload_id = ""

    def run(self, source: RunSource) -> FinishedCommit | Unchanged:
        """Reads, decides and commits; aborts its own upload where nothing is committed."""
        decided = False
        try:
            snapshot_at = self._attempt.lease.claim.taken_at
            streamed = self._stream(source)
            manifest = day_manifest(
                self._attempt.table,
                streamed,
                day=self._day,
                commit_id=self.commit_id,
                epoch=self._epoch,
                key=self._key,
                schema=self._schema,
                snapshot_at=snapshot_at,
                committed_at=self._attempt.lease.now(),
            )
            if self._committed is not None and unchanged(self._committed.manifest, manifest.model_dump(mode="json")):
                return self._agree(self._committed, manifest, snapshot_at)
            self._refuse_shrinking(manifest)
            uploaded = self._uploaded(manifest)
            intent = self._intent(manifest, uploaded)
            # The commit point. From here on an error does not say that nothing was decided: the database may have taken
            # the intent and its answer got lost. Then the upload has to stay, for the next attempt completes it. Only
            # two errors are the database's own word that there is no intent.
            decided = True
            try:
                self._record(intent)
            except (DayCancelledError, ShrunkError):
                decided = False
                raise
        except BaseException:
            self._upload_buffer.close()
            if not decided:
                self._abandon()
            raise
        self._attempt.on_step("intent")
        return carry_out(self._attempt, intent, keep_lease=False)

    def _stream(self, source: RunSource) -> StreamedDay:
        duplicates = DuplicateFilter()
        for _ in range(_READINGS):
            streamed = self._read(source, duplicates)
            if streamed is not None:
                return streamed
            self._upload_buffer.close()
            self._abandon()
            self._upload_buffer = self._new_buffer()
        raise RowCountError(f"{self._day.day}: other ids came twice each time the day was read; nothing was committed")

    def _new_buffer(self) -> BufferedUpload:
        return BufferedUpload(self._open_upload, part_bytes=self._attempt.limits.part_bytes)

    def _read(self, source: RunSource, duplicates: DuplicateFilter) -> StreamedDay | None:
        attempt, table = self._attempt, self._attempt.table
        transform = RunTransform(
            tenant_id=table.tenant_id,
            session_id=table.session_id,
            fields=self._fields,
            format_version=table.format_version,
            epoch_unit=source.epoch_unit,
            window=self._day.window,
        )
        footer = footer_of(commit_id=self.commit_id, export_id=table.layout_id, day=self._day.day, epoch=self._epoch)
        file = DayFile(
            self._upload_buffer,
            schema=self._schema,
            compression=table.compression,
            row_group_bytes=attempt.limits.row_group_bytes,
            footer=footer,
        )
        with source.open(table.project_key, self._day.window, table.fields, filter=table.tree) as snapshot:
            attempt.on_step("snapshot")
            attachments = self._attachments(snapshot)
            streamed = stream_day(
                snapshot,
                day=self._day.day,
                transform=transform,
                file=file,
                on_batch=self._on_batch,
                duplicates=duplicates,
            )
        attempt.on_step("streamed")
        return streamed if streamed is None or attachments is None else streamed.with_attachments(attachments)

    def _attachments(self, snapshot: RunSnapshot) -> CopiedAttachments | None:
        """What copies the attachments of a reading, where they are wanted."""
        attempt = self._attempt
        if not attempt.limits.attachments:
            return None
        copies = CopiedAttachments(attempt.table, attempt.store, attempt.lease.check)
        return copies if snapshot.keep_attachments(copies) else None

    def _on_batch(self, rows: int, size: int) -> None:
        self._attempt.lease.progress(rows_read=rows, bytes_uploaded=self._upload_buffer.bytes)
        self._on_bytes(size)
        self._attempt.on_step("batch")

    def _open_upload(self) -> PartUpload:
        attempt = self._attempt
        attempt.run(lambda transaction: transitions.announce_upload(transaction, attempt.lease.claim, key=self._key))
        attempt.on_step("upload announced")
        self._upload_id, doubtful = attempt.store.begin_upload(self._key)
        if doubtful:
            abort_others(attempt, key=self._key, mine=self._upload_id)
        attempt.on_step("upload created")
        attempt.run(
            lambda transaction: transitions.record_upload(transaction, attempt.lease.claim, upload_id=self._upload_id)
        )
        attempt.on_step("upload recorded")
        return PartUpload(attempt.store, self._key, self._upload_id, part_bytes=attempt.limits.part_bytes)

    def _uploaded(self, manifest: Manifest) -> UploadedFile | None:
        if manifest.file is None:
            return None
        uploaded = self._upload_buffer.finish()
        self._upload_buffer.close()
        self._attempt.on_step("parts uploaded")
        return uploaded

    def _intent(self, manifest: Manifest, uploaded: UploadedFile | None) -> Intent:
        planned, delete = None, None
        if uploaded is not None:
            manifest = with_upload(manifest, sha256=uploaded.sha256)
            planned = PlannedUpload(
                key=self._key, upload_id=uploaded.upload_id, parts=tuple(uploaded.parts), bytes=uploaded.bytes
            )
        elif self._committed is not None and (old := self._committed.manifest["file"]) is not None:
            delete = PlannedDelete(key=old["key"], commit_id=self._committed.manifest["commit_id"], bytes=old["bytes"])
        content = manifest.model_dump(mode="json")
        return Intent(
            commit_id=self.commit_id,
            epoch=self._epoch,
            rows=manifest.rows,
            manifest_key=manifest_key(self._attempt.table.prefix, self._attempt.table.key(self._day.day), self._epoch),
            manifest=content,
            snapshot_at=microseconds(manifest.snapshot_at),
            fingerprint=content["source"],
            upload=planned,
            delete=delete,
        )

    def _record(self, intent: Intent) -> None:
        attempt = self._attempt
        attempt.run(
            lambda transaction: transitions.record_intent(
                transaction, attempt.lease.claim, intent, allow_shrink=self._allow_shrink
            )
        )

    def _agree(self, committed: Committed, manifest: Manifest, snapshot_at: int) -> Unchanged:
        attempt = self._attempt
        self._upload_buffer.close()
        self._abandon()
        fingerprint = manifest.source.model_dump(mode="json")
        attempt.run(
            lambda transaction: transitions.record_unchanged(
                transaction,
                attempt.lease.claim,
                snapshot_at=snapshot_at,
                fingerprint=fingerprint,
            )
        )
        attempt.on_step("unchanged")
        return Unchanged(committed)

    def _refuse_shrinking(self, manifest: Manifest) -> None:
        day, committed, allow_shrink = self._day.day, self._committed, self._allow_shrink
        if committed is not None:
            refuse_shrinking(day, committed=committed.rows_read, read=manifest.rows_read, allow_shrink=allow_shrink)
            refuse_vanishing(
                day,
                committed=committed.rows,
                rows=manifest.rows,
                rejected=manifest.rejected.by_reason,
                allow_shrink=allow_shrink,
            )
            refuse_losing_attachments(
                day,
                committed=committed.manifest.get("attachments"),
                copied=manifest.attachments.count if manifest.attachments else 0,
                missing=manifest.replaced.get(MISSING, 0),
                allow_shrink=allow_shrink,
            )

    def _abandon(self) -> None:
        abandon(self._attempt, StaleUpload(self._epoch, self._upload_id, self._key))
        self._upload_id = ""
