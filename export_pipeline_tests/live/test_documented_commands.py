"""Every command line of the documents, run as it stands: only names of places, ids and days are the test's own.

`make demo` and `make dev` are run by `local/test_demo.py`, the curl commands by `api/test_readme.py`.
"""

import contextlib
import os
import pty
import re
import select
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import sqlalchemy as sa

from export_pipeline.exports.control.tables import bulk_exports
from export_pipeline.home import free_ports
from export_pipeline.local.processes import Child
from export_pipeline_tests.live.conftest import DAYS
from export_pipeline_tests.live.dagster import PATIENCE, Live
from export_pipeline_tests.project.documents import DOCUMENTS, ROOT
from export_pipeline_tests.servers import wait_for

pytestmark = pytest.mark.slow

DEPLOY = "export_pipeline/deploy/README.md"
ELSEWHERE = ("make ", "curl ", "pip install ")
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def blocks(document: str) -> list[list[str]]:
    """The command lines of a document's shell blocks, continued ones in one piece, without comments."""
    text = (ROOT / document).read_text()
    found = []
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        lines = re.sub(r"\\\n *", " ", block).splitlines() if language in {"", "sh"} else []
        commands = [re.sub(r"(^|\s+)#.*", "", line) for line in lines]
        if any(re.match(r"(export-pipeline|dagster|export) ?", command) for command in commands):
            found.append([command for command in commands if command])
    return found


def block(document: str, first: str) -> list[str]:
    """The block that has a line beginning like this pattern."""
    (found,) = [lines for lines in blocks(document) if any(re.match(first, line) for line in lines)]
    return found


