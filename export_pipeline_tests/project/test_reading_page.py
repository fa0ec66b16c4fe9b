"""docs/reading.md shows the statements that are printed, of a table with a few columns."""

import re
import uuid
from dataclasses import replace
from datetime import date

import pytest

from export_pipeline.files.paths import project_root
from export_pipeline.files.statements.systems import SYSTEMS, written
from export_pipeline.files.statements.table import Day, Table
from export_pipeline.runs.schema import select_fields
from export_pipeline_tests.project.documents import ROOT

PAGE = ROOT / "docs" / "reading.md"
EXPORT, WORKSPACE, PROJECT = (
    uuid.UUID("c5f5cbd0-2f7c-4d2f-9d0b-7a3f1f6f2e55"),
    uuid.UUID("5f0c1c5e-6a5b-4c1d-9f3e-0b7e6d2a4c11"),
    uuid.UUID("11111111-2222-4333-8444-555555555555"),
)
TABLE = Table(
    name="runs_checkout_bot",
    about=f"project checkout-bot ({PROJECT}), export {EXPORT}",
    bucket="my-traces",
    root=project_root("prod", EXPORT, WORKSPACE, PROJECT, "v1"),
    region="eu-central-1",
    endpoint_url=None,
    fields=select_fields(["id", "run_type", "start_time", "extra", "tags", "total_tokens", "total_cost"]),
    format_version="v1",
    days=(Day(date(2026, 11, 8), 398), Day(date(2026, 11, 9), 412)),
    wanted=Day(date(2026, 11, 9), 412),
)
IN_GOOGLES_CLOUD = replace(TABLE, endpoint_url="https://storage.googleapis.com")


def block(name: str) -> str:
    """What the page shows for a system: BigQuery's in Google's cloud, the others' in AWS."""
    language = "python" if SYSTEMS[name].comment == "#" else "sql"
    text = written(SYSTEMS[name], IN_GOOGLES_CLOUD if name == "bigquery" else TABLE)
    return f"```{language}\n{text}```"


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_page_shows_what_is_printed(name: str) -> None:
    (shown,) = re.findall(rf"<!-- {name} -->\n\n(.*?)\n\n<!-- /{name} -->", PAGE.read_text(), re.DOTALL)
    assert shown == block(name)


def test_the_page_says_of_every_system_what_it_was_tried_with() -> None:
    tried = PAGE.read_text().split("## What was tried", 1)[1].split("\n## ", 1)[0]
    rows = dict(re.findall(r"^\| (\S+) \| (.+) \|$", tried, re.MULTILINE))
    assert {system.title for system in SYSTEMS.values()} <= rows.keys()
