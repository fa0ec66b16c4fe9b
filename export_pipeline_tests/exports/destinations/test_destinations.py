"""Stored destinations on real S3 servers and real databases."""

import uuid
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from export_pipeline.errors import (
    ConflictError,
    DestinationError,
    DestinationRefusedError,
    InputError,
    LimitError,
    NotFoundError,
)
from export_pipeline.exports.access.audit import read_audit
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import bulk_exports, destinations
from export_pipeline.exports.destinations.opened import open_destination
from export_pipeline.exports.destinations.stored import (
    check_stored,
    create_destination,
    delete_destination,
    get_destination,
    list_destinations,
    rotate_credentials,
)
from export_pipeline.object_store.config import Credentials, S3Options
from export_pipeline.settings import Settings
from export_pipeline_tests.exports.conftest import TENANT, MakeSettings
from export_pipeline_tests.exports.destinations.conftest import BOTH, OTHER_TENANT, described, keys_of
from export_pipeline_tests.servers import Rclone, Weed


def sealed(control: ControlDatabase) -> str:
    with control.read() as connection:
        return str(connection.execute(sa.select(destinations.c.credentials)).scalar_one())


@BOTH
def test_a_destination_is_checked_stored_listed_opened_and_deleted(
    control: ControlDatabase, settings: Settings, seaweedfs: Weed
) -> None:
    bucket = seaweedfs.new_bucket()
    new = described(seaweedfs, bucket=bucket, prefix="/a/b/", region="us-east-1")
    made = create_destination(control, new, tenant_id=TENANT, settings=settings, actor="cli")
    assert seaweedfs.keys(bucket) == []
    assert (made.display_name, made.config.bucket, made.config.prefix) == ("My S3 Destination", bucket, "a/b")
    assert made.credentials_keys == ("access_key_id", "secret_access_key")
    assert (made.capabilities.losses, made.tenant_id) == ((), TENANT)
    assert made.created_at == made.updated_at == made.checked_at
    assert get_destination(control, made.id, tenant_id=TENANT) == made
    assert list_destinations(control, tenant_id=TENANT) == [made]
    store = open_destination(control, made.id, tenant_id=TENANT, settings=settings)
    store.put("a/b/x", b"1")
    store.close()
    assert seaweedfs.keys(bucket) == ["a/b/x"]
    delete_destination(control, made.id, tenant_id=TENANT, actor="key:1")
    assert list_destinations(control, tenant_id=TENANT) == []
    deleted, created = read_audit(control, tenant_id=TENANT)
    assert (deleted.action, deleted.actor, deleted.subject) == ("destination.delete", "key:1", str(made.id))
    assert (created.action, created.actor, created.at) == ("destination.create", "cli", made.created_at)
    assert created.detail["config"]["bucket_name"] == bucket
    assert created.detail["credentials_keys"] == ["access_key_id", "secret_access_key"]


@BOTH
def test_lists_are_the_newest_first_and_in_pages(control: ControlDatabase, settings: Settings, rclone: Rclone) -> None:
    made = [
        create_destination(control, described(rclone), tenant_id=TENANT, settings=settings, actor="cli")
        for _ in range(3)
    ]
    assert list_destinations(control, tenant_id=TENANT) == made[::-1]
    assert list_destinations(control, tenant_id=TENANT, limit=1, offset=1) == [made[1]]
    assert not made[0].capabilities.conditional_writes
    assert [text for text in made[0].capabilities.losses if "If-None-Match" in text]


@BOTH
def test_a_workspace_has_so_many_destinations_and_another_one_its_own(
    control: ControlDatabase, make_settings: MakeSettings, rclone: Rclone
) -> None:
    settings = make_settings(max_destinations=2)

    def create(tenant_id: uuid.UUID) -> uuid.UUID:
        return create_destination(control, described(rclone), tenant_id=tenant_id, settings=settings, actor="cli").id

    first, _ = create(TENANT), create(TENANT)
    lines = len(read_audit(control, tenant_id=TENANT))
    with pytest.raises(LimitError, match="has 2 destinations, as many as EXPORT_PIPELINE_MAX_DESTINATIONS") as refused:
        create(TENANT)
    assert refused.value.retry_after == 3600
    with control.read() as connection:
        stored = sa.select(sa.func.count()).where(destinations.c.tenant_id == str(TENANT))
        assert connection.execute(stored).scalar_one() == 2
    assert len(read_audit(control, tenant_id=TENANT)) == lines
    create(OTHER_TENANT)
    delete_destination(control, first, tenant_id=TENANT, actor="cli")
    create(TENANT)


