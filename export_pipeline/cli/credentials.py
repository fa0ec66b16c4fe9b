"""Where a command takes credentials from: never from its arguments, which every user of the machine can read."""

import json
import os
import sys
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from export_pipeline.object_store.config import Credentials


class From(str, Enum):  # noqa: UP042 - Typer shows the values, and StrEnum would show them as text of the member
    """Where credentials come from."""

    PROMPT = "prompt"
    ENVIRONMENT = "environment"
    STDIN = "stdin"
    NONE = "none"


Keys = Annotated[
    From | None,
    typer.Option(
        "--keys",
        help="Where the credentials come from: asked for on the terminal (the default there), AWS_ACCESS_KEY_ID, "
        "AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, a JSON object with access_key_id, secret_access_key and "
        "session_token on standard input, or none: then the process's own are used, where a setting allows it.",
        show_default=False,
    ),
]


def take(where: From | None) -> "Credentials | None":
    """The credentials, None where none are wanted; raises `InputError` that says what is missing."""
    from export_pipeline.errors import InputError
    from export_pipeline.object_store.config import Credentials

    if where is None and not sys.stdin.isatty():
        raise InputError("There is no terminal to ask on: say with --keys where the credentials come from.")
    if where is From.NONE:
        return None
    given = _READERS[where or From.PROMPT]()
    if missing := [name for name in ("access_key_id", "secret_access_key") if not given.get(name)]:
        raise InputError(f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing.")
    return Credentials(given["access_key_id"], given["secret_access_key"], given.get("session_token") or None)


def _ask() -> dict[str, Any]:
    return {
        "access_key_id": typer.prompt("Access key id", err=True),
        "secret_access_key": typer.prompt("Secret access key", hide_input=True, err=True),
        "session_token": typer.prompt(
            "Session token, empty for none", default="", hide_input=True, show_default=False, err=True
        ),
    }


def _environment() -> dict[str, Any]:
    names = ("access_key_id", "secret_access_key", "session_token")
    return {name: os.environ.get(f"AWS_{name.upper()}") for name in names}


def _standard_input() -> dict[str, Any]:
    from export_pipeline.errors import InputError

    try:
        given = json.load(sys.stdin)
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise InputError(
            'Standard input holds no JSON object like {"access_key_id": "…", "secret_access_key": "…"}.'
        ) from None
    return given


_READERS = {From.PROMPT: _ask, From.ENVIRONMENT: _environment, From.STDIN: _standard_input}
