"""Dagster's daemon for tests: what it does every thirty seconds it does every three.

`python -m export_pipeline_tests.quick_daemon run` starts it. What a test waits for is that something is done, not the
pause before it. What is tried again after shorter pauses is tried more often: it is given up as late as ever.
"""

import os
from pathlib import Path

from dagster._daemon import controller
from dagster._daemon.cli import main

from export_pipeline.orchestration.instance import launcher

PROGRAM = "export_pipeline_tests.quick_daemon"
_SETTINGS = {
    "poll_interval_seconds: 30": "poll_interval_seconds: 3",
    "user_code_failure_retry_delay: 30": "user_code_failure_retry_delay: 3",
    "max_user_code_failure_retries: 5": "max_user_code_failure_retries: 50",
}


def configure(folder: Path) -> None:
    """Changes the `dagster.yaml` of an instance's folder likewise."""
    configuration = folder / "dagster.yaml"
    text = configuration.read_text()
    for before, after in _SETTINGS.items():
        assert before in text
        text = text.replace(before, after)
    configuration.write_text(text)


if __name__ == "__main__":
    os.environ["DAGSTER_MAX_BACKFILL_RETRIES"] = "50"
    controller.DEFAULT_DAEMON_INTERVAL_SECONDS = 3
    launcher.PATIENCE = 6.0
    main()
