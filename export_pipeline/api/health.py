"""Whether the service lives, and whether exports can be made: for probes, without a key and without details."""

from fastapi import APIRouter, Response

from export_pipeline.api.context import GetContext
from export_pipeline.api.wire import Body
from export_pipeline.errors import ExportPipelineError
from export_pipeline.exports.watch.heartbeat import LATE_SECONDS, seconds_since_tick

router = APIRouter(tags=["service"])


class Health(Body):
    """The process answers."""

    ok: bool


class Readiness(Body):
    """Whether exports are made; `reasons` say what is not there."""

    ok: bool
    reasons: list[str]
    seconds_since_tick: float | None


@router.get("/health")
async def health() -> Health:
    """200 while the process answers; waits for none of the threads that calls work in."""
    return Health(ok=True)


@router.get("/ready", responses={503: {"model": Readiness, "description": "Not ready"}})
def ready(context: GetContext, response: Response) -> Readiness:
    """200 where the control database answers and Dagster's daemon has ticked lately, else 503."""
    tick = None
    try:
        context.control.check_schema()
        tick = seconds_since_tick(context.control)
        reasons = [] if tick is not None and tick <= LATE_SECONDS else ["Dagster's daemon has not ticked lately"]
    except ExportPipelineError:
        reasons = ["the control database cannot be used"]
    response.status_code = 503 if reasons else 200
    return Readiness(ok=not reasons, reasons=reasons, seconds_since_tick=tick)
