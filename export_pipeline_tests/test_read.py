"""`export_pipeline.read`: committed rows by the project's name, from the bucket alone."""

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from export_pipeline.errors import ForeignCommitError, InputError, SettingsError, UnknownProjectError
from export_pipeline.exports.commit.day import DayRequest
from export_pipeline.exports.commit.publish_days import publish_days
from export_pipeline.exports.commit.publisher import Publisher
from export_pipeline.exports.projects.catalog import write_catalog
from export_pipeline.files.catalog import CatalogError
from export_pipeline.files.manifest import ManifestError
from export_pipeline.files.signing import Signer, new_key_pair
from export_pipeline.read import runs
from export_pipeline.runs.schema import DEFAULT_FIELDS, polars_schema, select_fields
from export_pipeline.runs.window import DayWindow, Window
from export_pipeline.settings import Settings, load_settings
from export_pipeline_tests.exports.commit.bench import new_export
from export_pipeline_tests.exports.memory_source import rows_of_day
from export_pipeline_tests.exports.world import EMPTY, FIRST, LAST, PREFIX, PROJECT, ROWS, World
from export_pipeline_tests.faults.proxy import FaultProxy
from export_pipeline_tests.servers import Weed

KEY = f"{PREFIX}/_export_pipeline/projects.json"
SCHEMA = polars_schema(select_fields(DEFAULT_FIELDS), "v1")

PLACES = {"source_url": "sqlite:///never-asked", "control_url": "sqlite:///never-asked"}

PROGRAM = """
import sys
from export_pipeline.read import runs

frame = runs("chatbot", "2026-03-01", "2026-03-03").collect()
print(frame.height, frame["id"].n_unique(), *sorted({"dagster", "fastapi", "typer"} & sys.modules.keys()))
"""


@pytest.fixture
def world(seaweedfs: Weed, tmp_path: Path) -> Iterator[World]:
    """Three exported days, over SeaweedFS: rclone answers a range that covers a whole file with 200, not 206."""
    made = World.make(seaweedfs, tmp_path)
    made.publish()
    assert write_catalog(made.control, made.store, PREFIX) is None
    yield made
    made.close()


def reader(world: World, **changes: Any) -> Settings:
    """The settings of somebody who has the bucket and a key that may read it."""
    given = {
        "bucket": world.store.config.bucket,
        "prefix": PREFIX,
        "region": world.server.region,
        "endpoint_url": world.server.endpoint_url,
        "allow_private_endpoints": True,
        "access_key_id": world.server.access_key_id,
        "secret_access_key": world.server.secret_access_key,
        **changes,
    }
    return load_settings(**PLACES, **given)


def ids(world: World, *days: date) -> list[str]:
    """The ids of the trace store's rows of these days."""
    return sorted(row.id for row in world.source.rows if row.start_time.date() in days)


def read_ids(frame: pl.LazyFrame) -> list[str]:
    return sorted(frame.collect()["id"])


def test_a_project_is_read_by_its_name_and_days_both_included(world: World) -> None:
    settings = reader(world)
    for first, last, days in (
        ("2026-03-01", "2026-03-03", (FIRST, LAST)),
        (None, None, (FIRST, LAST)),
        (FIRST, FIRST, (FIRST,)),
        ("2026-03-02", None, (LAST,)),
        (None, EMPTY, (FIRST,)),
    ):
        assert read_ids(runs("chatbot", first, last, settings=settings)) == ids(world, *days)
    assert len(ids(world, FIRST, LAST)) == 2 * ROWS
    assert runs("chatbot", settings=settings).collect_schema() == SCHEMA


@pytest.mark.parametrize(
    ("first", "last"), [(EMPTY, EMPTY), (date(2031, 1, 1), date(2031, 12, 31)), (None, date(1970, 1, 1))]
)
def test_days_without_rows_and_days_that_are_not_there_give_an_empty_frame_with_the_columns(
    world: World, first: date | None, last: date
) -> None:
    frame = runs("chatbot", first, last, settings=reader(world)).collect()
    assert (frame.height, frame.schema) == (0, SCHEMA)
    few = runs("chatbot", first, last, fields=["id", "total_cost"], settings=reader(world)).collect()
    assert (few.height, few.columns) == (0, ["id", "total_cost"])


