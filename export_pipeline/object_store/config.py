"""What a destination is, and the credentials for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from export_pipeline.errors import SettingsError
from export_pipeline.settings import PREFIX, Settings


@dataclass(frozen=True)
class Names:
    """What the parts of a destination are called in messages, so that a cure names what a person can change."""

    bucket: str = "the destination's bucket"
    prefix: str = "the destination's prefix"
    region: str = "the destination's region"
    endpoint_url: str = "the destination's endpoint_url"
    access_key_id: str = "the destination's access_key_id"
    secret_access_key: str = "the destination's secret_access_key"  # noqa: S105 -- a name, no secret
    session_token: str = "the destination's session_token"  # noqa: S105 -- a name, no secret
    allow_private: str = f"{PREFIX}ALLOW_PRIVATE_ENDPOINTS"
    role: str = "the destination's aws_role_arn"


SETTING_NAMES = Names(
    *(
        PREFIX + name
        for name in (
            "BUCKET",
            "PREFIX",
            "REGION",
            "ENDPOINT_URL",
            "ACCESS_KEY_ID",
            "SECRET_ACCESS_KEY",
            "SESSION_TOKEN",
            "ALLOW_PRIVATE_ENDPOINTS",
        )
    )
)


AddressingStyle = Literal["auto", "virtual", "path"]


@dataclass(frozen=True)
class S3Options:
    """What botocore's `Config(s3=…)` may be told; None leaves it to the default."""

    addressing_style: AddressingStyle | None = None
    use_accelerate_endpoint: bool | None = None
    payload_signing_enabled: bool | None = None
    us_east_1_regional_endpoint: Literal["regional", "legacy"] | None = None

    def given(self) -> dict[str, Any]:
        """The options that are set."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class DestinationConfig:
    """Where files go; nothing in it is secret.

    `include_bucket_in_prefix=False`: the endpoint's host stands for the bucket already, so that the bucket's name does
    not become a part of the address. `s3_additional_kwargs` are arguments of PutObject and CreateMultipartUpload:
    see `object_store.form`. `aws_role_arn` is assumed with the process's own credentials and `external_id`.

    `allow_private` lets `endpoint_url` be on loopback or a private network. `process_credentials` allows the
    process's own AWS credentials where no others are given: only for destinations that are meant to use them.
    """

    bucket: str
    prefix: str = ""
    region: str | None = None
    endpoint_url: str | None = None
    include_bucket_in_prefix: bool = True
    config_kwargs_s3: S3Options = S3Options()
    s3_additional_kwargs: Mapping[str, Any] = field(default_factory=dict, hash=False)
    aws_role_arn: str | None = None
    external_id: str | None = None
    allow_private: bool = False
    use_proxy: bool = False
    process_credentials: bool = False
    names: Names = field(default=Names(), repr=False, compare=False)

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The destination of standing tables; raises `SettingsError` where the settings name no bucket."""
        if settings.bucket is None:
            raise SettingsError(f"{PREFIX}BUCKET is not set")
        return cls(
            bucket=settings.bucket,
            prefix=settings.prefix,
            region=settings.region,
            endpoint_url=settings.endpoint_url,
            allow_private=settings.private_endpoints,
            use_proxy=True,
            process_credentials=settings.access_key_id is None,
            names=SETTING_NAMES,
        )

    @property
    def place(self) -> str:
        """The bucket and where it is, for messages."""
        return f"bucket {self.bucket!r} at {self.endpoint_url or 'AWS'}"


@dataclass(frozen=True)
class Credentials:
    """Static credentials; they stay out of `repr` and of comparisons' messages."""

    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)

    @classmethod
    def from_settings(cls, settings: Settings) -> Self | None:
        """The credentials of standing tables, or None where the process's own are to be used."""
        if settings.access_key_id is None or settings.secret_access_key is None:
            return None
        token = settings.session_token
        return cls(
            settings.access_key_id,
            settings.secret_access_key.get_secret_value(),
            None if token is None else token.get_secret_value(),
        )

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of what is given, for people."""
        return ("access_key_id", "secret_access_key", *(("session_token",) if self.session_token else ()))
