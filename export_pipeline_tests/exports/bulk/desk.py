"""A control database with a workspace: a destination, projects and experiments; nothing else is read or written."""

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from export_pipeline.exports.bulk.create import BulkExportRequest, create_bulk_export
from export_pipeline.exports.bulk.read import get_bulk_export, list_units
from export_pipeline.exports.bulk.records import BulkExport, BulkUnit
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import bulk_exports, bulk_units, destinations, projects
from export_pipeline.object_store.config import DestinationConfig
from export_pipeline.object_store.form import config_values
from export_pipeline.settings import Settings, load_settings

START, END = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 4, tzinfo=UTC)


@dataclass
class Desk:
    """One workspace; `ask` creates exports as a person would."""

    control: ControlDatabase
    settings: Settings = field(default_factory=lambda: load_settings(home="unused"))
    tenant: uuid.UUID = field(default_factory=uuid.uuid4)
    project: uuid.UUID = field(default_factory=uuid.uuid4)
    destination: uuid.UUID = field(default_factory=uuid.uuid4)

    def __post_init__(self) -> None:
        self.add_project(self.project, "chatbot")
        config = DestinationConfig(bucket="a-bucket", prefix="a/b", region="eu-west-1")
        with self.control.begin() as connection:
            connection.execute(
                sa.insert(destinations).values(
                    id=str(self.destination),
                    tenant_id=str(self.tenant),
                    display_name="lake",
                    config=config_values(config),
                    credentials_keys=[],
                    capabilities={},
                    checked_at=0,
                    created_at=0,
                    updated_at=0,
                )
            )

    def add_project(self, session: uuid.UUID, name: str, *, experiment: bool = False) -> None:
        """A project of the workspace."""
        with self.control.begin() as connection:
            connection.execute(
                sa.insert(projects).values(
                    project=str(session),
                    session_id=str(session),
                    tenant_id=str(self.tenant),
                    name=name,
                    is_experiment=experiment,
                    untold=True,
                    asset_name=f"p_{session.hex}",
                    group_name="default",
                    first_seen_at=0,
                    last_seen_at=0,
                )
            )

    def request(self, **changes: Any) -> BulkExportRequest:
        """Three whole days of the one project."""
        values = {"destination_id": self.destination, "session_id": self.project, "start": START, "end": END}
        return BulkExportRequest(**{**values, **changes})

    def ask(self, **changes: Any) -> BulkExport:
        """Creates an export."""
        request = self.request(**changes)
        return create_bulk_export(self.control, request, tenant_id=self.tenant, settings=self.settings, actor="cli")

    def export(self, bulk_id: uuid.UUID) -> BulkExport:
        """An export as it is now."""
        return get_bulk_export(self.control, bulk_id, tenant_id=self.tenant)

    def units(self, bulk_id: uuid.UUID) -> list[BulkUnit]:
        """Its units as they are now."""
        return list_units(self.control, bulk_id, tenant_id=self.tenant)

    def set_export(self, bulk_id: uuid.UUID, **values: Any) -> None:
        """Changes a row past the code under test."""
        with self.control.begin() as connection:
            connection.execute(sa.update(bulk_exports).where(bulk_exports.c.id == str(bulk_id)).values(**values))

    def set_unit(self, unit_id: uuid.UUID, **values: Any) -> None:
        """Changes a row past the code under test."""
        with self.control.begin() as connection:
            connection.execute(sa.update(bulk_units).where(bulk_units.c.id == str(unit_id)).values(**values))

    def stored(self) -> int:
        """How many exports there are."""
        with self.control.read() as connection:
            return connection.execute(sa.select(sa.func.count()).select_from(bulk_exports)).scalar_one()
