"""The product, as an asset has it: `exports.commit.publish_days` over opened source, bucket and control database.

What the path imports late is imported before the measured time begins, as the imports of the other programs are.
"""

import os
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).with_name("peers")))

import adbc_driver_manager  # noqa: F401
import adbc_driver_postgresql  # noqa: F401
import botocore.config
import botocore.session  # noqa: F401
from measured import options, run

import export_pipeline.sources.postgres.source
import export_pipeline.sources.sqlite.source
from export_pipeline.errors import ExportPipelineError
from export_pipeline.exports.budget import shared_budgets
from export_pipeline.exports.commit.day import DayRequest
from export_pipeline.exports.commit.publish_days import publish_days
from export_pipeline.exports.commit.publisher import Publisher, PublishLimits
from export_pipeline.exports.control.database import open_control
from export_pipeline.exports.projects.registry import find_project
from export_pipeline.exports.projects.standing import standing_table
from export_pipeline.object_store.config import Credentials, DestinationConfig
from export_pipeline.object_store.s3.store import S3Store
from export_pipeline.runs.window import DayWindow, Window
from export_pipeline.settings import load_settings
from export_pipeline.sources.factory import open_source

given = options()
if os.environ["EXPORT_PIPELINE_SOURCE_URL"].startswith("clickhouse"):
    import clickhouse_connect  # noqa: F401

    import export_pipeline.sources.clickhouse.source
if os.environ["EXPORT_PIPELINE_SOURCE_URL"].startswith("langsmith"):
    import export_pipeline.sources.langsmith.source  # noqa: F401


def work() -> dict[str, Any]:
    """Publishes the days of each project, one project after the other."""
    settings = load_settings().resolved()
    control = open_control(settings)
    source = open_source(settings, budgets=shared_budgets(control))
    store = S3Store(DestinationConfig.from_settings(settings), Credentials.from_settings(settings))
    first = date.fromisoformat(given["first_day"])
    days = [first + timedelta(days=number) for number in range(given["days"])]
    hashes, rows = [], 0
    try:
        for name in given["projects"]:
            export = standing_table(control, find_project(control, name), settings)
            requests = [
                DayRequest(export, DayWindow(day, Window.of_day(day)), owner="process:benchmark:1") for day in days
            ]
            limits = PublishLimits.from_settings(settings)
            for day, result in publish_days(
                Publisher(control=control, store=store, source=source, limits=limits), requests
            ):
                if isinstance(result, ExportPipelineError):
                    raise result
                rows += result.rows
                hashes.append(f"{name} {day} {result.outcome} {result.rows}")
    finally:
        source.close()
        control.close()
        store.close()
    return {"rows": rows, "days": len(hashes), "calls": sum(store.requests.values())}


run(work)
