"""Fair turns: what one workspace has asked for, however much it is, does not keep another one waiting."""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def in_turns(items: Iterable[Item], owner: Callable[[Item], Hashable]) -> Iterator[Item]:
    """The items, one of each owner in turn; those of one owner in the order in which they come."""
    queues: dict[Hashable, deque[Item]] = {}
    for item in items:
        queues.setdefault(owner(item), deque()).append(item)
    while queues:
        for key in list(queues):
            yield queues[key].popleft()
            if not queues[key]:
                del queues[key]
