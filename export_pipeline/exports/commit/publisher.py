"""What days are published with, bound once for all days of a run: the stores, the limits, the hooks."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from export_pipeline.errors import (
    DayReturnedError,
    DestinationUnavailableError,
    ExportPipelineError,
    SourceUnreachableError,
)
from export_pipeline.exports.commit.lease import Clock, Lease, OwnerEnded, elapsed
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import TableRecord
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline.files.signing import Signer
from export_pipeline.object_store.protocol import ObjectStore
from export_pipeline.settings import MIB, Settings
from export_pipeline.sources.protocol import RunSource

WAIT_FOR_LEASE = 1800.0
MOST_IN_A_ROW = 3
"""Days that fail because a store is away, without one that succeeds between them, before the rest is left for later."""

OnStep = Callable[[str], None]
T = TypeVar("T")


def no_step(name: str) -> None:
    """The hook that does nothing."""


@dataclass(frozen=True)
class PublishLimits:
    """Sizes in bytes, times in seconds.

    `patience`: how long an unreachable store or control database is ridden out in the middle of a day. `settle`: how
    long an object is looked for after its upload has gone, before the upload counts as removed by somebody else.
    `small_rows` and `small_bytes`: days below both may be published side by side, at most `side_by_side` of them.
    `attachments`: whether attachments of runs are copied.
    """

    part_bytes: int = 16 * MIB
    row_group_bytes: int = 32 * MIB
    lease_seconds: float = 30.0
    patience: float = 60.0
    settle: float = 5.0
    side_by_side: int = 8
    small_rows: int = 2000
    small_bytes: int = 8 * MIB
    attachments: bool = False

    @classmethod
    def from_settings(cls, settings: Settings) -> "PublishLimits":
        """The limits that the settings give."""
        return cls(
            part_bytes=settings.part_size_mib * MIB,
            row_group_bytes=settings.row_group_mib * MIB,
            lease_seconds=settings.lease_seconds,
            attachments=settings.export_attachments,
        )


class Breaker:
    """A circuit breaker for the days of a run: once a store was away for several in a row, the others are not tried."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_a_row = 0
        self._last: ExportPipelineError | None = None

    def note(self, error: ExportPipelineError | None) -> None:
        """Counts a day that failed because a store is away; one that succeeded (None) begins the count anew."""
        with self._lock:
            if error is None:
                self._in_a_row = 0
            elif isinstance(error, DestinationUnavailableError | SourceUnreachableError):
                self._in_a_row, self._last = self._in_a_row + 1, error

    def check(self) -> None:
        """Raises `DayReturnedError` where the next day is to be left for later."""
        with self._lock:
            if self._in_a_row >= MOST_IN_A_ROW and self._last is not None:
                what = "trace store" if isinstance(self._last, SourceUnreachableError) else "destination"
                raise DayReturnedError(
                    f"not tried, because the {what} was unavailable for {self._in_a_row} days in a row: {self._last}"
                )


@dataclass(frozen=True, kw_only=True)
class Committer:
    """What commits days, without the rows: enough to carry out what an attempt that has died had decided on.

    `owner_ended` says of an owner's name whether its process has certainly ended; `wait_for_lease` is how long another
    holder is waited for, in seconds; `on_step` is told every step by name; `clock` measures the age of a lease;
    `signer` signs the manifests, where they are signed.
    """

    control: ControlDatabase
    store: ObjectStore
    limits: PublishLimits = field(default_factory=PublishLimits)
    owner_ended: OwnerEnded | None = None
    wait_for_lease: float = WAIT_FOR_LEASE
    on_step: OnStep = no_step
    clock: Clock = elapsed
    signer: Signer | None = None


@dataclass(frozen=True, kw_only=True)
class Publisher(Committer):
    """What publishes days: rows come from `source`; `breaker` ends a run of many days whose stores are away."""

    source: RunSource
    breaker: Breaker = field(default_factory=Breaker)


@dataclass(frozen=True)
class Attempt:
    """One attempt at one day of one table, under one lease."""

    committer: Committer
    table: TableRecord
    lease: Lease

    @property
    def store(self) -> ObjectStore:
        """The bucket."""
        return self.committer.store

    @property
    def signer(self) -> Signer | None:
        """Signs the manifest, where manifests are signed."""
        return self.committer.signer

    @property
    def limits(self) -> PublishLimits:
        """The limits."""
        return self.committer.limits

    def on_step(self, name: str) -> None:
        """Tells the hook of a step."""
        self.committer.on_step(name)

    def run(self, transaction: Callable[[Transaction], T]) -> T:
        """One transaction in the control database, ridden out for as long as the limits say."""
        return self.committer.control.run(transaction, patience=self.limits.patience)