def test_a_description_that_is_too_large_is_not_stored(
    control: ControlDatabase, settings: Settings, rclone: Rclone
) -> None:
    new = described(rclone)
    large = replace(new, config=replace(new.config, s3_additional_kwargs={"Metadata": {"a": "x" * 16_384}}))
    with pytest.raises(InputError, match=r"has 16,\d{3} bytes of JSON, at most 16,384 are stored"):
        create_destination(control, large, tenant_id=TENANT, settings=settings, actor="cli")
    assert list_destinations(control, tenant_id=TENANT) == []


@BOTH
def test_another_workspace_sees_and_changes_nothing(
    control: ControlDatabase, settings: Settings, rclone: Rclone
) -> None:
    made = create_destination(control, described(rclone), tenant_id=TENANT, settings=settings, actor="cli")
    assert list_destinations(control, tenant_id=OTHER_TENANT) == []
    other: dict[str, Any] = {"tenant_id": OTHER_TENANT}
    with pytest.raises(NotFoundError) as known:
        get_destination(control, made.id, **other)
    for action in (
        lambda: open_destination(control, made.id, settings=settings, **other),
        lambda: check_stored(control, made.id, settings=settings, actor="cli", **other),
        lambda: delete_destination(control, made.id, actor="cli", **other),
        lambda: rotate_credentials(
            control, made.id, credentials=keys_of(rclone), settings=settings, actor="cli", **other
        ),
    ):
        with pytest.raises(NotFoundError) as caught:
            action()
        assert str(caught.value) == str(known.value)
    with pytest.raises(NotFoundError):
        get_destination(control, uuid.uuid4(), tenant_id=TENANT)
    assert get_destination(control, made.id, tenant_id=TENANT) == made


def test_the_processs_own_credentials_are_used_only_where_that_is_allowed(
    control: ControlDatabase, make_settings: MakeSettings, rclone: Rclone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", rclone.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", rclone.secret_access_key)
    new = described(rclone, identity=None)
    with pytest.raises(DestinationRefusedError, match=f"EXPORT_PIPELINE_OWN_CREDENTIALS_WORKSPACES={TENANT}") as caught:
        create_destination(control, new, tenant_id=TENANT, settings=make_settings(), actor="cli")
    assert caught.value.error_class == "Access denied"
    allowing = make_settings(own_credentials_workspaces=(TENANT,), secret_keys=None)
    made = create_destination(control, new, tenant_id=TENANT, settings=allowing, actor="cli")
    assert made.credentials_keys == ()
    assert check_stored(control, made.id, tenant_id=TENANT, settings=allowing, actor="cli").ok
    refused = check_stored(control, made.id, tenant_id=TENANT, settings=make_settings(), actor="cli")
    assert refused.error is not None
    assert "EXPORT_PIPELINE_OWN_CREDENTIALS_WORKSPACES" in str(refused.error)


def test_own_credentials_are_never_replaced_by_those_of_the_process(
    control: ControlDatabase, make_settings: MakeSettings, rclone: Rclone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", rclone.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", rclone.secret_access_key)
    new = replace(described(rclone), credentials=Credentials("nobody", "wrong"))
    settings = make_settings(own_credentials_workspaces=(TENANT,))
    with pytest.raises(DestinationError) as caught:
        create_destination(control, new, tenant_id=TENANT, settings=settings, actor="cli")
    assert caught.value.error_class == "Key ID you provided does not exist"


@BOTH
def test_a_rotation_is_checked_first_and_reaches_whoever_opens_the_destination_next(
    control: ControlDatabase, settings: Settings, seaweedfs: Weed
) -> None:
    made = create_destination(
        control, described(seaweedfs, identity="rw"), tenant_id=TENANT, settings=settings, actor="cli"
    )
    before = sealed(control)
    ask: dict[str, Any] = {"tenant_id": TENANT, "settings": settings, "actor": "cli"}
    with pytest.raises(DestinationError) as caught:
        rotate_credentials(control, made.id, credentials=keys_of(seaweedfs, "ro"), **ask)
    assert caught.value.error_class == "Access denied"
    assert sealed(control) == before
    assert get_destination(control, made.id, tenant_id=TENANT) == made
    assert len(read_audit(control, tenant_id=TENANT)) == 1
    changed = rotate_credentials(control, made.id, credentials=keys_of(seaweedfs, "wo"), **ask)
    assert (changed.config, changed.created_at) == (made.config, made.created_at)
    assert changed.updated_at > made.updated_at
    assert not changed.capabilities.read
    store = open_destination(control, made.id, tenant_id=TENANT, settings=settings)
    with pytest.raises(DestinationRefusedError):
        store.read("x")
    store.close()
    latest, _ = read_audit(control, tenant_id=TENANT, subject=made.id)
    assert (latest.action, latest.detail["credentials_keys"]) == (
        "destination.rotate",
        ["access_key_id", "secret_access_key"],
    )
    both: dict[str, Any] = {"credentials": keys_of(seaweedfs), "aws_role_arn": "arn:aws:iam::123456789012:role/r"}
    for wrong in ({}, both):
        with pytest.raises(InputError, match="either"):
            rotate_credentials(control, made.id, **wrong, **ask)


