"""The process's own credentials, roles, and arguments that reach outside of a bucket: rights of single workspaces."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from export_pipeline.errors import DestinationRefusedError, SettingsError
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import destinations
from export_pipeline.exports.destinations.opened import effective, open_destination
from export_pipeline.exports.destinations.stored import (
    check_stored,
    create_destination,
    get_destination,
    rotate_credentials,
)
from export_pipeline.exports.projects.standing_place import standing_access
from export_pipeline.object_store.config import Credentials, DestinationConfig
from export_pipeline.settings import PREFIX, load_settings
from export_pipeline_tests.exports.conftest import TENANT, MakeSettings
from export_pipeline_tests.exports.destinations.conftest import BOTH, OTHER_TENANT, described, keys_of
from export_pipeline_tests.servers import Rclone, Weed

ROLE = "arn:aws:iam::123456789012:role/exports/daily"
KEYS = Credentials("a", "b")
OWN, ROLES, ARGUMENTS = (
    f"{PREFIX}{name}" for name in ("OWN_CREDENTIALS_WORKSPACES", "WORKSPACE_ROLES", "UPLOAD_ARGUMENTS")
)


@pytest.fixture
def ambient(monkeypatch: pytest.MonkeyPatch, rclone: Rclone) -> None:
    """The process has credentials of its own that work."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", rclone.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", rclone.secret_access_key)


def made(make_settings: MakeSettings, *, tenant: uuid.UUID = TENANT, credentials: Any = None, **given: Any) -> Any:
    """What a client of a destination in a workspace may do; settings by capitals, arguments of the config otherwise."""
    settings = make_settings(**{name.lower(): value for name, value in given.items() if name.isupper()})
    config = DestinationConfig("bucket", **{name: value for name, value in given.items() if not name.isupper()})
    return effective(config, credentials, tenant_id=tenant, settings=settings)


def test_the_right_to_the_own_credentials_is_none_to_assume_roles_and_the_other_way_round(
    make_settings: MakeSettings,
) -> None:
    own: dict[str, Any] = {"OWN_CREDENTIALS_WORKSPACES": str(TENANT)}
    roles: dict[str, Any] = {"WORKSPACE_ROLES": f"{TENANT}={ROLE}"}
    assert made(make_settings, **own).process_credentials
    assert made(make_settings, aws_role_arn=ROLE, **roles).process_credentials
    with pytest.raises(DestinationRefusedError, match=f"may not assume the role {ROLE}.*{ROLES}={TENANT}={ROLE}"):
        made(make_settings, aws_role_arn=ROLE, **own)
    with pytest.raises(DestinationRefusedError, match=f"may not use the process's own.*{OWN}={TENANT}"):
        made(make_settings, **roles)


def test_a_right_is_the_workspace_s_that_it_was_given_to(make_settings: MakeSettings) -> None:
    given: dict[str, Any] = {
        "OWN_CREDENTIALS_WORKSPACES": f"{{{str(TENANT).upper()}}}",  # another spelling of the same id
        "WORKSPACE_ROLES": f"{TENANT.hex}={ROLE}",
        "UPLOAD_ARGUMENTS": f"urn:uuid:{TENANT}=ACL",
    }
    public: dict[str, Any] = {"credentials": KEYS, "s3_additional_kwargs": {"ACL": "public-read"}}
    for wanted, setting in (({}, OWN), ({"aws_role_arn": ROLE}, ROLES), (public, ARGUMENTS)):
        assert made(make_settings, **wanted, **given).external_id == str(TENANT)
        with pytest.raises(DestinationRefusedError, match=f"{setting}={OTHER_TENANT}"):
            made(make_settings, tenant=OTHER_TENANT, **wanted, **given)


@pytest.mark.parametrize(
    ("pattern", "role", "fits"),
    [
        ("arn:aws:iam::123456789012:role/exports/*", ROLE, True),
        ("arn:aws:iam::*:role/*", ROLE, True),
        ("arn:aws:iam::123456789012:role/exports", ROLE, False),
        ("arn:aws:iam::123456789012:role/Exports/daily", ROLE, False),
        ("arn:aws:iam::210987654321:role/*", ROLE, False),
        ("arn:aws-cn:iam::123456789012:role/*", ROLE, False),
        ("arn:aws:iam::123456789012:role/a?b=c", "arn:aws:iam::123456789012:role/a,b=c", True),
    ],
)
def test_the_roles_are_those_that_the_pattern_fits(
    make_settings: MakeSettings, pattern: str, role: str, fits: bool
) -> None:
    given: dict[str, Any] = {"WORKSPACE_ROLES": f"{OTHER_TENANT}=arn:aws:iam::*:role/*, *={pattern}"}
    if fits:
        assert made(make_settings, aws_role_arn=role, **given).aws_role_arn == role
    else:
        with pytest.raises(DestinationRefusedError, match=ROLES):
            made(make_settings, aws_role_arn=role, **given)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ACL", "public-read"),
        ("ACL", "private "),
        ("ObjectLockLegalHoldStatus", "ON"),
        ("ObjectLockMode", "COMPLIANCE"),
        ("ObjectLockRetainUntilDate", "2999-01-01"),
        ("RequestPayer", "requester"),
        ("Tagging", "public=yes"),
    ],
)
def test_arguments_that_reach_outside_of_the_bucket_are_the_operator_s_to_allow(
    make_settings: MakeSettings, name: str, value: str
) -> None:
    wanted: dict[str, Any] = {"credentials": KEYS, "s3_additional_kwargs": {name: value, "CacheControl": "no-store"}}
    with pytest.raises(DestinationRefusedError, match=f"s3_additional_kwargs.{name} .*{ARGUMENTS}={TENANT}={name}"):
        made(make_settings, **wanted)
    with pytest.raises(DestinationRefusedError, match=ARGUMENTS):
        made(make_settings, **wanted, UPLOAD_ARGUMENTS=f"{OTHER_TENANT}={name}")
    for allowed in (f"*={name}", f"{TENANT}={name}"):
        assert made(make_settings, **wanted, UPLOAD_ARGUMENTS=allowed).s3_additional_kwargs[name] == value


