"""Standing exports: one table per project, superseded when the settings name another place or form."""

import multiprocessing
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from export_pipeline.errors import UnknownProjectError
from export_pipeline.exports.access.audit import read_audit
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import ProjectRecord
from export_pipeline.exports.projects.registry import find_project, sync_projects
from export_pipeline.exports.projects.standing import (
    changed_tables,
    current_table,
    find_table,
    list_tables,
    standing_table,
)
from export_pipeline.runs.schema import DEFAULT_FIELDS
from export_pipeline.settings import Settings, load_settings
from export_pipeline_tests.exports.conftest import MakeSettings, project
from export_pipeline_tests.exports.memory_source import MemorySource

RACERS = 6


@pytest.fixture
def chatbot(control: ControlDatabase, settings: Settings, source: MemorySource) -> ProjectRecord:
    """A project that was synced."""
    sync_projects(control, source, settings)
    return find_project(control, "chatbot")


def test_a_table_begins_once_as_the_settings_say(
    control: ControlDatabase, make_settings: MakeSettings, chatbot: ProjectRecord
) -> None:
    settings = make_settings(prefix="a/b", endpoint_url="http://127.0.0.1:1/", region="eu-north-1")
    assert current_table(control, chatbot, settings) is None
    export = standing_table(control, chatbot, settings)
    assert (export.kind, export.bucket, export.prefix, export.region) == ("standing", "traces", "a/b", "eu-north-1")
    assert (export.endpoint_url, export.format_version, export.compression) == ("http://127.0.0.1:1", "v1", "zstandard")
    assert export.fields == DEFAULT_FIELDS
    assert (export.tenant_id, export.session_id) == (chatbot.tenant_id, chatbot.session_id)
    assert standing_table(control, chatbot, settings) == export
    assert current_table(control, chatbot, settings) == export
    assert find_table(control, export.export_id) == export
    assert find_table(control, uuid.uuid4()) is None


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"bucket": "other"}, "EXPORT_PIPELINE_BUCKET is 'other' and was 'traces'"),
        ({"prefix": "x"}, "EXPORT_PIPELINE_PREFIX is 'x' and was ''"),
        ({"endpoint_url": None}, "EXPORT_PIPELINE_ENDPOINT_URL is not set and was 'http://127.0.0.1:1'"),
        ({"format_version": "v2_beta"}, "EXPORT_PIPELINE_FORMAT_VERSION is 'v2_beta' and was 'v1'"),
        ({"compression": "snappy"}, "EXPORT_PIPELINE_COMPRESSION is 'snappy' and was 'zstandard'"),
    ],
)
def test_a_changed_setting_begins_a_new_table_and_is_announced(
    control: ControlDatabase,
    make_settings: MakeSettings,
    chatbot: ProjectRecord,
    change: dict[str, Any],
    sentence: str,
) -> None:
    old = standing_table(control, chatbot, make_settings())
    assert changed_tables(control, make_settings()) == []
    changed = make_settings(**change)
    (announced,) = changed_tables(control, changed)
    assert (announced.project, announced.table, announced.changes) == (chatbot, old, (sentence,))
    assert current_table(control, chatbot, changed) is None
    new = standing_table(control, chatbot, changed)
    assert new.export_id != old.export_id
    assert changed_tables(control, changed) == []
    former, present = list_tables(control, chatbot)
    assert former.superseded_at is not None
    assert (former.export_id, present) == (old.export_id, new)
    standing_table(control, chatbot, make_settings())
    lines = read_audit(control, tenant_id=chatbot.tenant_id)
    assert {line.actor for line in lines} == {"settings"}
    assert Counter((line.action, line.subject) for line in lines) == Counter(
        [
            ("export.begin", str(old.export_id)),
            ("export.supersede", str(old.export_id)),
            ("export.begin", str(new.export_id)),
            ("export.supersede", str(new.export_id)),
            ("export.use", str(old.export_id)),
        ]
    )


def test_going_back_goes_on_with_the_former_table(
    control: ControlDatabase, make_settings: MakeSettings, chatbot: ProjectRecord
) -> None:
    old = standing_table(control, chatbot, make_settings())
    standing_table(control, chatbot, make_settings(prefix="typo"))
    assert standing_table(control, chatbot, make_settings()) == old
    in_use = [export for export in list_tables(control) if export.superseded_at is None]
    assert in_use == [old]
    assert len(list_tables(control)) == 2


