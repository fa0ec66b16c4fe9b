"""What a verification found: counts of what was looked at, and every problem by name."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum


class What(StrEnum):
    """Everything that can be wrong with an export in its bucket."""

    MANIFEST_DAMAGED = "the manifest is damaged"
    MANIFEST_MISPLACED = "the manifest says something else than its key"
    MANIFEST_UNREADABLE = "the store does not give the manifest"
    MANIFEST_DOUBTFUL = "the manifest cannot be true"
    MANIFEST_UNSIGNED = "the manifest is not signed"
    MANIFEST_SIGNATURE = "the manifest's signature does not count"
    MANIFEST_REPLACED = "the manifest is not the one that was committed"
    MANIFEST_MISSING = "a finished commit has no manifest"
    MANIFEST_FORM = "the manifest does not fit the export"
    FILE_MISSING = "the file is missing"
    FILE_SIZE = "the file has another size"
    FILE_CHECKSUM = "the file's bytes were changed"
    FILE_OF_OTHER_COMMIT = "the file is of another commit"
    FILE_UNREADABLE = "the file cannot be read as Parquet"
    FILE_WITHOUT_MANIFEST = "a file has no manifest"
    FILE_OF_EMPTY_DAY = "a day without rows has a file"
    FILE_OVERSIZED = "the file holds more than its size allows"
    ROWS = "the number of rows differs"
    ROW_GROUPS = "the number of row groups differs"
    COLUMNS = "the columns differ"
    CONTENT = "the rows are not those that were committed"
    TIMES = "the first and last start_time differ"
    OUTSIDE_WINDOW = "rows lie outside the day"
    DUPLICATE_IDS = "an id occurs twice"
    ATTACHMENT_MISSING = "an attachment is missing"
    ATTACHMENT_DAMAGED = "an attachment is not what was copied"
    FOREIGN_OBJECT = "an object does not belong here"
    OPEN_UPLOAD = "an upload was left open"
    UNFINISHED = "a commit was decided on and is not finished"
    RECORD_MISSING = "the control database does not know the commit"
    RECORD_DIFFERS = "the control database knows another commit"
    IDS_MISSING = "ids of the trace store are not in the file"
    IDS_UNKNOWN = "ids of the file are not in the trace store"
    SOURCE_ROWS = "the trace store has another number of rows"
    SOURCE_CONTENT = "the trace store has other values in the same rows"
    NOT_VERIFIED = "it could not be verified"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong; `day` is None where it concerns no day, `key` where it is no object of the bucket."""

    export_id: uuid.UUID
    day: date | None
    what: What
    expected: str | None = None
    found: str | None = None
    key: str | None = None

    def __str__(self) -> str:
        text = f"{self.day}: {self.what}" if self.day else str(self.what)
        if self.key is not None:
            text += f" ({self.key})"
        if self.expected is not None and self.found is not None:
            return f"{text}: expected {self.expected}, found {self.found}"
        detail = self.found if self.expected is None else f"expected {self.expected}"
        return text if detail is None else f"{text}: {detail}"


@dataclass
class Counts:
    """What was looked at; `days` includes `empty_days`."""

    manifests: int = 0
    days: int = 0
    empty_days: int = 0
    files: int = 0
    rows: int = 0
    rejected: int = 0
    bytes: int = 0
    days_compared_with_source: int = 0


@dataclass(frozen=True)
class VerifyReport:
    """The result for one export.

    `being_exported` are days that a process was writing at the time; they were left out. `rejected` are the rows that
    the commits have set aside, by day and reason. `notes` say what could not be looked at.
    """

    export_id: uuid.UUID
    problems: Sequence[Problem]
    counts: Counts
    being_exported: Sequence[date] = ()
    rejected: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    notes: Sequence[str] = field(default=())

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems
