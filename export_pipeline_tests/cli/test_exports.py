"""`export-pipeline exports`: what it prints and refuses, without a daemon that carries exports out."""

import json
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet

from export_pipeline.exports.control.database import ControlDatabase, open_control
from export_pipeline.exports.control.tables import bulk_exports, bulk_units
from export_pipeline.exports.destinations.stored import NewDestination, create_destination
from export_pipeline.exports.projects.registry import sync_projects
from export_pipeline.object_store.config import Credentials
from export_pipeline.object_store.form import parse_config
from export_pipeline.settings import load_settings
from export_pipeline.sources.factory import open_source
from export_pipeline_tests.cli.command import Ended, run
from export_pipeline_tests.servers import Rclone
from export_pipeline_tests.small_store import NAME, PROJECT, settings_of, write_store
from export_pipeline_tests.web_server import web_server

pytestmark = pytest.mark.slow

WORKSPACE = str(uuid.UUID(int=7))


class House:
    """A store with a project, a control database, and a destination in the project's workspace."""

    def __init__(self, folder: Path, server: Rclone) -> None:
        write_store(folder / "traces.db", days=3)
        self.folder = folder
        self.variables = settings_of(folder, server, server.new_bucket()) | {
            "SECRET_KEYS": Fernet.generate_key().decode(),
            "TENANT_ID": WORKSPACE,
        }
        settings = load_settings(**{name.lower(): value for name, value in self.variables.items()})
        self.control: ControlDatabase = open_control(settings)
        source = open_source(settings)
        sync_projects(self.control, source, settings, count=False)
        source.close()
        place = parse_config({"bucket_name": server.new_bucket(), "endpoint_url": server.endpoint_url})
        new = NewDestination("Lake", place, Credentials(server.access_key_id, server.secret_access_key))
        made = create_destination(self.control, new, tenant_id=settings.tenant_id, settings=settings, actor="test")
        self.destination = str(made.id)

    def command(self, *words: str) -> Ended:
        """`export-pipeline exports …`."""
        return run("exports", *words, folder=self.folder, settings=self.variables)

    def done(self, *words: str) -> Any:
        """What a command that goes well prints as JSON."""
        ended = self.command(*words, "--json")
        assert (ended.status, ended.err) == (0, "")
        return json.loads(ended.out)

    def create(self, *words: str) -> Any:
        """An export of the project's three days."""
        window = ("--from", "2026-03-01", "--to", "2026-03-04")
        return self.done("create", "--destination", self.destination, "--project", NAME, *window, *words)

    def fail(self, export_id: str) -> None:
        """Ends an export as the worker does whose days failed."""
        with self.control.begin() as connection:
            ended = {"status": "Failed", "finished_at": 1}
            errors = {"retry_0": "a first one", "retry_10": "no rights"}
            mine = bulk_exports.c.id == uuid.UUID(export_id)
            connection.execute(
                sa.update(bulk_exports).where(mine).values(**ended, error="2 of 3 days are not exported")
            )
            its = bulk_units.c.bulk_id == uuid.UUID(export_id)
            connection.execute(sa.update(bulk_units).where(its).values(**ended, attempt=10, errors=errors))


@pytest.fixture
def house(tmp_path: Path, rclone: Rclone) -> House:
    return House(tmp_path, rclone)


def test_an_export_is_created_listed_shown_and_cancelled(house: House) -> None:
    made = house.create("--filter", 'eq(run_type, "chain")', "--fields", "id,start_time", "--compression", "snappy")
    assert (made["status"], made["start_at"], made["end_at"]) == (
        "Created",
        "2026-03-01T00:00:00+00:00",
        "2026-03-04T00:00:00+00:00",
    )
    assert (made["filter"], made["export_fields"]) == ('eq(run_type, "chain")', ["id", "start_time"])
    assert (made["compression"], made["created_by"], made["session_id"]) == ("snappy", "cli", str(PROJECT))
    assert made["progress"]["days_total"] == 3
    assert [each["id"] for each in house.done("list")] == [made["id"]]
    assert house.done("show", made["id"]) == made
    units = house.done("runs", made["id"])
    assert [(unit["day"], unit["status"]) for unit in units] == [
        ("2026-03-01", "Created"),
        ("2026-03-02", "Created"),
        ("2026-03-03", "Created"),
    ]
    with web_server({"data": {"runsOrError": {"results": []}}}) as dagster:
        house.variables["DAGSTER_URL"] = dagster.url
        assert house.done("cancel", made["id"])["status"] == "Cancelled"
        assert made["id"] in str(dagster.asked[0]["variables"]), "its runs are ended at once"
    assert house.done("cancel", made["id"])["status"] == "Cancelled"


def test_tables_are_for_people(house: House) -> None:
    assert "`export-pipeline exports create` asks for one" in house.command("list").out
    made = house.create()
    assert house.command("list").out.splitlines()[-1].split()[:2] == [made["id"], "Created"]
    shown = house.command("show", made["id"]).out
    assert "0.0 %, 0 of 3 days" in shown
    last = house.command("runs", made["id"]).out.splitlines()[-1]
    assert last.split()[:3] == ["2026-03-03", str(PROJECT), "Created"]


