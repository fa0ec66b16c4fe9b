"""Calls that wait for buckets have few places, and no workspace takes all of them."""

import uuid
from contextlib import ExitStack

import pytest

from export_pipeline.api.places import Places
from export_pipeline.errors import LimitError

A, B, C = (uuid.UUID(int=number) for number in (1, 2, 3))


def test_a_workspace_has_so_many_places_and_another_one_its_own() -> None:
    places = Places(total=3, of_a_workspace=2)
    with ExitStack() as held:
        held.enter_context(places.take(A))
        with places.take(A), pytest.raises(LimitError, match="2 checks of this workspace") as refused, places.take(A):
            pass
        assert refused.value.retry_after == 5
        held.enter_context(places.take(A))
        held.enter_context(places.take(B))
        with pytest.raises(LimitError, match="0 checks of this workspace"), places.take(C):
            pass


def test_a_place_is_free_again_after_a_failure() -> None:
    places = Places(total=1, of_a_workspace=1)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), places.take(A):
            raise ZeroDivisionError
