"""A web server that says which assets it has loaded, and the sensor that asks it."""

from contextlib import AbstractContextManager
from typing import Any

import dagster as dg

from export_pipeline_tests.orchestration.house import House
from export_pipeline_tests.web_server import WebServer, web_server

LOADED = {"__typename": "WorkspaceLocationEntry", "locationOrLoadError": {"__typename": "RepositoryLocation"}}


def serving(*names: str, result: dict[str, Any] | None = None) -> AbstractContextManager[WebServer]:
    """A web server that shows the assets of these projects, and loads the location again when it is asked to."""

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        if "query Loaded" in request["query"]:
            nodes = [{"assetKey": {"path": path}} for path in (*(["runs", name] for name in names), ["downstream"])]
            return {"data": {"repositoryOrError": {"__typename": "Repository", "assetNodes": nodes}}}
        return {"data": {"reloadRepositoryLocation": result or LOADED}}

    return web_server(answer)


def tick(house: House, instance: dg.DagsterInstance) -> str:
    """Evaluates the sensor; gives back why nothing was started."""
    definitions = house.definitions()
    sensor = definitions.resolve_sensor_def("sync_projects")
    with dg.build_sensor_context(
        instance=instance,
        repository_def=definitions.get_repository_def(),
        resources=dict(definitions.resources or {}),
    ) as context:
        data = sensor.evaluate_tick(context)
    assert not data.run_requests
    assert data.skip_message is not None
    return data.skip_message
