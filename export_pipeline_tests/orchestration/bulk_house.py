"""A `House` with a stored destination, in which bulk exports are asked for and worked off without a daemon."""

import uuid
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import sqlalchemy as sa
from cryptography.fernet import Fernet

from export_pipeline.exports.bulk.create import BulkExportRequest, create_bulk_export
from export_pipeline.exports.bulk.read import get_bulk_export, list_bulk_exports, list_units
from export_pipeline.exports.bulk.records import BulkExport, BulkUnit
from export_pipeline.exports.control.tables import bulk_exports
from export_pipeline.exports.destinations.stored import NewDestination, create_destination
from export_pipeline.object_store.config import Credentials, DestinationConfig
from export_pipeline.orchestration.jobs import BULK_EXPORT
from export_pipeline.orchestration.resources import Connections
from export_pipeline.orchestration.sensors.bulk_exports import tick
from export_pipeline.settings import PREFIX
from export_pipeline_tests.orchestration.house import START, House


def tags_of(request: dg.RunRequest) -> dict[str, str]:
    """The tags of the run that the daemon makes of a sensor's request."""
    return {**request.tags, "dagster/run_key": request.run_key or ""}


class BulkHouse:
    """Asks for exports of a house's projects, and plays the daemon: `tick`, then `work` on what it asks for."""

    def __init__(self, house: House, **settings: str) -> None:
        self.house = house
        house.variables[PREFIX + "SECRET_KEYS"] = Fernet.generate_key().decode()
        house.variables[PREFIX + "RETRY_SECONDS"] = "0"
        house.variables.update({PREFIX + name.upper(): value for name, value in settings.items()})
        house.control.migrate()
        self.connections = Connections(settings=house.settings)
        self.control = self.connections.control
        self.tenant = house.settings.tenant_id
        self.definitions = house.definitions(projects=[], start=None)
        server = house.server
        config = DestinationConfig(bucket=house.bucket, prefix="lake", endpoint_url=server.endpoint_url)
        new = NewDestination("lake", config, Credentials(server.access_key_id, server.secret_access_key))
        made = create_destination(self.control, new, tenant_id=self.tenant, settings=house.settings, actor="cli")
        self.destination = made.id

    def ask(self, project: str, *, first: date = START, days: int = 1, **changes: Any) -> BulkExport:
        """Creates an export of a project's days from `first` on."""
        start = datetime.combine(first, datetime.min.time(), UTC)
        values: dict[str, Any] = {
            "destination_id": self.destination,
            "session_id": uuid.UUID(project),
            "start": start,
            "end": start + timedelta(days=days),
        }
        request = BulkExportRequest(**{**values, **changes})
        return create_bulk_export(
            self.control, request, tenant_id=self.tenant, settings=self.house.settings, actor="cli"
        )

    def export(self, bulk_id: uuid.UUID) -> BulkExport:
        """An export as it is now."""
        return get_bulk_export(self.control, bulk_id, tenant_id=self.tenant)

    def exports(self) -> list[BulkExport]:
        """All exports as they are now."""
        return list_bulk_exports(self.control, tenant_id=self.tenant)

    def units(self, bulk_id: uuid.UUID) -> list[BulkUnit]:
        """Its units as they are now."""
        return list_units(self.control, bulk_id, tenant_id=self.tenant)

    def set_export(self, bulk_id: uuid.UUID, **values: Any) -> None:
        """Changes a row past the code under test."""
        with self.control.begin() as connection:
            connection.execute(sa.update(bulk_exports).where(bulk_exports.c.id == str(bulk_id)).values(**values))

    def tick(self, instance: dg.DagsterInstance) -> list[dg.RunRequest]:
        """What the sensor asks for."""
        return list(tick(self.connections, instance).run_requests or ())

    def skip_reason(self, instance: dg.DagsterInstance) -> str:
        """Why the sensor asks for nothing."""
        result = tick(self.connections, instance)
        assert not result.run_requests
        assert result.skip_reason is not None
        return result.skip_reason.skip_message or ""

    def work(self, instance: dg.DagsterInstance, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        """One run of the job, as the daemon would start it."""
        job = self.definitions.get_job_def(BULK_EXPORT)
        return job.execute_in_process(
            instance=instance, run_config=request.run_config, tags=tags_of(request), raise_on_error=False
        )

    def work_off(self, instance: dg.DagsterInstance, *, rounds: int = 10) -> int:
        """Ticks and works until nothing is asked for; gives back how many runs that took."""
        runs = 0
        for _ in range(rounds):
            requests = self.tick(instance)
            if not requests:
                return runs
            for request in requests:
                self.work(instance, request)
            runs += len(requests)
        raise AssertionError(f"runs are still asked for after {rounds} rounds")
