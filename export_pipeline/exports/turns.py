"""Fair turns: what one workspace has asked for, however much it is, does not keep another one waiting."""

import random
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import TypeVar

Item = TypeVar("Item")
Owner = TypeVar("Owner", bound=Hashable)


def in_turns(items: Iterable[Item], owner: Callable[[Item], Hashable], *, by_lot: bool = False) -> Iterator[Item]:
    """The items, one of each owner in turn; those of one owner in the order in which they come.

    `by_lot` draws which owner comes first: for rounds that a limit ends, so that nobody comes last in all of them.
    """
    queues: dict[Hashable, deque[Item]] = {}
    for item in items:
        queues.setdefault(owner(item), deque()).append(item)
    if by_lot:
        queues = dict(random.sample(list(queues.items()), len(queues)))
    while queues:
        for key in list(queues):
            yield queues[key].popleft()
            if not queues[key]:
                del queues[key]


def in_shares(queues: Mapping[Owner, deque[Item]], *, seconds: float, at_most: float) -> Iterator[deque[Item]]:
    """The queue of the owner whose turn it is, again and again, until all are empty or the time is over.

    A turn is what the caller does until it asks for the next one; always the owner goes on that has used least of the
    time, the first one drawn by lot. Where others have taken long, owners that have not had their part of `seconds` go
    on until `at_most`.
    """
    used = dict.fromkeys(random.sample(list(queues), len(queues)), 0.0)
    began, share = time.monotonic(), seconds / max(1, len(used))
    while used:
        owner = min(used, key=lambda each: used[each])
        turn = time.monotonic()
        if turn - began > (seconds if used[owner] >= share else at_most):
            return
        yield queues[owner]
        used[owner] += time.monotonic() - turn
        if not queues[owner]:
            del used[owner]
