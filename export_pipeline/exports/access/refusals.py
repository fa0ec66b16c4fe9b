"""Audit lines of refused calls: at most one a minute for each actor and reason, so that nobody fills the log."""

import contextlib
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable

from export_pipeline.errors import ControlUnreachableError
from export_pipeline.exports.access.audit import record
from export_pipeline.exports.control.database import ControlDatabase

PAUSE_SECONDS = 60
_MOST = 10_000
_LONGEST = 500


class Refusals:
    """What one process has refused since it last wrote a line of it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()
        self._lock = threading.Lock()

    def note(
        self, control: ControlDatabase, *, tenant_id: uuid.UUID, actor: str, reason: str, subject: str, text: str
    ) -> None:
        """Writes a line `refused.<reason>`, or counts the call for the next one; `count` there includes both.

        A control database that is away changes no answer: the line is left out.
        """
        count = self._due((actor, reason))
        if not count:
            return
        detail = {"text": text[:_LONGEST], "count": count}
        with contextlib.suppress(ControlUnreachableError), control.begin() as transaction:
            now = transaction.now()
            record(
                transaction,
                at=now,
                tenant_id=tenant_id,
                actor=actor,
                action=f"refused.{reason}",
                subject=subject[:_LONGEST],
                detail=detail,
            )

    def _due(self, name: tuple[str, str]) -> int:
        """How many calls the line that is due tells of; 0 where none is due yet."""
        with self._lock:
            now = self._clock()
            at, count = self._since.pop(name, (None, 0))
            due = at is None or now - at >= PAUSE_SECONDS
            self._since[name] = (now, 0) if due or at is None else (at, count + 1)
            if len(self._since) > _MOST:
                self._since.popitem(last=False)
        return count + 1 if due else 0
