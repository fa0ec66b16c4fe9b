"""The list of projects in the bucket follows what Dagster publishes, and never stands in the way of it."""

import json
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from export_pipeline.settings import PREFIX
from export_pipeline_tests.faults.proxy import Fault, FaultProxy
from export_pipeline_tests.orchestration.house import START, House, materialize
from export_pipeline_tests.orchestration.location import serving, tick

pytestmark = pytest.mark.slow

KEY = "_export_pipeline/projects.json"
SECOND = START + timedelta(days=1)


def newest(house: House) -> dict[str, str | None]:
    """The newest day of each project, as the bucket's list says."""
    answer = house.server.client().get_object(Bucket=house.bucket, Key=KEY)
    return {table["name"]: table["newest_day"] for table in json.loads(answer["Body"].read())["tables"]}


def warnings_of(instance: dg.DagsterInstance, run: dg.ExecuteInProcessResult) -> list[str]:
    return [entry.user_message for entry in instance.all_logs(run.run_id) if entry.level == 30]


def test_a_run_lists_what_it_has_published(house: House, instance: dg.DagsterInstance) -> None:
    house.add_project("chat", days=[START])
    house.add_project("agent", days=[SECOND])
    house.sync()
    run = materialize(house.definitions(), instance, "chat", "agent", first=START, last=SECOND)
    assert run.success
    assert warnings_of(instance, run) == []
    assert newest(house) == {"chat": SECOND.isoformat(), "agent": SECOND.isoformat()}


@pytest.mark.parametrize("fault", [{"status": 503, "code": "SlowDown"}, {"status": 403, "code": "AccessDenied"}])
def test_days_are_published_where_the_list_cannot_be_and_the_sensor_catches_up(
    house: House, instance: dg.DagsterInstance, fault: dict[str, Any]
) -> None:
    house.add_project("chat", days=[START])
    house.sync()
    with FaultProxy(house.server.endpoint_url) as proxy, serving("chat") as server:
        house.variables |= {PREFIX + "ENDPOINT_URL": proxy.endpoint_url, PREFIX + "DAGSTER_URL": server.url}
        proxy.on("PutObject", Fault(**fault), key=KEY, times=None)
        run = materialize(house.definitions(), instance, "chat", first=START)
        assert run.success
        (warning,) = warnings_of(instance, run)
        assert f"s3://{house.bucket}/{KEY}" in warning
        assert house.server.secret_access_key not in warning
        keys = house.keys()
        assert sum(key.endswith(".parquet") for key in keys) == 1
        assert KEY not in keys
        proxy.clear()
        assert tick(house, instance) == "1 projects, as loaded"
        assert newest(house) == {"chat": START.isoformat()}


def test_a_run_asks_for_the_list_once_and_writes_it_once_whatever_it_publishes(
    house: House, instance: dg.DagsterInstance
) -> None:
    for name in ("chat", "agent", "search"):
        house.add_project(name, days=[START, SECOND])
    house.sync()
    with FaultProxy(house.server.endpoint_url) as proxy:
        house.variables[PREFIX + "ENDPOINT_URL"] = proxy.endpoint_url
        for puts in (1, 0):
            proxy.requests.clear()
            assert materialize(
                house.definitions(), instance, "chat", "agent", "search", first=START, last=SECOND
            ).success
            asked = [request.operation for request in proxy.requests if request.key == KEY]
            assert asked == ["GetObject", "PutObject"][: 1 + puts]
        assert newest(house) == dict.fromkeys(("chat", "agent", "search"), SECOND.isoformat())


def test_a_run_of_which_some_days_failed_lists_the_others(house: House, instance: dg.DagsterInstance) -> None:
    house.add_project("chat", days=[START, SECOND])
    house.sync()
    with FaultProxy(house.server.endpoint_url) as proxy:
        house.variables[PREFIX + "ENDPOINT_URL"] = proxy.endpoint_url
        proxy.on("CreateMultipartUpload|PutObject", Fault(status=403, code="AccessDenied"), key="day=02", times=None)
        assert not materialize(house.definitions(), instance, "chat", first=START, last=SECOND).success
    assert newest(house) == {"chat": START.isoformat()}
