"""The sensor that keeps the list of projects, and with it the assets, like the trace store."""

from collections.abc import Callable
from contextlib import nullcontext

import dagster as dg

from export_pipeline.dagster_server import DagsterRefusedError, DagsterUnreachableError
from export_pipeline.orchestration.assets import KEY_PREFIX, PARTS
from export_pipeline.orchestration.parts import Parts
from export_pipeline.orchestration.reload import ReloadFailedError, loaded_assets, reload_location
from export_pipeline.settings import Settings

SYNC_SECONDS = 300
_MOST_NAMES = 10


def build_project_sensor(settings: Settings, *, reload: Callable[[str], None] = reload_location) -> dg.SensorDefinition:
    """Reads the projects of the trace store every five minutes, and lists their tables in the bucket.

    A failed read fails the tick and changes nothing. Where the list then differs from the assets that the web server
    shows, it is asked to load the location again. The daemon's own code server needs nothing: it starts anew by itself.
    """

    @dg.sensor(
        name="sync_projects",
        minimum_interval_seconds=SYNC_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={PARTS},
        description="Reads the list of projects from the trace store; loads the location again when it has changed.",
    )
    def sync_projects_sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        from export_pipeline.exports.projects.catalog import write_catalogs
        from export_pipeline.exports.projects.registry import list_projects, sync_projects
        from export_pipeline.exports.projects.unassigned import unassigned_rows

        parts: Parts = context.resources.parts
        sync_projects(parts.control, parts.source, settings, count=False)
        unassigned_rows(parts.control, parts.source, settings)
        wanted = {project.asset_name for project in list_projects(parts.control, only_assets=True, settings=settings)}
        reason = _load_again(wanted, settings, reload)
        for problem in write_catalogs(parts.control, lambda: nullcontext(parts.store)):
            context.log.warning(problem)
        return dg.SkipReason(reason)

    return sync_projects_sensor


def _load_again(wanted: set[str], settings: Settings, reload: Callable[[str], None]) -> str:
    """Has the location loaded again where the web server does not show the wanted assets; what came of it."""
    try:
        keys = loaded_assets(settings.dagster_url)
    except (DagsterUnreachableError, DagsterRefusedError) as error:
        return (
            f"{len(wanted)} projects. What the UI shows is not known ({error}); where it lacks some, load the code "
            "location again by hand, under Deployment"
        )
    loaded = {path[1] for path in keys if len(path) == 2 and path[0] == KEY_PREFIX}
    if wanted == loaded:
        return f"{len(wanted)} projects, as loaded"
    return f"{_difference(wanted, loaded)}; {_reload(settings.dagster_url, reload)}"


def _difference(wanted: set[str], loaded: set[str]) -> str:
    parts = [
        f"{len(names)} {what}: {', '.join(sorted(names)[:_MOST_NAMES])}{', …' if len(names) > _MOST_NAMES else ''}"
        for what, names in (("new", wanted - loaded), ("gone", loaded - wanted))
        if names
    ]
    return "; ".join(parts)


def _reload(url: str, reload: Callable[[str], None]) -> str:
    try:
        reload(url)
    except ReloadFailedError as error:
        return f"load the code location again by hand, in the UI under Deployment ({error})"
    return f"the web server at {url} has loaded the location again"
