"""Asking whether a filter is right, before an export is created with it."""

from fastapi import APIRouter

from export_pipeline.api.context import GetCaller
from export_pipeline.api.guard import GuardedRoute
from export_pipeline.api.wire import Body
from export_pipeline.errors import FilterError
from export_pipeline.runs.filter import parse_filter

router = APIRouter(prefix="/runs/query", tags=["runs"], route_class=GuardedRoute)


class FilterQuery(Body):
    """A filter, in the filter language."""

    filter: str


class FilterAnswer(Body):
    """Whether a filter is right; `canonical` is how it is stored, `error` and `position` say where it is wrong."""

    valid: bool
    canonical: str | None = None
    error: str | None = None
    position: int | None = None


@router.post("/validate", openapi_extra={"x-scope": "bulk-exports:read"})
def validate_filter(body: FilterQuery, _caller: GetCaller) -> FilterAnswer:
    """Say whether a filter is right, and where it is wrong."""
    try:
        return FilterAnswer(valid=True, canonical=str(parse_filter(body.filter)))
    except FilterError as error:
        return FilterAnswer(valid=False, error=str(error), position=error.position)
