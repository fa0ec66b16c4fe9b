"""Dagster's web server as `export-pipeline dev` serves it, asked by other sites, its own pages, and programs."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from export_pipeline.orchestration.web import create_app

HERE = "127.0.0.1:3000"
MUTATION = 'mutation { setSensorCursor(sensorSelector: {repositoryName: "r", repositoryLocationName: "l", '
MUTATION += 'sensorName: "s"}, cursor: "x") { __typename } }'
EVIL = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
FORM = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
OWN = {"Origin": f"http://{HERE}", "Sec-Fetch-Site": "same-origin"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The app over an instance of its own."""
    folder = str(tmp_path_factory.mktemp("instance"))
    with (
        dg.instance_for_test(temp_dir=folder) as instance,
        WorkspaceProcessContext(instance, EmptyWorkspaceTarget(), version=dg.__version__) as workspace,
        TestClient(create_app(workspace), base_url=f"http://{HERE}") as client,
    ):
        yield client


@pytest.mark.parametrize(
    "headers",
    [
        EVIL,
        EVIL | FORM,
        {"Origin": "null", **FORM},
        {"Origin": "http://localhost:3000"},
        {"Origin": "http://127.0.0.1:8000", "Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "rebound.example:3000"},
        {"Host": ""},
        {"X-Forwarded-For": "192.0.2.7"},
        {"x-forwarded-host": "dagster.example"},
        {"Forwarded": "for=192.0.2.7"},
        {"Via": "1.1 proxy"},
        {"X-Real-IP": "192.0.2.7"},
    ],
)
def test_pages_of_other_sites_get_no_answer_from_its_api(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.post("/graphql", headers=headers, json={"query": MUTATION})
    assert (answer.status_code, "own pages and programs" in answer.text) == (403, True)
    assert client.post(f"/graphql?query={MUTATION}", headers=headers, content="a=b").status_code == 403


@pytest.mark.parametrize("headers", [{}, OWN])
def test_nothing_is_asked_for_in_an_address(client: TestClient, headers: dict[str, str]) -> None:
    for method in ("GET", "POST"):
        answer = client.request(method, "/graphql", params={"query": "{ version }"}, headers=headers)
        assert (answer.status_code, answer.text) == (405, "Queries are sent by POST, in the body.")


@pytest.mark.parametrize("headers", [{}, OWN, {"Host": "localhost:3000", "Origin": "http://localhost:3000"}])
def test_its_own_pages_and_programs_are_answered(client: TestClient, headers: dict[str, str]) -> None:
    answer: Any = client.post("/graphql?op=Version", headers=headers, json={"query": "{ version }"}).json()
    assert answer == {"data": {"version": dg.__version__}}
    assert client.get("/server_info", headers=headers).json()["dagster_version"] == dg.__version__


def test_a_link_on_another_site_leads_to_a_page_and_nothing_else(client: TestClient) -> None:
    follows = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get("/runs", headers=follows | {"Sec-Fetch-Dest": "document"}).status_code == 200
    assert client.get("/runs", headers=follows | {"Sec-Fetch-Dest": "iframe"}).status_code == 403
    assert client.get("/server_info", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    addressed = client.get(f"/graphql?query={MUTATION}", headers=follows | {"Sec-Fetch-Dest": "document"})
    assert addressed.status_code == 405


def test_a_socket_of_another_site_is_closed(client: TestClient) -> None:
    with (
        pytest.raises(WebSocketDisconnect) as closed,
        client.websocket_connect("/graphql", subprotocols=["graphql-ws"], headers=EVIL | {"Host": HERE}),
    ):
        pass
    assert closed.value.code == 1008
    with client.websocket_connect("/graphql", subprotocols=["graphql-ws"], headers=OWN | {"Host": HERE}) as socket:
        socket.send_json({"type": "connection_init"})
        assert socket.receive_json()["type"] == "connection_ack"