def test_plain_arguments_are_free(make_settings: MakeSettings) -> None:
    plain: dict[str, Any] = {
        "ACL": "bucket-owner-full-control",
        "BucketKeyEnabled": True,
        "CacheControl": "no-store",
        "ExpectedBucketOwner": "123456789012",
        "Metadata": {"team": "ml"},
        "ServerSideEncryption": "aws:kms",
        "SSEKMSKeyId": "alias/exports",
        "StorageClass": "STANDARD_IA",
    }
    for who in ({"credentials": KEYS}, {"OWN_CREDENTIALS_WORKSPACES": str(TENANT)}):
        assert made(make_settings, s3_additional_kwargs=plain, **who).s3_additional_kwargs == plain


@pytest.mark.parametrize("account", ["123456789012", "210987654321"])
def test_a_key_of_another_account_is_the_operator_s_to_allow_where_his_credentials_ask_for_it(
    make_settings: MakeSettings, account: str
) -> None:
    key = f"arn:aws:kms:eu-central-1:{account}:key/0a1b"
    wanted: dict[str, Any] = {"s3_additional_kwargs": {"SSEKMSKeyId": key}}
    role: dict[str, Any] = {"aws_role_arn": ROLE, "WORKSPACE_ROLES": f"*={ROLE}"}
    assert made(make_settings, credentials=KEYS, **wanted)
    with pytest.raises(DestinationRefusedError, match=f"{ARGUMENTS}={TENANT}=SSEKMSKeyId"):
        made(make_settings, OWN_CREDENTIALS_WORKSPACES=str(TENANT), **wanted)
    if account in ROLE:
        assert made(make_settings, **role, **wanted)
    else:
        with pytest.raises(DestinationRefusedError, match=f"{ARGUMENTS}={TENANT}=SSEKMSKeyId"):
            made(make_settings, **role, **wanted)


@BOTH
def test_a_destination_that_was_stored_while_more_was_allowed_says_so_wherever_it_is_opened(
    control: ControlDatabase, make_settings: MakeSettings, rclone: Rclone, ambient: None
) -> None:
    wide, narrow = make_settings(own_credentials_workspaces=str(TENANT)), make_settings()
    new = described(rclone, identity=None)
    before = create_destination(control, new, tenant_id=TENANT, settings=wide, actor="cli")
    standing = narrow.model_copy(update={"destination_id": before.id})
    ask: dict[str, Any] = {"tenant_id": TENANT, "settings": narrow}
    calls: list[Callable[[], object]] = [
        lambda: open_destination(control, before.id, **ask),
        lambda: standing_access(control, standing),
        lambda: create_destination(control, new, actor="cli", **ask),
    ]
    for call in calls:
        with pytest.raises(DestinationRefusedError, match=f"{OWN}={TENANT}"):
            call()
    with pytest.raises(DestinationRefusedError, match=f"{ROLES}={TENANT}={ROLE}"):
        rotate_credentials(control, before.id, aws_role_arn=ROLE, actor="cli", **ask)
    checked = check_stored(control, before.id, actor="cli", **ask)
    assert OWN in str(checked.error)
    assert get_destination(control, before.id, tenant_id=TENANT) == before
    with control.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(destinations)).scalar_one() == 1
    rotate_credentials(control, before.id, credentials=keys_of(rclone), actor="cli", **ask)
    open_destination(control, before.id, **ask).close()


def test_new_credentials_do_not_make_an_argument_allowed(
    control: ControlDatabase, make_settings: MakeSettings, seaweedfs: Weed
) -> None:
    new = described(seaweedfs, s3_additional_kwargs={"Tagging": "a=b"})
    ask: dict[str, Any] = {"tenant_id": TENANT, "actor": "cli"}
    with pytest.raises(DestinationRefusedError, match=f"{ARGUMENTS}={TENANT}=Tagging"):
        create_destination(control, new, settings=make_settings(), **ask)
    before = create_destination(control, new, settings=make_settings(upload_arguments="*=Tagging"), **ask)
    with pytest.raises(DestinationRefusedError, match=f"{ARGUMENTS}={TENANT}=Tagging"):
        rotate_credentials(control, before.id, credentials=keys_of(seaweedfs), settings=make_settings(), **ask)
    assert get_destination(control, before.id, tenant_id=TENANT) == before


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("own_credentials_workspaces", "*", "valid UUID"),
        ("workspace_roles", "*=*", "not a pattern of roles"),
        ("workspace_roles", f"lake={ROLE}", "valid UUID"),
        ("workspace_roles", ROLE, "valid UUID"),
        ("upload_arguments", "*=Acl", "'ACL'"),
        ("upload_arguments", "ACL", "valid UUID"),
    ],
)
def test_a_right_that_cannot_be_meant_is_refused_with_the_setting_s_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(PREFIX + name.upper(), value)
    with pytest.raises(SettingsError, match=f"{PREFIX}{name.upper()}: .*{said}"):
        load_settings()
