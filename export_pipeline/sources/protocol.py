"""What every trace store looks like to the rest of the product.

Batches come in the *raw schema*: one column for each field of the Run schema, under its name, in the Run schema's
order, whose type is one of those that `runs.raw.RAW_TYPES` allows for the field's kind and stays the same for the whole
stream. Text is passed on as the store holds it, without being checked: it may not even be UTF-8. `start_time` alone
always comes as a timestamp, because the store has to place a row in its day; rows where it is null or cannot be read
are in no window and are counted by `outside`. Parsing, checking and setting bad rows aside is the transform's work
(`export_pipeline.runs.transform`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Protocol

from export_pipeline.runs.filter_tree import Filter
from export_pipeline.runs.times import EpochUnit
from export_pipeline.runs.window import Window
from export_pipeline.settings import PREFIX

if TYPE_CHECKING:
    import pyarrow as pa


UNASSIGNED = "export_pipeline:unassigned"
"""The key of the project that stands for the rows of no project."""
FEEDBACK_FIGURE = "feedback "
"""What the names of a day's figures begin with that are of its feedback."""
FILTERED_SECONDS = 60.0
"""How long the days of an export that has a filter may be counted: what somebody's filter costs is theirs to bear."""


@dataclass(frozen=True)
class ProjectKey:
    """What a project's rows are found by: its id and its tenant, as the store writes them.

    Rows that name another tenant are never among them. `untold`: rows that name none are. Without a `tenant` nothing is
    asked about tenants.
    """

    id: str
    tenant: str | None = None
    untold: bool = True


@dataclass(frozen=True)
class Project:
    """A project of the trace store; `key` is its id as the store writes it, `name` may be any text.

    Two projects with the same `key` and different tenants are two. Projects with the same `key` share the rows that
    name no tenant; `untold`: this one may claim them.
    """

    key: str
    name: str
    tenant_key: str | None = None
    is_experiment: bool = False
    start_time: datetime | None = None
    untold: bool = True


@dataclass(frozen=True)
class DayFingerprint:
    """What is needed to see later that a day's rows changed; None where the store has no such column.

    `superseded` counts rows beside `rows`: older versions of runs, which are not exported. `digest` is another number
    where one of the rows is another one, whatever their order. `figures` are sums over the rows by name, of a store
    that can be asked for nothing else; those of 0 are left out. Not `is_exact`: `rows` may be more than there are, and
    say nothing of a change.
    """

    rows: int
    max_modified_at: datetime | None = None
    feedbacks: int | None = None
    max_feedback_modified_at: datetime | None = None
    superseded: int = 0
    digest: int | None = None
    figures: Mapping[str, str] | None = field(default=None, hash=False)
    is_exact: bool = True


@dataclass(frozen=True)
class OutsideRows:
    """How many of a project's rows lie in no partition: before the first, after the last, or at no readable time."""

    before: int
    after: int
    unreadable: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.before + self.after + self.unreadable


@dataclass(frozen=True)
class UnassignedRows:
    """Rows that belong to no project: `rows` in all, `without_id` of them with no project id.

    `ids` are the unknown project ids with the most rows and how many each has; there are `unknown_ids` of them.
    `foreign` rows beside them name a workspace that does not have their project; `tenants` are those with the most.
    """

    rows: int = 0
    without_id: int = 0
    unknown_ids: int = 0
    ids: tuple[tuple[str, int], ...] = ()
    foreign: int = 0
    tenants: tuple[tuple[str, int], ...] = ()

    def missing(self, *, exported_as: str | None) -> int:
        """How many of them are in no export; `exported_as` is the setting UNASSIGNED_PROJECT."""
        return self.foreign + (self.rows if exported_as is None else 0)

    def sentence(self, *, exported_as: str | None) -> str:
        """What these rows are and what becomes of them; `exported_as` is the setting UNASSIGNED_PROJECT."""
        parts = []
        if self.rows and exported_as is not None:
            parts.append(f"{self._without_project()}; they are exported as project {exported_as!r}")
        elif self.rows:
            parts.append(
                f"{self._without_project()}; they are not exported ({PREFIX}UNASSIGNED_PROJECT=name exports them as a "
                "project)"
            )
        if self.foreign:
            parts.append(
                f"{self.foreign:,} rows name a workspace that does not have their project: {_named(self.tenants)}; "
                "they are not exported"
            )
        return ". ".join(parts)

    def _without_project(self) -> str:
        parts = [f"{self.without_id:,} without a project id"] if self.without_id else []
        if self.ids:
            more = ", …" if self.unknown_ids > len(self.ids) else ""
            unknown = self.rows - self.without_id
            parts.append(f"{unknown:,} of projects that the store does not list: {_named(self.ids)}{more}")
        return f"{self.rows:,} rows belong to no project: {'; '.join(parts)}"