def test_only_the_columns_that_are_wanted_are_there(world: World) -> None:
    frame = runs("chatbot", fields=["start_time", "id"], settings=reader(world))
    assert frame.collect_schema().names() == ["start_time", "id"]
    assert read_ids(frame) == ids(world, FIRST, LAST)
    with pytest.raises(InputError, match="the table has no fields cost, feedback; it has id, tenant_id"):
        runs("chatbot", fields=["id", "feedback", "cost"], settings=reader(world))


def test_only_the_wanted_days_are_looked_at(world: World) -> None:
    with FaultProxy(world.server.endpoint_url) as proxy:
        frame = runs("chatbot", LAST, LAST, settings=reader(world, endpoint_url=proxy.endpoint_url))
        assert frame.select(pl.len()).collect().item() == ROWS
    asked = {request.key for request in proxy.requests if "empty_days/" not in request.key}
    assert asked - {""} == {KEY, world.data(LAST), world.manifest(LAST)}


def test_the_right_to_read_and_list_is_enough_and_dagster_is_not_imported(seaweedfs: Weed, tmp_path: Path) -> None:
    prefix = f"read/{uuid.uuid4()}"
    world = World.make(seaweedfs, tmp_path, prefix=prefix)
    world.settings = world.settings.model_copy(update={"bucket": "exports"})
    world.store.config = replace(world.store.config, bucket="exports")
    world.store = type(world.store)(world.store.config, None, client=world.store.client)
    world.publish()
    assert write_catalog(world.control, world.store, prefix) is None
    key, secret = seaweedfs.identity("ro")
    environment = {
        "BUCKET": "exports",
        "PREFIX": prefix,
        "REGION": seaweedfs.region,
        "ENDPOINT_URL": seaweedfs.endpoint_url,
        "ALLOW_PRIVATE_ENDPOINTS": "true",
        "ACCESS_KEY_ID": key,
        "SECRET_ACCESS_KEY": secret,
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        cwd=tmp_path,
        env={"PATH": "", **{f"EXPORT_PIPELINE_{name}": value for name, value in environment.items()}},
        capture_output=True,
        text=True,
        check=False,
    )
    world.close()
    assert (done.stdout.split(), done.stderr) == ([str(2 * ROWS), str(2 * ROWS)], "")


def test_a_day_that_is_exported_again_is_read_as_it_is_then(world: World) -> None:
    world.source.rows += rows_of_day(PROJECT, LAST, 5)
    world.publish(LAST)
    assert read_ids(runs("chatbot", settings=reader(world))) == ids(world, FIRST, LAST)
    world.source.rows = [row for row in world.source.rows if row.start_time.date() != LAST]
    world.publish(LAST, allow_shrink=True)
    assert read_ids(runs("chatbot", settings=reader(world))) == ids(world, FIRST)


@pytest.mark.parametrize("rows", [ROWS + 5, 0])
def test_a_day_that_is_exported_while_it_is_looked_at_is_looked_at_again(world: World, rows: int) -> None:
    with FaultProxy(world.server.endpoint_url) as proxy:
        settings = reader(world, endpoint_url=proxy.endpoint_url)
        world.source.rows = rows_of_day(PROJECT, FIRST, 1) + rows_of_day(PROJECT, LAST, rows)
        done: list[object] = []
        rule = proxy.on("HeadObject", key="day=03", times=None)
        takes = rule.takes

        def meanwhile(request: Any) -> bool:
            taken = takes(request)
            if taken and not done:
                done.append(world.publish(LAST, allow_shrink=True))
            return taken

        rule.takes = meanwhile  # type: ignore[method-assign]
        frame = runs("chatbot", LAST, LAST, settings=settings)
        assert read_ids(frame) == ids(world, LAST)
        assert (len(ids(world, LAST)), len(done)) == (rows, 1)


