"""What a workspace may do with more than credentials of its own: the operator gives each right by workspace.

The process's own credentials, the roles that they assume, and arguments of uploads that reach outside of the
workspace's bucket are three rights. They are looked at whenever a destination is made, changed or opened, so that one
that was stored while more was allowed stops with a sentence that names the setting, and never goes on with other
credentials.
"""

import fnmatch
import re
import uuid
from collections.abc import Iterator, Sequence
from typing import get_args

from export_pipeline.errors import AccessDeniedError
from export_pipeline.object_store.config import Credentials, DestinationConfig
from export_pipeline.settings import PREFIX, Settings, UploadArgument

_OWN_ACLS = frozenset({"private", "bucket-owner-read", "bucket-owner-full-control"})
"""Access for the uploader and the bucket's owner, and nobody else."""
_KEY_OF_THE_CALLER = re.compile(r"[A-Za-z0-9/_-]+")
"""A key's id or alias; only an ARN can name a key of another account."""


def permit(
    config: DestinationConfig, credentials: Credentials | None, *, tenant_id: uuid.UUID, settings: Settings
) -> None:
    """Raises `AccessDeniedError` that names the setting where the workspace may not write in this way."""
    if credentials is None:
        if config.aws_role_arn is None:
            _permit_own(config, tenant_id, settings)
        else:
            _permit_role(config.aws_role_arn, tenant_id, settings)
    allowed = frozenset(_of(settings.upload_arguments, tenant_id))
    if refused := [name for name in _reaching(config, credentials) if name not in allowed]:
        setting = ",".join(f"{tenant_id}={name}" for name in refused)
        raise AccessDeniedError(
            f"s3_additional_kwargs.{' and '.join(refused)} may reach outside of the bucket, and workspace "
            f"{tenant_id} may not give it: make the destination without, or have the operator set "
            f"{PREFIX}UPLOAD_ARGUMENTS={setting}."
        )


def _permit_own(config: DestinationConfig, tenant_id: uuid.UUID, settings: Settings) -> None:
    if tenant_id not in settings.own_credentials_workspaces:
        raise AccessDeniedError(
            f"No credentials are given for {config.place}, and workspace {tenant_id} may not use the process's own: "
            f"give {config.names.access_key_id} and {config.names.secret_access_key}, or have the operator set "
            f"{PREFIX}OWN_CREDENTIALS_WORKSPACES={tenant_id}."
        )


def _permit_role(role: str, tenant_id: uuid.UUID, settings: Settings) -> None:
    if not any(fnmatch.fnmatchcase(role, pattern) for pattern in _of(settings.workspace_roles, tenant_id)):
        grant = f"{tenant_id}={role.replace(',', '?')}"
        raise AccessDeniedError(
            f"Workspace {tenant_id} may not assume the role {role}: give access_key_id and secret_access_key, or have "
            f"the operator set {PREFIX}WORKSPACE_ROLES={grant}."
        )


def _reaching(config: DestinationConfig, credentials: Credentials | None) -> Iterator[UploadArgument]:
    """The arguments that do something outside of the bucket, or that outlasts what the workspace may undo there."""
    for name in get_args(UploadArgument):
        value = config.s3_additional_kwargs.get(name)
        if value is None or (name == "ACL" and value in _OWN_ACLS):
            continue
        if name == "SSEKMSKeyId" and (credentials is not None or _own_key(str(value), config.aws_role_arn)):
            continue  # with keys of its own the workspace asks for what those may do anyway
        yield name


def _own_key(key: str, role: str | None) -> bool:
    """Whether a key of KMS is in the account of whoever writes; the account of an ARN is its fifth part."""
    if _KEY_OF_THE_CALLER.fullmatch(key):
        return True
    return role is not None and key.startswith("arn:") and key.split(":")[4:5] == role.split(":")[4:5]


def _of(grants: Sequence[tuple[uuid.UUID | None, str]], tenant_id: uuid.UUID) -> Iterator[str]:
    return (what for workspace, what in grants if workspace in {None, tenant_id})
