"""Ids that come twice in a day: noticed with 8 bytes a row, and rejected in another reading.

A trace store may write one UUID in two ways, and its queries then see two runs. One reading finds such ids by their
hashes, the next one sets aside every row but the first of each.
"""

import secrets
from dataclasses import replace
from typing import Any

import polars as pl

from export_pipeline.runs.arrays import flags_array
from export_pipeline.runs.rejected import RejectedRow
from export_pipeline.runs.transform import RunBatch

TWICE = "id: comes twice"


class OnlyOnce:
    """Looks at the ids of a day, reading by reading.

    `kept` passes on a batch without the rows whose id is known to repeat and was there before in this reading;
    `found_more`, at the end of a reading, says whether another one is needed.
    """

    def __init__(self) -> None:
        self._seed = secrets.randbits(63)
        self._hashes: list[pl.Series] = []
        self._repeated: set[int] = set()
        self._met: set[str] = set()

    def kept(self, batch: RunBatch) -> RunBatch:
        """The batch, perhaps with fewer rows and more rejected ones."""
        if "id" not in batch.rows.schema.names or not batch.rows.num_rows:
            return batch
        hashes = pl.Series(batch.rows.column("id")).hash(seed=self._seed)
        if self._repeated:
            suspect = hashes.is_in(self._repeated)
            self._hashes.append(hashes.filter(~suspect))
            return self._without_repetitions(batch, suspect.arg_true().to_list())
        self._hashes.append(hashes)
        return batch

    def found_more(self) -> bool:
        """Ends a reading. The next one compares ids themselves: two with the same hash may well differ."""
        ordered = pl.concat(self._hashes).sort() if self._hashes else pl.Series(dtype=pl.UInt64)
        found = set(ordered.filter(ordered == ordered.shift(1)).to_list())
        self._repeated |= found
        self._hashes, self._met = [], set()
        return bool(found)

    def _without_repetitions(self, batch: RunBatch, suspects: list[int]) -> RunBatch:
        dropped: list[int] = []
        ids = batch.rows.column("id")
        for place in suspects:
            run_id = ids[place].as_py()
            if run_id in self._met:
                dropped.append(place)
            self._met.add(run_id)
        if not dropped:
            return batch
        keep = [True] * batch.rows.num_rows
        for place in dropped:
            keep[place] = False
        return replace(
            batch,
            rows=batch.rows.filter(flags_array(keep)),
            rejected=(*batch.rejected, *(_rejected(batch.rows, place) for place in dropped)),
        )


def _rejected(rows: Any, place: int) -> RejectedRow:
    start = rows.column("start_time")[place].as_py() if "start_time" in rows.schema.names else None
    return RejectedRow(rows.column("id")[place].as_py(), start and start.isoformat(), TWICE)
