"""Workers of bulk exports, here and in processes of their own that kill themselves at a step."""

import os
import signal
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from export_pipeline.exports.bulk.worker import Worker
from export_pipeline.exports.commit.publisher import no_step
from export_pipeline.exports.control.database import open_control
from export_pipeline.exports.destinations.opened import open_destination
from export_pipeline.settings import Settings, load_settings
from export_pipeline.sources.factory import open_source
from export_pipeline_tests.exports.commit.children import context


def worker_of(settings: Settings, *, name: str = "1", on_step: Callable[[str], None] = no_step) -> Worker:
    """A worker with everything of its own; workers before it count as ended."""
    control = open_control(settings)
    return Worker(
        control=control,
        open_source=lambda: open_source(settings),
        open_store=lambda export: open_destination(
            control, export.destination_id, tenant_id=export.tenant_id, settings=settings
        ),
        settings=settings,
        owner=f"process:test:{name}",
        dagster_run_id=f"run {name}",
        owner_ended=lambda owner: owner != f"process:test:{name}",
        on_step=on_step,
    )


def killed_at(variables: Mapping[str, Any], bulk_id: uuid.UUID, attempts: Mapping[uuid.UUID, int], step: str) -> None:
    """Runs a worker in a process of its own, which sends itself SIGKILL at the step; `variables` are the settings."""
    process = context().Process(target=_work, args=(dict(variables), bulk_id, dict(attempts), step), daemon=True)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL, f"the worker never came to {step!r}"


def _work(variables: dict[str, Any], bulk_id: uuid.UUID, attempts: dict[uuid.UUID, int], step: str) -> None:
    def kill(reached: str) -> None:
        if reached == step:
            os.kill(os.getpid(), signal.SIGKILL)

    worker_of(load_settings(**variables), on_step=kill).publish_units(bulk_id, attempts)
