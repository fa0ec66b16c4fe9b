"""Listings page by page, with an end whatever the store says."""

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from export_pipeline.object_store.s3.calls import Calls
from export_pipeline.object_store.s3.classify import not_s3

T = TypeVar("T")

MOST_PAGES = 20_000
"""Of a listing; a page has at most a thousand items."""
MOST_SECONDS = 1800.0
"""Spent waiting for the pages of a listing."""

Take = Callable[[dict[str, Any]], tuple[list[T], dict[str, Any]]]


def listed(calls: Calls, operation: str, take: Take[T], *, prefix: str) -> Iterator[T]:
    """All items below `prefix`; `take` gives those of an answer and the parameters of the next page, none at the end.

    Raises `DestinationError` where the listing does not end.
    """
    following: dict[str, Any] = {}
    waited = 0.0
    for _ in range(MOST_PAGES):
        asked, began = following, time.monotonic()
        page, following = calls.call(operation, take=take, Prefix=prefix, **asked)
        waited += time.monotonic() - began
        yield from page
        if not following:
            return
        if following == asked or waited > MOST_SECONDS:
            break
    raise not_s3(calls.config, operation, "end")
