"""API keys: who may speak for a workspace. Only a key's hash is stored; the key is shown once, when it is made."""

import base64
import contextlib
import hashlib
import hmac
import secrets
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

import sqlalchemy as sa

from export_pipeline.errors import ControlUnreachableError, InputError, NotFoundError
from export_pipeline.exports.access.audit import record
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import api_keys
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline.runs.times import SECOND, microseconds

Scope = Literal["bulk-exports:read", "bulk-exports:manage", "metrics:read"]
"""What a key may do: read exports and destinations, make and change them, or read the metrics of all workspaces."""

SCOPES: tuple[Scope, ...] = get_args(Scope)
DEFAULT_SCOPES: tuple[Scope, ...] = ("bulk-exports:read", "bulk-exports:manage")

_BYTES = 32
_PREFIX = "epk_"
_LONGEST_NAME = 200
_LONGEST_KEY = 200
_NOTE_USE_EVERY = 60 * SECOND


@dataclass(frozen=True)
class ApiKey:
    """A key as it is stored; instants are control database microseconds, `hint` its last characters."""

    id: uuid.UUID
    tenant_id: uuid.UUID
    name: str
    hint: str
    scopes: tuple[str, ...]
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    last_used_at: int | None

    @property
    def actor(self) -> str:
        """How the audit log names who used the key."""
        return f"key:{self.id}"

    def valid(self, now: int) -> bool:
        """Whether it is neither revoked nor expired at an instant of the control database."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def create_key(
    control: ControlDatabase,
    *,
    name: str,
    tenant_id: uuid.UUID,
    scopes: Sequence[str] = DEFAULT_SCOPES,
    expires_at: datetime | None = None,
    actor: str,
) -> tuple[ApiKey, str]:
    """A new key and its text, which nothing can show again. Raises `InputError` for a wrong name, scope or expiry."""
    name = name.strip()
    if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
        raise InputError(f"a key's name has 1 to {_LONGEST_NAME} printable characters")
    _check_scopes(scopes)
    ends = None if expires_at is None else microseconds(expires_at)
    text = _PREFIX + base64.urlsafe_b64encode(secrets.token_bytes(_BYTES)).decode().rstrip("=")
    key_id = uuid.uuid4()

    def insert(transaction: Transaction) -> ApiKey:
        if existing := _by_id(transaction, key_id):
            return existing  # the answer of the commit was lost
        now = transaction.now()
        if ends is not None and ends <= now:
            raise InputError("a key's expiry lies in the future")
        values: dict[str, Any] = {"id": key_id, "tenant_id": tenant_id, "name": name, "hint": text[-4:]}
        values |= {"hash": _hash(text), "scopes": sorted(set(scopes)), "created_at": now, "expires_at": ends}
        transaction.execute(sa.insert(api_keys).values(values))
        detail = {"name": name, "scopes": values["scopes"], "expires_at": ends}
        record(
            transaction, at=now, tenant_id=tenant_id, actor=actor, action="key.create", subject=key_id, detail=detail
        )
        return _one(transaction, key_id)

    return control.run(insert), text


def _check_scopes(scopes: Sequence[str]) -> None:
    known = f"there are {', '.join(SCOPES)}"
    if not scopes:
        raise InputError(f"a key needs a scope; {known}")
    if unknown := sorted(set(scopes) - set(SCOPES)):
        raise InputError(f"unknown scope {', '.join(unknown)}; {known}")


def list_keys(control: ControlDatabase, *, tenant_id: uuid.UUID | None = None) -> list[ApiKey]:
    """The keys of a workspace, or of all, the newest first."""
    query = sa.select(*_COLUMNS).order_by(api_keys.c.created_at.desc(), api_keys.c.id)
    if tenant_id is not None:
        query = query.where(api_keys.c.tenant_id == tenant_id)
    with control.read() as transaction:
        return [_key_of(row) for row in transaction.execute(query).mappings()]


def revoke_key(control: ControlDatabase, key_id: uuid.UUID, *, actor: str) -> ApiKey:
    """Ends a key at once and for good; one that is revoked already stays as it is. Raises `NotFoundError`."""

    def revoke(transaction: Transaction) -> ApiKey:
        key = _one(transaction, key_id)
        if key.revoked_at is not None:
            return key
        now = transaction.now()
        transaction.execute(sa.update(api_keys).where(api_keys.c.id == key_id).values(revoked_at=now))
        record(
            transaction,
            at=now,
            tenant_id=key.tenant_id,
            actor=actor,
            action="key.revoke",
            subject=key_id,
            detail={"name": key.name},
        )
        return _one(transaction, key_id)

    return control.run(revoke)


def authenticate(
    control: ControlDatabase, text: str, *, ended: Callable[[ApiKey], None] | None = None
) -> ApiKey | None:
    """The key with this text, where it is valid now; its use is noted at most once a minute.

    One that is revoked or has expired is handed to `ended`.
    """
    if not 0 < len(text) <= _LONGEST_KEY:
        return None
    asked = _hash(text)
    with control.read() as transaction:
        row = transaction.execute(_BY_HASH, {"asked": asked}).mappings().one_or_none()
        now = transaction.now()
    if row is None or not hmac.compare_digest(row["hash"], asked):
        return None
    key = _key_of({name: row[name] for name in ApiKey.__dataclass_fields__})
    if not key.valid(now):
        if ended is not None:
            ended(key)
        return None
    if key.last_used_at is None or now - key.last_used_at >= _NOTE_USE_EVERY:
        _note_use(control, key, now)
    return key


def _note_use(control: ControlDatabase, key: ApiKey, now: int) -> None:
    unchanged = api_keys.c.last_used_at.is_not_distinct_from(key.last_used_at)
    # A note that cannot be written must not refuse a key that is valid.
    with contextlib.suppress(ControlUnreachableError), control.begin() as transaction:
        transaction.execute(sa.update(api_keys).where(api_keys.c.id == key.id, unchanged).values(last_used_at=now))


_COLUMNS = [column for column in api_keys.columns if column.name != "hash"]
_BY_HASH = sa.select(api_keys).where(api_keys.c.hash == sa.bindparam("asked"))


def _by_id(transaction: Transaction, key_id: uuid.UUID) -> ApiKey | None:
    row = transaction.execute(sa.select(*_COLUMNS).where(api_keys.c.id == key_id)).mappings().one_or_none()
    return None if row is None else _key_of(row)


def _one(transaction: Transaction, key_id: uuid.UUID) -> ApiKey:
    key = _by_id(transaction, key_id)
    if key is None:
        raise NotFoundError(f"there is no API key {key_id}; `export-pipeline keys list` shows all")
    return key


def _key_of(row: Mapping[Any, Any]) -> ApiKey:
    values = {str(name): value for name, value in row.items()}
    return ApiKey(**{**values, "scopes": tuple(values["scopes"])})


def _hash(text: str) -> str:
    """SHA-256 suffices for 32 random bytes; slow hashes are for what people choose."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
