"""Stored credentials: what stands in the database, and with which key it opens."""

import base64
import uuid
from pathlib import Path

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet

from export_pipeline.errors import SecretsError, SettingsError
from export_pipeline.exports.access.audit import read_audit
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import destinations
from export_pipeline.exports.destinations.opened import open_destination
from export_pipeline.exports.destinations.secret_rotation import rotate_secrets
from export_pipeline.exports.destinations.stored import create_destination, list_destinations
from export_pipeline.object_store.config import Credentials
from export_pipeline.object_store.secrets import Vault, new_key
from export_pipeline.settings import load_settings
from export_pipeline_tests.exports.conftest import TENANT, MakeSettings
from export_pipeline_tests.exports.destinations.conftest import BOTH, described
from export_pipeline_tests.servers import Rclone

ROW = uuid.UUID(int=1)
OTHER = uuid.UUID(int=2)
CREDENTIALS = Credentials("canary-id", "canary-secret", "canary-token")


def vault(*keys: str, make_settings: MakeSettings) -> Vault:
    return Vault.from_settings(make_settings(secret_keys=",".join(keys)))


def test_credentials_open_with_any_of_the_keys_and_are_sealed_with_the_newest(make_settings: MakeSettings) -> None:
    old, new = new_key(), new_key()
    sealed = vault(old, make_settings=make_settings).seal(CREDENTIALS, row_id=ROW, tenant_id=TENANT)
    both = vault(new, f" {old} ", make_settings=make_settings)
    assert both.open(sealed, row_id=ROW, tenant_id=TENANT) == CREDENTIALS
    again = both.reseal(sealed, row_id=ROW, tenant_id=TENANT)
    assert vault(new, make_settings=make_settings).open(again, row_id=ROW, tenant_id=TENANT) == CREDENTIALS
    with pytest.raises(SecretsError, match="EXPORT_PIPELINE_SECRET_KEYS") as caught:
        vault(new, make_settings=make_settings).open(sealed, row_id=ROW, tenant_id=TENANT)
    assert str(ROW) in str(caught.value)


@pytest.mark.parametrize(("row", "tenant"), [(OTHER, TENANT), (ROW, OTHER)])
def test_what_was_moved_to_another_row_or_workspace_does_not_open(
    make_settings: MakeSettings, row: uuid.UUID, tenant: uuid.UUID
) -> None:
    one = vault(new_key(), make_settings=make_settings)
    sealed = one.seal(CREDENTIALS, row_id=ROW, tenant_id=TENANT)
    with pytest.raises(SecretsError, match="stored for another destination") as caught:
        one.open(sealed, row_id=row, tenant_id=tenant)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("key", ["too-short", "x" * 44, base64.b64encode(b"\xff" * 31).decode()])
def test_what_is_no_key_is_named_by_its_place_and_not_shown(make_settings: MakeSettings, key: str) -> None:
    with pytest.raises(SettingsError, match="EXPORT_PIPELINE_SECRET_KEYS: key 2 of 2") as caught:
        vault(new_key(), key, make_settings=make_settings)
    assert key not in str(caught.value)


def test_nothing_of_vault_keys_or_credentials_is_shown(make_settings: MakeSettings) -> None:
    key = new_key()
    settings = make_settings(secret_keys=key)
    shown = repr([settings, Vault.from_settings(settings), CREDENTIALS])
    assert key not in shown
    assert "canary" not in shown


@BOTH
def test_a_change_of_keys_encrypts_every_row_anew_and_the_old_key_can_go(
    control: ControlDatabase, make_settings: MakeSettings, rclone: Rclone
) -> None:
    old, new = new_key(), new_key()
    before = make_settings(secret_keys=old)
    ids = [
        create_destination(control, described(rclone), tenant_id=tenant, settings=before, actor="cli").id
        for tenant in (TENANT, OTHER)
    ]
    assert rotate_secrets(control, settings=make_settings(secret_keys=f"{new},{old}"), actor="cli") == 2
    after = make_settings(secret_keys=new)
    for row, tenant in zip(ids, (TENANT, OTHER), strict=True):
        open_destination(control, row, tenant_id=tenant, settings=after).close()
        assert read_audit(control, tenant_id=tenant)[0].action == "secrets.rotate"
    with pytest.raises(SecretsError):
        open_destination(control, ids[0], tenant_id=TENANT, settings=before)


def test_a_change_of_keys_that_does_not_open_a_row_changes_none(
    control: ControlDatabase, make_settings: MakeSettings, rclone: Rclone
) -> None:
    settings = make_settings()
    create_destination(control, described(rclone), tenant_id=TENANT, settings=settings, actor="cli")
    create_destination(
        control, described(rclone), tenant_id=TENANT, settings=make_settings(secret_keys=new_key()), actor="cli"
    )
    with control.read() as connection:
        before = connection.execute(sa.select(destinations)).all()
    with pytest.raises(SecretsError):
        rotate_secrets(control, settings=settings, actor="cli")
    with control.read() as connection:
        assert connection.execute(sa.select(destinations)).all() == before
    assert len(list_destinations(control, tenant_id=TENANT)) == 2


def test_the_embedded_key_lies_in_home_for_its_owner_alone_and_older_than_a_given_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = new_key()
    settings = load_settings().resolved()
    (path,) = settings.home.glob("*.key")
    assert path.stat().st_mode & 0o777 == 0o600
    assert settings.secret_keys is not None
    assert settings.secret_keys.get_secret_value() == path.read_text()
    Fernet(path.read_text())
    assert load_settings().resolved().secret_keys == settings.secret_keys
    both = load_settings(secret_keys=given).resolved().secret_keys
    assert both is not None
    assert both.get_secret_value() == f"{given},{path.read_text()}"
