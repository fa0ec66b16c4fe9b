"""The sensor that keeps the assets like the trace store's projects."""

from contextlib import AbstractContextManager
from typing import Any

import dagster as dg
import pytest

from export_pipeline.errors import ExportPipelineError
from export_pipeline.orchestration.reload import ReloadFailedError, reload_location
from export_pipeline.settings import PREFIX
from export_pipeline_tests.orchestration.house import START, House
from export_pipeline_tests.web_server import WebServer, web_server

LOADED = {"__typename": "WorkspaceLocationEntry", "locationOrLoadError": {"__typename": "RepositoryLocation"}}


def reloading(result: dict[str, Any] | None = None) -> AbstractContextManager[WebServer]:
    """A web server that has loaded the location again."""
    return web_server({"data": {"reloadRepositoryLocation": result or LOADED}})


def tick(house: House, instance: dg.DagsterInstance, definitions: dg.Definitions | None = None) -> str:
    """Evaluates the sensor as a location does that was loaded as `definitions`; gives back why nothing was started."""
    definitions = definitions or house.definitions()
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


def test_new_projects_make_the_web_server_load_the_location_again(house: House, instance: dg.DagsterInstance) -> None:
    house.add_project("chat", days=[START])
    house.sync()
    with reloading() as server:
        house.variables[PREFIX + "DAGSTER_URL"] = server.url
        before = house.definitions()
        house.add_project("agent", days=[START])
        message = tick(house, instance, before)
        assert message.startswith("1 new: agent; ")
        assert [request["variables"] for request in server.asked] == [{"location": "export_pipeline"}]
    assert [project.asset_name for project in house.projects()] == ["agent", "chat"]


def test_a_first_tick_makes_the_control_database(house: House, instance: dg.DagsterInstance) -> None:
    house.add_project("chat", days=[START])
    with reloading() as server:
        house.variables[PREFIX + "DAGSTER_URL"] = server.url
        assert "1 new: chat" in tick(house, instance)
    assert [project.asset_name for project in house.projects()] == ["chat"]


def test_nothing_is_loaded_again_when_nothing_has_changed(house: House, instance: dg.DagsterInstance) -> None:
    house.add_project("chat", days=[START])
    house.sync()
    with reloading() as server:
        house.variables[PREFIX + "DAGSTER_URL"] = server.url
        assert tick(house, instance) == "1 projects, as loaded"
        assert server.asked == []


def test_projects_that_are_gone_are_noticed_too(house: House, instance: dg.DagsterInstance) -> None:
    house.add_project("chat", days=[START])
    house.add_project("agent", days=[START])
    house.sync()
    before = house.definitions()
    house.variables[PREFIX + "PROJECTS_EXCLUDE"] = "agent"
    with reloading() as server:
        house.variables[PREFIX + "DAGSTER_URL"] = server.url
        narrower = house.definitions()
        with dg.build_sensor_context(
            instance=instance, repository_def=before.get_repository_def(), resources=dict(narrower.resources or {})
        ) as context:
            data = narrower.resolve_sensor_def("sync_projects").evaluate_tick(context)
        assert (data.skip_message or "").startswith("1 gone: agent; ")


def test_a_failed_read_fails_the_tick_and_changes_nothing(house: House, instance: dg.DagsterInstance) -> None:
    house.add_project("chat", days=[START])
    house.sync()
    house.lose_the_trace_store()
    with pytest.raises(ExportPipelineError, match=r"traces\.db"):
        tick(house, instance)
    assert [project.asset_name for project in house.projects()] == ["chat"]


def test_where_no_web_server_answers_the_tick_says_what_to_do(house: House, instance: dg.DagsterInstance) -> None:
    house.variables[PREFIX + "DAGSTER_URL"] = "http://127.0.0.1:9"
    house.add_project("chat", days=[START])
    message = tick(house, instance)
    assert "load the code location again by hand" in message
    assert "does not answer at http://127.0.0.1:9 (Connection refused)" in message


@pytest.mark.parametrize(
    ("result", "sentence"),
    [
        ({"__typename": "RepositoryLocationNotFound", "message": "no such location"}, "no such location"),
        (
            {
                "__typename": "WorkspaceLocationEntry",
                "locationOrLoadError": {"__typename": "PythonError", "message": "SettingsError: half"},
            },
            "the code location does not load: SettingsError: half",
        ),
        ({"typename": "x"}, "the answer is not Dagster's"),
    ],
)
def test_a_reload_that_fails_says_why(result: dict[str, Any], sentence: str) -> None:
    with reloading(result) as server, pytest.raises(ReloadFailedError, match=sentence):
        reload_location(server.url)


def test_a_web_server_must_be_named_by_a_url() -> None:
    with pytest.raises(ReloadFailedError, match=r"must start with http://.*EXPORT_PIPELINE_DAGSTER_URL"):
        reload_location("file:///etc/passwd")
