"""Places for calls that wait for a bucket: they are few, and no workspace takes all of them.

Each such call holds one of the threads that all calls share, for as long as the bucket takes to answer.
"""

import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from export_pipeline.errors import LimitError

PLACES, PLACES_OF_A_WORKSPACE = 16, 4
_RETRY_SECONDS = 5


class Places:
    """How many workspaces' calls are waiting for buckets now."""

    def __init__(self, total: int = PLACES, of_a_workspace: int = PLACES_OF_A_WORKSPACE) -> None:
        self._total, self._of_a_workspace = total, of_a_workspace
        self._taken: Counter[uuid.UUID] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def take(self, tenant_id: uuid.UUID) -> Iterator[None]:
        """A place for the block; raises `LimitError` at once where there is none."""
        with self._lock:
            if self._taken[tenant_id] >= self._of_a_workspace or self._taken.total() >= self._total:
                raise LimitError(
                    f"{self._taken[tenant_id]} checks of this workspace's destinations are under way; try again in "
                    f"{_RETRY_SECONDS} seconds.",
                    retry_after=_RETRY_SECONDS,
                )
            self._taken[tenant_id] += 1
        try:
            yield
        finally:
            with self._lock:
                self._taken[tenant_id] -= 1
                if not self._taken[tenant_id]:
                    del self._taken[tenant_id]