def test_a_former_table_is_read_by_its_export_id_and_the_current_one_by_name(world: World) -> None:
    former = world.export.export_id
    world.settings = world.settings.model_copy(update={"format_version": "v2_beta"})
    world.publish(FIRST)
    write_catalog(world.control, world.store, PREFIX)
    current = runs("chatbot", settings=reader(world))
    assert read_ids(current) == ids(world, FIRST)
    assert current.collect_schema()["tags"] == pl.List(pl.String)
    assert read_ids(runs("chatbot", export_id=former, settings=reader(world))) == ids(world, FIRST, LAST)
    assert read_ids(runs(PROJECT, LAST, export_id=str(former), settings=reader(world))) == ids(world, LAST)


@pytest.mark.parametrize("listed", [True, False])
def test_a_bulk_export_in_the_bucket_is_read_by_its_id(world: World, listed: bool) -> None:
    standing = world.export
    bulk = new_export(
        world.control,
        standing.bucket,
        kind="bulk",
        prefix=PREFIX,
        tenant_id=str(standing.tenant_id),
        session_id=str(standing.session_id),
        project=PROJECT,
        fields=["id", "start_time", "status"],
        endpoint_url=standing.endpoint_url,
    )
    request = DayRequest(bulk, DayWindow(FIRST, Window.of_day(FIRST)), owner="process:test:1")
    list(publish_days(Publisher(control=world.control, store=world.store, source=world.source), [request]))
    if not listed:
        world.delete(KEY)
    frame = runs("chatbot" if listed else PROJECT, export_id=bulk.export_id, settings=reader(world))
    assert read_ids(frame) == ids(world, FIRST)
    assert frame.collect_schema().names() == ["id", "start_time", "status"]
    empty = runs(PROJECT, EMPTY, EMPTY, export_id=bulk.export_id, settings=reader(world)).collect()
    assert (empty.height, empty.columns) == (0, ["id", "start_time", "status"])


def test_a_name_that_several_projects_have_is_refused_with_all_of_them(world: World) -> None:
    content = json.loads(world.get(KEY))
    (mine,) = content["tables"]
    other = {**mine, "export_id": str(uuid.uuid4()), "session_id": str(uuid.uuid4()), "project_id": "project-7"}
    world.put(KEY, json.dumps({**content, "tables": [mine, other]}).encode())
    with pytest.raises(InputError) as caught:
        runs("chatbot", settings=reader(world))
    for told in ("2 current tables are named 'chatbot'", PROJECT, "project-7", mine["export_id"], other["export_id"]):
        assert told in str(caught.value)
    assert read_ids(runs(PROJECT, settings=reader(world))) == ids(world, FIRST, LAST)
    assert runs("project-7", settings=reader(world)).collect().height == 0
    assert read_ids(runs("chatbot", export_id=mine["export_id"], settings=reader(world))) == ids(world, FIRST, LAST)


def test_a_list_that_was_replaced_leads_to_no_other_bucket(world: World) -> None:
    content = json.loads(world.get(KEY))
    content["tables"][0]["location"] = "s3://elsewhere/runs/"
    world.put(KEY, json.dumps(content).encode())
    assert read_ids(runs("chatbot", settings=reader(world))) == ids(world, FIRST, LAST)
    content["tables"][0]["tenant_id"] = str(uuid.uuid4())
    world.put(KEY, json.dumps(content).encode())
    assert runs("chatbot", settings=reader(world)).collect().height == 0


def test_a_project_that_has_former_tables_only_is_refused_with_them(world: World) -> None:
    content = json.loads(world.get(KEY))
    content["tables"][0]["current"] = False
    world.put(KEY, json.dumps(content).encode())
    with pytest.raises(InputError, match=f"no current table is named 'chatbot'.*{world.export.export_id}"):
        runs("chatbot", settings=reader(world))


