"""The sensor that keeps the assets like the trace store's projects."""

from typing import Any

import dagster as dg
import pytest

from export_pipeline.errors import ExportPipelineError
from export_pipeline.orchestration.sensors.projects import ReloadFailedError, reload_location
from export_pipeline.settings import PREFIX
from export_pipeline_tests.orchestration.house import START, House
from export_pipeline_tests.orchestration.location import serving, tick
from export_pipeline_tests.web_server import WebServer


def reloads(server: WebServer) -> int:
    """How often the server was asked to load the location again."""
    return sum("mutation Reload" in request["query"] for request in server.asked)


def test_new_projects_make_the_web_server_load_the_location_again(house: House, instance: dg.DagsterInstance) -> None:
    house.add_project("chat", days=[START])
    house.sync()
    with serving("chat") as server:
        house.variables[PREFIX + "DAGSTER_URL"] = server.url
        house.add_project("agent", days=[START])
        message = tick(house, instance)
        assert message == f"1 new: agent; the web server at {server.url} has loaded the location again"
        assert [request["variables"] for request in server.asked] == [{"location": "export_pipeline"}] * 2
        assert reloads(server) == 1
    assert [project.asset_name for project in house.projects()] == ["agent", "chat"]


def test_what_counts_is_what_the_web_server_shows_not_what_the_daemon_has_loaded(
    house: House, instance: dg.DagsterInstance
) -> None:
    for name in ("chat", "agent", "search"):
        house.add_project(name, days=[START])
    house.sync()
    with serving("chat") as server:
        house.variables[PREFIX + "DAGSTER_URL"] = server.url
        assert tick(house, instance).startswith("2 new: agent, search; ")
        assert reloads(server) == 1


def test_a_first_tick_makes_the_control_database(house: House, instance: dg.DagsterInstance) -> None:
    house.add_project("chat", days=[START])
    with serving() as server:
        house.variables[PREFIX + "DAGSTER_URL"] = server.url
        assert "1 new: chat" in tick(house, instance)
    assert [project.asset_name for project in house.projects()] == ["chat"]


def test_nothing_is_loaded_again_when_nothing_has_changed(house: House, instance: dg.DagsterInstance) -> None:
    house.add_project("chat", days=[START])
    house.sync()
    with serving("chat") as server:
        house.variables[PREFIX + "DAGSTER_URL"] = server.url
        assert tick(house, instance) == "1 projects, as loaded"
        assert reloads(server) == 0


def test_projects_that_are_gone_are_noticed_too(house: House, instance: dg.DagsterInstance) -> None:
    house.add_project("chat", days=[START])
    house.add_project("agent", days=[START])
    house.sync()
    house.variables[PREFIX + "PROJECTS_EXCLUDE"] = "agent"
    with serving("chat", "agent") as server:
        house.variables[PREFIX + "DAGSTER_URL"] = server.url
        assert tick(house, instance).startswith("1 gone: agent; ")


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
    assert message.startswith("1 projects. What the UI shows is not known (")
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
    with serving(result=result) as server, pytest.raises(ReloadFailedError, match=sentence):
        reload_location(server.url)


def test_a_web_server_must_be_named_by_a_url() -> None:
    with pytest.raises(ReloadFailedError, match=r"must start with http://.*EXPORT_PIPELINE_DAGSTER_URL"):
        reload_location("file:///etc/passwd")
