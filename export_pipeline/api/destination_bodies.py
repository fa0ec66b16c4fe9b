"""The bodies of destinations, in the words of the bulk-export API."""

import uuid
from typing import Annotated, Any, Literal

from pydantic import Field

from export_pipeline.api.wire import Body, BulkExportDestinationType, Time
from export_pipeline.exports.destinations.stored import DestinationRecord
from export_pipeline.object_store.config import Credentials, DestinationConfig
from export_pipeline.object_store.form import config_values, parse_config
from export_pipeline.object_store.s3.check import Capabilities, DestinationCheck
from export_pipeline.runs.times import instant

DisplayName = Annotated[str, Field(min_length=1, pattern=r"^[a-zA-Z0-9\-_ ']+$")]


class BotocoreS3Config(Body):
    """How the S3 client addresses the bucket."""

    addressing_style: Literal["auto", "virtual", "path"] | None = None
    use_accelerate_endpoint: bool | None = None
    payload_signing_enabled: bool | None = None
    us_east_1_regional_endpoint: Literal["regional", "legacy"] | None = None


class BulkExportDestinationS3Config(Body):
    """Where files go: `region` for AWS, `endpoint_url` for every other store."""

    endpoint_url: Annotated[str, Field(max_length=2048)] | None = None
    prefix: Annotated[str, Field(max_length=2048)] = ""
    bucket_name: Annotated[str, Field(min_length=3, max_length=63)] | None = None
    region: Annotated[str, Field(min_length=1)] | None = None
    s3_additional_kwargs: dict[str, Any] | None = None
    config_kwargs_s3: BotocoreS3Config | None = None
    include_bucket_in_prefix: bool = True
    aws_role_arn: str | None = None

    def parsed(self, *, aws_role_arn: str | None) -> DestinationConfig:
        """Raises `InputError`. The role may stand beside the config, too."""
        values = self.model_dump()
        return parse_config({**values, "aws_role_arn": values["aws_role_arn"] or aws_role_arn})


class BulkExportDestinationS3Credentials(Body):
    """Static credentials; write-only."""

    access_key_id: Annotated[str, Field(min_length=1, max_length=255, repr=False)]
    secret_access_key: Annotated[str, Field(min_length=1, max_length=2048, repr=False)]
    session_token: Annotated[str, Field(max_length=2048)] | None = Field(default=None, repr=False)

    def parsed(self) -> Credentials:
        """An empty session token is none."""
        return Credentials(self.access_key_id, self.secret_access_key, self.session_token or None)


class BulkExportDestinationCreate(Body):
    """A destination to be made."""

    destination_type: BulkExportDestinationType = BulkExportDestinationType.S3
    display_name: DisplayName
    config: BulkExportDestinationS3Config
    credentials: BulkExportDestinationS3Credentials | None = None
    aws_role_arn: str | None = None


class BulkExportDestinationUpdate(Body):
    """New credentials, or a role in their place."""

    credentials: BulkExportDestinationS3Credentials | None = None
    aws_role_arn: str | None = None


class BulkExportDestination(Body):
    """A stored destination; of its credentials only the names."""

    destination_type: BulkExportDestinationType = BulkExportDestinationType.S3
    display_name: DisplayName
    config: BulkExportDestinationS3Config
    id: uuid.UUID
    tenant_id: uuid.UUID
    created_at: Time
    updated_at: Time
    credentials_keys: list[str]


class DestinationCapabilities(Body):
    """What the credentials may do; only `write` is needed."""

    write: bool
    read: bool
    list_objects: bool = Field(serialization_alias="list", validation_alias="list")
    delete: bool
    abort: bool
    conditional_writes: bool


class BulkExportDestinationCheck(Body):
    """What a test write found."""

    ok: bool
    error: str | None
    error_class: str | None
    capabilities: DestinationCapabilities
    warnings: list[str]


def destination_answer(record: DestinationRecord) -> BulkExportDestination:
    """A stored destination as it is answered."""
    return BulkExportDestination(
        display_name=record.display_name,
        config=BulkExportDestinationS3Config(**config_values(record.config)),
        id=record.id,
        tenant_id=record.tenant_id,
        created_at=instant(record.created_at),
        updated_at=instant(record.updated_at),
        credentials_keys=list(record.credentials_keys),
    )


def check_answer(check: DestinationCheck) -> BulkExportDestinationCheck:
    """The result of a check as it is answered."""
    return BulkExportDestinationCheck(
        ok=check.ok,
        error=None if check.error is None else str(check.error),
        error_class=None if check.error is None else check.error.error_class,
        capabilities=_capabilities(check.capabilities),
        warnings=list(check.warnings),
    )


def _capabilities(capabilities: Capabilities) -> DestinationCapabilities:
    return DestinationCapabilities(**vars(capabilities))
