"""The Chromium of the browser test: one that is there, else one that is installed. `make test` begins with it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NONE_FOUND = (
    "The browser test needs Chromium or Chrome, and none could be installed: put one on the PATH (on Debian: apt-get "
    "install chromium), or run the other tests with: make test-quick"
)


FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@contextmanager
def fresh_page(profile: Path) -> Iterator["Page"]:
    """A page of a browser that has never been used; its profile lies in that folder."""
    from playwright.sync_api import sync_playwright

    program = find()
    assert program, NONE_FOUND
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=program, args=FLAGS, viewport={"width": 1500, "height": 1000}
        )
        yield context.new_page()
        context.close()


def find() -> str | None:
    """The program of a browser that runs: on the PATH, or the one that Playwright has downloaded."""
    return next(filter(_runs, _candidates()), None)


def _candidates() -> Iterator[str]:
    yield from filter(None, map(shutil.which, NAMES))
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    if os.path.exists(own):  # noqa: PTH110 - a path as Playwright gives it
        yield own


def _runs(program: str) -> bool:
    """Whether it starts: a wrapper may name a package that is not there, a download may lack the system's libraries."""
    try:
        return subprocess.run([program, "--version"], capture_output=True, check=False, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def install() -> None:
    """Installs the system's package where there are the rights to, else downloads Playwright's own."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        sys.stderr.write("Installing Chromium for the browser test (apt-get install chromium) …\n")
        for command in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
            subprocess.run(
                ["apt-get", "-qq", *command],
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
            )
        if any(map(shutil.which, NAMES)):
            return
    sys.stderr.write("Downloading Chromium for the browser test (playwright install chromium) …\n")
    subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], capture_output=True, check=False)


def main() -> None:
    """Makes sure of a browser; ends with one sentence where there is none."""
    if find() is None:
        install()
        if find() is None:
            sys.exit(NONE_FOUND)


if __name__ == "__main__":
    main()
