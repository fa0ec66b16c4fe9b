"""Standing exports in a stored destination, named by DESTINATION_ID."""

import uuid
from dataclasses import replace

import pytest

from export_pipeline.errors import ConflictError, SettingsError
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import ProjectRecord
from export_pipeline.exports.destinations.stored import create_destination, delete_destination, rotate_credentials
from export_pipeline.exports.projects.registry import find_project, sync_projects
from export_pipeline.exports.projects.standing import changed_tables, current_table, standing_table
from export_pipeline.exports.projects.standing_place import StandingBucket, standing_access
from export_pipeline.object_store.s3.store import S3Store
from export_pipeline.settings import Settings, load_settings
from export_pipeline_tests.exports.conftest import TENANT, MakeSettings, project
from export_pipeline_tests.exports.destinations.conftest import BOTH, described, keys_of
from export_pipeline_tests.exports.memory_source import MemorySource
from export_pipeline_tests.servers import BUCKET, Weed


@pytest.fixture
def chatbot(control: ControlDatabase, settings: Settings) -> ProjectRecord:
    sync_projects(control, MemorySource(listed=[project("chatbot")]), settings)
    return find_project(control, "chatbot")


def stored(control: ControlDatabase, settings: Settings, server: Weed, prefix: str = "a") -> uuid.UUID:
    new = described(server, prefix=prefix, identity="rw")
    return create_destination(control, new, tenant_id=TENANT, settings=settings, actor="cli").id


@BOTH
def test_bucket_prefix_and_endpoint_are_those_of_the_stored_destination(
    control: ControlDatabase, make_settings: MakeSettings, settings: Settings, chatbot: ProjectRecord, seaweedfs: Weed
) -> None:
    first, second = (stored(control, settings, seaweedfs, prefix) for prefix in ("a", "b"))
    using = make_settings(bucket=None, destination_id=first)
    export = standing_table(control, chatbot, using)
    assert (export.bucket, export.prefix, export.endpoint_url) == (BUCKET, "a", seaweedfs.endpoint_url)
    assert export.destination_id == first
    assert current_table(control, chatbot, using) == export
    with pytest.raises(ConflictError, match="standing exports of 1 project:"):
        delete_destination(control, first, tenant_id=TENANT, actor="cli")
    other = make_settings(bucket=None, destination_id=second)
    (change,) = changed_tables(control, other)
    assert change.changes == (f"the prefix of destination {second} is 'b' and was 'a'",)
    assert standing_table(control, chatbot, other).export_id != export.export_id
    delete_destination(control, first, tenant_id=TENANT, actor="cli")


def test_the_same_place_goes_on_with_the_same_table(
    control: ControlDatabase, make_settings: MakeSettings, settings: Settings, chatbot: ProjectRecord, seaweedfs: Weed
) -> None:
    named = make_settings(bucket=BUCKET, prefix="a", endpoint_url=seaweedfs.endpoint_url)
    before = standing_table(control, chatbot, named)
    row = stored(control, settings, seaweedfs)
    using = make_settings(bucket=None, destination_id=row)
    assert changed_tables(control, using) == []
    assert standing_table(control, chatbot, using) == replace(before, destination_id=row)
    assert standing_table(control, chatbot, named) == before


def test_a_destination_that_is_not_there_is_named_with_its_setting(
    control: ControlDatabase, make_settings: MakeSettings, chatbot: ProjectRecord
) -> None:
    using = make_settings(bucket=None, destination_id=uuid.uuid4())
    for call in (
        lambda: standing_table(control, chatbot, using),
        lambda: standing_access(control, using),
        lambda: changed_tables(control, using),
    ):
        with pytest.raises(SettingsError, match=f"EXPORT_PIPELINE_DESTINATION_ID names {using.destination_id}"):
            call()


def test_a_rotation_reaches_a_process_that_goes_on(
    control: ControlDatabase, make_settings: MakeSettings, settings: Settings, seaweedfs: Weed
) -> None:
    row = stored(control, settings, seaweedfs)
    bucket = StandingBucket(control, make_settings(bucket=None, destination_id=row))
    store = bucket.store()
    assert bucket.store() is store
    rotate_credentials(control, row, tenant_id=TENANT, credentials=keys_of(seaweedfs), settings=settings, actor="cli")
    renewed = bucket.store()
    assert renewed is not store
    assert isinstance(renewed, S3Store)
    key, _ = seaweedfs.identity("admin")
    assert renewed.client._request_signer._credentials.access_key == key
    assert bucket.store() is renewed
    store.close()
    bucket.close()


def test_a_stored_destination_stands_for_the_bucket_in_the_settings() -> None:
    row = uuid.uuid4()
    made = load_settings(source_url="sqlite:///t.db", control_url="sqlite:///c.db", destination_id=row)
    assert not made.embedded
    with pytest.raises(SettingsError, match=r"CONTROL_URL must be set too, because .*SOURCE_URL and .*DESTINATION_ID"):
        load_settings(source_url="sqlite:///t.db", destination_id=row)
    with pytest.raises(SettingsError, match=r"SOURCE_URL and .*CONTROL_URL must be set too"):
        load_settings(destination_id=row)
    with pytest.raises(SettingsError, match=r"BUCKET must be set too.*DESTINATION_ID stands for the bucket too"):
        load_settings(source_url="sqlite:///t.db", control_url="sqlite:///c.db")