def test_a_failed_export_tells_its_last_errors_and_is_put_back_to_work(house: House) -> None:
    made = house.create()
    house.fail(made["id"])
    assert "2 of 3 days are not exported" in house.command("show", made["id"]).out
    assert "no rights" in house.command("runs", made["id"], "--failed").out
    again = house.done("retry", made["id"])
    assert (again["status"], again["error"], again["finished_at"]) == ("Created", None, None)
    assert house.done("runs", made["id"], "--failed") == []
    refused = house.command("retry", made["id"])
    assert (refused.status, refused.out) == (1, "")
    assert "Only an export that is Failed or TimedOut can be retried" in refused.err


def test_what_another_workspace_has_is_told_with_its_name(house: House) -> None:
    made = house.create()
    other = str(uuid.UUID(int=8))
    for words in (
        ("show", made["id"]),
        (
            "create",
            "--destination",
            house.destination,
            "--project",
            NAME,
            "--from",
            "2026-03-01",
            "--to",
            "2026-03-04",
        ),
    ):
        refused = house.command(*words, "--workspace", other)
        assert refused.status == 1
        assert f"in workspace {other}" in refused.err
        assert f"It belongs to workspace {WORKSPACE}: give --workspace {WORKSPACE}" in " ".join(refused.err.split())


def test_waiting_ends_with_the_export_and_with_1_where_it_is_not_completed(house: House) -> None:
    made = house.create()
    ended: list[Ended] = []
    waiting = threading.Thread(target=lambda: ended.append(house.command("show", made["id"], "--wait", "--json")))
    waiting.start()
    house.fail(made["id"])
    waiting.join(60)
    assert ended[0].status == 1
    assert json.loads(ended[0].out)["status"] == "Failed"


def test_a_schedule_has_an_interval_and_no_end(house: House) -> None:
    words = ("create", "--destination", house.destination, "--project", NAME, "--from", "2026-03-01")
    made = house.done(*words, "--every", "6", "--follow-late")
    assert (made["status"], made["interval_hours"], made["reexport_late"], made["progress"]) == (
        "IntervalScheduled",
        6,
        True,
        None,
    )
    assert house.done("runs", made["id"]) == []
    assert "6 h" in house.command("list").out
    assert house.command(*words, "--every", "6", "--wait").status == 1


def test_a_dry_run_counts_and_stores_nothing(house: House) -> None:
    found = house.create("--dry-run")
    assert found == {
        "window": {"start": "2026-03-01T00:00:00+00:00", "end": "2026-03-04T00:00:00+00:00"},
        "projects": 1,
        "days": 3,
        "rows": 9,
        "estimated_bytes": None,
    }
    words = ("create", "--destination", house.destination, "--project", NAME, "--from", "2026-03-01T01:00Z")
    assert house.done(*words, "--every", "24", "--dry-run")["rows"] == 3
    said = house.command(*words, "--to", "2026-03-02", "--filter", 'eq(name, "step 1")', "--dry-run").out
    assert "Would export 1 rows, an unknown number of bytes, in 1 days of 1 projects" in said
    assert house.done("list") == []


REFUSED = {
    "no end": ("--project", NAME, "--from", "2026-03-01", "end_time is missing"),
    "an end before the start": ("--project", NAME, "--from", "2026-03-02", "--to", "2026-03-01", "is not after"),
    "no project": ("--from", "2026-03-01", "--to", "2026-03-02", "exactly one of session_id and all_experiments"),
    "a misspelt project": ("--project", "suport bot", "--from", "2026-03-01", f"did you mean '{NAME}'"),
    "a time that is none": ("--project", NAME, "--from", "March", "--from 'March' is not a time such as 2026-11-01"),
    "an unknown format": (
        *("--project", NAME, "--from", "2026-03-01", "--to", "2026-03-02", "--format-version", "v3"),
        "format_version is one of v1, v2_beta",
    ),
    "a filter that is none": (
        *("--project", NAME, "--from", "2026-03-01", "--to", "2026-03-02", "--filter", "eq("),
        "filter",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("dry", [False, True])
def test_what_cannot_be_exported_is_refused_in_a_sentence_and_nothing_is_stored(
    house: House, case: str, dry: bool
) -> None:
    *words, sentence = REFUSED[case]
    ended = house.command("create", "--destination", house.destination, *words, *(["--dry-run"] if dry else []))
    assert (ended.status, ended.out) == (1, "")
    assert sentence in ended.err
    assert house.done("list") == []


def test_unknown_ids_are_told(house: House) -> None:
    nobody = str(uuid.UUID(int=99))
    for command in ("show", "runs", "cancel", "retry"):
        ended = house.command(command, nobody)
        assert (ended.status, ended.out) == (1, "")
        assert f"There is no bulk export {nobody}" in ended.err
    words = ("create", "--destination", nobody, "--project", NAME, "--from", "2026-03-01", "--to", "2026-03-02")
    assert f"There is no destination {nobody}" in house.command(*words).err
    assert house.command("show", "no-uuid").status == 2
