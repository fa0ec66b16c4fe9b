"""Fair turns: what one workspace has asked for, however much it is, does not keep another one waiting."""

import random
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


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