class Terminal:
    """Runs command lines one after the other in bash; what they export stays, `ID` is the id that was printed last."""

    def __init__(self, live: Live, own: Mapping[str, str], **variables: str) -> None:
        self.folder = live.folder
        self._own = own
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**live.environment, "PATH": path, "COLUMNS": "200", **variables}
        self.id = ""

    def filled_in(self, line: str) -> str:
        """The line with the test's own places and days."""
        theirs = "|".join(map(re.escape, self._own))  # in one go: a day of the test's own may be one of the document's
        line = re.sub(theirs, lambda found: self._own[found[0]], line)
        return re.sub(r"\bID\b", self.id, line)

    def run(self, line: str) -> str:
        """What a command prints; it must go well."""
        script = f"set -euo pipefail; {self.filled_in(line)}\nenv -0 > environment"
        done = subprocess.run(
            ["bash", "-c", script], env=self.environment, cwd=self.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        written = (self.folder / "environment").read_bytes().decode().split("\0")
        self.environment |= dict(pair.split("=", 1) for pair in written if "=" in pair)
        if found := _ID.search(done.stdout) or re.search(r"(?<=[Bb]ackfill )[a-z]{8}\b", done.stdout):
            self.id = found[0]
        return done.stdout

    def run_and_answer(self, line: str, *answers: str) -> None:
        """A command that asks: each answer is typed when the next prompt has come."""
        process, terminal = pty.fork()
        if process == 0:
            os.chdir(self.folder)
            os.execvpe("bash", ["bash", "-c", self.filled_in(line)], self.environment)
        shown, waiting = b"", [answer.encode() + b"\n" for answer in answers]
        with contextlib.suppress(OSError):  # how the end of a terminal is read
            while select.select([terminal], [], [], PATIENCE)[0] and (read := os.read(terminal, 1024)):
                shown += read
                if waiting and shown.endswith(b": "):
                    os.write(terminal, waiting.pop(0))
        os.close(terminal)  # which ends the command where it still waits
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0, shown.decode()
        found = _ID.search(shown.decode())
        assert found is not None
        self.id = found[0]


@pytest.fixture
def terminal(live: Live) -> Iterator[Terminal]:
    """A terminal in the folder of the live instance's workspace.yaml."""
    house = live.house
    bucket = house.server.new_bucket()
    own = {
        "checkout_bot": "chat",
        "2026-11-01": str(DAYS[0]),
        "2026-11-02": str(DAYS[1]),
        "2026-11-09": str(DAYS[8]),
        "2026-11-10": str(DAYS[9]),
        "--bucket lake": f"--bucket {bucket} --endpoint-url {house.server.endpoint_url}",
        "PROJECT": "chat",
    }
    keys = {"AWS_ACCESS_KEY_ID": house.server.access_key_id, "AWS_SECRET_ACCESS_KEY": house.server.secret_access_key}
    yield Terminal(live, own, **keys, EXPORT_PIPELINE_OWN_CREDENTIALS_WORKSPACES=str(house.settings.tenant_id))
    with live.control.begin() as connection:
        connection.execute(sa.update(bulk_exports).values(status="Cancelled"))


def test_every_command_line_of_the_documents_is_run_here_or_where_it_is_said() -> None:
    tried = {tuple(block(document, first)) for document, first in TRIED}
    left = [
        line
        for document in (*DOCUMENTS, DEPLOY, "benchmarks/README.md")
        for lines in blocks(document)
        if tuple(lines) not in tried
        for line in lines
        if not line.startswith((*ELSEWHERE, "--"))
    ]
    assert left == []


TRIED = (
    ("README.md", "export EXPORT_PIPELINE_SOURCE_URL"),
    ("README.md", "export-pipeline backfill --all$"),
    ("README.md", "dagster asset list"),
    ("README.md", "export EXPORT_PIPELINE_SECRET_KEYS"),
    ("README.md", "export-pipeline backfill checkout_bot"),
    ("README.md", "export-pipeline keys create"),
    ("docs/destinations.md", "export-pipeline destinations create"),
    ("docs/destinations.md", "export EXPORT_PIPELINE_WORKSPACE_ROLES"),
    ("docs/runbook.md", "export-pipeline status"),
    ("docs/runbook.md", "dagster asset materialize"),
    (DEPLOY, "dagster-webserver"),
)
"""A document and a pattern of how a line of the block begins."""


def test_your_own_store_and_bucket(live: Live, terminal: Terminal) -> None:
    values = live.house.variables
    own = {
        "postgresql://reader:…@db.internal/traces": values["EXPORT_PIPELINE_SOURCE_URL"],
        "postgresql://exporter:…@db.internal/exports": values["EXPORT_PIPELINE_CONTROL_URL"],
        "my-traces": live.house.bucket,
    }
    there = Terminal(live, own)
    printed = {line.split()[1]: there.run(line) for line in block("README.md", "export EXPORT_PIPELINE_SOURCE_URL")[1:]}
    assert "3 projects" in printed["source"]
    assert printed["projects"].startswith("3 projects, 0 of them new")
    assert "WRONG" not in printed["status"]


def test_what_is_missing_is_backfilled_at_once(live: Live, terminal: Terminal) -> None:
    (line,) = block("README.md", "export-pipeline backfill --all$")
    rows = live.add_runs("agent", DAYS[0], runs=1)
    terminal.run(line)
    live.wait_for_rows("agent", DAYS[0], rows)


def test_dagsters_own_command_line(live: Live, terminal: Terminal) -> None:
    listing, materialize, backfill = block("README.md", "dagster asset list")
    assert "runs/chat" in terminal.run(listing).split()
    rows = {day: live.add_runs("chat", day, runs=1) for day in (DAYS[0], DAYS[1], DAYS[8])}
    terminal.run(materialize)
    assert live.rows("chat", DAYS[8]) == rows[DAYS[8]]
    terminal.run(backfill)
    for day in (DAYS[0], DAYS[1]):
        live.wait_for_rows("chat", day, rows[day])


def test_bulk_exports(live: Live, terminal: Terminal) -> None:
    secret, create, dry, export, schedule, failed, cancel = block("README.md", "export EXPORT_PIPELINE_SECRET_KEYS")
    terminal.run(secret)
    terminal.environment["EXPORT_PIPELINE_SECRET_KEYS"] = live.secret_keys
    terminal.run(create)
    destination = terminal.id
    assert "9 days" in terminal.run(dry)
    terminal.id = destination
    assert "Completed" in terminal.run(export)
    assert terminal.run(failed).strip().splitlines()
    terminal.id = destination
    terminal.run(schedule)
    assert "Cancelled" in terminal.run(cancel)


def test_backfills(live: Live, terminal: Terminal) -> None:
    one, every, cancel = block("README.md", "export-pipeline backfill checkout_bot")
    rows = live.add_runs("chat", DAYS[3], runs=1)
    terminal.run(one)
    assert live.rows("chat", DAYS[3]) == rows
    terminal.run(every)
    terminal.run(cancel)


def test_keys_and_the_api(live: Live, terminal: Terminal, tmp_path: Path) -> None:
    keys, serve = block("README.md", "export-pipeline keys create")
    assert terminal.run(keys).startswith("epk_")
    port = free_ports(1)
    environment = {**terminal.environment, "EXPORT_PIPELINE_API_PORT": str(port)}
    with Child(["bash", "-c", f"exec {serve}"], environment=environment, log=tmp_path / "api.log"):
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/health"), what="the API", seconds=PATIENCE)


def test_destinations(live: Live, terminal: Terminal) -> None:
    for line in block("docs/destinations.md", "export EXPORT_PIPELINE_WORKSPACE_ROLES"):
        terminal.run(line)
    secret, create, rotate, check = block("docs/destinations.md", "export-pipeline destinations create")
    terminal.run(secret)
    access_key_id, secret_access_key = live.house.server.access_key_id, live.house.server.secret_access_key
    terminal.run_and_answer(create, access_key_id, secret_access_key, "")
    destination = terminal.id
    terminal.run(rotate)
    terminal.id = destination
    assert "It works" in terminal.run(check)


def test_the_runbook(live: Live, terminal: Terminal) -> None:
    printed = [terminal.run(line) for line in block("docs/runbook.md", "export-pipeline status")]
    assert len(printed) == 4
    (shrink,) = block("docs/runbook.md", "dagster asset materialize")
    terminal.run(shrink)


def test_dagsters_servers_as_the_deployment_names_them(live: Live, terminal: Terminal, tmp_path: Path) -> None:
    web, daemon = block(DEPLOY, "dagster-webserver")
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text((ROOT / "export_pipeline/deploy/one-machine/dagster.yaml").read_text())
    (tmp_path / "workspace.yaml").write_text((ROOT / "export_pipeline/deploy/workspace.yaml").read_text())
    environment = {**terminal.environment, "DAGSTER_HOME": str(home)}
    subprocess.run(["dagster", "instance", "info"], env=environment, cwd=tmp_path, check=True, capture_output=True)
    port = free_ports(1)
    web = web.replace("3000", str(port))
    with (
        Child(["bash", "-c", f"cd {tmp_path} && exec {web}"], environment=environment, log=tmp_path / "web.log"),
        Child(["bash", "-c", f"cd {tmp_path} && exec {daemon}"], environment=environment, log=tmp_path / "daemon.log"),
    ):
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/server_info"), what="the web server", seconds=PATIENCE)
        beats = "Instance is configured with the following daemons"
        wait_for(lambda: beats in (tmp_path / "daemon.log").read_text(), what="the daemon", seconds=PATIENCE)


def answers(url: str) -> bool:
    """Whether a server answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.mark.parametrize("document", [*DOCUMENTS, DEPLOY])
def test_every_option_that_is_named_in_a_sentence_exists(document: str) -> None:
    import typer

    from export_pipeline.cli.app import app

    top = typer.main.get_command(app)
    for command in re.findall(r"`export-pipeline ([^`]*)`", (ROOT / document).read_text()):
        at, words = top, command.split()
        while words and isinstance(at, typer.core.TyperGroup) and words[0] in at.commands:
            at = at.commands[words.pop(0)]
        known = {option for parameter in at.params for option in parameter.opts} | {"--help"}
        assert [word for word in words if word.startswith("--") and word not in known] == [], command
        assert not words or not isinstance(at, typer.core.TyperGroup) or words == ["--help"], command