def test_what_is_not_there_is_told_with_what_is(world: World) -> None:
    with pytest.raises(UnknownProjectError, match="unknown project 'chatbox'; there are 'chatbot'"):
        runs("chatbox", settings=reader(world))
    export_id = uuid.uuid4()
    with pytest.raises(InputError, match=f"export {export_id} has no single table of 'chatbot'.*projects are none"):
        runs("chatbot", export_id=export_id, settings=reader(world))
    with pytest.raises(InputError, match="'x' is not an export id"):
        runs("chatbot", export_id="x", settings=reader(world))
    world.delete(KEY)
    with pytest.raises(InputError, match="`export-pipeline projects sync` writes it"):
        runs("chatbot", settings=reader(world))
    world.put(KEY, b"{}")
    with pytest.raises(CatalogError, match=f"s3://{world.store.config.bucket}/{KEY} cannot be read"):
        runs("chatbot", settings=reader(world))


def test_days_are_days() -> None:
    settings = load_settings(**PLACES, bucket="traces")
    with pytest.raises(InputError, match="'1/3/2026' is not a day"):
        runs("chatbot", "1/3/2026", settings=settings)
    with pytest.raises(InputError, match="is a time, not a day"):
        runs("chatbot", datetime(2026, 3, 1, tzinfo=UTC), settings=settings)
    with pytest.raises(InputError, match="the last day, 2026-03-01, lies before the first one, 2026-03-02"):
        runs("chatbot", "2026-03-02", "2026-03-01", settings=settings)


def test_without_a_bucket_the_setting_is_named_and_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="EXPORT_PIPELINE_BUCKET is not set"):
        runs("chatbot", settings=load_settings(home=tmp_path / "home"))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_replaced_or_removed_is_not_read(world: World) -> None:
    key = world.data(LAST)
    data = world.get(key)
    for body in (world.get(world.data(FIRST)), data[:100] + bytes([data[100] ^ 1]) + data[101:], None):
        with world.replaced(key, body):
            with pytest.raises(ForeignCommitError, match=f"{LAST}: {key} is not the file that was committed"):
                runs("chatbot", settings=reader(world))
            assert read_ids(runs("chatbot", FIRST, EMPTY, settings=reader(world))) == ids(world, FIRST)
    assert read_ids(runs("chatbot", LAST, settings=reader(world))) == ids(world, LAST)


def test_a_file_without_a_manifest_is_not_committed(world: World) -> None:
    day = LAST + timedelta(days=1)
    world.put(world.data(day), world.get(world.data(LAST)))
    assert read_ids(runs("chatbot", settings=reader(world))) == ids(world, FIRST, LAST)


def test_a_manifest_that_was_changed_is_not_believed(world: World) -> None:
    with world.replaced(world.manifest(LAST), b"{}"), pytest.raises(ManifestError, match=f"{LAST}: no manifest can be"):
        runs("chatbot", settings=reader(world))


def test_signatures_are_asked_for_where_there_are_keys(world: World) -> None:
    pair, other = new_key_pair(), new_key_pair()
    world.signer = Signer.from_settings(world.settings.model_copy(update={"signing_key": _secret(pair.private)}))
    world.source.rows += rows_of_day(PROJECT, LAST, 1)
    world.publish(LAST)
    settings = reader(world, signing_public_keys=(pair.public,))
    assert read_ids(runs("chatbot", LAST, settings=settings)) == ids(world, LAST)
    with pytest.raises(ManifestError, match=f"{LAST}: no manifest can be believed"):
        runs("chatbot", LAST, settings=reader(world, signing_public_keys=(other.public,)))
    with pytest.raises(ManifestError, match=f"{FIRST}: no manifest can be believed: it has no signature"):
        runs("chatbot", settings=settings)


def test_a_copied_bucket_is_read_where_it_is(world: World) -> None:
    client, copied = world.server.client(), world.server.new_bucket()
    for key in world.objects():
        client.put_object(Bucket=copied, Key=key, Body=world.get(key))
    assert read_ids(runs("chatbot", settings=reader(world, bucket=copied))) == ids(world, FIRST, LAST)


def _secret(text: str) -> Any:
    from pydantic import SecretStr

    return SecretStr(text)
