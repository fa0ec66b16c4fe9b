"""From the settings to the bucket: the days of a Langfuse Cloud, published by Dagster as those of any trace store."""

import json
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

import pytest

from export_pipeline.exports.projects.changed import find_changed_days
from export_pipeline.exports.projects.registry import find_project
from export_pipeline.exports.projects.standing import standing_table
from export_pipeline.runs.window import Window
from export_pipeline.settings import PREFIX
from export_pipeline.sources.factory import open_source
from export_pipeline_tests.cli.command import run
from export_pipeline_tests.orchestration.house import House, instance_of, materialize, materialized
from export_pipeline_tests.servers import Weed
from export_pipeline_tests.servers.langfuse import KEY, SECRET, Langfuse
from export_pipeline_tests.sources.langfuse_cloud.observations import MIDNIGHT, add_day
from export_pipeline_tests.sources.presets.known_stores import DAY

pytestmark = pytest.mark.slow


def test_a_day_is_published_and_read_again_when_it_has_changed(
    server: Langfuse, seaweedfs: Weed, tmp_path: Path
) -> None:
    house = House(tmp_path, seaweedfs, start=DAY)
    given = {"SOURCE_URL": server.source_url, "SOURCE_API_KEY": KEY, "SOURCE_RATE": "10000"}
    house.variables.update({PREFIX + name: value for name, value in given.items()})
    settings = {name.removeprefix(PREFIX): value for name, value in house.variables.items()}
    add_day(server, 90)
    server.versions = {"span-00003": 4}
    done = run("projects", "sync", "--json", folder=house.folder, settings=settings)
    assert (done.status, json.loads(done.out)["added"]) == (0, ["support bot"])
    checked = run("source", "check", folder=house.folder, settings=settings)
    assert (checked.status, "observations v2, scores v3, metrics v2" in checked.out) == (0, True)

    with instance_of(house.folder) as instance:
        assert materialize(house.definitions(), instance, "support_bot", first=DAY).success
        assert materialized(instance, "support_bot")[str(DAY)]["dagster/partition_row_count"] == 90
        assert changed_days(house) == []

        server.add("late", "span", MIDNIGHT + timedelta(hours=7))
        assert changed_days(house) == [DAY]
        assert materialize(house.definitions(), instance, "support_bot", first=DAY).success
        assert materialized(instance, "support_bot")[str(DAY)]["dagster/partition_row_count"] == 91
        assert changed_days(house) == []

        server.observations.clear()
        assert not materialize(house.definitions(), instance, "support_bot", first=DAY).success

    kept = [path for path in house.folder.rglob("*") if path.is_file()]
    assert len(kept) > 5
    assert [path for path in kept if SECRET.encode() in path.read_bytes()] == []


def changed_days(house: House) -> list[date]:
    """The committed days that Langfuse has changed."""
    with closing(open_source(house.settings)) as source, closing(house.control) as control:
        table = standing_table(control, find_project(control, "support bot"), house.settings)
        return [day.day for day in find_changed_days(control, source, table, Window.of_day(DAY)).late]
