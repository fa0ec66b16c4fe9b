"""A run's place in its trace: `trace_id`, `parent_run_id`, `parent_run_ids` and `dotted_order`, which must agree.

What a trace store says of it may be incomplete, written in other ids, or contradict itself. In case of doubt `id` and
`parent_run_id` are believed first, then a `dotted_order` that leads from the root to this very run, then the others.
What would have to be guessed is left empty.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from export_pipeline.runs.cells import Replaced

COLUMNS = ("trace_id", "parent_run_id", "parent_run_ids", "dotted_order")
"""The columns of a run's place; each depends on all of them and on `id`."""


@dataclass(frozen=True)
class Place:
    """A run's place in its trace, and the columns in which the trace store's own cell is not kept.

    `leads_here`: the `dotted_order` of the trace store is right.
    """

    trace_id: str | None
    parent_run_id: str | None
    parent_run_ids: list[str]
    leads_here: bool
    replaced: dict[str, Replaced] = field(default_factory=dict)


def place_of(
    own: str | None, *, trace: str | None, parent: str | None, ancestors: list[str] | None, path: Sequence[str]
) -> Place:
    """The place of the run `own`, from what the trace store says, in the ids of the file; None where it is silent.

    `path` are the ids of its `dotted_order`, empty where it is none.
    """
    if leads_here := bool(path) and path[-1] == own and (parent is None or list(path[-2:-1]) == [parent]):
        known: list[str] | None = list(path[:-1])
        parent = path[-2] if len(path) > 1 else None
    elif ancestors is not None:
        known = ancestors if parent is None or ancestors[-1:] == [parent] else None
        parent = known[-1] if known else parent
    else:
        known = [] if parent is None else None
    replaced = {}
    if known is None:
        known = [parent] if parent is not None and trace == parent else []
    if ancestors is not None and ancestors != known:
        replaced["parent_run_ids"] = Replaced.NOT_ITS_PATH
    elif parent is not None and not known:
        replaced["parent_run_ids"] = Replaced.NOT_KNOWN
    root = path[0] if leads_here else known[0] if known else None
    if root is None and trace is None:
        root = parent or own
        if parent is not None:
            replaced["trace_id"] = Replaced.GUESSED
    elif trace is not None and root not in {None, trace}:
        replaced["trace_id"] = Replaced.NOT_THE_ROOT
    return Place(root or trace, parent, known, leads_here=leads_here, replaced=replaced)