def _named(counted: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{id_!r} ({rows:,})" for id_, rows in counted)


@dataclass(frozen=True)
class ColumnReport:
    """Where a field comes from: "mapped" (a column or expression), "derived" (computed), or "missing" (null)."""

    field: str
    origin: str
    detail: str


@dataclass(frozen=True)
class SourceReport:
    """What `source check` prints; `problems` lists everything that keeps the store from being exported.

    `usage` is a sentence on how near the store's limit of requests is, where it has one.
    """

    url: str
    columns: Sequence[ColumnReport]
    problems: Sequence[str] = ()
    warnings: Sequence[str] = ()
    sample: dict[str, str | None] | None = None
    index: str | None = None
    projects: int = 0
    usage: str | None = None
    extra: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Pace:
    """How quickly a store may be read that has a limit.

    `rate` is how many requests a second all workers together may make, `requests` the least that a day of so many rows
    takes.
    """

    rate: float
    requests: Callable[[int], int]


COPIED_ATTACHMENTS = ("attachments", "export_attachments")
"""What copied attachments are called in `extra`; the second where a run has a member of its own by the first name."""


@dataclass(frozen=True)
class KeptAttachment:
    """Where the bytes of a run's attachment lie in the bucket, or would; `sha256` in hexadecimal."""

    key: str
    sha256: str
    size: int


class AttachmentSink(Protocol):
    """Takes the attachments of a day's runs. Its methods may be called from several threads at once."""

    def keep(self, pieces: Iterable[bytes]) -> KeptAttachment:
        """Takes one to its end; where `pieces` raises, nothing is kept."""

    def miss(self) -> None:
        """Counts one that is not to be had; its run says why."""


class RunSnapshot(Protocol):
    """The rows of one project and window, read in one read-only snapshot of the store."""

    @property
    def fingerprint(self) -> DayFingerprint:
        """Counts and newest changes of exactly the rows that `batches` yields, from the same snapshot.

        To be asked for before the batches are begun, or after their end.
        """

    def keep_attachments(self, sink: AttachmentSink) -> bool:  # noqa: ARG002 - none are given to it
        """Before the batches: lets them give attachments to the sink and name in `extra` what came of them.

        False where the store has none.
        """
        return False

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Batches in the raw schema, ordered by start_time and then id; to be iterated once."""


class RunSource(Protocol):
    """A trace store, read-only. Its methods may be called from several threads at once.

    A read that fails raises `SourceUnreachableError` or `SourceUnusableError`; it never ends early without an error.
    """

    epoch_unit: EpochUnit
    """The unit of epoch numbers in raw columns."""

    @property
    def pace(self) -> Pace | None:
        """How quickly it may be read; None where it has no limit."""
        return None

    def check(self) -> SourceReport:
        """Everything that is wrong with the store, at once; raises only where it cannot be reached."""

    def projects(self) -> list[Project]:
        """All projects, oldest first."""

    def days(
        self,
        project: ProjectKey,
        window: Window | None = None,
        *,
        filter: Filter | None = None,  # noqa: A002 - the contract's word
        seconds: float | None = None,
    ) -> dict[date, DayFingerprint]:
        """The UTC days on which the project has rows, oldest first, within the window or over all time.

        Days that have superseded rows only are among them, with 0 `rows`. With a filter only the rows that match it
        count. Raises `SourceSlowError` where it takes more than `seconds`.
        """

    def changed(
        self,
        project: ProjectKey,
        window: Window,
        since: datetime,
        *,
        filter: Filter | None = None,  # noqa: A002 - the contract's word
    ) -> int | None:
        """How many of the project's rows in the window have a `modified_at` after `since`; None without that column.

        With a filter only the rows that match it count.
        """

    def outside(self, project: ProjectKey, window: Window) -> OutsideRows:
        """The project's rows that start before the window, at its end or later, or at no readable time."""

    def unassigned(self) -> UnassignedRows:
        """The rows that belong to no project. Reads every project id of the store."""

    def open(
        self,
        project: ProjectKey,
        window: Window,
        fields: Collection[str] | None = None,
        *,
        filter: Filter | None = None,  # noqa: A002 - the contract's word
    ) -> AbstractContextManager[RunSnapshot]:
        """A snapshot of the project's rows with `window.start <= start_time < window.end` that match the filter.

        `fields` are those of the export, by default the 29; payload columns that are not among them, and `tenant_id`
        and `session_id`, which the caller knows, may come as nulls.
        """

    def close(self) -> None:
        """Gives back connections; the source is not used afterwards."""
