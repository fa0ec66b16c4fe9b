"""The form of a destination's description: what may be given, in the words of the bulk-export API.

The same words are stored in the control database. Fields that are not known are left out of account.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from export_pipeline.errors import InputError
from export_pipeline.object_store.config import Credentials, DestinationConfig, S3Options
from export_pipeline.settings import clean_prefix

LONGEST_PREFIX = 640
"""A key of S3 has at most 1,024 bytes; what lies below the prefix takes up to 380 of them."""

LARGEST_CONFIG = 16 * 1024

ADDITIONAL: frozenset[str] = frozenset(
    {
        "ACL",
        "BucketKeyEnabled",
        "CacheControl",
        "ContentDisposition",
        "ContentLanguage",
        "ExpectedBucketOwner",
        "Metadata",
        "ObjectLockLegalHoldStatus",
        "ObjectLockMode",
        "ObjectLockRetainUntilDate",
        "RequestPayer",
        "SSEKMSEncryptionContext",
        "SSEKMSKeyId",
        "ServerSideEncryption",
        "StorageClass",
        "Tagging",
    }
)
"""The arguments of PutObject and CreateMultipartUpload that may be given; what they are not: secret, or ours to set."""

_NAME = re.compile(r"[a-zA-Z0-9\-_ ']{1,255}")
_BUCKET = re.compile(r"(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_BUCKET_ELSEWHERE = re.compile(r"(?!.*\.\.)[a-zA-Z0-9][a-zA-Z0-9._-]{1,61}[a-zA-Z0-9]")
_REGION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]{1,512}", re.ASCII)
_CREDENTIAL_LENGTHS = {"access_key_id": 255, "secret_access_key": 2048, "session_token": 2048}


def parse_config(values: Mapping[str, Any]) -> DestinationConfig:
    """A destination from the API's words, checked by `checked`; raises `InputError` that names the field."""
    options = values.get("config_kwargs_s3") or {}
    additional = values.get("s3_additional_kwargs") or {}
    include = values.get("include_bucket_in_prefix", True)
    if not isinstance(options, Mapping) or not isinstance(additional, Mapping):
        raise InputError("config_kwargs_s3 and s3_additional_kwargs take an object of names and values.")
    if not isinstance(include, bool):
        raise InputError("include_bucket_in_prefix is true or false.")
    texts = {name: _text(values, name) for name in ("bucket_name", "prefix", "region", "endpoint_url", "aws_role_arn")}
    if not include and texts["bucket_name"] is None and texts["endpoint_url"] is not None:
        texts["bucket_name"] = _first_label(texts["endpoint_url"])
    if texts["bucket_name"] is None:
        raise InputError("bucket_name is missing.")
    known = {name: options.get(name) for name in S3Options.__dataclass_fields__}
    return checked(
        DestinationConfig(
            bucket=texts["bucket_name"],
            prefix=texts["prefix"] or "",
            region=texts["region"],
            endpoint_url=texts["endpoint_url"],
            include_bucket_in_prefix=include,
            config_kwargs_s3=S3Options(**known),
            s3_additional_kwargs=dict(additional),
            aws_role_arn=texts["aws_role_arn"],
        )
    )


def config_values(config: DestinationConfig) -> dict[str, Any]:
    """A destination in the API's words, without anything secret; `parse_config` takes it back."""
    return {
        "bucket_name": config.bucket,
        "prefix": config.prefix,
        "region": config.region,
        "endpoint_url": config.endpoint_url,
        "include_bucket_in_prefix": config.include_bucket_in_prefix,
        "config_kwargs_s3": config.config_kwargs_s3.given() or None,
        "s3_additional_kwargs": dict(config.s3_additional_kwargs) or None,
        "aws_role_arn": config.aws_role_arn,
    }


def checked(config: DestinationConfig) -> DestinationConfig:
    """The same with its prefix and endpoint in their plain form; raises `InputError` that names what is wrong.

    Nothing is connected to. Which addresses an endpoint may have is checked by `object_store.endpoint`.
    """
    endpoint = config.endpoint_url.rstrip("/") if config.endpoint_url else None
    if endpoint is not None and len(endpoint) > 2048:
        raise InputError("endpoint_url has at most 2,048 characters.")
    _check_bucket(config.bucket, elsewhere=endpoint is not None)
    if config.region is not None and not _REGION.fullmatch(config.region):
        raise InputError(f"region {config.region!r} is not a valid region: it looks like eu-central-1.")
    if config.aws_role_arn is not None and not _ROLE.fullmatch(config.aws_role_arn):
        raise InputError("aws_role_arn must look like arn:aws:iam::123456789012:role/name.")
    if not config.include_bucket_in_prefix and endpoint is None:
        raise InputError(
            "include_bucket_in_prefix=false is for an endpoint_url whose host stands for the bucket: "
            "give that endpoint_url, or leave it out."
        )
    _check_options(config.config_kwargs_s3, config, endpoint)
    for name, value in config.s3_additional_kwargs.items():
        _check_additional(name, value)
    return replace(config, prefix=_prefix(config.prefix), endpoint_url=endpoint)


