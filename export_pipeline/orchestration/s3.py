"""The bucket of the standing tables as dagster-aws's `S3Resource`.

Imported when a bucket is first used: dagster-aws brings boto3 with it.
"""

from typing import TYPE_CHECKING, Any

from dagster_aws.s3.resources import S3Resource
from pydantic import PrivateAttr

from export_pipeline.object_store.config import Credentials, DestinationConfig
from export_pipeline.object_store.s3.client import make_client

if TYPE_CHECKING:
    from export_pipeline.object_store.protocol import ObjectStore


class DestinationS3(S3Resource):
    """An `S3Resource` whose client is made by the rules for destinations.

    The rules (time-outs, checksums for stores that are not AWS, endpoints that are allowed, no ambient credentials
    beside given ones) are those of `object_store.s3.client`. The keys are no fields, so no `repr` and no configuration
    shows them.
    """

    _destination: DestinationConfig = PrivateAttr()
    _credentials: Credentials | None = PrivateAttr(default=None)

    @classmethod
    def of(
        cls, destination: DestinationConfig, credentials: Credentials | None, *, max_attempts: int
    ) -> "DestinationS3":
        """The resource of a bucket."""
        made = cls(region_name=destination.region, endpoint_url=destination.endpoint_url, max_attempts=max_attempts)
        made._destination = destination
        made._credentials = credentials
        return made

    def get_client(self) -> Any:
        """A new botocore S3 client; raises `DestinationRefusedError` for endpoints that are not allowed."""
        return make_client(self._destination, self._credentials, attempts=self.max_attempts)

    def open_store(self) -> "ObjectStore":
        """The bucket as publishing uses it; it repeats calls by itself, so its client makes one attempt."""
        from export_pipeline.object_store.s3.store import S3Store

        return S3Store(self._destination, self._credentials, client=self.get_client())
