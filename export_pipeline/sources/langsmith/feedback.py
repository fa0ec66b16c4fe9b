"""Feedback one by one: the records of runs, as the API lists them."""

import json
import threading
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from export_pipeline.errors import SourceUnreachableError
from export_pipeline.sources.http.client import BadAnswerError, Client
from export_pipeline.sources.http.exact import Cell, Cells, objects_of

_RUNS = 50
"""Of which feedback is asked for at once: their ids stand in the address."""
_RECORDS_A_PAGE = 100
_READINGS = 5
NOTHING = "[]"
"""What a run has that has no feedback."""


@dataclass(frozen=True)
class _Record:
    """A feedback, and what its text in the answer says."""

    id: str
    run: str
    created_at: str
    text: str


def expected_of(run: Cells) -> int:
    """How much feedback a run has by its own statistics."""
    stats = run.get("feedback_stats")
    if stats is None or not isinstance(stats.value, dict):
        return 0
    counts = (each.get("n") for each in stats.value.values() if isinstance(each, dict))
    return sum(count for count in counts if isinstance(count, int))


def feedbacks_of(client: Client, runs: Mapping[str, int], *, stop: threading.Event) -> dict[str, str]:
    """The records of each run as a JSON list, oldest first; `runs` are those that have any, and how many.

    The list is paged by offset, so that one that is deleted meanwhile may hide another. It is believed where each run
    has as many as its statistics say, or where two readings agree.
    """
    found: dict[str, str] = {}
    ids = list(runs)
    for first in range(0, len(ids), _RUNS):
        some = ids[first : first + _RUNS]
        records = _steady(client, {run: runs[run] for run in some}, stop=stop)
        by_run: dict[str, list[_Record]] = defaultdict(list)
        for record in sorted(records, key=lambda each: (each.created_at, each.id)):
            by_run[record.run].append(record)
        found |= {run: f"[{','.join(each.text for each in by_run[run])}]" for run in some}
    return found


def _steady(client: Client, runs: Mapping[str, int], *, stop: threading.Event) -> Collection[_Record]:
    before: dict[str, _Record] | None = None
    for _ in range(_READINGS):
        records = _listed(client, runs, stop=stop)
        counted = Counter(record.run for record in (records or {}).values())
        if records is not None and (counted == runs or records == before):
            return records.values()
        before = records
    raise SourceUnreachableError("LangSmith's list of feedback changed each time that it was read")


def _listed(client: Client, runs: Collection[str], *, stop: threading.Event) -> dict[str, _Record] | None:
    """By id; None where one moved between two pages, so that another one may be missing."""
    found: dict[str, _Record] = {}
    last: str | None = None
    while True:
        # The last one is asked for once more: where it is not the first of the next page, one before it has gone.
        query = {"run": list(runs), "limit": _RECORDS_A_PAGE, "offset": max(0, len(found) - 1)}
        path = f"/api/v1/feedback?{urlencode(query, doseq=True)}"
        listed = client.ask("GET", path, lambda text: list(_records(text, runs)), stop=stop)
        # A server may give all of them at once, whatever it was asked for, and then the same ones again.
        if all(record.id in found for record in listed) and listed:
            return found
        if last is not None and (not listed or listed[0].id != last):
            return None
        found.update({record.id: record for record in listed})
        if len(listed) != _RECORDS_A_PAGE:
            return found
        last = listed[-1].id


def _records(text: str, runs: Collection[str]) -> Iterator[_Record]:
    for cells in objects_of(text):
        own, run = (_text(cells.get(name)) for name in ("id", "run_id"))
        if own is None or run is None:
            raise BadAnswerError("a feedback has no id or no run_id")
        if run not in runs:
            raise BadAnswerError(f"the feedback {own} is one of a run that was not asked about")
        members = ",".join(f"{json.dumps(name)}:{cell.text}" for name, cell in cells.items())
        yield _Record(own, run, _text(cells.get("created_at")) or "", f"{{{members}}}")


def _text(cell: Cell | None) -> str | None:
    return cell.value if cell is not None and isinstance(cell.value, str) else None
