"""Attachments that a day's file names, and whether they lie in the bucket as it says."""

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.errors import DestinationRefusedError
from export_pipeline.exports.commit.attachments import sha256_of
from export_pipeline.exports.control.records import TableRecord
from export_pipeline.exports.proof.verify.report import What
from export_pipeline.files.paths import attachment_key
from export_pipeline.object_store.protocol import ObjectMissingError, ObjectStore
from export_pipeline.sources.protocol import COPIED_ATTACHMENTS

_MOST_DIGITS = 16

Finding = tuple[What, str | None, str | None, str]
"""What is wrong, what was expected, what was found, and the key."""


class AttachmentNames:
    """The attachments that rows name, each once: 32 bytes and a size."""

    def __init__(self) -> None:
        self._sizes: dict[bytes, int] = {}

    def add(self, batch: pa.RecordBatch) -> None:
        """Takes those of a batch."""
        if "extra" not in batch.schema.names:
            return
        extras = batch.column("extra")
        for text in extras.filter(pc.match_substring(extras, '"sha256"')).to_pylist():
            for entry in _entries(text):
                self._sizes[bytes.fromhex(entry["sha256"])] = entry["size"]

    def problems(self, table: TableRecord, store: ObjectStore, *, deep: bool) -> Iterator[Finding]:
        """Those that are missing or have another size; where it looks `deep`, those with other bytes too."""
        for sha256, size in self._sizes.items():
            digest = sha256.hex()
            key = attachment_key(table.prefix, table.tenant_id, table.session_id, digest)
            try:
                info = store.stat(key)
                if info is None:
                    yield What.ATTACHMENT_MISSING, f"{size:,} bytes", None, key
                elif info.size != size:
                    yield What.ATTACHMENT_DAMAGED, f"{size:,} bytes", f"{info.size:,}", key
                elif deep and (found := sha256_of(store, key, size)) != digest:
                    yield What.ATTACHMENT_DAMAGED, f"sha256 {digest}", found, key
            except ObjectMissingError:
                yield What.ATTACHMENT_MISSING, f"{size:,} bytes", None, key
            except DestinationRefusedError as error:
                yield What.ATTACHMENT_DAMAGED, None, str(error), key


def _entries(text: str) -> Iterator[dict[str, Any]]:
    """What is said of the copied ones: a run that has members of its own by that name may say anything there."""
    try:
        extra = json.loads(text, parse_int=_whole)
    except (ValueError, RecursionError):
        return  # nothing that was copied is named so
    for name in COPIED_ATTACHMENTS:
        listed = extra.get(name) if isinstance(extra, dict) else None
        for entry in listed if isinstance(listed, list) else ():
            if isinstance(entry, dict) and _is_copied(entry):
                yield entry


def _whole(digits: str) -> int:
    """A number of JSON; one that is longer than any size, which Python may refuse to read, is none."""
    return int(digits) if len(digits) <= _MOST_DIGITS else -1


def _is_copied(entry: dict[str, Any]) -> bool:
    sha256, size, key = (entry.get(name) for name in ("sha256", "size", "key"))
    if not isinstance(sha256, str) or len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
        return False
    return type(size) is int and size >= 0 and isinstance(key, str) and key.endswith(f"/{sha256[:2]}/{sha256}")
