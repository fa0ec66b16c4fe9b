"""How the browser of the browser test is found, without one being started."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from export_pipeline_tests.live import browser

ROOT = Path(__file__).parents[2]


def program(folder: Path, name: str, *, works: bool) -> str:
    """A program that answers as a browser does, or fails as one does whose libraries are missing."""
    path = folder / name
    path.write_text(f"#!/bin/sh\nexit {0 if works else 127}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("name", browser.NAMES)
def test_a_browser_on_the_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    wanted = program(tmp_path, name, works=True)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert browser.find() == wanted


def test_a_browser_that_does_not_start_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "chromium-browser", works=False)
    wanted = program(tmp_path, "google-chrome-stable", works=True)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert browser.find() == wanted


@pytest.mark.slow
def test_without_a_browser_one_sentence_says_what_to_install(tmp_path: Path) -> None:
    nowhere = {"PATH": "", "PLAYWRIGHT_BROWSERS_PATH": str(tmp_path), "PLAYWRIGHT_DOWNLOAD_HOST": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-m", "export_pipeline_tests.live.browser"],
        cwd=ROOT,
        env={**os.environ, **nowhere},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == browser.NONE_FOUND


def test_ci_calls_what_the_readme_calls_and_nothing_else() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert [line for line in lines if line and not line.startswith(("#", "set ", "cd "))] == ["make lint types test"]
