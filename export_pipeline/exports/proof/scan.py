"""Committed files as one Polars LazyFrame, for whoever reads a bucket that others may write to."""

import hashlib
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

from export_pipeline.errors import ForeignCommitError
from export_pipeline.object_store.protocol import ObjectInfo, ObjectStore
from export_pipeline.runs.schema import FormatVersion, polars_schema, select_fields

if TYPE_CHECKING:
    import polars as pl

AT_ONCE = 16
"""Days that are looked at side by side."""
_BLOCK_BYTES = 8 * 1024 * 1024
_LOOKS = 2


class CommittedFile(NamedTuple):
    """What a day's last commit says of its file."""

    bytes: int
    etag: str | None
    sha256: str


Look = Literal["committed", "empty", "another"]
CommittedFileOf = Callable[[date], CommittedFile | None]


def scan_committed(
    store: ObjectStore,
    keys: Mapping[date, str],
    committed: CommittedFileOf,
    *,
    export_id: uuid.UUID,
    fields: Iterable[str],
    format_version: FormatVersion,
) -> "pl.LazyFrame":
    """A frame over an export's files at these keys; rows are read when it is collected. Without files it is empty.

    `committed` tells what a day's file is to be, anew each time it is asked, and None where the day is empty. Raises
    `ForeignCommitError` where an object is another one, by size, and by ETag or hash: whoever can write to the bucket
    can put a file there that unpacks to more than the memory there is. A day that is exported meanwhile is looked at
    once more.
    """
    import polars as pl

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="look") as pool:
        looks = zip(keys, pool.map(lambda day: _look(store, keys[day], partial(committed, day)), keys), strict=True)
        files = [_committed_key(day, keys[day], look, export_id) for day, look in looks if look != "empty"]
    if not files:
        return empty_frame(fields, format_version)
    access = store.reader_access()
    return pl.scan_parquet(
        [access.uri(key) for key in sorted(files)],
        hive_partitioning=False,
        storage_options=access.options,
        credential_provider=access.credentials,
    )


def empty_frame(fields: Iterable[str], format_version: FormatVersion) -> "pl.LazyFrame":
    """A frame without rows that has the columns of such files."""
    import polars as pl

    return pl.LazyFrame(schema=polars_schema(select_fields(fields), format_version))


def _look(store: ObjectStore, key: str, committed: Callable[[], CommittedFile | None]) -> Look:
    for _ in range(_LOOKS):
        file, info = committed(), store.stat(key)
        if file is None and info is None:
            return "empty"
        if file is not None and info is not None and _is_same(store, info, file):
            return "committed"
    return "another"


def _committed_key(day: date, key: str, look: Look, export_id: uuid.UUID) -> str:
    if look == "another":
        raise ForeignCommitError(
            f"{day}: {key} is not the file that was committed; `export-pipeline verify {export_id}` says what is there"
        )
    return key


def _is_same(store: ObjectStore, info: ObjectInfo, file: CommittedFile) -> bool:
    return info.size == file.bytes and (info.etag == file.etag or _has_sha256(store, info, file.sha256))


def _has_sha256(store: ObjectStore, info: ObjectInfo, expected: str) -> bool:
    """Whether the object's bytes have this hash: a bucket that was copied has other ETags."""
    digest = hashlib.sha256()
    for start in range(0, info.size, _BLOCK_BYTES):
        digest.update(store.read(info.key, start, min(start + _BLOCK_BYTES, info.size)))
    return digest.hexdigest() == expected
