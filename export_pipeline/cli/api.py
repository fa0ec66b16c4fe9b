"""`export-pipeline api`: the HTTP API, as a process of its own or of `make dev`."""

import os
from typing import Annotated

import typer

from export_pipeline.cli import output, stores

APP = "export_pipeline.api:create_app"


def api(
    host: Annotated[str | None, typer.Option(help="Address to listen on; by default EXPORT_PIPELINE_API_HOST.")] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="Port to listen on; by default EXPORT_PIPELINE_API_PORT.")
    ] = None,
    single_user: Annotated[
        bool, typer.Option("--single-user", help="Ask for no keys; on this machine's own addresses only.")
    ] = False,
) -> None:
    """Serve the HTTP API until Ctrl-C.

    `export-pipeline keys create` makes the keys that it asks for. Several may run beside each other, and may
    be ended at any time; each counts requests for itself. The access log, a line of JSON a request, goes to standard
    error; EXPORT_PIPELINE_API_ACCESS_LOG=false turns it off.

    Example: export-pipeline api --port 8000
    """
    import uvicorn

    from export_pipeline.home import is_loopback
    from export_pipeline.settings import PREFIX

    settings = stores.load()
    host, port = host or settings.api_host, port or settings.api_port
    single_user = single_user or settings.api_single_user
    if single_user and not is_loopback(host):
        from export_pipeline.errors import SettingsError

        raise SettingsError(
            f"the API asks for no keys in single-user mode, so it listens on this machine only: {PREFIX}API_HOST is "
            f"{host}, it must be 127.0.0.1, ::1 or localhost; elsewhere leave single-user mode off"
        )
    with stores.open_control(settings):
        pass  # says what is wrong with the control database before anything listens
    os.environ[f"{PREFIX}API_SINGLE_USER"] = str(single_user).lower()
    output.say(f"HTTP API: http://{host}:{port}/docs   Ctrl-C ends it.")
    uvicorn.run(APP, factory=True, host=host, port=port, log_level="warning", access_log=False, server_header=False)
