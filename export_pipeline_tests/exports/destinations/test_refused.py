"""Destinations that are refused when they are made: the class of the error, its cure, and nothing stored."""

from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from export_pipeline.errors import (
    DestinationError,
    DestinationRefusedError,
    InputError,
    SettingsError,
)
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import audit_log, destinations
from export_pipeline.exports.destinations.stored import (
    NewDestination,
    create_destination,
)
from export_pipeline.object_store.config import Credentials, DestinationConfig
from export_pipeline.settings import Settings
from export_pipeline_tests.exports.conftest import TENANT, MakeSettings
from export_pipeline_tests.exports.destinations.conftest import described
from export_pipeline_tests.servers import BUCKET, Rclone, Weed


def rows(control: ControlDatabase, table: sa.Table) -> int:
    with control.read() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def broken(server: Weed) -> dict[str, tuple[NewDestination, str, str]]:
    """Destinations that do not work, with the class of the error and what it says."""
    good = described(server)

    def keys(key: str, secret: str) -> NewDestination:
        return replace(good, credentials=Credentials(key, secret))

    def config(**change: Any) -> NewDestination:
        return replace(good, config=replace(good.config, **change))

    return {
        "key": (keys("nobody", "x"), "Key ID you provided does not exist", "access_key_id"),
        "secret": (keys(server.access_key_id, "wrong"), "Access denied", "secret_access_key"),
        "bucket": (config(bucket="not-there"), "Bucket is not valid", "bucket"),
        "port": (config(endpoint_url="http://127.0.0.1:1"), "Invalid endpoint", "endpoint_url"),
        "metadata": (config(endpoint_url="http://169.254.169.254"), "Invalid endpoint", "never allowed"),
        "user": (config(endpoint_url="https://u:canary@127.0.0.1"), "Invalid endpoint", "user name or password"),
    }


@pytest.mark.parametrize("what", ["key", "secret", "bucket", "port", "metadata", "user"])
def test_what_does_not_work_is_refused_with_class_and_cure_and_nothing_is_stored(
    control: ControlDatabase, settings: Settings, seaweedfs: Weed, what: str
) -> None:
    new, error_class, said = broken(seaweedfs)[what]
    with pytest.raises(DestinationError) as caught:
        create_destination(control, new, tenant_id=TENANT, settings=settings, actor="cli")
    assert caught.value.error_class == error_class
    assert said in str(caught.value)
    assert "canary" not in str(caught.value)
    assert (rows(control, destinations), rows(control, audit_log)) == (0, 0)


def test_the_right_that_is_missing_is_named(control: ControlDatabase, settings: Settings, seaweedfs: Weed) -> None:
    with pytest.raises(DestinationRefusedError, match="s3:PutObject") as caught:
        create_destination(
            control, described(seaweedfs, identity="ro"), tenant_id=TENANT, settings=settings, actor="cli"
        )
    assert (caught.value.error_class, caught.value.code) == ("Access denied", "AccessDenied")
    made = create_destination(
        control, described(seaweedfs, identity="wo", prefix="w"), tenant_id=TENANT, settings=settings, actor="cli"
    )
    assert (made.capabilities.write, made.capabilities.read) == (True, False)
    within = described(seaweedfs, identity="prefix", prefix="allowed/x")
    assert create_destination(control, within, tenant_id=TENANT, settings=settings, actor="cli").capabilities.list


@pytest.mark.parametrize(
    ("new", "said"),
    [
        (NewDestination("", DestinationConfig(BUCKET)), "display_name"),
        (NewDestination("line\n", DestinationConfig(BUCKET)), "display_name"),
        (NewDestination("x", DestinationConfig("my_bucket")), "underscores only go with an endpoint_url"),
        (NewDestination("x", DestinationConfig(BUCKET, "a/../b")), "prefix"),
        (NewDestination("x", DestinationConfig(BUCKET), Credentials("", "x")), "access_key_id has 1 to 255"),
        (NewDestination("x", DestinationConfig(BUCKET), Credentials("a", "x\n")), "secret_access_key holds"),
        (
            NewDestination(
                "x", DestinationConfig(BUCKET, aws_role_arn="arn:aws:iam::123456789012:role/r"), Credentials("a", "b")
            ),
            "either credentials or aws_role_arn",
        ),
    ],
)
def test_malformed_values_are_refused_without_a_call(
    control: ControlDatabase, settings: Settings, new: NewDestination, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        create_destination(control, new, tenant_id=TENANT, settings=settings, actor="cli")
    assert rows(control, destinations) == 0


def test_without_a_key_nothing_secret_is_stored_and_the_error_says_how_to_make_one(
    control: ControlDatabase, make_settings: MakeSettings, rclone: Rclone
) -> None:
    with pytest.raises(SettingsError, match=r"EXPORT_PIPELINE_SECRET_KEYS is not set.*export-pipeline secrets new"):
        create_destination(
            control, described(rclone), tenant_id=TENANT, settings=make_settings(secret_keys=None), actor="cli"
        )
    assert rows(control, destinations) == 0
