"""Committed files as one Polars LazyFrame, for whoever reads a bucket that others may write to."""

import hashlib
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple

from export_pipeline.destinations.store import ObjectInfo, ObjectStore
from export_pipeline.errors import ForeignCommitError
from export_pipeline.runs.schema import FormatVersion, polars_schema, select_fields

if TYPE_CHECKING:
    import polars as pl

AT_ONCE = 16
"""Days that are looked at side by side."""
_BLOCK_BYTES = 8 * 1024 * 1024
_LOOKS = 2
_CREDENTIALS_SECONDS = 300


class CommittedFile(NamedTuple):
    """What a day's last commit says of its file."""

    bytes: int
    etag: str | None
    sha256: str


CommittedFileOf = Callable[[date], CommittedFile | None]


def scan_committed(
    store: ObjectStore, export_id: uuid.UUID, keys: Mapping[date, str], committed: CommittedFileOf
) -> "pl.LazyFrame":
    """A frame over an export's files at these keys, of which there must be one; rows are read when it is collected.

    `committed` tells what a day's file is to be, anew each time it is asked, and None where it has none. Raises
    `ForeignCommitError` where an object is another one, by size, and by ETag or hash: whoever can write to the bucket
    can put a file there that unpacks to more than the memory there is. A day that is exported meanwhile is looked at
    once more.
    """
    import polars as pl

    def is_committed(day: date) -> bool:
        return any(_is_committed(store, keys[day], committed(day)) for _ in range(_LOOKS))

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="look") as pool:
        for day, same in zip(keys, pool.map(is_committed, keys), strict=True):
            if not same:
                raise ForeignCommitError(
                    f"{day}: {keys[day]} is not the file that was committed; "
                    f"`export-pipeline verify {export_id}` says what is there"
                )
    return pl.scan_parquet(
        [f"s3://{store.config.bucket}/{keys[day]}" for day in sorted(keys)],
        hive_partitioning=False,
        storage_options=_storage_options(store),
        credential_provider=_credentials_of(store),
    )


def empty_frame(fields: Iterable[str], format_version: FormatVersion) -> "pl.LazyFrame":
    """A frame without rows that has the columns of such files."""
    import polars as pl

    return pl.LazyFrame(schema=polars_schema(select_fields(fields), format_version))


def _is_committed(store: ObjectStore, key: str, file: CommittedFile | None) -> bool:
    found = store.stat(key)
    if file is None or found is None or found.size != file.bytes:
        return False
    return found.etag == file.etag or _has_sha256(store, found, file.sha256)


def _has_sha256(store: ObjectStore, found: ObjectInfo, expected: str) -> bool:
    """Whether the object's bytes have this hash: a bucket that was copied has other ETags."""
    digest = hashlib.sha256()
    for start in range(0, found.size, _BLOCK_BYTES):
        digest.update(store.read(found.key, start, min(start + _BLOCK_BYTES, found.size)))
    return digest.hexdigest() == expected


def _storage_options(store: ObjectStore) -> dict[str, Any]:
    config = store.config
    options = {
        "aws_region": config.region or ("us-east-1" if config.endpoint_url else None),
        "aws_endpoint_url": config.endpoint_url,
        "aws_allow_http": "true" if config.allow_private else None,
        "aws_virtual_hosted_style_request": "true" if config.config_kwargs_s3.addressing_style == "virtual" else None,
    }
    return {name: value for name, value in options.items() if value is not None}


def _credentials_of(store: ObjectStore) -> Callable[[], tuple[dict[str, str], int | None]]:
    """The credentials that the store's own client signs with, whatever they are, renewed where they end."""
    credentials = store.client._get_credentials()  # noqa: SLF001 -- botocore offers no public way

    def provide() -> tuple[dict[str, str], int | None]:
        frozen = credentials.get_frozen_credentials()
        given = {
            "aws_access_key_id": frozen.access_key,
            "aws_secret_access_key": frozen.secret_key,
            "aws_session_token": frozen.token,
        }
        found = {name: value for name, value in given.items() if value is not None}
        return found, int(time.time()) + _CREDENTIALS_SECONDS

    return provide
