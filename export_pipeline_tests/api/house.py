"""An application over a control database and an S3 server, with a trace store of one project."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from export_pipeline.api import create_app
from export_pipeline.exports.access.keys import DEFAULT_SCOPES, create_key
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.projects.registry import sync_projects
from export_pipeline.object_store.secrets import new_key
from export_pipeline.settings import Settings, load_settings
from export_pipeline.sources.factory import open_source
from export_pipeline_tests.servers import S3Server
from export_pipeline_tests.small_store import PROJECT, write_store

TENANT = uuid.UUID(int=7)
"""The workspace of the project in the trace store."""
OTHER = uuid.UUID(int=8)

__all__ = ["OTHER", "PROJECT", "TENANT", "House", "make_house"]


@dataclass(frozen=True)
class House:
    """The application and what it stands on."""

    settings: Settings
    control: ControlDatabase
    server: S3Server
    bucket: str
    folder: Path

    def client(self, *scopes: str, tenant_id: uuid.UUID = TENANT, **settings: Any) -> TestClient:
        """A client with a key of a workspace: of both scopes unless some are given."""
        return self.anonymous(headers={"X-API-Key": self.key(*scopes, tenant_id=tenant_id)}, **settings)

    def anonymous(self, *, headers: dict[str, str] | None = None, **settings: Any) -> TestClient:
        """A client with these headers and no others."""
        app = create_app(self.settings.model_copy(update=settings), self.control)
        return TestClient(app, base_url="http://127.0.0.1", headers=headers or {}, client=("127.0.0.1", 50_000))

    def key(self, *scopes: str, tenant_id: uuid.UUID = TENANT) -> str:
        """The text of a new key."""
        wanted: Sequence[str] = scopes or DEFAULT_SCOPES
        return create_key(self.control, name="test", tenant_id=tenant_id, scopes=wanted, actor="test")[1]

    def new_destination(self, **changes: Any) -> dict[str, Any]:
        """The body that makes a destination of the bucket; `changes` are of its config."""
        config = {"bucket_name": self.bucket, "prefix": "traces", "endpoint_url": self.server.endpoint_url, **changes}
        key, secret = self.server.identity("admin")
        credentials = {"access_key_id": key, "secret_access_key": secret}
        return {
            "destination_type": "s3",
            "display_name": "My S3 Destination",
            "config": {**config, "region": self.server.region},
            "credentials": credentials,
        }

    def destination(self, client: TestClient) -> str:
        """The id of a new destination of the bucket."""
        answer = client.post("/api/v1/bulk-exports/destinations", json=self.new_destination())
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])


def make_house(folder: Path, control: ControlDatabase, server: S3Server) -> House:
    """A house with a bucket of its own and the projects listed."""
    write_store(folder / "traces.db")
    bucket = server.new_bucket()
    key, secret = server.identity("admin")
    settings = load_settings(
        source_url=f"sqlite:///{folder / 'traces.db'}",
        control_url=control.url.render_as_string(hide_password=False),
        bucket=bucket,
        region=server.region,
        endpoint_url=server.endpoint_url,
        access_key_id=key,
        secret_access_key=secret,
        allow_private_endpoints=True,
        secret_keys=new_key(),
        tenant_id=TENANT,
    )
    source = open_source(settings)
    try:
        sync_projects(control, source, settings)
    finally:
        source.close()
    return House(settings, control, server, bucket, folder)
