"""dev: the Dagster UI on the embedded parts, or on one's own, until Ctrl-C.

Runs the S3 server (embedded), the web server and the daemon as child processes.
"""

import os
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from export_pipeline.errors import EmbeddedError, SettingsError
from export_pipeline.home import HOST, taken_ports
from export_pipeline.local.dagster_home import DagsterHome
from export_pipeline.local.embedded import EmbeddedStore
from export_pipeline.local.prepare import sync, write_traces
from export_pipeline.local.processes import Child, interruptible
from export_pipeline.local.screen import Screen, shown
from export_pipeline.settings import PREFIX, Settings

_READY_SECONDS = 180.0
_POLL_SECONDS = 0.5


def run_dev(settings: Settings, screen: Screen) -> None:
    """Runs until SIGINT or SIGTERM, and ends what it started.

    Raises `SettingsError` or `EmbeddedError` where it cannot begin, and `EmbeddedError` where one of the processes
    ends by itself.
    """
    port = _port(settings)
    try:
        with interruptible(), EmbeddedStore(settings, exclusive=True) as embedded:
            _run(settings, embedded, port, screen)
    except KeyboardInterrupt:
        screen.say("Ended.")


def _run(settings: Settings, embedded: EmbeddedStore, port: int, screen: Screen) -> None:
    resolved = embedded.resolved
    home = DagsterHome(resolved, folder=_instance_folder(settings))
    home.prepare()
    if settings.embedded:
        write_traces(resolved, screen)
        sync(resolved)
    embedded.wait_ready()
    with ExitStack() as stack:
        if home.is_new:
            # Web server and daemon would race each other in making the tables.
            _once(home, screen)
        workspace = ["-w", str(home.workspace)]
        commands = {
            "daemon": home.command("dagster._daemon", "run", *workspace, "--log-level", "warning"),
            "web": home.command("dagster_webserver", "-h", HOST, "-p", str(port), *workspace, "--log-level", "warning"),
        }
        children = {
            name: stack.enter_context(
                Child(
                    command,
                    environment=home.environment(),
                    log=home.logs / f"{name}.log",
                    on_line=partial(_show, screen, name),
                )
            )
            for name, command in commands.items()
        }
        for child in children.values():
            stack.callback(child.interrupt)  # all at once, before the end of each is waited for
        _wait_for_web(children, embedded, port)
        screen.say(f"Dagster UI: http://{HOST}:{port}   S3: {resolved.endpoint_url}   Ctrl-C ends both.")
        while True:
            _refuse_ended(children, embedded)
            time.sleep(_POLL_SECONDS)


def _show(screen: Screen, name: str, line: str) -> None:
    screen.say(f"{name:>6} │ {line}")


def _port(settings: Settings) -> int:
    parts = urlsplit(settings.dagster_url)
    if parts.scheme != "http" or parts.hostname not in {HOST, "localhost"}:
        raise SettingsError(
            f"{PREFIX}DAGSTER_URL is {settings.dagster_url}; `export-pipeline dev` serves on this machine only: "
            f"http://{HOST} and a port"
        )
    port = parts.port or 80
    if taken_ports(port, 1):
        raise EmbeddedError(
            f"port {port} is in use, so the Dagster UI cannot be served there; end the program that uses it, or set "
            f"{PREFIX}DAGSTER_URL to http://{HOST} with another port"
        )
    return port


def _instance_folder(settings: Settings) -> Path | None:
    """The instance of one's own where the settings are one's own; the embedded one has a fixed place."""
    named = os.environ.get("DAGSTER_HOME")
    return Path(named).absolute() if named and not settings.embedded else None


def _once(home: DagsterHome, screen: Screen) -> None:
    screen.say(f"Making a Dagster instance in {shown(home.folder)} …")
    log = home.logs / "instance.log"
    with Child(home.command("dagster", "instance", "info"), environment=home.environment(), log=log) as child:
        if child.wait(_READY_SECONDS) != 0:
            raise EmbeddedError(f"the Dagster instance in {home.folder} cannot be made:\n{child.last_words()}")


def _wait_for_web(children: dict[str, Child], embedded: EmbeddedStore, port: int) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not _serves(port):
        _refuse_ended(children, embedded)
        if time.monotonic() > deadline:
            raise EmbeddedError(f"the Dagster web server does not answer; its log is {children['web'].log}")
        time.sleep(_POLL_SECONDS)


def _serves(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/server_info", timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _refuse_ended(children: dict[str, Child], embedded: EmbeddedStore) -> None:
    for name, child in children.items():
        if child.status is not None:
            raise EmbeddedError(
                f"the {name} process ended with status {child.status}; its log is {child.log} and ends with:\n"
                f"{child.last_words()}"
            )
    if embedded.ended:
        raise EmbeddedError("the embedded S3 server ended by itself")
