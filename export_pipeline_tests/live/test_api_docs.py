"""The API's documentation page in a browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from export_pipeline.api import create_app
from export_pipeline.settings import load_settings
from export_pipeline_tests.api.serving import served
from export_pipeline_tests.live.browser import fresh_page

pytestmark = pytest.mark.slow


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """A page of a browser that has never been used."""
    with fresh_page(tmp_path / "profile") as opened:
        yield opened


def test_the_documentation_is_shown_without_asking_any_other_host_and_without_scripts(
    tmp_path: Path, page: Page
) -> None:
    settings = load_settings(
        source_url="sqlite:///traces.db",
        control_url=f"sqlite:///{tmp_path / 'control.db'}",
        bucket="traces",
        region="x",
    )
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    app = create_app(settings)
    with served(app) as url:
        page.goto(f"{url}/docs", wait_until="networkidle")
        headings = set(page.locator("h2").all_inner_texts())
        width = page.evaluate("getComputedStyle(document.body).maxWidth")
        page.get_by_role("link", name="BulkExportCreate").click()
        assert page.url == f"{url}/docs#BulkExportCreate"
        page.get_by_role("link", name="/openapi.json").click()
        assert page.url == f"{url}/openapi.json"
    document = app.openapi()
    calls = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    assert headings == calls | document["components"]["schemas"].keys()
    assert width.endswith("px")
    assert {address.removeprefix(url) for address in asked} <= {"/docs", "/openapi.json", "/favicon.ico"}
    assert page.locator("script").count() == 0
    assert [text for text in said if "Content Security Policy" in text] == []
