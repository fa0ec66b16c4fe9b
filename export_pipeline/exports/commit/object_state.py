"""Looking at the bucket: whether the object at a key is the file of a certain commit."""

import uuid
from dataclasses import dataclass
from enum import StrEnum

from export_pipeline.errors import AccessDeniedError, DestinationUnavailableError
from export_pipeline.files.parquet import TAIL_BYTES, read_footer
from export_pipeline.object_store.protocol import ObjectInfo, ObjectMissingError, ObjectStore


class Presence(StrEnum):
    """What lies at a key, seen from one commit."""

    MINE = "the commit's file"
    OTHER = "another object"
    ABSENT = "nothing"
    UNREADABLE = "an answer that the credentials may not see"


@dataclass(frozen=True)
class ObjectState:
    """What lies at a key; `info` is there where it could be seen."""

    presence: Presence
    info: ObjectInfo | None = None


def read_object_state(store: ObjectStore, *, key: str, size: int, commit_id: uuid.UUID) -> ObjectState:
    """Compares size and the commit id in the Parquet footer; raises `DestinationUnavailableError` without an answer."""
    try:
        seen = _end_of(store, key=key, start=max(0, size - TAIL_BYTES), end=size)
        if seen is None:
            return ObjectState(Presence.ABSENT)
        info, tail = seen
        if info.size != size:
            return ObjectState(Presence.OTHER, info)
        first = size - len(tail)
        footer = read_footer(
            lambda start, end: store.read(key, start, end) if start < first else tail[start - first : end - first], size
        )
    except ValueError:
        return ObjectState(Presence.OTHER, info)
    except ObjectMissingError:
        return ObjectState(Presence.ABSENT)
    except AccessDeniedError:
        return ObjectState(Presence.UNREADABLE)
    return ObjectState(Presence.MINE if footer.get("commit_id") == str(commit_id) else Presence.OTHER, info)


def _end_of(store: ObjectStore, *, key: str, start: int, end: int) -> tuple[ObjectInfo, bytes] | None:
    """What lies at the key and its bytes up to `end`, in one request unless it is not longer than `start`."""
    try:
        return store.read_end(key, start, end)
    except DestinationUnavailableError as error:
        if error.code != "InvalidRange":
            raise
    info = store.stat(key)
    return None if info is None else (info, b"")
