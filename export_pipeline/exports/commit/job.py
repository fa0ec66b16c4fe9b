"""What every step of one day's publication needs."""

from collections.abc import Callable
from dataclasses import dataclass

from export_pipeline.exports.commit.leases import Lease
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import ExportRecord
from export_pipeline.files.signing import Signer
from export_pipeline.object_store.protocol import ObjectStore
from export_pipeline.settings import MIB, Settings

OnStep = Callable[[str], None]


@dataclass(frozen=True)
class PublishLimits:
    """Sizes in bytes, times in seconds.

    `patience`: how long an unreachable store or control database is ridden out in the middle of a day. `settle`: how
    long an object is looked for after its upload has gone, before the upload counts as removed by somebody else.
    `small_rows` and `small_bytes`: days below both may be published side by side, at most `side_by_side` of them.
    """

    part_bytes: int = 16 * MIB
    row_group_bytes: int = 32 * MIB
    lease_seconds: float = 30.0
    patience: float = 60.0
    settle: float = 5.0
    side_by_side: int = 8
    small_rows: int = 2000
    small_bytes: int = 8 * MIB

    @classmethod
    def from_settings(cls, settings: Settings) -> "PublishLimits":
        """The limits that the settings give."""
        return cls(
            part_bytes=settings.part_size_mib * MIB,
            row_group_bytes=settings.row_group_mib * MIB,
            lease_seconds=settings.lease_seconds,
        )


@dataclass(frozen=True)
class Job:
    """One attempt at one day: who writes where, under which lease. `on_step` is told every step by name.

    `signer` signs the manifest, where manifests are signed.
    """

    export: ExportRecord
    control: ControlDatabase
    store: ObjectStore
    lease: Lease
    limits: PublishLimits
    on_step: OnStep
    signer: Signer | None = None
