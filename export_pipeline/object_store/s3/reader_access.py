"""How a reader with a client of its own reaches a bucket of S3, with the credentials of ours."""

import time
from collections.abc import Callable
from typing import Any

from export_pipeline.object_store.config import DestinationConfig
from export_pipeline.object_store.protocol import ReaderAccess

_CREDENTIALS_SECONDS = 300


def reader_access(config: DestinationConfig, client: Any) -> ReaderAccess:
    """The access that a store of this configuration has, whose client signs."""
    options = {
        "aws_region": config.region or ("us-east-1" if config.endpoint_url else None),
        "aws_endpoint_url": config.endpoint_url,
        "aws_allow_http": "true" if config.allow_private else None,
        "aws_virtual_hosted_style_request": "true" if config.config_kwargs_s3.addressing_style == "virtual" else None,
    }
    given = {name: value for name, value in options.items() if value is not None}
    return ReaderAccess(f"s3://{config.bucket}", given, _credentials_of(client))


def _credentials_of(client: Any) -> Callable[[], tuple[dict[str, str], int | None]]:
    """The credentials that the client signs with, whatever they are, renewed where they end."""
    credentials = client._get_credentials()  # noqa: SLF001 -- botocore offers no public way

    def provide() -> tuple[dict[str, str], int | None]:
        frozen = credentials.get_frozen_credentials()
        given = {
            "aws_access_key_id": frozen.access_key,
            "aws_secret_access_key": frozen.secret_key,
            "aws_session_token": frozen.token,
        }
        given_values = {name: value for name, value in given.items() if value is not None}
        return given_values, int(time.time()) + _CREDENTIALS_SECONDS

    return provide