def test_another_region_or_more_keys_keep_the_table(
    control: ControlDatabase, make_settings: MakeSettings, chatbot: ProjectRecord
) -> None:
    old = standing_table(control, chatbot, make_settings())
    other = make_settings(
        region="eu-west-1", access_key_id="a", secret_access_key="b", endpoint_url="http://127.0.0.1:1/"
    )
    assert standing_table(control, chatbot, other) == old


def test_another_workspace_begins_a_new_table(
    control: ControlDatabase, settings: Settings, source: MemorySource, chatbot: ProjectRecord
) -> None:
    old = standing_table(control, chatbot, settings)
    other = settings.model_copy(update={"tenant_id": uuid.uuid4()})
    sync_projects(control, source, other)
    moved = find_project(control, "chatbot")
    assert (moved.tenant_id, moved.asset_name) == (other.tenant_id, chatbot.asset_name)
    new = standing_table(control, moved, other)
    assert (new.export_id != old.export_id, new.tenant_id) == (True, other.tenant_id)
    tables = [(each.export_id, each.superseded_at is None) for each in list_tables(control)]
    assert tables == [(old.export_id, False), (new.export_id, True)]


def test_a_project_that_the_database_does_not_know_gets_no_table(
    control: ControlDatabase, settings: Settings, chatbot: ProjectRecord
) -> None:
    from dataclasses import replace

    with pytest.raises(UnknownProjectError, match="run `export-pipeline projects sync`"):
        standing_table(control, replace(chatbot, session_id=uuid.uuid4()), settings)
    assert list_tables(control) == []


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def shared(request: pytest.FixtureRequest, control: ControlDatabase) -> Iterator[ControlDatabase]:
    """A control database that several processes use."""
    if request.param == "sqlite":
        yield control
        return
    database = ControlDatabase(request.getfixturevalue("postgres").new_database())
    yield database
    database.close()


@pytest.mark.slow
def test_processes_that_begin_a_table_at_once_get_the_same_one(
    shared: ControlDatabase, make_settings: MakeSettings, source: MemorySource
) -> None:
    sync_projects(shared, source, make_settings())
    old = standing_table(shared, find_project(shared, "chatbot"), make_settings())
    url = shared.url.render_as_string(hide_password=False)
    found = race(begin, url)
    assert len(found) == RACERS
    assert len(set(found)) == 1
    assert old.export_id.hex not in found
    assert sorted(export.superseded_at is None for export in list_tables(shared)) == [False, True]


@pytest.mark.slow
def test_processes_that_sync_at_once_make_one_list(shared: ControlDatabase, make_settings: MakeSettings) -> None:
    url = shared.url.render_as_string(hide_password=False)
    found = race(sync_twins, url)
    assert sorted(found) == ["0"] * (RACERS - 1) + ["2"]
    assert find_project(shared, str(uuid.UUID(int=1))).asset_name == "twin"
    assert find_project(shared, str(uuid.UUID(int=2))).asset_name == "twin_00000000"


def race(work: Any, url: str) -> list[str]:
    """What each of several processes returns that all begin at the same moment."""
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(RACERS), context.SimpleQueue()
    racers = [context.Process(target=_run, args=(work, url, barrier, answers)) for _ in range(RACERS)]
    for racer in racers:
        racer.start()
    found = [answers.get() for _ in racers]
    for racer in racers:
        racer.join()
    return found


def _run(work: Any, url: str, barrier: Any, answers: Any) -> None:
    control = ControlDatabase(url)
    try:
        answers.put(work(control, barrier))
    except BaseException as error:
        answers.put(repr(error))
        raise
    finally:
        control.close()


def begin(control: ControlDatabase, barrier: Any) -> str:
    chatbot = find_project(control, "chatbot")
    settings = load_settings(
        source_url="sqlite:///traces.db", control_url="sqlite:///control.db", bucket="traces", prefix="new"
    )
    barrier.wait()
    return standing_table(control, chatbot, settings).export_id.hex


def sync_twins(control: ControlDatabase, barrier: Any) -> str:
    source = MemorySource(listed=[project("twin", 1), project("twin", 2)])
    settings = load_settings(source_url="sqlite:///traces.db", control_url="sqlite:///control.db", bucket="traces")
    barrier.wait()
    return str(len(sync_projects(control, source, settings).added))