@BOTH
@pytest.mark.parametrize("status", ["Created", "IntervalScheduled"])
def test_a_destination_in_use_is_not_deleted(
    control: ControlDatabase, settings: Settings, rclone: Rclone, status: str
) -> None:
    made = create_destination(control, described(rclone), tenant_id=TENANT, settings=settings, actor="cli")
    export: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "tenant_id": str(TENANT),
        "destination_id": str(made.id),
        "all_experiments": True,
        "start_at": 0,
        "format_version": "v1",
        "compression": "none",
        "reexport_late": False,
        "status": status,
        "created_by": "cli",
        "created_at": 0,
        "updated_at": 0,
    }
    with control.begin() as connection:
        connection.execute(sa.insert(bulk_exports).values(**export))
    with pytest.raises(ConflictError, match="1 unfinished export"):
        delete_destination(control, made.id, tenant_id=TENANT, actor="cli")
    with control.begin() as connection:
        connection.execute(sa.update(bulk_exports).values(status="Completed"))
    using = settings.model_copy(update={"destination_id": made.id})
    with pytest.raises(ConflictError, match="EXPORT_PIPELINE_DESTINATION_ID"):
        delete_destination(control, made.id, tenant_id=TENANT, actor="cli", settings=using)
    delete_destination(control, made.id, tenant_id=TENANT, actor="cli", settings=settings)
    assert list_destinations(control, tenant_id=TENANT) == []


def test_a_later_check_records_what_works_now(control: ControlDatabase, settings: Settings, seaweedfs: Weed) -> None:
    bucket = seaweedfs.new_bucket()
    made = create_destination(
        control, described(seaweedfs, bucket=bucket), tenant_id=TENANT, settings=settings, actor="cli"
    )
    assert check_stored(control, made.id, tenant_id=TENANT, settings=settings, actor="cli").ok
    again = get_destination(control, made.id, tenant_id=TENANT)
    assert again.checked_at > made.checked_at
    assert again.updated_at == made.updated_at
    line, _ = read_audit(control, tenant_id=TENANT, subject=made.id)
    assert (line.action, line.actor, line.at) == ("destination.check", "cli", again.checked_at)
    assert line.detail == {"capabilities": vars(again.capabilities)}
    seaweedfs.client().delete_bucket(Bucket=bucket)
    result = check_stored(control, made.id, tenant_id=TENANT, settings=settings, actor="cli")
    assert result.error is not None
    assert result.error.error_class == "Bucket is not valid"
    assert get_destination(control, made.id, tenant_id=TENANT) == again
    assert len(read_audit(control, tenant_id=TENANT, subject=made.id)) == 2, "it has changed nothing"


def test_options_and_arguments_of_s3_are_kept(control: ControlDatabase, settings: Settings, seaweedfs: Weed) -> None:
    bucket = seaweedfs.new_bucket()
    new = described(
        seaweedfs,
        bucket=bucket,
        config_kwargs_s3=S3Options(addressing_style="path", payload_signing_enabled=True),
        s3_additional_kwargs={"Metadata": {"team": "ml"}, "CacheControl": "no-store"},
    )
    made = create_destination(control, new, tenant_id=TENANT, settings=settings, actor="cli")
    assert made.config.config_kwargs_s3 == new.config.config_kwargs_s3
    assert made.config.s3_additional_kwargs == new.config.s3_additional_kwargs
    store = open_destination(control, made.id, tenant_id=TENANT, settings=settings)
    store.put("x", b"1")
    upload = store.begin_upload("y")[0]
    store.complete("y", upload, [(1, store.upload_part("y", upload, 1, b"22"))])
    store.close()
    for key in ("x", "y"):
        assert seaweedfs.client().head_object(Bucket=bucket, Key=key)["Metadata"]["team"] == "ml"