def check_size(config: DestinationConfig) -> None:
    """Raises `InputError` for a description that is too large to be stored."""
    if (size := len(json.dumps(config_values(config)))) > LARGEST_CONFIG:
        raise InputError(
            f"the destination's description has {size:,} bytes of JSON, at most {LARGEST_CONFIG:,} are stored: shorten "
            "s3_additional_kwargs."
        )


def check_display_name(name: str) -> None:
    """Raises `InputError` for a name that a destination cannot have."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(
            "display_name has 1 to 255 characters: letters and digits of ASCII, spaces, hyphens, underscores and "
            "apostrophes."
        )


def check_credentials(credentials: Credentials) -> None:
    """Raises `InputError` for credentials that are empty, too long or no text of ASCII; never shows them."""
    for name, longest in _CREDENTIAL_LENGTHS.items():
        value = getattr(credentials, name)
        if value is None and name == "session_token":
            continue
        if not isinstance(value, str) or not 1 <= len(value) <= longest:
            raise InputError(f"{name} has 1 to {longest:,} characters.")
        if not all("!" <= sign <= "~" for sign in value):
            raise InputError(f"{name} holds a space, a line break or a sign that no key has: copy it again.")


def _check_bucket(bucket: str, *, elsewhere: bool) -> None:
    if not (_BUCKET_ELSEWHERE if elsewhere else _BUCKET).fullmatch(bucket):
        upper = "" if elsewhere else " Capitals and underscores only go with an endpoint_url."
        raise InputError(
            f"bucket_name {bucket!r} is not a valid bucket name: 3 to 63 letters, digits, dots and hyphens, "
            f"without s3:// and without a path.{upper}"
        )


def _prefix(prefix: str) -> str:
    try:
        prefix = clean_prefix(prefix)
    except ValueError as error:
        raise InputError(f"prefix {error}.") from None
    if len(prefix) > LONGEST_PREFIX:
        raise InputError(
            f"prefix has {len(prefix):,} characters: at most {LONGEST_PREFIX}, because a key in a bucket has at most "
            "1,024 bytes."
        )
    return prefix


def _check_options(options: S3Options, config: DestinationConfig, endpoint: str | None) -> None:
    choices = {
        "addressing_style": ("auto", "virtual", "path"),
        "us_east_1_regional_endpoint": ("regional", "legacy"),
        "use_accelerate_endpoint": (True, False),
        "payload_signing_enabled": (True, False),
    }
    for name, accepted in choices.items():
        value = getattr(options, name)
        if value is not None and not any(value is choice or value == choice for choice in accepted):
            raise InputError(f"config_kwargs_s3.{name} is one of {', '.join(str(item).lower() for item in accepted)}.")
    if options.use_accelerate_endpoint and (endpoint is not None or options.addressing_style == "path"):
        raise InputError(
            "config_kwargs_s3.use_accelerate_endpoint is for AWS without endpoint_url and without the addressing style "
            "path: leave one of them out."
        )
    if not config.include_bucket_in_prefix and options.addressing_style == "virtual":
        raise InputError(
            "config_kwargs_s3.addressing_style=virtual puts the bucket's name in front of the host, "
            "include_bucket_in_prefix=false says that it stands there already: leave one of them out."
        )


def _check_additional(name: str, value: object) -> None:
    if name not in ADDITIONAL:
        raise InputError(f"s3_additional_kwargs.{name} is not accepted: it takes {', '.join(sorted(ADDITIONAL))}.")
    if name == "Metadata":
        good = isinstance(value, Mapping) and all(
            isinstance(item, str) and item.isascii() and item.isprintable() for pair in value.items() for item in pair
        )
        if not good:
            raise InputError("s3_additional_kwargs.Metadata takes an object of names and texts of printable ASCII.")
    elif name == "BucketKeyEnabled":
        if not isinstance(value, bool):
            raise InputError("s3_additional_kwargs.BucketKeyEnabled is true or false.")
    elif not isinstance(value, str) or not value or not value.isascii() or not value.isprintable():
        raise InputError(f"s3_additional_kwargs.{name} takes a text of printable ASCII.")


def _text(values: Mapping[str, Any], name: str) -> str | None:
    value = values.get(name)
    if value is not None and not isinstance(value, str):
        raise InputError(f"{name} takes a text.")
    return value or None


def _first_label(endpoint_url: str) -> str | None:
    try:
        return (urlsplit(endpoint_url).hostname or "").partition(".")[0] or None
    except ValueError:
        return None
