"""The Dagster instance of the embedded set-up, in `HOME/dagster`, and the commands that work on it.

Dagster is started as processes, by import strings: this room does not import the Dagster layer above it.
"""

import os
import sys
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from export_pipeline.settings import PREFIX, Settings

DEFINITIONS = "export_pipeline.definitions"
_DEPLOY = Path(str(files("export_pipeline"))) / "deploy"


class DagsterHome:
    """The folder, and what processes need to work on it; `resolved` are resolved settings."""

    def __init__(self, resolved: Settings, *, folder: Path | None = None) -> None:
        self._home = resolved.home.absolute()
        self.folder = folder or self._home / "dagster"

    @property
    def is_new(self) -> bool:
        """Whether no Dagster process has made its tables here yet."""
        return not (self.folder / "history").exists() and not (self.folder / "storage").exists()

    @property
    def workspace(self) -> Path:
        """The workspace file for web server and daemon."""
        return _DEPLOY / "workspace.yaml"

    @property
    def logs(self) -> Path:
        """Where processes' output is kept; not in the instance's own `logs`, from which Dagster sends its telemetry."""
        return self._home / "logs"

    def prepare(self) -> None:
        """Makes the folder with its configuration, unless there is one already."""
        for folder in (self.folder, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        configuration = self.folder / "dagster.yaml"
        if not configuration.exists():
            configuration.write_text((_DEPLOY / "one-machine" / "dagster.yaml").read_text())

    def environment(self) -> Mapping[str, str]:
        """The environment for its processes: ours, with this instance and this `HOME`."""
        return os.environ | {
            "DAGSTER_HOME": str(self.folder),
            f"{PREFIX}HOME": str(self._home),
            "DAGSTER_DISABLE_TELEMETRY": "1",
            # A backfill waits for a code server that is away; without this it fails for good.
            "DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR": "1",
        }

    def command(self, program: str, *arguments: str) -> list[str]:
        """How to start one of Dagster's programs, by its module: "dagster", "dagster._daemon", or our web server."""
        return [sys.executable, "-m", program, *arguments]
