"""Metrics for Prometheus, of all workspaces: for keys with the scope `metrics:read`."""

from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.registry import Collector

from export_pipeline.api.context import GetCaller, GetContext
from export_pipeline.api.failures import ERRORS
from export_pipeline.api.guard import GuardedRoute
from export_pipeline.exports.watch.metrics import Measures, measure

router = APIRouter(tags=["service"], route_class=GuardedRoute)

_TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}


@router.get(
    "/metrics",
    response_class=Response,
    responses={**ERRORS, **_TEXT},
    openapi_extra={"x-scope": "metrics:read"},
)
def metrics(context: GetContext, _caller: GetCaller) -> Response:
    """Rows, bytes, days by status, days overdue by project, queue depth, seconds by step."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Reading(measure(context.control, context.settings)))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class _Reading(Collector):
    """One reading of the control database, in Prometheus' words."""

    def __init__(self, measures: Measures) -> None:
        self._measures = measures

    def collect(self) -> Iterator[GaugeMetricFamily | SummaryMetricFamily]:
        """The metrics."""
        measures = self._measures
        yield _gauge("rows", "Rows that are committed.", ["kind"], measures.rows)
        yield _gauge("bytes", "Bytes of committed files.", ["kind"], measures.bytes)
        yield _gauge("days", "Days of exports by status.", ["kind", "status"], measures.days)
        yield _gauge(
            "days_overdue", "Days that should be there and are not.", ["project", "session_id"], measures.overdue
        )
        yield _gauge("bulk_exports", "Bulk exports by status.", ["status"], measures.exports)
        yield _gauge("bulk_runs", "Runs (days) of bulk exports by status.", ["status"], measures.units)
        yield _gauge("queue_depth", "Runs of bulk exports that have not begun.", [], {(): measures.waiting})
        steps = SummaryMetricFamily("export_pipeline_step_seconds", "Time of bulk runs by step.", labels=["step"])
        for name, step in measures.steps.items():
            steps.add_metric([name], count_value=step.count, sum_value=step.seconds)
        yield steps
        if measures.seconds_since_tick is not None:
            text = "Time since Dagster's daemon last ticked."
            yield _gauge("seconds_since_tick", text, [], {(): measures.seconds_since_tick})


def _gauge(name: str, text: str, labels: list[str], values: Mapping[Any, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"export_pipeline_{name}", text, labels=labels)
    for key, value in values.items():
        family.add_metric([key] if isinstance(key, str) else list(key), value)
    return family
