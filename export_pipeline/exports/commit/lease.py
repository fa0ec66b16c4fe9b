"""Holding a day: claiming it, and a heartbeat that keeps the lease and fences the writer once it is lost."""

import random
import threading
import time
import uuid
from collections.abc import Callable, Collection
from datetime import date
from functools import partial
from types import TracebackType

from export_pipeline.errors import (
    ControlUnreachableError,
    DayBusyError,
    DayCancelledError,
    ExportPipelineError,
    LeaseLostError,
)
from export_pipeline.exports.commit import transitions
from export_pipeline.exports.commit.claim import Claim, Held, Satisfied, claim_day
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline.runs.times import SECOND

HEARTBEATS_PER_LEASE = 6
_LATELY = 1 / 30
"""Of a lease: with 30 s a day of a few rows is done before its claim needs to be confirmed."""

OwnerEnded = Callable[[str], bool]
Clock = Callable[[], float]

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def elapsed() -> float:
    """Seconds that only ever grow, also while the machine is suspended; `time.monotonic` stands still on Linux then."""
    return time.clock_gettime(_CLOCK)


def wait_for_claim(
    control: ControlDatabase,
    *,
    export_id: uuid.UUID,
    day: date,
    owner: str,
    launched_at: int | None,
    lease_seconds: float,
    wait_seconds: float,
    owner_ended: OwnerEnded | None,
    patience: float,
    taken: Collection[int] = (),
) -> Claim | Satisfied:
    """Claims a day, waiting while another process holds it. `taken` are epochs that are not to be given.

    A holder that `owner_ended` knows to have ended is not waited for. Raises `DayBusyError` after `wait_seconds`.
    """
    claim_id = uuid.uuid4()
    deadline = time.monotonic() + wait_seconds
    ended_claim: uuid.UUID | None = None
    while True:
        claim = partial(
            claim_day,
            export_id=export_id,
            day=day,
            owner=owner,
            claim_id=claim_id,
            lease_seconds=lease_seconds,
            launched_at=launched_at,
            ended_claim=ended_claim,
            taken=taken,
        )
        answer = control.run(claim, patience=patience)
        if not isinstance(answer, Held):
            return answer
        if ended_claim != answer.claim_id and owner_ended is not None and owner_ended(answer.owner):
            ended_claim = answer.claim_id
            continue
        if time.monotonic() >= deadline:
            raise DayBusyError(f"{day} is being exported by {answer.owner}; try again when that has ended")
        time.sleep(min(0.5, lease_seconds / 20) * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret


class Lease:
    """A claimed day while it is worked on; a context manager that runs the heartbeat thread.

    The thread renews the lease six times per lease, writes the progress, and notices a cancel or another epoch. Where
    the control database does not answer it goes on trying.

    No confirmation can make a step safe by itself: a process may be stopped, or a request delayed, between the answer
    and the moment when the store acts. So each step towards the store is made harmless where it comes late, and
    confirming only keeps a writer that was overtaken from going on:

    - Complete (`lately`) names an upload and its parts, which a recorded intent holds. Whoever takes the day over
      completes that upload, or aborts it and drops the intent, before anything newer is committed; and a store
      completes an upload once. A late Complete is answered NoSuchUpload, or what the first one was, and replaces
      nothing.
    - The manifest (`lately`) follows from the intent, under a key that carries its epoch. Written late it is the
      manifest that is there already, below those of all later epochs.
    - Aborting names an upload that no intent holds. Deleting compares ETag and footer with the commit that is to go;
      as a store without conditional deletes leaves a gap between the two, it is confirmed each time, however young
      the lease is.
    - The commit point and every later change of the record compare epoch and claim in the control database itself.
    """

    def __init__(
        self,
        claim: Claim,
        *,
        control: ControlDatabase,
        lease_seconds: float,
        patience: float,
        since: float,
        clock: Clock = elapsed,
    ) -> None:
        """`since`: what `clock` said before the day was claimed."""
        self.claim = claim
        self._control = control
        self._lease_seconds = lease_seconds
        self._patience = patience
        self._rows_read = 0
        self._bytes_uploaded = 0
        self._clock = clock
        self._taken_at, self._began = claim.taken_at, clock()
        self._renewed = since
        self._end = threading.Event()
        self._failure: ExportPipelineError | None = None
        self._thread = threading.Thread(target=self._beat, name=f"lease-{claim.day}", daemon=True)

    def __enter__(self) -> "Lease":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    def progress(self, *, rows_read: int, bytes_uploaded: int) -> None:
        """What the next heartbeat writes; raises what the last one met: `LeaseLostError` or `DayCancelledError`."""
        self._rows_read, self._bytes_uploaded = rows_read, bytes_uploaded
        self.check()

    def check(self) -> None:
        """Raises what the last heartbeat met, as `progress` does."""
        if self._failure is not None:
            raise self._failure

    def confirm(self, *, lately: bool = False) -> None:
        """Renews the lease; raises `LeaseLostError` where the day is no longer this process's.

        To be called right before every step towards the store: a process that was stopped for longer than its lease
        finds out here. `lately`: nothing is asked within a thirtieth of a lease after it was taken or renewed, before
        the steps that do no harm when they come late (see the class).
        """
        if lately and self._clock() - self._renewed < self._lease_seconds * _LATELY:
            return
        since = self._clock()
        self._control.run(self._renew, patience=self._patience)
        self._renewed = since

    def now(self) -> int:
        """The control database's clock, in microseconds, as this host's has gone on since the claim."""
        return self._taken_at + int((self._clock() - self._began) * SECOND)

    def moved_to(self, claim: Claim) -> None:
        """Goes on under another epoch of the same holder."""
        self.claim = claim

    def _renew(self, transaction: Transaction) -> bool:
        return transitions.renew(
            transaction,
            self.claim,
            lease_seconds=self._lease_seconds,
            rows_read=self._rows_read,
            bytes_uploaded=self._bytes_uploaded,
        )

    def _beat(self) -> None:
        while not self._end.wait(self._lease_seconds / HEARTBEATS_PER_LEASE):
            claim = self.claim
            try:
                with self._control.begin() as transaction:
                    cancelled = self._renew(transaction)
                if cancelled:
                    self._failure = DayCancelledError(f"{claim.day} was cancelled before its commit")
            except ControlUnreachableError:
                continue
            except LeaseLostError as error:
                if claim is self.claim:
                    self._failure = error
                    return
            except Exception as error:  # noqa: BLE001 - the day must not go on when its heartbeat is dead
                self._failure = LeaseLostError(f"{claim.day}: the lease cannot be renewed: {error!r}")
                return
