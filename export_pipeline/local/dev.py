"""dev: the Dagster UI and the HTTP API on the embedded parts, or on one's own, until Ctrl-C.

Runs the S3 server (embedded), the web server, the daemon and the API as child processes.
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
from export_pipeline.home import HOST, private_files, taken_ports
from export_pipeline.local.dagster_home import DagsterHome
from export_pipeline.local.embedded import EmbeddedStore
from export_pipeline.local.prepare import sync, write_traces
from export_pipeline.local.processes import Child, interruptible
from export_pipeline.local.screen import Screen, shown
from export_pipeline.settings import PREFIX, Settings

_API = "export_pipeline.api:create_app"
_READY_SECONDS = 180.0
_POLL_SECONDS = 0.5


def run_dev(settings: Settings, screen: Screen) -> None:
    """Runs until SIGINT or SIGTERM, and ends what it started.

    Raises `SettingsError` or `EmbeddedError` where it cannot begin, and `EmbeddedError` where one of the processes
    ends by itself.
    """
    port = _port(settings)
    try:
        with interruptible(), private_files(), EmbeddedStore(settings, exclusive=True) as embedded:
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
        api_settings = {"API_SINGLE_USER": _single_user(settings), "API_ACCESS_LOG": False}  # the screen is the UI's
        environment = {**home.environment(), **{PREFIX + name: str(on).lower() for name, on in api_settings.items()}}
        children = {
            name: stack.enter_context(
                Child(
                    command,
                    environment=environment,
                    log=home.logs / f"{name}.log",
                    on_line=partial(_show, screen, name),
                )
            )
            for name, command in _commands(home, settings, port).items()
        }
        for child in children.values():
            stack.callback(child.interrupt)  # all at once, before the end of each is waited for
        ui, api = f"http://{HOST}:{port}", f"http://{HOST}:{settings.api_port}"
        _wait_for("web", f"{ui}/server_info", children, embedded)
        _wait_for("api", f"{api}/health", children, embedded)
        screen.say(f"Dagster UI: {ui}   HTTP API: {api}/docs   S3: {resolved.endpoint_url}   Ctrl-C ends all.")
        while True:
            _refuse_ended(children, embedded)
            time.sleep(_POLL_SECONDS)


def _show(screen: Screen, name: str, line: str) -> None:
    screen.say(f"{name:>6} │ {line}")


def _commands(home: DagsterHome, settings: Settings, port: int) -> dict[str, list[str]]:
    quietly = ["--log-level", "warning"]
    workspace = ["-w", str(home.workspace), *quietly]
    here = ["--host", HOST, "--port", str(settings.api_port)]
    return {
        "daemon": home.command("dagster._daemon", "run", *workspace),
        "web": home.command("export_pipeline.orchestration.web", "-h", HOST, "-p", str(port), *workspace),
        "api": home.command("uvicorn", _API, "--factory", "--no-access-log", *here, *quietly),
    }


def _single_user(settings: Settings) -> bool:
    """The embedded parts have one user; whoever has a control database makes keys."""
    return settings.embedded or settings.api_single_user


def _port(settings: Settings) -> int:
    parts = urlsplit(settings.dagster_url)
    if parts.scheme != "http" or parts.hostname not in {HOST, "localhost"}:
        raise SettingsError(
            f"{PREFIX}DAGSTER_URL is {settings.dagster_url}; `export-pipeline dev` serves on this machine only: "
            f"http://{HOST} and a port"
        )
    port = parts.port or 80
    _refuse_taken(port, what="the Dagster UI", setting="DAGSTER_URL", cure=f"http://{HOST} with another port")
    _refuse_taken(settings.api_port, what="the HTTP API", setting="API_PORT", cure="another port")
    return port


def _refuse_taken(port: int, *, what: str, setting: str, cure: str) -> None:
    if taken_ports(port, 1):
        raise EmbeddedError(
            f"port {port} is in use, so {what} cannot be served there; end the program that uses it, or set "
            f"{PREFIX}{setting} to {cure}"
        )


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


def _wait_for(name: str, url: str, children: dict[str, Child], embedded: EmbeddedStore) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not _serves(url):
        _refuse_ended(children, embedded)
        if time.monotonic() > deadline:
            raise EmbeddedError(f"the {name} process does not answer at {url}; its log is {children[name].log}")
        time.sleep(_POLL_SECONDS)


def _serves(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - loopback, put together here
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
