"""Keys: what is stored of them, what ends them, and what their use leaves behind."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from export_pipeline.errors import InputError, NotFoundError
from export_pipeline.exports.access.audit import read_audit
from export_pipeline.exports.access.keys import authenticate, create_key, list_keys, revoke_key
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import api_keys

TENANT, OTHER = uuid.UUID(int=7), uuid.UUID(int=8)


def test_a_key_is_known_by_its_text_and_stored_as_a_hash_only(any_control: ControlDatabase) -> None:
    key, text = create_key(any_control, name="dashboard", tenant_id=TENANT, actor="test")
    found = authenticate(any_control, text)
    assert found is not None
    assert (found.id, found.tenant_id, found.scopes) == (
        key.id,
        TENANT,
        ("bulk-exports:manage", "bulk-exports:read"),
    )
    assert len(text) == len("epk_") + 43
    with any_control.read() as connection:
        stored = str(connection.execute(sa.select(api_keys)).all())
    assert text not in stored
    assert text[8:] not in stored
    assert authenticate(any_control, text[:-1] + ("A" if text[-1] != "A" else "B")) is None
    assert authenticate(any_control, "") is None
    assert authenticate(any_control, "x" * 10_000) is None


def test_a_key_that_is_revoked_or_expired_is_none(any_control: ControlDatabase) -> None:
    key, text = create_key(any_control, name="one", tenant_id=TENANT, actor="test")
    brief, brief_text = create_key(
        any_control, name="two", tenant_id=TENANT, expires_at=datetime.now(UTC) + timedelta(hours=1), actor="test"
    )
    assert authenticate(any_control, brief_text) is not None
    with any_control.begin() as connection:
        connection.execute(sa.update(api_keys).where(api_keys.c.id == str(brief.id)).values(expires_at=1))
    revoked = revoke_key(any_control, key.id, actor="test")
    assert revoked.revoked_at is not None
    assert revoke_key(any_control, key.id, actor="test") == revoked
    assert (authenticate(any_control, text), authenticate(any_control, brief_text)) == (None, None)


def test_the_last_use_is_noted_once_a_minute(any_control: ControlDatabase) -> None:
    key, text = create_key(any_control, name="one", tenant_id=TENANT, actor="test")

    def last_use() -> int | None:
        return next(item.last_used_at for item in list_keys(any_control) if item.id == key.id)

    assert last_use() is None
    authenticate(any_control, text)
    first = last_use()
    assert first is not None
    authenticate(any_control, text)
    assert last_use() == first
    a_minute_before = first - 60_000_000
    with any_control.begin() as connection:
        connection.execute(sa.update(api_keys).values(last_used_at=a_minute_before))
    authenticate(any_control, text)
    assert (last_use() or 0) >= first


def test_keys_are_listed_by_workspace_and_their_changes_stand_in_the_audit_log(control: ControlDatabase) -> None:
    mine, _ = create_key(control, name="mine", tenant_id=TENANT, scopes=["bulk-exports:read"], actor="cli")
    theirs, _ = create_key(control, name="theirs", tenant_id=OTHER, actor="cli")
    assert [key.id for key in list_keys(control, tenant_id=TENANT)] == [mine.id]
    assert {key.id for key in list_keys(control)} == {mine.id, theirs.id}
    revoke_key(control, mine.id, actor="cli")
    lines = read_audit(control, tenant_id=TENANT, subject=mine.id)
    assert [(line.action, line.actor) for line in lines] == [("key.revoke", "cli"), ("key.create", "cli")]
    assert lines[1].detail == {"name": "mine", "scopes": ["bulk-exports:read"], "expires_at": None}


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"name": " "}, "a key's name has 1 to 200 printable characters"),
        ({"scopes": ["admin"]}, "unknown scope admin; there are bulk-exports:read, bulk-exports:manage, metrics:read"),
        ({"scopes": []}, "a key needs a scope; there are bulk-exports:read, bulk-exports:manage, metrics:read"),
        ({"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, "a key's expiry lies in the future"),
    ],
)
def test_a_wrong_wish_for_a_key_is_named(control: ControlDatabase, wrong: dict[str, object], sentence: str) -> None:
    wish: dict[str, object] = {"name": "one", "tenant_id": TENANT, "actor": "test", **wrong}
    with pytest.raises(InputError) as raised:
        create_key(control, **wish)  # type: ignore[arg-type]
    assert str(raised.value) == sentence
    assert list_keys(control) == []


def test_a_key_that_is_not_there_cannot_be_revoked(control: ControlDatabase) -> None:
    with pytest.raises(NotFoundError, match="there is no API key"):
        revoke_key(control, uuid.uuid4(), actor="test")
