"""Stores under test, over the real servers."""

from typing import Any

from export_pipeline.object_store.config import Credentials, DestinationConfig
from export_pipeline.object_store.s3.store import S3Store
from export_pipeline_tests.servers import S3Server

PART = 5 * 1024 * 1024
"""The smallest part that S3 allows, bar the last."""


def config_for(server: S3Server, bucket: str, **changes: Any) -> DestinationConfig:
    """The server as a destination."""
    given: dict[str, Any] = {"bucket": bucket, "endpoint_url": server.endpoint_url, "allow_private": True}
    return DestinationConfig(**(given | changes))


def store_for(
    server: S3Server, bucket: str, *, identity: str = "admin", patience: float = 20.0, **changes: Any
) -> S3Store:
    """A store on one of the server's buckets, for one of its users."""
    credentials = Credentials(*server.identity(identity))
    return S3Store(config_for(server, bucket, **changes), credentials, patience=patience)
