"""The Dagster UI in a browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from export_pipeline_tests.clock import days_over, on_one_day
from export_pipeline_tests.live.browser import fresh_page
from export_pipeline_tests.live.conftest import DAYS
from export_pipeline_tests.live.dagster import PATIENCE, Live

pytestmark = pytest.mark.slow


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """A page of a browser that has never been used."""
    with fresh_page(tmp_path / "profile") as opened:
        opened.set_default_timeout(PATIENCE * 1000)
        yield opened


def see_the_partitions(live: Live, page: Page) -> None:
    """Opens the list of assets, which says of each how many days it has."""
    page.goto(f"{live.url}/assets")
    page.get_by_text(f"{days_over(DAYS[0])} partitions").first.wait_for()


def test_several_projects_are_backfilled_together(live: Live, page: Page) -> None:
    first, last = DAYS[8], DAYS[9]
    projects = ("agent", "search")
    rows = {(name, day): live.add_runs(name, day, runs=1) for name in projects for day in (first, last)}
    earlier = {each.backfill_id for each in live.instance.get_backfills()}
    on_one_day(lambda _: see_the_partitions(live, page))
    for name in projects:
        page.get_by_test_id(f"checkbox-runs/{name}").locator("xpath=..").click()
    page.get_by_role("button", name="Materialize selected").click()
    days = page.get_by_role("dialog").locator("input[type=text]").first
    days.fill(f"[{first}...{last}]")
    days.blur()
    page.get_by_text("2 partitions", exact=True).wait_for()
    page.get_by_role("button", name="Launch backfill").click()
    for (name, day), count in rows.items():
        live.wait_for_rows(name, day, count)
    (backfill,) = [each for each in live.instance.get_backfills() if each.backfill_id not in earlier]
    assert backfill.is_asset_backfill
    runs = live.runs({"dagster/backfill": backfill.backfill_id})
    assert {key.path[-1] for run in runs for key in run.asset_selection or ()} == set(projects)
    assert len(runs) == 1
    page.goto(f"{live.url}/runs/b/{backfill.backfill_id}")
    page.get_by_text("Succeeded").first.wait_for()
